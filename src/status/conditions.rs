//! Conditions: facts, each true on its own, always in the same order.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Pass, cut, pods, tell};
use crate::api::kinds::Kind;
use crate::api::{Outcome, ReleaseState};
use crate::facts::{DeploymentFact, Missing};
use crate::gate::Waiting;
use crate::rollout::Reason;

/// A condition before it has a time.
pub(super) struct Said {
    type_: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

pub(super) fn say(
    type_: &'static str,
    status: &'static str,
    reason: impl Into<String>,
    message: impl Into<String>,
) -> Said {
    Said { type_, status, reason: reason.into(), message: message.into() }
}

/// The conditions of a service that is kept.
pub(super) fn kept(pass: &Pass<'_>, now: Timestamp) -> Vec<Condition> {
    let ready = ready(pass);
    let moving = moving(pass);
    let stalled = stalled(pass);
    let reconciling = match (&stalled, &moving) {
        (Some(_), _) | (None, None) => say("Reconciling", "False", "Settled", ""),
        (None, Some((reason, message))) => say("Reconciling", "True", *reason, message),
    };
    let progressing = match (&moving, &stalled) {
        (_, Some((reason, message))) => say("Progressing", "False", *reason, message),
        // What waits for a person, for the end of a freeze or for its turn is no slow deployment.
        (Some((reason, message)), None) if WAITING.contains(reason) => {
            say("Progressing", "False", *reason, message)
        }
        (Some((reason, message)), None) => say("Progressing", "True", *reason, message),
        (None, None) => say("Progressing", "False", "Complete", &pass.decision.message),
    };
    let said = vec![
        ready,
        accepted(pass),
        secrets(pass),
        dependencies(pass),
        progressing,
        autoscaling(pass),
        feature(pass, "Exposed", &[Kind::Ingress, Kind::HTTPRoute]),
        feature(pass, "MonitoringReady", &[Kind::ServiceMonitor, Kind::PrometheusRule]),
        say("Paused", "False", "Running", ""),
        reconciling,
        match stalled {
            Some((reason, message)) => say("Stalled", "True", reason, message),
            None => say("Stalled", "False", "Running", ""),
        },
    ];
    stamp(said, pass.generation, &pass.previous.conditions, now)
}

/// Why something moves that is no slow deployment.
const WAITING: [&str; 3] =
    [ReleaseState::AwaitingApproval.as_str(), Reason::Frozen.as_str(), Reason::WaitsForWave.as_str()];

/// The conditions of a service that nobody may touch: as they were, and that it is paused.
pub(super) fn paused(generation: i64, previous: &[Condition], now: Timestamp) -> Vec<Condition> {
    let mut said: Vec<Said> = Vec::new();
    for type_ in ORDER {
        let before = previous.iter().find(|condition| condition.type_ == type_);
        said.push(match (type_, before) {
            ("Paused", _) => say(
                "Paused",
                "True",
                "SpecPaused",
                "spec.paused is true: nothing is written until it is false",
            ),
            ("Reconciling", _) => say("Reconciling", "False", "Paused", ""),
            (_, Some(before)) => {
                let status =
                    ["True", "False"].into_iter().find(|word| before.status == *word).unwrap_or("Unknown");
                say(type_, status, before.reason.clone(), before.message.clone())
            }
            (_, None) => say(type_, "Unknown", "Paused", "paused before it was looked at"),
        });
    }
    stamp(said, generation, previous, now)
}

/// Conditions, in the order in which they are always told.
const ORDER: [&str; 11] = [
    "Ready",
    "Accepted",
    "SecretsResolved",
    "DependenciesReady",
    "Progressing",
    "Autoscaling",
    "Exposed",
    "MonitoringReady",
    "Paused",
    "Reconciling",
    "Stalled",
];

/// Times and generations: a condition keeps its time while its status stays.
pub(super) fn stamp(
    said: Vec<Said>,
    generation: i64,
    previous: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    said.into_iter()
        .map(|said| {
            let before = previous
                .iter()
                .find(|condition| condition.type_ == said.type_ && condition.status == said.status);
            // The API server keeps whole seconds.
            let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
            Condition {
                last_transition_time: before
                    .map_or(Time(now), |condition| condition.last_transition_time.clone()),
                message: cut(&said.message, 4096),
                observed_generation: Some(generation),
                reason: said.reason,
                status: said.status.into(),
                type_: said.type_.into(),
            }
        })
        .collect()
}

/// Whether two sets of conditions say the same, but for their sentences and times.
pub(super) fn same_words(one: &[Condition], other: &[Condition]) -> bool {
    let words = |conditions: &[Condition]| -> Vec<(String, String, String)> {
        conditions.iter().map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone())).collect()
    };
    words(one) == words(other)
}

