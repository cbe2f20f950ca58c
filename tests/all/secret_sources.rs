//! Where the secrets of a service come from: Secrets, SealedSecrets and stores, by environment.

use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::facts::{Applied, Facts, Missing, SecretFact};
use visiobook::rollout::{self, Decision, Reason};
use visiobook::status::{self, Pass};

use crate::cases::Case;
use crate::defaults::{case, plan_under};

fn vault(type_: &str, more: Value) -> Value {
    let mut environment =
        json!({ "type": type_, "secrets": { "kind": "External", "store": { "name": "vault" } } });
    visiobook::plan::merge(&mut environment, more);
    environment
}

fn fetched() -> Value {
    json!({ "secrets": {
        "JWT_SECRET": { "remote": { "key": "users-jwt" } },
        "JWT_SECRET_PREVIOUS": { "remote": { "key": "users-jwt", "version": "previous" } },
        "DATABASE_URL": { "remote": { "key": "users", "property": "url" } },
    } })
}

#[test]
fn keys_of_a_store_arrive_in_one_secret_at_the_pace_of_the_environment() {
    let remote = |key: &str, more: Value| {
        let mut reference = json!({
            "key": key, "conversionStrategy": "Default", "decodingStrategy": "None", "metadataPolicy": "None",
        });
        visiobook::plan::merge(&mut reference, more);
        reference
    };
    let expected = |interval: &str, kind: &str| {
        json!({
            "refreshInterval": interval,
            "secretStoreRef": { "name": "vault", "kind": kind },
            "target": { "name": "users-secrets", "creationPolicy": "Owner", "deletionPolicy": "Retain" },
            "data": [
                { "secretKey": "DATABASE_URL", "remoteRef": remote("users", json!({ "property": "url" })) },
                { "secretKey": "JWT_SECRET", "remoteRef": remote("users-jwt", json!({})) },
                { "secretKey": "JWT_SECRET_PREVIOUS", "remoteRef": remote("users-jwt", json!({ "version": "previous" })) },
            ],
        })
    };
    for (type_, interval) in [("staging", "168h"), ("production", "24h")] {
        let planned = plan_under(fetched(), vault(type_, json!({})));
        assert_eq!(planned.get("ExternalSecret", "/spec"), expected(interval, "ClusterSecretStore"));
        assert_eq!(planned.get("ExternalSecret", "/metadata/name"), json!("users-secrets"));
    }
    let own = json!({ "secrets": { "store": { "kind": "SecretStore" }, "refreshInterval": "30m" } });
    let planned = plan_under(fetched(), vault("production", own));
    assert_eq!(planned.get("ExternalSecret", "/spec"), expected("30m", "SecretStore"));
    // Pods read it as they would read any other, the current value and the previous one.
    let env = planned.get("Deployment", "/spec/template/spec/containers/0/env");
    for variable in ["DATABASE_URL", "JWT_SECRET", "JWT_SECRET_PREVIOUS"] {
        let found = env.as_array().unwrap().iter().find(|entry| entry["name"] == variable).unwrap();
        assert_eq!(found["valueFrom"]["secretKeyRef"], json!({ "name": "users-secrets", "key": variable }));
    }
    let plain = json!({ "secrets": { "A": { "name": "s", "key": "a" } } });
    assert_eq!(plan_under(plain, json!({ "type": "production" })).find("ExternalSecret"), None);
}

#[test]
fn the_sidecar_finds_the_current_and_the_previous_key_of_a_store() {
    let mut spec = fetched();
    spec["sidecar"] = json!({ "auth": {} });
    let volumes =
        plan_under(spec, vault("production", json!({}))).get("Deployment", "/spec/template/spec/volumes");
    let keys = volumes.as_array().unwrap().iter().find(|volume| volume["name"] == "sidecar-jwt").unwrap();
    let sources = keys["projected"]["sources"].as_array().unwrap();
    let items: Vec<&Value> = sources.iter().map(|source| &source["secret"]["items"][0]).collect();
    let expected = [
        &json!({ "key": "JWT_SECRET", "path": "current" }),
        &json!({ "key": "JWT_SECRET_PREVIOUS", "path": "previous" }),
    ];
    assert_eq!(items, expected);
}

#[test]
fn another_key_of_the_store_is_no_new_revision() {
    let revision = |key: &str| {
        let spec = json!({ "secrets": { "A": { "remote": { "key": key } } } });
        case(spec, vault("production", json!({}))).verdict().unwrap().shape.revision()
    };
    assert_eq!(revision("one"), revision("other"));
}

fn decide(case: &Case, change: impl FnOnce(&mut Facts)) -> (Decision, Facts) {
    let mut facts = case.facts();
    change(&mut facts);
    (rollout::step(&case.verdict(), &facts), facts)
}

#[test]
fn a_service_waits_for_what_the_store_has_not_given_yet_and_is_asked_for_it_meanwhile() {
    let case = case(fetched(), vault("production", json!({})));
    let (decision, facts) = decide(&case, |facts| {
        facts.secrets.values_mut().for_each(|secret| *secret = SecretFact::SecretMissing);
    });
    assert_eq!(decision.reason, Reason::SecretsMissing);
    let told = &decision.held[0].message;
    assert!(told.contains("ExternalSecret \"users-secrets\"") && told.contains("from vault"), "{told}");
    let plan = visiobook::plan::build(&case.owner(), &decision, 1, &facts);
    let kinds: Vec<Kind> = plan.objects.iter().map(|planned| planned.kind).collect();
    assert_eq!(kinds, [Kind::ServiceAccount, Kind::ExternalSecret]);

    // Without the External Secrets operator nothing will ever come: that is what is told.
    let (decision, facts) = decide(&case, |facts| {
        facts.secrets.values_mut().for_each(|secret| *secret = SecretFact::SecretMissing);
        facts.missing_kinds.insert(Kind::ExternalSecret, Missing::NotInstalled);
    });
    let plan = visiobook::plan::build(&case.owner(), &decision, 1, &facts);
    let condition = condition(&decision, &facts, &plan, "SecretsResolved");
    assert_eq!((condition.0.as_str(), condition.1.as_str()), ("False", "KindMissing"));
    assert!(condition.2.contains("externalsecrets.external-secrets.io is not installed"), "{}", condition.2);
}

