//! What is told: conditions, numbers and events. Pure: what was decided, applied and seen in; the status out.

mod conditions;
mod environment;
mod events;
mod notices;
mod pods;
mod releases;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::names::{self, Colour};
use crate::api::{Child, ReleaseState, RolloutStatus, VisiobookServiceStatus};
use crate::check::{self, Refusal, image};
use crate::facts::{Applied, ContainerFact, DeploymentFact, EnvironmentFact, Facts, Failure};
use crate::gate::Gating;
use crate::plan::Plan;
use crate::rollout::Decision;
pub use environment::{Listed, Overview, Place, Violation, report_environment};
pub use notices::{Notice, notices, wants};
pub use releases::{News, news};

/// Longest time that a status waits which differs in moving numbers only: mostly one that says more comes meanwhile.
const NUMBERS_WAIT: Duration = Duration::from_secs(10);
/// The same, where no more pods are ready than before: those that came mostly are soon.
const EXISTING_PODS_WAIT: Duration = Duration::from_secs(30);

/// Everything that a pass knows at its end.
pub struct Pass<'a> {
    /// Name of the service.
    pub name: &'a str,
    /// Generation of the resource.
    pub generation: i64,
    /// What was seen.
    pub facts: &'a Facts,
    /// What was decided.
    pub decision: &'a Decision,
    /// What was planned.
    pub plan: &'a Plan,
    /// What pods at the gate are told.
    pub gating: &'a Gating,
    /// What was written.
    pub applied: &'a Applied,
    /// What went wrong.
    pub failure: Option<&'a Failure>,
    /// Whether its Services, which carry the selector and the record of a release, are as they were planned.
    pub is_recorded: bool,
    /// The Deployment that serves, as it is after the pass.
    pub serving: Option<&'a DeploymentFact>,
    /// Number of pods that is wanted.
    pub replicas: i32,
    /// Containers of pods that are not ready, where they were looked at.
    pub unready: &'a [ContainerFact],
    /// What has no room of a release that begins.
    pub lacks: &'a [String],
    /// What was published last.
    pub previous: &'a VisiobookServiceStatus,
}

/// What to publish.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The status.
    pub status: VisiobookServiceStatus,
    /// What people should read of it.
    pub events: Vec<Event>,
    /// How long it may wait for one that says more; nothing where it says more than a moving number.
    pub may_wait: Duration,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether somebody should look.
    pub warning: bool,
    /// A word.
    pub reason: &'static str,
    /// A sentence.
    pub note: String,
}

impl Event {
    /// Whether it tells of a write, which no later pass knows of.
    pub fn tells_what_was_done(&self) -> bool {
        matches!(self.reason, "NoRoom" | "RevisionStarted" | "SecretsRotated" | "DriftRepaired")
    }
}

/// The status of a service that is kept.
pub fn report(pass: &Pass<'_>, now: Timestamp) -> Report {
    let mut status = numbers(pass, conditions::kept(pass, now));
    // A change that failed has replaced nothing yet. The other colour may tell of an earlier one.
    let rotated = pass.decision.rotation.at.filter(|_| pass.failure.is_none());
    let rotated = rotated.and_then(|at| Timestamp::from_second(at).ok()).map(Time);
    status.secrets_rotated = status.secrets_rotated.max(rotated);
    let pressing = !conditions::same_words(&status.conditions, &pass.previous.conditions)
        || status.observed_generation != pass.previous.observed_generation
        || place(&status) != place(pass.previous);
    let may_wait = match pressing {
        true => Duration::ZERO,
        false if same_but_for_existing_pods(&status, pass.previous) => EXISTING_PODS_WAIT,
        false => NUMBERS_WAIT,
    };
    Report { events: events::events(pass, &status), status, may_wait }
}

/// Whether two statuses differ at most in how many pods exist, ready or not.
fn same_but_for_existing_pods(one: &VisiobookServiceStatus, other: &VisiobookServiceStatus) -> bool {
    let without = |status: &VisiobookServiceStatus| {
        let mut status = VisiobookServiceStatus { replicas: 0, ..status.clone() };
        // Their sentence counts them.
        status.conditions.retain(|condition| !matches!(&*condition.type_, "Progressing" | "Reconciling"));
        status
    };
    without(one) == without(other)
}

/// Where the releases of a service stand.
fn place(status: &VisiobookServiceStatus) -> Option<(ReleaseState, Option<&str>, Colour)> {
    status.rollout.as_ref().map(|rollout| (rollout.state, rollout.attempt.as_deref(), rollout.colour))
}

