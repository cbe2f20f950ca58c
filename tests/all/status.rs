//! What a status says, and how soon it is told.

use std::time::Duration;

use serde_json::json;
use visiobook::api::VisiobookServiceStatus;
use visiobook::facts::{Applied, DeploymentFact, Facts};
use visiobook::gate::{Gating, Waiting};
use visiobook::plan::Plan;
use visiobook::rollout::Decision;
use visiobook::status::{self, Pass, Report};

use crate::defaults::case;
use crate::releases;

/// The status after a pass in which all went well.
fn tell(
    (decision, plan, facts): (&Decision, &Plan, &Facts),
    gating: &Gating,
    serving: Option<&DeploymentFact>,
    previous: &VisiobookServiceStatus,
) -> Report {
    let pass = Pass {
        name: "users",
        generation: 1,
        facts,
        decision,
        plan,
        gating,
        applied: &Applied::default(),
        failure: None,
        is_recorded: true,
        serving,
        unready: &[],
        lacks: &[],
        replicas: 3,
        previous,
    };
    status::report(&pass, jiff::Timestamp::UNIX_EPOCH)
}

fn report(serving: &DeploymentFact, previous: &VisiobookServiceStatus) -> Report {
    let case = case(json!({ "replicas": 3 }), json!({ "type": "development" }));
    let facts = case.facts();
    let (decision, plan) = releases::pass(&case, &facts);
    tell((&decision, &plan, &facts), &Gating::default(), Some(serving), previous)
}

#[test]
fn a_number_waits_the_longer_the_less_it_says() {
    let begun = DeploymentFact { replicas: 3, observed: true, ..DeploymentFact::default() };
    let first = report(&begun, &VisiobookServiceStatus::default());
    assert_eq!(first.may_wait, Duration::ZERO, "nothing was told yet");

    let existing = DeploymentFact { status_replicas: 3, updated: 3, ..begun.clone() };
    let second = report(&existing, &first.status);
    assert_ne!(second.status, first.status);
    assert_eq!(second.may_wait, Duration::from_secs(30), "pods exist, and none is ready");

    let one = DeploymentFact { ready: 1, ..existing.clone() };
    let third = report(&one, &second.status);
    assert_eq!((third.status.pods.as_deref(), third.may_wait), (Some("1/3"), Duration::from_secs(10)));

    let all = DeploymentFact { ready: 3, available: 3, ..existing };
    assert_eq!(report(&all, &third.status).may_wait, Duration::ZERO, "it is ready");
}

#[test]
fn a_release_says_what_keeps_its_pods_at_the_gate() {
    let (_, decision, plan, facts) = releases::started(json!({}), json!({ "env": { "A": "1" } }));
    let revision = decision.release.as_ref().unwrap().attempted().unwrap().to_string();
    let message = "waiting for test/database-service: not ready since 1970-01-01T00:00:03Z";
    let waiting = Waiting { reason: "WaitingForDependencies", message: message.into() };
    let told = |revision: String| {
        let gating = Gating { waiting: [(revision, waiting.clone())].into(), ..Gating::default() };
        let report = tell((&decision, &plan, &facts), &gating, None, &VisiobookServiceStatus::default());
        report.status.rollout.unwrap().reason
    };
    let without = told("another".into());
    assert!(!without.contains("database-service"), "{without}");
    assert_eq!(told(revision), format!("{without}; {message}"));
    // What is recorded of a release does not grow with each pass.
    assert_eq!(decision.release.as_ref().unwrap().reason, without);
}