fn ready(pass: &Pass<'_>) -> Said {
    let Some(serving) = pass.serving else {
        let reason = match pass.decision.reason {
            Reason::Refused => "Refused",
            reason @ (Reason::SecretsMissing | Reason::Migrating | Reason::MigrationFailed) => {
                reason.as_str()
            }
            _ => "Creating",
        };
        let why = pass.failure.map_or_else(|| tell(&pass.decision.held), |failure| failure.message.clone());
        return say(
            "Ready",
            "False",
            reason,
            if why.is_empty() { pass.decision.message.clone() } else { why },
        );
    };
    let (wanted, available) = (serving.replicas, serving.available.min(serving.replicas));
    let was_ready = pass
        .previous
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if wanted == 0 {
        return say("Ready", "True", "ScaledToZero", "no pods are wanted");
    }
    if available >= wanted {
        return say("Ready", "True", "Serving", format!("{wanted} of {wanted} pods are ready"));
    }
    if was_ready && available > 0 {
        return say("Ready", "True", "Degraded", format!("{available} of {wanted} pods are ready"));
    }
    if let Some(waiting) = pass.gating.waiting.get(&serving.revision) {
        let message = format!("{available} of {wanted} pods are ready; {}", waiting.message);
        return say("Ready", "False", waiting.reason, message);
    }
    let hint = match pods::trouble(pass.unready).or_else(|| serving.problem.clone()) {
        Some(trouble) => trouble,
        None => format!("kubectl describe pods -l app={} says why", pass.name),
    };
    say("Ready", "False", "PodsNotReady", format!("{available} of {wanted} pods are ready; {hint}"))
}

fn accepted(pass: &Pass<'_>) -> Said {
    match (pass.decision.reason, pass.failure) {
        (Reason::Refused, _) => say("Accepted", "False", "Refused", tell(&pass.decision.held)),
        (_, Some(failure)) if failure.reason == "NameTaken" => {
            say("Accepted", "False", "NameTaken", &failure.message)
        }
        _ => say("Accepted", "True", "Valid", "the resource keeps every rule of its environment"),
    }
}

fn secrets(pass: &Pass<'_>) -> Said {
    match pass.decision.reason {
        Reason::Refused => {
            say("SecretsResolved", "Unknown", "Refused", "looked at once the resource is accepted")
        }
        Reason::SecretsMissing => {
            let lack = pass.facts.missing_kinds.get(&Kind::ExternalSecret);
            match lack.filter(|_| pass.plan.left_out.contains(&Kind::ExternalSecret)) {
                Some(why) => say("SecretsResolved", "False", "KindMissing", lacks(Kind::ExternalSecret, why)),
                None => say("SecretsResolved", "False", "SecretsMissing", tell(&pass.decision.held)),
            }
        }
        _ if pass.facts.secrets.is_empty() => say("SecretsResolved", "True", "NoneNeeded", ""),
        _ => say("SecretsResolved", "True", "Resolved", "every key is there"),
    }
}