/// The status of a service that nobody may touch: as it was, and that it is paused.
pub fn report_paused(generation: i64, previous: &VisiobookServiceStatus, now: Timestamp) -> Report {
    let was_paused =
        previous.conditions.iter().any(|condition| condition.type_ == "Paused" && condition.status == "True");
    let events = if was_paused {
        vec![]
    } else {
        vec![Event {
            warning: false,
            reason: "Paused",
            note: "nothing is written until spec.paused is false".into(),
        }]
    };
    let conditions = conditions::paused(generation, &previous.conditions, now);
    let status =
        VisiobookServiceStatus { observed_generation: Some(generation), conditions, ..previous.clone() };
    Report { status, events, may_wait: Duration::ZERO }
}

/// A release as people read it: what keeps its pods at the gate stands beside how many are ready.
fn release(pass: &Pass<'_>) -> Option<RolloutStatus> {
    let mut release = pass.decision.release.clone()?;
    let waiting = release.attempted().and_then(|revision| pass.gating.waiting.get(revision));
    if let (ReleaseState::Deploying, Some(waiting)) = (release.state, waiting) {
        release.reason = format!("{}; {}", release.reason, waiting.message);
    }
    Some(release)
}

fn numbers(pass: &Pass<'_>, conditions: Vec<Condition>) -> VisiobookServiceStatus {
    let decision = pass.decision;
    // Until its pods have all arrived, a new revision is not the one that serves.
    let previous = pass.previous;
    let active_revision = pass.serving.map(|serving| match (&decision.release, &previous.active_revision) {
        (Some(release), _) if release.state != ReleaseState::Stable => release.revision.clone(),
        (_, Some(before)) if !serving.is_settled() => before.clone(),
        _ => serving.revision.clone(),
    });
    // What could not be written has not happened.
    let is_written = pass.failure.is_none() || decision.release.is_none() || pass.is_recorded;
    let before = previous.active_colour.filter(|_| !is_written);
    let active =
        decision.revision.as_ref().filter(|revision| active_revision.as_ref() == Some(&revision.hash));
    let environment = match &pass.facts.environment {
        EnvironmentFact::Missing { name } => format!("{name} (missing)"),
        known => check::rules_of(known).map_or_else(|_| String::new(), |rules| rules.name),
    };
    let mut children: Vec<Child> = pass
        .plan
        .objects
        .iter()
        .map(|planned| Child { kind: planned.kind.as_str().to_string(), name: planned.name.clone() })
        .collect();
    if pass.failure.is_some() {
        // Not all of it has been made.
        let created = |child: &Child| {
            pass.applied.created.iter().any(|(kind, name)| kind.as_str() == child.kind && *name == child.name)
        };
        children.retain(|child| previous.children.contains(child) || created(child));
    }
    children.sort();
    children.dedup();
    VisiobookServiceStatus {
        observed_generation: Some(pass.generation),
        environment: Some(environment),
        active_revision,
        active_colour: pass.serving.map(|_| before.unwrap_or(decision.colour)),
        version: active
            // A domain service has one once it is stored.
            .filter(|revision| !revision.shape.image.is_empty())
            .map(|revision| image::version(&revision.shape.image))
            .or_else(|| previous.version.clone().filter(|_| pass.serving.is_some())),
        replicas: pass.serving.map_or(0, |serving| serving.status_replicas),
        selector: Some(pod_selector(pass.name, before.unwrap_or(decision.colour))),
        pods: pass
            .serving
            .map(|serving| format!("{}/{}", serving.ready.min(serving.replicas), serving.replicas)),
        last_replicas: Some(pass.replicas),
        secrets_rotated: previous.secrets_rotated.clone(),
        rollout: if is_written { release(pass) } else { previous.rollout.clone() },
        children,
        conditions,
    }
}

/// The active colour's pods, as the scale subresource wants to know them.
fn pod_selector(name: &str, colour: Colour) -> String {
    format!("{}={name},{}={}", names::NAME, names::VERSION, colour.as_str())
}

/// What the service was told when it was refused last, if it is.
pub fn refused(status: &VisiobookServiceStatus) -> Option<String> {
    let accepted = status.conditions.iter().find(|condition| condition.type_ == "Accepted")?;
    (accepted.reason == "Refused").then(|| accepted.message.clone())
}

/// Whether the service says that it serves; `None` where it has said neither.
pub fn is_ready(status: &VisiobookServiceStatus) -> Option<bool> {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready")?;
    ["True", "False"].contains(&ready.status.as_str()).then(|| ready.status == "True")
}

/// Refusals, as one sentence.
pub fn tell(refusals: &[Refusal]) -> String {
    refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("; ")
}

/// At most so many bytes, cut between characters.
pub fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_string();
    }
    let end =
        (0..=bytes.saturating_sub('…'.len_utf8())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}
