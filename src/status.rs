//! What is told: conditions, numbers and events. Pure: what was decided, applied and seen in; the status out.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::kinds::Kind;
use crate::api::names::{self, Colour};
use crate::api::{Child, VisiobookServiceStatus};
use crate::check::{self, Refusal, image};
use crate::facts::{Applied, DeploymentFact, EnvironmentFact, Facts, Failure};
use crate::plan::Plan;
use crate::rollout::{Decision, Reason};

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
    /// What was written.
    pub applied: &'a Applied,
    /// What went wrong.
    pub failure: Option<&'a Failure>,
    /// The Deployment that serves, as it is after the pass.
    pub serving: Option<&'a DeploymentFact>,
    /// Number of pods that is wanted.
    pub replicas: i32,
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
    /// Whether it says more than a number that is still moving: such may wait a moment.
    pub pressing: bool,
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

/// A condition before it has a time.
struct Said {
    type_: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

fn say(type_: &'static str, status: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Said {
    Said { type_, status, reason: reason.into(), message: message.into() }
}

/// The status of a service that is kept.
pub fn report(pass: &Pass<'_>, now: Timestamp) -> Report {
    let ready = ready(pass);
    let moving = moving(pass);
    let stalled = stalled(pass);
    let reconciling = match (&stalled, &moving) {
        (Some(_), _) | (None, None) => say("Reconciling", "False", "Settled", ""),
        (None, Some((reason, message))) => say("Reconciling", "True", *reason, message),
    };
    let progressing = match (&moving, &stalled) {
        (_, Some((reason, message))) => say("Progressing", "False", *reason, message),
        (Some((reason, message)), None) => say("Progressing", "True", *reason, message),
        (None, None) => say("Progressing", "False", "Complete", &pass.decision.message),
    };
    let said = vec![
        ready,
        accepted(pass),
        secrets(pass),
        progressing,
        autoscaling(pass),
        say("Paused", "False", "Running", ""),
        reconciling,
        match stalled {
            Some((reason, message)) => say("Stalled", "True", reason, message),
            None => say("Stalled", "False", "Running", ""),
        },
    ];
    let conditions = stamp(said, pass.generation, &pass.previous.conditions, now);
    let status = numbers(pass, conditions);
    let events = events(pass, &status);
    let pressing = !same_words(&status.conditions, &pass.previous.conditions) || status.observed_generation != pass.previous.observed_generation;
    Report { status, events, pressing }
}

/// The status of a service that nobody may touch: as it was, and that it is paused.
pub fn report_paused(generation: i64, previous: &VisiobookServiceStatus, now: Timestamp) -> Report {
    let mut said: Vec<Said> = Vec::new();
    for type_ in ORDER {
        let before = previous.conditions.iter().find(|condition| condition.type_ == type_);
        said.push(match (type_, before) {
            ("Paused", _) => say("Paused", "True", "SpecPaused", "spec.paused is true: nothing is written until it is false"),
            ("Reconciling", _) => say("Reconciling", "False", "Paused", ""),
            (_, Some(before)) => {
                let status = ["True", "False"].into_iter().find(|word| before.status == *word).unwrap_or("Unknown");
                say(type_, status, before.reason.clone(), before.message.clone())
            }
            (_, None) => say(type_, "Unknown", "Paused", "paused before it was looked at"),
        });
    }
    let was_paused = previous.conditions.iter().any(|condition| condition.type_ == "Paused" && condition.status == "True");
    let events = if was_paused { vec![] } else { vec![Event { warning: false, reason: "Paused", note: "nothing is written until spec.paused is false".into() }] };
    let conditions = stamp(said, generation, &previous.conditions, now);
    let status = VisiobookServiceStatus { observed_generation: Some(generation), conditions, ..previous.clone() };
    Report { status, events, pressing: true }
}

/// Conditions, in the order in which they are always told.
const ORDER: [&str; 8] =
    ["Ready", "Accepted", "SecretsResolved", "Progressing", "Autoscaling", "Paused", "Reconciling", "Stalled"];

/// Times and generations: a condition keeps its time while its status stays.
fn stamp(said: Vec<Said>, generation: i64, previous: &[Condition], now: Timestamp) -> Vec<Condition> {
    said.into_iter()
        .map(|said| {
            let before = previous.iter().find(|condition| condition.type_ == said.type_ && condition.status == said.status);
            // The API server keeps whole seconds.
            let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
            Condition {
                last_transition_time: before.map_or(Time(now), |condition| condition.last_transition_time.clone()),
                message: cut(&said.message, 4096),
                observed_generation: Some(generation),
                reason: said.reason,
                status: said.status.into(),
                type_: said.type_.into(),
            }
        })
        .collect()
}

fn same_words(one: &[Condition], other: &[Condition]) -> bool {
    let words = |conditions: &[Condition]| -> Vec<(String, String, String)> {
        conditions.iter().map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone())).collect()
    };
    words(one) == words(other)
}

