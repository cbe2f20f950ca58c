//! What is planned for any valid resource passes the API server's strictest check, and is stored word for word:
//! defaults are written out and values are spelled as Kubernetes spells them.

#[path = "../../tests/all/specs.rs"]
pub(super) mod specs;

use kube::api::{Api, DynamicObject, Patch, PatchParams, ValidationDirective};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use visiobook::api::VisiobookService;
use visiobook::apply::{self, Difference};
use visiobook::check;
use visiobook::facts::{EnvironmentFact, Facts, SecretFact};
use visiobook::plan::{self, Owner, Planned};
use visiobook::rollout;

use crate::support::Site;
use crate::support::definitions::Definitions;
use crate::support::operator::SIDECAR_IMAGE;
use crate::support::soak;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_planned_for_a_valid_resource_is_stored_word_for_word() {
    let site = Site::unlabelled("strict").await;
    let _definitions = Definitions::installed().await;
    let wanted = if soak() { 2000 } else { 100 };
    // The same sample each time, but for a soak.
    let mut runner = if soak() { TestRunner::new(Config::default()) } else { TestRunner::deterministic() };
    let (services, environments) = (specs::services(), specs::environments());
    let (mut checked, mut refused, mut problems) = (0, 0, Vec::new());
    while checked < wanted {
        let service = services.new_tree(&mut runner).expect("service").current();
        let spec = environments.new_tree(&mut runner).expect("environment").current();
        let environment = EnvironmentFact::Governed { name: "any".into(), spec: Box::new(spec) };
        match check::validate(&service, &environment) {
            Err(_) => refused += 1,
            Ok(_) => {
                problems.extend(check_one(&site, &service, environment).await);
                checked += 1;
            }
        }
    }
    assert!(
        problems.is_empty(),
        "{} of {checked}:\n{}",
        problems.len(),
        problems[..problems.len().min(10)].join("\n\n")
    );
    assert!(refused < checked * 2, "only {checked} of {} resources were valid", checked + refused);
}

/// What is wrong with a resource, and the resource.
async fn check_one(site: &Site, service: &VisiobookService, environment: EnvironmentFact) -> Option<String> {
    let mut problems: Vec<String> = admitted(site, service).await.into_iter().collect();
    for planned in objects(site, service, environment) {
        problems.extend(stored(site, &planned).await);
    }
    let said = || serde_json::to_string(&service).expect("json");
    (!problems.is_empty()).then(|| format!("{}\nfor {}", problems.join("\n"), said()))
}

/// Only a resource that the API server would take is worth a plan.
async fn admitted(site: &Site, service: &VisiobookService) -> Option<String> {
    let name = service.metadata.name.as_deref().expect("name");
    let params = PatchParams { dry_run: true, ..PatchParams::apply("team").validation_strict() };
    let answer = site.services().patch(name, &params, &Patch::Apply(apply::payload(service))).await;
    answer.err().map(|error| format!("the resource is refused: {error}"))
}

/// The planned objects, the parts of each put together as they are at its creation.
fn objects(site: &Site, service: &VisiobookService, environment: EnvironmentFact) -> Vec<Planned> {
    let owner = Owner {
        name: service.metadata.name.clone().expect("name"),
        namespace: site.namespace.clone(),
        uid: "00000000-0000-0000-0000-000000000001".into(),
    };
    let present = || SecretFact::Present { digest: "key:digest".into(), length: 32 };
    let keys = check::asked(service.metadata.name.as_deref().expect("name"), &service.spec);
    let secrets = keys.iter().map(|key| ((key.name.clone(), key.key.clone()), present())).collect();
    let sidecar_image = SIDECAR_IMAGE.into();
    let sealed_secrets = keys.iter().map(|key| key.name.clone()).collect();
    let operator_namespace = "visiobook-system".into();
    let facts =
        Facts { environment, secrets, sealed_secrets, sidecar_image, operator_namespace, ..Facts::default() };
    let verdict = check::validate(service, &facts.environment);
    let decision = rollout::step(&verdict, &facts);
    assert!(decision.held.is_empty(), "{:?}", decision.held);
    let replicas = rollout::size(service.spec.replicas, None, &decision, &facts);
    let plan = plan::build(&owner, &decision, replicas, &facts);
    let groups = plan.objects.chunk_by(|a, b| a.kind == b.kind && a.name == b.name);
    groups
        .map(|group| {
            let mut whole = group[0].clone();
            group[1..].iter().for_each(|part| plan::merge(&mut whole.object, part.object.clone()));
            whole
        })
        .collect()
}

/// What is wrong with how the API server would store an object.
async fn stored(site: &Site, planned: &Planned) -> Vec<String> {
    let what = format!("{} {}", planned.kind.as_str(), planned.name);
    let api: Api<DynamicObject> = site.children(planned.kind);
    let params = PatchParams {
        dry_run: true,
        force: true,
        field_manager: Some(planned.manager.into()),
        field_validation: Some(ValidationDirective::Strict),
    };
    let live = match api.patch(&planned.name, &params, &Patch::Apply(apply::payload(&planned.object))).await {
        Ok(live) => serde_json::to_value(live).expect("json"),
        Err(error) => return vec![format!("{what} is refused: {error}")],
    };
    let mut problems = Vec::new();
    let mut object = planned.object.clone();
    // The API server tells neither in a typed answer to a client that knows the kind.
    for field in ["apiVersion", "kind"] {
        object.as_object_mut().expect("object").remove(field);
    }
    missing(&what, &object, &live, &mut problems);
    if let Difference::Differs(changes) = apply::compare(&planned.object, &live, planned.manager) {
        problems.extend(changes.iter().map(|change| format!("{what} would be written again: {change}")));
    }
    problems
}

/// Every planned path that is stored otherwise.
fn missing(path: &str, planned: &Value, live: &Value, problems: &mut Vec<String>) {
    match (planned, live) {
        (Value::Object(members), Value::Object(_)) => {
            for (name, value) in members {
                missing(&format!("{path}.{name}"), value, &live[name], problems);
            }
        }
        (Value::Array(items), Value::Array(stored)) if items.len() == stored.len() => {
            for (index, (item, stored)) in items.iter().zip(stored).enumerate() {
                missing(&format!("{path}[{index}]"), item, stored, problems);
            }
        }
        // Left out where an object is written, and stored all the same.
        (Value::Array(items), Value::Null) if items.is_empty() => {}
        (Value::Object(members), Value::Null) if members.is_empty() => {}
        _ if planned == live => {}
        _ => problems.push(format!("{path}: planned {planned}, stored {live}")),
    }
}

#[test]
fn a_path_that_is_stored_otherwise_is_told() {
    let mut problems = Vec::new();
    missing(
        "Pod a",
        &json!({ "b": [{ "c": "1000m" }], "d": {} }),
        &json!({ "b": [{ "c": "1", "e": 2 }] }),
        &mut problems,
    );
    assert_eq!(problems, ["Pod a.b[0].c: planned \"1000m\", stored \"1\""]);
}