fn dependencies(pass: &Pass<'_>) -> Said {
    let (gating, type_) = (pass.gating, "DependenciesReady");
    let lacking = gating.lacking.join("; ");
    match (&gating.cycle, gating.lacking.is_empty()) {
        _ if gating.ignored => {
            say(type_, "Unknown", "NotGated", "no pod waits for what the service depends on")
        }
        (Some(cycle), _) => say(type_, "False", "DependencyCycle", [lacking, cycle.clone()].join("; ")),
        (None, false) => say(type_, "False", "NotReady", format!("waiting for {lacking}")),
        (None, true) if pass.facts.dependencies.is_empty() => say(type_, "True", "NoneNeeded", ""),
        (None, true) => say(type_, "True", "Ready", "everything that the service depends on is ready"),
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

/// A feature whose objects are of kinds that a cluster may lack: all else works without it.
fn feature(pass: &Pass<'_>, type_: &'static str, kinds: &[Kind]) -> Said {
    let left_out: Vec<String> = kinds
        .iter()
        .filter(|kind| pass.plan.left_out.contains(kind))
        .filter_map(|kind| Some(lacks(*kind, pass.facts.missing_kinds.get(kind)?)))
        .collect();
    let planned: Vec<&str> = kinds
        .iter()
        .filter(|kind| pass.plan.objects.iter().any(|planned| planned.kind == **kind))
        .map(|kind| kind.as_str())
        .collect();
    match (left_out.is_empty(), planned.is_empty()) {
        (false, _) => say(type_, "False", "KindMissing", left_out.join("; ")),
        (true, false) => say(type_, "True", "Enabled", planned.join(", ")),
        (true, true) => say(type_, "False", "Disabled", ""),
    }
}

/// Which kind a cluster lacks, why, and what to do.
fn lacks(kind: Kind, why: &Missing) -> String {
    let (name, definition) = (kind.as_str(), kind.definition());
    match why {
        Missing::NotInstalled => format!(
            "no {name} is written: the CustomResourceDefinition {definition} is not installed; once it is, the {name} follows by itself"
        ),
        Missing::NotServed(error) => format!(
            "no {name} is written: the CustomResourceDefinition {definition} is installed, but {} cannot be listed ({error}); install a release that serves it, and let the operator list it",
            kind.api_version()
        ),
    }
}

/// What is under way.
fn moving(pass: &Pass<'_>) -> Option<(&'static str, String)> {
    if let Some(failure) = pass.failure.filter(|failure| failure.transient) {
        return Some((failure.reason, failure.message.clone()));
    }
    if let Some(release) = pass
        .decision
        .release
        .as_ref()
        .filter(|release| release.state.is_before_switch() || release.state == ReleaseState::Soaking)
    {
        return Some((release.state.as_str(), release.reason.clone()));
    }
    match (pass.decision.reason, pass.serving) {
        (Reason::SecretsMissing, _) => Some(("SecretsMissing", tell(&pass.decision.held))),
        (reason @ (Reason::Frozen | Reason::WaitsForWave), _) => {
            Some((reason.as_str(), pass.decision.message.clone()))
        }
        (Reason::Migrating, _) => Some(("Migrating", pass.decision.message.clone())),
        (
            Reason::Refused | Reason::RevisionLost | Reason::RevisionUnreadable | Reason::MigrationFailed,
            _,
        ) => None,
        (_, None) => Some(("Creating", pass.decision.message.clone())),
        (_, Some(serving)) if serving.is_settled() => None,
        (_, Some(serving)) => Some(waits(pass, serving).unwrap_or_else(|| {
            (
                "RollingOut",
                format!(
                    "{} of {} pods run revision {}",
                    serving.updated.min(serving.replicas),
                    serving.replicas,
                    serving.revision
                ),
            )
        })),
    }
}

/// What pods of the revision that is to serve wait for at the gate.
fn waits(pass: &Pass<'_>, serving: &DeploymentFact) -> Option<(&'static str, String)> {
    pass.gating.waiting.get(&serving.revision).map(|waiting| (waiting.reason, waiting.message.clone()))
}

/// What only a person can get going again.
fn stalled(pass: &Pass<'_>) -> Option<(&'static str, String)> {
    if let Some(failure) = pass.failure.filter(|failure| !failure.transient) {
        return Some((failure.reason, failure.message.clone()));
    }
    match (pass.decision.reason, pass.serving) {
        (Reason::Refused, _) => Some(("Refused", tell(&pass.decision.held))),
        (reason @ (Reason::RevisionLost | Reason::RevisionUnreadable | Reason::MigrationFailed), _) => {
            Some((reason.as_str(), pass.decision.message.clone()))
        }
        (Reason::Stable, _) if failed(pass).is_some() => {
            failed(pass).map(|outcome| (outcome.as_str(), pass.decision.message.clone()))
        }
        // Who waits for others goes on once they are there, but for who waits for itself.
        (_, Some(serving)) if pass.gating.waiting.contains_key(&serving.revision) => {
            let stuck = pass.gating.waiting.get(&serving.revision).is_some_and(Waiting::is_for_ever);
            waits(pass, serving).filter(|_| stuck)
        }
        (_, Some(serving)) if serving.deadline_exceeded && serving.observed => {
            Some(("DeadlineExceeded", serving.problem.clone().unwrap_or_default()))
        }
        _ => None,
    }
}

/// How the last release ended, if what the resource asks for does not run because of it.
fn failed(pass: &Pass<'_>) -> Option<Outcome> {
    let release = pass.decision.release.as_ref()?;
    // What serves is not kept from serving by an undo that failed.
    release.rejected_revision.as_ref().filter(|rejected| **rejected != release.revision)?;
    release.outcome.filter(|outcome| release.state == ReleaseState::Stable && outcome.is_failure())
}
