//! What people read of a release.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{Wish, waits_to_begin};
use crate::api::{Outcome, Phase, ReleaseState, RolloutStatus, VisiobookServiceStatus};

/// Where a release stands, in a few lines.
pub(super) fn describe(name: &str, release: &RolloutStatus, now: Timestamp) -> String {
    let mut text = format!("{name}: {}", release.state.as_str());
    if let Some(attempt) = &release.attempt {
        text += &format!(", release {attempt}");
    }
    if let Some(outcome) = release.outcome {
        text += &format!(" ({})", outcome.as_str());
    }
    text += &format!("\n  serves   {}  {}\n", release.colour.as_str(), release.revision);
    if let Some(preview) = &release.preview_revision {
        text += &format!("  beside   {}  {preview}\n", release.colour.other().as_str());
    }
    if !release.reason.is_empty() {
        text += &format!("  {}\n", release.reason);
    }
    for attested in &release.attested {
        text += &format!("  attested {} by {}: {}\n", attested.item, attested.by, attested.evidence);
    }
    if let Some(deadline) = &release.deadline {
        let left = deadline.0.as_second() - now.as_second();
        text += &format!("  ends by itself in {} s\n", left.max(0));
    }
    let wishes = [Wish::Approve, Wish::BreakGlass, Wish::Abort, Wish::Retry, Wish::Undo];
    // In a freeze alone a state that waits for people has an end.
    let frozen = release.state == ReleaseState::AwaitingApproval && release.deadline.is_some();
    let can: Vec<String> = wishes
        .into_iter()
        // An approval ahead of time counts, but nobody is to be sent there.
        .filter(|wish| *wish != Wish::Approve || release.state == ReleaseState::AwaitingApproval)
        .filter(|wish| *wish != Wish::BreakGlass || frozen || waits_to_begin(release).is_some())
        .filter(|wish| wish.is_taken(release))
        .map(|wish| {
            let why = if wish == Wish::BreakGlass { " --reason WHY" } else { "" };
            format!("visiobook rollout {} {name}{why}", wish.word())
        })
        .collect();
    if !can.is_empty() {
        text += &format!("  you can: {}\n", can.join(", or "));
    }
    text
}

pub(super) fn history(release: &RolloutStatus) -> String {
    let mut text = String::new();
    for past in &release.history {
        let ended = past.ended.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
        let took = match (&past.started, &past.ended) {
            (Some(started), Some(ended)) => format!("{} s", ended.0.as_second() - started.0.as_second()),
            _ => "?".into(),
        };
        text += &format!("{ended}  {:<16}  {:<16}  {took:>6}", past.attempt, past.outcome.as_str());
        if let Some(who) = &past.approved_by {
            text += &format!("  approved by {who}");
        }
        for attested in &past.attested {
            text += &format!("  {} attested by {}", attested.item, attested.by);
        }
        if let Some(glass) = &past.break_glass {
            text += &format!("  in a freeze, by {}: {}", glass.by, glass.reason);
        }
        if !past.reason.is_empty() {
            text += &format!("  {}", past.reason);
        }
        text.push('\n');
    }
    if text.is_empty() { "no release has ended yet\n".into() } else { text }
}

/// One line of the list of what has to hold before and after traffic moves (C36, C37).
#[derive(Debug, PartialEq)]
pub(super) struct Item {
    after: bool,
    name: String,
    /// `None` where nobody knows: that is not passed.
    pub(super) passed: Option<bool>,
    evidence: String,
}

/// What a release has passed, from the status of its service. What nobody asks for is left out.
pub(super) fn checklist(status: &VisiobookServiceStatus, release: &RolloutStatus) -> Vec<Item> {
    let mut items = Vec::new();
    let mut add = |after: bool, name: &str, passed: Option<bool>, evidence: &str| {
        items.push(Item { after, name: name.into(), passed, evidence: evidence.into() });
    };
    let has_moved = release.switched.is_some();
    for (name, type_) in [
        ("secrets", "SecretsResolved"),
        ("dependencies", "DependenciesReady"),
        ("way in", "Exposed"),
        ("monitoring", "MonitoringReady"),
    ] {
        let found = status.conditions.iter().find(|condition| condition.type_ == type_);
        if found.is_none_or(|condition| condition.reason != "Disabled") {
            let (passed, evidence) = judge(found);
            add(false, name, passed, &evidence);
        }
    }
    let jobs = |phase: Phase| release.jobs.iter().filter(move |job| job.phase == phase);
    for job in jobs(Phase::Migration) {
        add(false, "migration", Some(job.succeeded), &job.message);
    }
    let deployed = has_moved || !matches!(release.state, ReleaseState::Stable | ReleaseState::Deploying);
    add(false, "pods", deployed.then_some(true), if deployed { "all were ready" } else { &release.reason });
    for job in jobs(Phase::Preview) {
        add(false, "check", Some(job.succeeded), &job.message);
    }
    for attested in &release.attested {
        add(false, &attested.item, Some(true), &format!("{}: {}", attested.by, attested.evidence));
    }
    if release.state == ReleaseState::AwaitingApproval {
        add(false, "people", None, &release.reason);
    } else if let Some(who) = &release.approved_by {
        add(false, "approval", Some(true), who);
    }
    add(true, "traffic", has_moved.then_some(true), &since(&release.switched));
    for job in jobs(Phase::Live) {
        add(true, "check", Some(job.succeeded), &job.message);
    }
    let (ready, evidence) = judge(status.conditions.iter().find(|condition| condition.type_ == "Ready"));
    add(true, "ready", ready.filter(|_| has_moved), &evidence);
    let soak = match (release.state, release.outcome) {
        (_, Some(Outcome::Promoted)) => Some(true),
        (_, Some(_)) => Some(false),
        _ => None,
    };
    add(true, "soak", soak, &release.reason);
    items
}