fn ready(pass: &Pass<'_>) -> Said {
    let Some(serving) = pass.serving else {
        let reason = match pass.decision.reason {
            Reason::Refused => "Refused",
            Reason::SecretsMissing => "SecretsMissing",
            _ => "Creating",
        };
        let why = pass.failure.map_or_else(|| tell(&pass.decision.held), |failure| failure.message.clone());
        return say("Ready", "False", reason, if why.is_empty() { pass.decision.message.clone() } else { why });
    };
    let (wanted, available) = (serving.replicas, serving.available.min(serving.replicas));
    let was_ready = pass.previous.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if wanted == 0 {
        return say("Ready", "True", "ScaledToZero", "no pods are wanted");
    }
    if available >= wanted {
        return say("Ready", "True", "Serving", format!("{wanted} of {wanted} pods are ready"));
    }
    if was_ready && available > 0 {
        return say("Ready", "True", "Degraded", format!("{available} of {wanted} pods are ready"));
    }
    let hint = match &serving.problem {
        Some(problem) => problem.clone(),
        None => format!("kubectl describe pods -l app={} says why", pass.name),
    };
    say("Ready", "False", "PodsNotReady", format!("{available} of {wanted} pods are ready; {hint}"))
}

fn accepted(pass: &Pass<'_>) -> Said {
    match (pass.decision.reason, pass.failure) {
        (Reason::Refused, _) => say("Accepted", "False", "Refused", tell(&pass.decision.held)),
        (_, Some(failure)) if failure.reason == "NameTaken" => say("Accepted", "False", "NameTaken", &failure.message),
        _ => say("Accepted", "True", "Valid", "the resource keeps every rule of its environment"),
    }
}

fn secrets(pass: &Pass<'_>) -> Said {
    match pass.decision.reason {
        Reason::Refused => say("SecretsResolved", "Unknown", "Refused", "looked at once the resource is accepted"),
        Reason::SecretsMissing => say("SecretsResolved", "False", "SecretsMissing", tell(&pass.decision.held)),
        _ if pass.facts.secrets.is_empty() => say("SecretsResolved", "True", "NoneNeeded", ""),
        _ => say("SecretsResolved", "True", "Resolved", "every key is there"),
    }
}

fn autoscaling(pass: &Pass<'_>) -> Said {
    let Some(scaling) = pass.decision.serving.as_ref().and_then(|serving| serving.scaling.as_ref()) else {
        return say("Autoscaling", "False", "Disabled", "");
    };
    if let Some(manager) = &pass.facts.replicas_applied_by {
        let message = format!(
            "autoscaling is on and {manager} sets spec.replicas: each will undo the other; take spec.replicas out of what {manager} applies, or set autoscaling.enabled to false"
        );
        return say("Autoscaling", "False", "ReplicasApplied", message);
    }
    match &pass.facts.autoscaler_problem {
        Some(problem) => say("Autoscaling", "False", "AutoscalerFailing", problem),
        None => say("Autoscaling", "True", "Enabled", format!("{} to {} pods", scaling.min, scaling.max)),
    }
}

/// What is under way.
fn moving(pass: &Pass<'_>) -> Option<(&'static str, String)> {
    if let Some(failure) = pass.failure.filter(|failure| failure.transient) {
        return Some((failure.reason, failure.message.clone()));
    }
    match (pass.decision.reason, pass.serving) {
        (Reason::SecretsMissing, _) => Some(("SecretsMissing", tell(&pass.decision.held))),
        (Reason::Refused | Reason::RevisionLost, _) => None,
        (_, None) => Some(("Creating", pass.decision.message.clone())),
        (_, Some(serving)) => {
            let settled = serving.observed
                && serving.updated >= serving.replicas
                && serving.status_replicas == serving.replicas
                && serving.available >= serving.replicas;
            (!settled).then(|| ("RollingOut", format!("{} of {} pods run revision {}", serving.updated.min(serving.replicas), serving.replicas, serving.revision)))
        }
    }
}

/// What only a person can get going again.
fn stalled(pass: &Pass<'_>) -> Option<(&'static str, String)> {
    if let Some(failure) = pass.failure.filter(|failure| !failure.transient) {
        return Some((failure.reason, failure.message.clone()));
    }
    match (pass.decision.reason, pass.serving) {
        (Reason::Refused, _) => Some(("Refused", tell(&pass.decision.held))),
        (Reason::RevisionLost, _) => Some(("RevisionLost", pass.decision.message.clone())),
        (_, Some(serving)) if serving.deadline_exceeded && serving.observed => {
            Some(("DeadlineExceeded", serving.problem.clone().unwrap_or_default()))
        }
        _ => None,
    }
}

