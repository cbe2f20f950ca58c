//! Events: what people should read of a pass.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{Event, Pass};
use crate::api::kinds::Kind;
use crate::api::{Outcome, Phase, ReleaseState, VisiobookServiceStatus};
use crate::rollout::Reason;

/// Everything that the status says newly, and what was done.
pub(super) fn events(pass: &Pass<'_>, status: &VisiobookServiceStatus) -> Vec<Event> {
    let find = |conditions: &[Condition], type_: &str| {
        conditions.iter().find(|condition| condition.type_ == type_).cloned()
    };
    let turned = |type_: &str, to: &str| {
        let now = find(&status.conditions, type_).filter(|condition| condition.status == to)?;
        let before = find(&pass.previous.conditions, type_);
        let is_news = before
            .is_none_or(|before| before.status != to || (to == "False" && before.message != now.message));
        is_news.then_some(now.message)
    };
    let mut events = Vec::new();
    let mut tell =
        |warning: bool, reason: &'static str, note: String| events.push(Event { warning, reason, note });
    if let Some(note) = turned("Accepted", "False") {
        tell(true, "Refused", note);
    }
    if let Some(note) = turned("SecretsResolved", "False") {
        tell(true, "SecretsMissing", note);
    }
    if let Some(note) = turned("DependenciesReady", "False") {
        tell(true, "DependenciesNotReady", note);
    }
    let wrote_pods = |objects: &[(Kind, String)]| objects.iter().any(|(kind, _)| *kind == Kind::Deployment);
    if pass.decision.reason == Reason::NewRevision
        && (wrote_pods(&pass.applied.created) || wrote_pods(&pass.applied.updated))
    {
        let what = pass.decision.revision.as_ref().map(|revision| match revision.shape.domain_service {
            Some(service) => format!(", domain service {}", service.as_str()),
            None => format!(", image {}", revision.shape.image),
        });
        tell(false, "RevisionStarted", format!("{}{}", pass.decision.message, what.unwrap_or_default()));
    }
    if let Some(release) = &status.rollout
        && pass
            .previous
            .rollout
            .as_ref()
            .is_none_or(|before| before.state != release.state || before.attempt != release.attempt)
        && let Some(attempt) = &release.attempt
    {
        let failed =
            release.state == ReleaseState::Stable && release.outcome.is_some_and(Outcome::is_failure);
        let word = match (release.state, release.outcome) {
            (ReleaseState::Stable, Some(outcome)) => outcome.as_str(),
            (state, _) => state.as_str(),
        };
        if word != "Promoted" {
            tell(failed, word, format!("release {attempt}: {}", release.reason));
        }
    }
    for reason in [Reason::Frozen, Reason::WaitsForWave] {
        let was_waiting = find(&pass.previous.conditions, "Reconciling")
            .is_some_and(|condition| condition.reason == reason.as_str());
        if pass.decision.reason == reason && !was_waiting {
            tell(false, reason.as_str(), pass.decision.message.clone());
        }
    }
    if !pass.lacks.is_empty() {
        let lacks = pass.lacks.join("; ");
        tell(
            true,
            "NoRoom",
            format!("{lacks}: the release ends at its deadline unless there is room by then"),
        );
    }
    let known = pass.previous.rollout.as_ref().map_or(&[][..], |before| &before.jobs);
    let ended = status.rollout.iter().flat_map(|release| &release.jobs);
    for past in ended.filter(|past| !known.contains(past)) {
        let reason = match (past.phase, past.succeeded) {
            (Phase::Migration, true) => "Migrated",
            (Phase::Migration, false) => "MigrationFailed",
            (Phase::Preview | Phase::Live, true) => "CheckPassed",
            (Phase::Preview | Phase::Live, false) => "CheckFailed",
        };
        let outcome = if past.succeeded { "succeeded" } else { "failed" };
        let told = match past.message.as_str() {
            "" => String::new(),
            message => format!(": {message}"),
        };
        tell(
            !past.succeeded,
            reason,
            format!("release {}: {} {outcome}{told}", past.attempt, past.phase.title()),
        );
    }
    if pass.decision.rotation.rotates && wrote_pods(&pass.applied.updated) {
        tell(
            false,
            "SecretsRotated",
            "a secret has a new value: pods are replaced one after the other".to_string(),
        );
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
    let was_ready =
        find(&pass.previous.conditions, "Ready").is_some_and(|condition| condition.status == "True");
    if was_ready && let Some(note) = turned("Ready", "False") {
        tell(true, "NotReady", note);
    }
    events
}