fn since(time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>) -> String {
    time.as_ref().map(|time| format!("since {}", time.0)).unwrap_or_default()
}

fn judge(condition: Option<&Condition>) -> (Option<bool>, String) {
    let Some(condition) = condition else { return (None, "not told".into()) };
    let passed = match condition.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    };
    let evidence = if condition.message.is_empty() { &condition.reason } else { &condition.message };
    (passed, evidence.clone())
}

/// The list, for people.
pub(super) fn list(items: &[Item]) -> String {
    let mut text = String::new();
    for (after, title) in [(false, "before traffic moves"), (true, "after")] {
        text += &format!("{title}\n");
        for item in items.iter().filter(|item| item.after == after) {
            let word = match item.passed {
                Some(true) => "passed",
                Some(false) => "failed",
                None => "unknown",
            };
            text += format!("  {word:<8} {:<18} {}", item.name, item.evidence).trim_end();
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::release;
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_told_what_is_waited_for_and_what_can_be_done() {
        let now = "2026-11-21T10:00:00Z".parse().expect("a time");
        let told = describe("users", &release(ReleaseState::AwaitingApproval, None), now);
        assert_eq!(
            told,
            "users: AwaitingApproval, release bbbbbbbbbb-7\n  serves   blue  aaaaaaaaaa\n  beside   green  bbbbbbbbbb\n  waits for somebody to approve\n  ends by itself in 30 s\n  you can: visiobook rollout approve users, or visiobook rollout break-glass users --reason WHY, or visiobook rollout abort users\n"
        );
        assert_eq!(history(&release(ReleaseState::Stable, None)), "no release has ended yet\n");
    }

    #[test]
    fn the_list_tells_what_is_passed_failed_and_unknown_and_leaves_out_what_nobody_asks_for() {
        let condition = |type_: &str, status: &str, reason: &str, message: &str| {
            json!({ "type": type_, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": "2026-11-21T09:00:00Z" })
        };
        let status: VisiobookServiceStatus = serde_json::from_value(json!({ "conditions": [
            condition("SecretsResolved", "True", "Resolved", "every key is there"),
            condition("DependenciesReady", "Unknown", "NotGated", ""),
            condition("Exposed", "False", "Disabled", ""),
            condition("MonitoringReady", "False", "KindMissing", "no ServiceMonitor is written"),
            condition("Ready", "True", "Ready", ""),
        ] }))
        .expect("a status");
        let mut waiting = release(ReleaseState::AwaitingApproval, None);
        waiting.attested.push(crate::api::Attestation {
            item: "database-backup".into(),
            by: "ada".into(),
            evidence: "https://backups.example/4711".into(),
        });
        waiting.jobs = serde_json::from_value(json!([
            { "phase": "Preview", "attempt": "bbbbbbbbbb-7", "succeeded": true, "message": "31 checks" },
        ]))
        .expect("jobs");
        assert_eq!(
            list(&checklist(&status, &waiting)),
            "before traffic moves\n  \
             passed   secrets            every key is there\n  \
             unknown  dependencies       NotGated\n  \
             failed   monitoring         no ServiceMonitor is written\n  \
             passed   pods               all were ready\n  \
             passed   check              31 checks\n  \
             passed   database-backup    ada: https://backups.example/4711\n  \
             unknown  people             waits for somebody to approve\n\
             after\n  \
             unknown  traffic\n  \
             unknown  ready              Ready\n  \
             unknown  soak               waits for somebody to approve\n"
        );
        let mut promoted = release(ReleaseState::Retiring, Some(Outcome::Promoted));
        promoted.switched = serde_json::from_value(json!("2026-11-21T10:00:00Z")).expect("a time");
        promoted.approved_by = Some("ada".into());
        let told = list(&checklist(&status, &promoted));
        for line in [
            "  passed   approval           ada\n",
            "  passed   traffic            since 2026-11-21T10:00:00Z\n",
            "  passed   ready              Ready\n",
            "  passed   soak",
        ] {
            assert!(told.contains(line), "{line:?} is not in\n{told}");
        }
        let returned = release(ReleaseState::Stable, Some(Outcome::RolledBack));
        assert!(list(&checklist(&status, &returned)).contains("  failed   soak"));
    }
}