fn numbers(pass: &Pass<'_>, conditions: Vec<Condition>) -> VisiobookServiceStatus {
    let decision = pass.decision;
    let running = decision.revision.as_ref().filter(|revision| pass.serving.is_some_and(|serving| serving.revision == revision.hash));
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
    children.sort();
    children.dedup();
    VisiobookServiceStatus {
        observed_generation: Some(pass.generation),
        environment: Some(environment),
        active_revision: pass.serving.map(|serving| serving.revision.clone()),
        active_colour: pass.serving.map(|_| decision.colour),
        version: running.map(|revision| image::version(&revision.shape.image)).or_else(|| pass.previous.version.clone().filter(|_| pass.serving.is_some())),
        replicas: pass.serving.map_or(0, |serving| serving.status_replicas),
        selector: Some(pod_selector(pass.name, decision.colour)),
        pods: pass.serving.map(|serving| format!("{}/{}", serving.ready.min(serving.replicas), serving.replicas)),
        last_replicas: Some(pass.replicas),
        children,
        conditions,
    }
}

/// The active colour's pods, as the scale subresource wants to know them.
fn pod_selector(name: &str, colour: Colour) -> String {
    format!("{}={name},{}={}", names::NAME, names::VERSION, colour.as_str())
}

fn events(pass: &Pass<'_>, status: &VisiobookServiceStatus) -> Vec<Event> {
    let find = |conditions: &[Condition], type_: &str| conditions.iter().find(|condition| condition.type_ == type_).cloned();
    let turned = |type_: &str, to: &str| {
        let now = find(&status.conditions, type_).filter(|condition| condition.status == to)?;
        let before = find(&pass.previous.conditions, type_);
        let is_news = before.is_none_or(|before| before.status != to || (to == "False" && before.message != now.message));
        is_news.then_some(now.message)
    };
    let mut events = Vec::new();
    let mut tell = |warning: bool, reason: &'static str, note: String| events.push(Event { warning, reason, note });
    if let Some(note) = turned("Accepted", "False") {
        tell(true, "Refused", note);
    }
    if let Some(note) = turned("SecretsResolved", "False") {
        tell(true, "SecretsMissing", note);
    }
    let wrote_pods = |objects: &[(Kind, String)]| {
        objects.iter().any(|(kind, _)| *kind == Kind::Deployment)
    };
    if pass.decision.reason == Reason::NewRevision && (wrote_pods(&pass.applied.created) || wrote_pods(&pass.applied.updated)) {
        let image = pass.decision.revision.as_ref().map_or("", |revision| revision.shape.image.as_str());
        tell(false, "RevisionStarted", format!("{}, image {image}", pass.decision.message));
    }
    if pass.decision.rotation.rotates && wrote_pods(&pass.applied.updated) {
        tell(false, "SecretsRotated", "a secret has a new value: pods are replaced one after the other".to_string());
    }
    let changed = pass.applied.drift.iter().map(|drift| {
        let manager = drift.manager.as_deref().unwrap_or("somebody");
        format!("{manager} changed {} of {} {}", drift.path, drift.kind.as_str(), drift.name)
    });
    let existed = |kind: Kind, name: &str| {
        pass.previous.children.iter().any(|child| child.kind == kind.as_str() && child.name == name)
    };
    let deleted = pass
        .applied
        .created
        .iter()
        .filter(|(kind, name)| existed(*kind, name))
        .map(|(kind, name)| format!("somebody deleted {} {name}", kind.as_str()));
    let repaired: Vec<String> = changed.chain(deleted).collect();
    if !repaired.is_empty() {
        tell(true, "DriftRepaired", format!("{}; put back", repaired.join(", ")));
    }
    if turned("Stalled", "True").is_some() && pass.decision.reason != Reason::Refused {
        let note = find(&status.conditions, "Stalled").map(|condition| condition.message).unwrap_or_default();
        tell(true, "Stalled", note);
    }
    if let Some(note) = turned("Ready", "True") {
        tell(false, "Ready", note);
    }
    let was_ready = find(&pass.previous.conditions, "Ready").is_some_and(|condition| condition.status == "True");
    if was_ready && let Some(note) = turned("Ready", "False") {
        tell(true, "NotReady", note);
    }
    events
}

fn tell(refusals: &[Refusal]) -> String {
    refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("; ")
}

/// At most so many bytes, cut between characters.
pub fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_string();
    }
    let end = (0..=bytes.saturating_sub('…'.len_utf8())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}
