//! What people attest of a release before traffic moves (C36).

use serde_json::{Value, json};
use visiobook::api::names::Colour;
use visiobook::api::{Attestation, ReleaseState};
use visiobook::facts::{Facts, Orders};

use crate::cases::{Case, NOW};
use crate::releases;

/// A service of two colours under an environment that asks for a backup, and asks itself for a scan.
fn case(more: Value) -> Case {
    let mut spec = json!({ "rollout": { "attest": ["security-scan", "database-backup"] } });
    visiobook::plan::merge(&mut spec, more);
    releases::case(spec, json!({ "strategy": "BlueGreen", "attest": ["database-backup"] }))
}

fn attestation(item: &str) -> Attestation {
    Attestation { item: item.into(), by: "ada".into(), evidence: "https://example.com/1".into() }
}

#[test]
fn a_release_waits_until_everything_is_attested_of_it_and_keeps_by_whom() {
    let first = case(json!({}));
    let facts = Facts { now: NOW, ..first.facts() };
    let (decision, plan) = releases::pass(&first, &facts);
    let facts = releases::after(&first, &decision, &plan, facts);
    let next = case(json!({ "env": { "A": "1" } }));
    let (decision, plan) = releases::pass(&next, &facts);
    let attempt = decision.release.as_ref().and_then(|release| release.attempt.clone()).expect("an attempt");
    let facts = releases::after(&next, &decision, &plan, facts);
    let facts = Facts { endpoints: Some(releases::endpoints(&facts, Colour::Blue)), ..facts };

    let at = |attested: Vec<(String, Attestation)>| {
        let orders = Orders { attested, ..Orders::default() };
        releases::pass(&next, &Facts { orders, ..facts.clone() }).0.release.expect("a release")
    };
    let none = at(vec![]);
    assert_eq!((none.state, none.deadline), (ReleaseState::AwaitingApproval, None));
    assert!(none.reason.contains("to attest database-backup, security-scan"), "{}", none.reason);

    let backup = (attempt.clone(), attestation("database-backup"));
    let one = at(vec![backup.clone(), (attempt.clone(), attestation("coffee"))]);
    assert_eq!(one.state, ReleaseState::AwaitingApproval);
    assert!(one.reason.contains("to attest security-scan:"), "{}", one.reason);
    assert_eq!(one.attested, [attestation("database-backup")], "what nobody asked for is not kept");

    let past = at(vec![backup.clone(), ("0000000000-1".into(), attestation("security-scan"))]);
    assert_eq!(past.state, ReleaseState::AwaitingApproval, "of another attempt");

    let all = at(vec![backup, (attempt, attestation("security-scan"))]);
    assert_eq!(all.state, ReleaseState::Soaking);
    assert_eq!(all.attested, [attestation("database-backup"), attestation("security-scan")]);
}
