//! What a status says, and how soon it is told.

use std::time::Duration;

use serde_json::json;
use visiobook::api::VisiobookServiceStatus;
use visiobook::facts::{Applied, DeploymentFact};
use visiobook::status::{self, Pass, Report};

use crate::defaults::case;

fn report(serving: &DeploymentFact, previous: &VisiobookServiceStatus) -> Report {
    let case = case(json!({ "replicas": 3 }), json!({ "type": "development" }));
    let facts = case.facts();
    let (decision, plan) = crate::releases::pass(&case, &facts);
    let pass = Pass {
        name: "users",
        generation: 1,
        facts: &facts,
        decision: &decision,
        plan: &plan,
        gating: &Default::default(),
        applied: &Applied::default(),
        failure: None,
        serving: Some(serving),
        unready: &[],
        lacks: &[],
        replicas: 3,
        previous,
    };
    status::report(&pass, jiff::Timestamp::UNIX_EPOCH)
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