fn condition(
    decision: &Decision,
    facts: &Facts,
    plan: &visiobook::plan::Plan,
    type_: &str,
) -> (String, String, String) {
    let pass = Pass {
        name: "users",
        generation: 1,
        facts,
        decision,
        plan,
        gating: &Default::default(),
        applied: &Applied::default(),
        failure: None,
        is_recorded: true,
        serving: None,
        unready: &[],
        lacks: &[],
        replicas: 1,
        previous: &Default::default(),
    };
    let report = status::report(&pass, jiff::Timestamp::UNIX_EPOCH);
    let found = report.status.conditions.into_iter().find(|condition| condition.type_ == type_).unwrap();
    (found.status, found.reason, found.message)
}

#[test]
fn where_secrets_are_sealed_one_that_no_sealed_secret_made_holds_the_service_back() {
    let spec = json!({ "secrets": { "A": { "name": "tokens", "key": "a" } } });
    let sealed = json!({ "type": "staging", "secrets": { "kind": "Sealed" } });
    let case = case(spec, sealed);
    let (decision, _) = decide(&case, |_| {});
    assert_eq!(decision.reason, Reason::NewRevision, "{:?}", decision.held);
    let (decision, _) = decide(&case, |facts| facts.sealed_secrets.clear());
    assert_eq!((decision.reason, decision.held[0].rule), (Reason::SecretsMissing, "secret-sealed"));
}

#[test]
fn what_a_pod_or_a_check_reads_of_secrets_is_waited_for_by_name() {
    let volume = |name: &str, more: Value| {
        let mut secret = json!({ "secretName": name });
        visiobook::plan::merge(&mut secret, more);
        json!({ "name": name, "secret": secret })
    };
    let spec = json!({
        "pod": { "volumes": [
            volume("whole", json!({})),
            volume("parts", json!({ "items": [{ "key": "tls.crt", "path": "a" }] })),
            volume("maybe", json!({ "optional": true })),
        ] },
        "rollout": { "strategy": "BlueGreen", "checks": { "job": { "command": ["/check"], "secrets": { "A": { "name": "token", "key": "a" } } } } },
    });
    let held = |type_: Value, fact: SecretFact| {
        let (decision, _) = decide(&case(spec.clone(), type_), |facts| {
            facts.secrets.values_mut().for_each(|secret| *secret = fact.clone());
            facts.sealed_secrets.clear();
        });
        decision.held.into_iter().map(|held| format!("{}: {}", held.rule, held.field)).collect::<Vec<_>>()
    };
    let fields =
        |rule: &str, names: &[&str]| names.iter().map(|name| format!("{rule}: {name}")).collect::<Vec<_>>();
    let (whole, parts, maybe) =
        ("spec.pod.volumes[name=whole]", "spec.pod.volumes[name=parts]", "spec.pod.volumes[name=maybe]");
    let job = "spec.rollout.checks.job.secrets.A";
    let (plain, sealed) =
        (json!({ "type": "staging" }), json!({ "type": "staging", "secrets": { "kind": "Sealed" } }));
    assert_eq!(held(plain.clone(), SecretFact::SecretMissing), fields("secret-exists", &[whole, parts, job]));
    assert_eq!(held(plain.clone(), SecretFact::KeyMissing), fields("secret-key-exists", &[parts, job]));
    let present = SecretFact::Present { digest: "key:digest".into(), length: 32 };
    assert_eq!(held(plain, present.clone()), [""; 0]);
    assert_eq!(held(sealed.clone(), present), fields("secret-sealed", &[whole, parts, maybe, job]));
    // What the index tells of a Secret that is mounted whole.
    let told = fields("secret-sealed", &[whole, maybe]);
    assert!(told.iter().all(|told| held(sealed.clone(), SecretFact::KeyMissing).contains(told)));
}

#[test]
fn the_status_tells_when_a_secret_last_had_a_new_value() {
    let case =
        case(json!({ "secrets": { "A": { "name": "s", "key": "a" } } }), json!({ "type": "development" }));
    let (decision, facts) = decide(&case, |_| {});
    let at = |rotated: Option<i64>, previous: &visiobook::api::VisiobookServiceStatus| {
        let mut decision = decision.clone();
        decision.rotation.at = rotated;
        let plan = visiobook::plan::build(&case.owner(), &decision, 1, &facts);
        let pass = Pass {
            name: "users",
            generation: 1,
            facts: &facts,
            decision: &decision,
            plan: &plan,
            gating: &Default::default(),
            applied: &Applied::default(),
            failure: None,
            is_recorded: true,
            serving: None,
            unready: &[],
            lacks: &[],
            replicas: 1,
            previous,
        };
        status::report(&pass, jiff::Timestamp::from_second(9).unwrap()).status
    };
    let never = at(None, &Default::default());
    assert_eq!(never.secrets_rotated, None);
    let rotated = at(Some(2), &never);
    assert_eq!(rotated.secrets_rotated.as_ref().map(|time| time.0.as_second()), Some(2));
    assert_eq!(at(None, &rotated).secrets_rotated, rotated.secrets_rotated);
    assert_eq!(at(Some(1), &rotated).secrets_rotated, rotated.secrets_rotated, "the other colour's is older");
}
