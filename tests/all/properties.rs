//! What holds for any resource at all.

use proptest::prelude::*;
use serde_json::{Value, json};
use visiobook::api::{EnvironmentType, VisiobookEnvironmentSpec, VisiobookService, VisiobookServiceSpec};
use visiobook::apply;
use visiobook::check::{self, Shape};
use visiobook::facts::{DeploymentFact, EnvironmentFact, Facts, RevisionFact, SecretFact};
use visiobook::plan::{self, Owner, Plan};
use visiobook::rollout;

use crate::cases::{NOW, signing};
use crate::specs;

/// A resource that may run, and the environment in which it may.
fn valid() -> impl Strategy<Value = (VisiobookService, EnvironmentFact)> {
    let pairs = (specs::services(), specs::environments());
    pairs.prop_filter_map("valid", |(service, spec)| {
        let environment = governed(spec);
        check::validate(&service, &environment).is_ok().then_some((service, environment))
    })
}

fn governed(spec: VisiobookEnvironmentSpec) -> EnvironmentFact {
    EnvironmentFact::Governed { name: "any".into(), spec: Box::new(spec) }
}

fn shape(service: &VisiobookService, environment: &EnvironmentFact) -> Shape {
    check::validate(service, environment).expect("valid").shape
}

/// The plan of a pass that sees these facts.
fn plan(service: &VisiobookService, facts: &Facts) -> Plan {
    let owner = Owner {
        name: service.metadata.name.clone().expect("name"),
        namespace: "shop".into(),
        uid: "00000000-0000-0000-0000-000000000001".into(),
    };
    let verdict = check::validate(service, &facts.environment);
    let decision = rollout::step(&verdict, facts);
    let replicas = rollout::size(service.spec.replicas, None, &decision, facts);
    plan::build(&owner, &decision, replicas, facts)
}

/// What a first pass sees, with every secret there.
fn first(service: &VisiobookService, environment: &EnvironmentFact) -> Facts {
    let present = || SecretFact::Present { digest: "key:digest".into(), length: 32 };
    let keys = check::asked(service.metadata.name.as_deref().expect("name"), &service.spec);
    let secrets = keys.iter().map(|key| ((key.name.clone(), key.key.clone()), present())).collect();
    let sealed_secrets = keys.iter().map(|key| key.name.clone()).collect();
    let (signing, now) = (Some(signing()), NOW);
    Facts { environment: environment.clone(), secrets, sealed_secrets, signing, now, ..Facts::default() }
}

/// What a pass sees once this plan was applied.
fn after(plan: &Plan, mut facts: Facts) -> Facts {
    for planned in &plan.objects {
        let text = |path: &str| planned.object.pointer(path).and_then(Value::as_str).map(str::to_string);
        let annotation = |name: &str| text(&format!("/metadata/annotations/{}", name.replace('/', "~1")));
        let revision = text("/metadata/labels/platform.visiobook.com~1revision").unwrap_or_default();
        match planned.kind.as_str() {
            "ControllerRevision" => facts.revisions.push(RevisionFact {
                hash: revision,
                number: planned.object["revision"].as_i64().expect("number"),
                data: planned.object["data"].clone(),
                serving: annotation("platform.visiobook.com/serving"),
            }),
            "Secret" => {
                let content = visiobook::apply::content(&planned.object).expect("content");
                facts.contents.insert(planned.name.clone(), content);
            }
            "Service" if planned.object["spec"]["ports"].is_array() => {
                let target = planned.object["spec"]["ports"][0]["targetPort"].as_u64().expect("a number");
                facts.service_target = u16::try_from(target).ok();
            }
            "Deployment" => {
                let fact = DeploymentFact {
                    revision,
                    replicas: planned.object["spec"]["replicas"].as_i64().expect("replicas") as i32,
                    secrets_digest: annotation("platform.visiobook.com/secrets-digest"),
                    ..DeploymentFact::default()
                };
                facts.deployments.insert(visiobook::api::names::Colour::Blue, fact);
            }
            _ => {}
        }
    }
    facts
}

/// The same JSON with the members of every object in the opposite order, read anew.
fn turned(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .rev()
                .map(|(name, value)| format!("{}:{}", json!(name), turned(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(turned).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_the_same_each_time_and_whole((service, environment) in valid()) {
        let facts = first(&service, &environment);
        let once = plan(&service, &facts);
        prop_assert_eq!(&once, &plan(&service, &facts));
        for kind in ["ConfigMap", "ControllerRevision", "Service", "Deployment"] {
            prop_assert!(once.objects.iter().any(|planned| planned.kind.as_str() == kind), "no {}", kind);
        }
        for planned in &once.objects {
            prop_assert!(planned.name.len() <= 63 || service.spec.service_account.is_some(), "{} is too long a name", planned.name);
            prop_assert_eq!(&planned.object["metadata"]["name"], planned.name.as_str());
        }
    }

    #[test]
    fn what_was_applied_is_planned_again_word_for_word((service, environment) in valid()) {
        let facts = first(&service, &environment);
        let once = plan(&service, &facts);
        let again = plan(&service, &after(&once, facts));
        prop_assert_eq!(once.objects, again.objects);
    }

    #[test]
    fn a_revision_does_not_depend_on_the_order_of_anything_in_a_map((service, environment) in valid()) {
        let spec = serde_json::to_value(&service.spec).expect("json");
        let other: VisiobookServiceSpec = serde_json::from_str(&turned(&spec)).expect("spec");
        let other = VisiobookService::new(service.metadata.name.as_deref().expect("name"), other);
        let one = shape(&service, &environment);
        prop_assert_eq!(one.revision(), shape(&other, &environment).revision());
        let stored: Shape = serde_json::from_str(&turned(&serde_json::to_value(&one).expect("json"))).expect("shape");
        prop_assert_eq!(one.revision(), stored.revision());
    }

    #[test]
    fn a_revision_depends_on_no_number_of_pods_and_nothing_around_them((service, environment) in valid(), replicas in 0..500) {
        let mut other = service.clone();
        other.spec.replicas = Some(replicas);
        (other.spec.autoscaling, other.spec.disruption_budget, other.spec.rollout) = (None, None, None);
        // Whether there are requests at all does shape a pod.
        other.spec.service = other.spec.service.filter(|service| service.enabled == Some(false));
        prop_assume!(check::validate(&other, &environment).is_ok());
        prop_assert_eq!(shape(&service, &environment).revision(), shape(&other, &environment).revision());
    }

    #[test]
    fn any_resource_is_either_valid_or_refused_with_words(service in arbitrary(), environment in specs::environments()) {
        if let Err(refusals) = check::validate(&service, &governed(environment)) {
            prop_assert!(!refusals.is_empty());
            for refusal in refusals {
                prop_assert!(!refusal.rule.is_empty() && !refusal.field.is_empty() && !refusal.message.is_empty(), "{:?}", refusal);
            }
        }
    }

    #[test]
    fn a_payload_is_the_object_in_characters_that_yaml_takes(texts in proptest::collection::vec(any::<String>(), 0..5)) {
        let mut object = json!({ "a": texts });
        object["\u{2028}\u{7f}"] = "\u{feff}first\u{85}second\u{ffff}".into();
        let payload = apply::payload(&object);
        let refused = |character: char| matches!(character, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
        prop_assert!(!payload.get().chars().any(refused));
        prop_assert_eq!(serde_json::from_str::<Value>(payload.get()).expect("JSON"), object);
    }
}

/// Resources with nonsense in them: broken texts, numbers out of range, parts at odds with each other.
fn arbitrary() -> impl Strategy<Value = VisiobookService> {
    let nonsense = (any::<String>(), any::<i32>(), any::<u16>(), 0..64u8);
    (specs::services(), any::<String>(), nonsense).prop_map(
        |(mut service, name, (text, number, port, which))| {
            let spec = &mut service.spec;
            let broken = |bit: u8| which & (1 << bit) != 0;
            if broken(0) {
                service.metadata.name = Some(name);
            }
            if broken(1) {
                spec.image = (number % 2 == 0).then(|| text.clone());
            }
            if broken(2) {
                (spec.port, spec.replicas) = (Some(port), Some(number));
                spec.autoscaling.get_or_insert_default().min_replicas = Some(number);
            }
            if broken(3) {
                for map in [&mut spec.env, &mut spec.config] {
                    map.insert(text.clone(), text.clone());
                    map.insert("READ_TIMEOUT".into(), text.clone());
                }
                spec.config_files.get_or_insert_default().files.insert(text.clone(), text.clone());
            }
            if broken(4) {
                let quantity = k8s_openapi::apimachinery::pkg::api::resource::Quantity(text.clone());
                let resources = spec.resources.get_or_insert_default();
                resources.requests.get_or_insert_default().insert("cpu".into(), quantity.clone());
                resources.limits.get_or_insert_default().insert(text.clone(), quantity);
                spec.gpu = Some(visiobook::api::Gpu { count: number, resource_name: Some(text.clone()) });
            }
            if broken(5) {
                spec.pod.get_or_insert_default().labels.insert("app".into(), text);
            }
            service
        },
    )
}

#[test]
fn most_random_resources_are_valid_and_some_are_not() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = (specs::services(), specs::environments());
    let valid = (0..400).filter(|_| {
        let (service, spec) = strategy.new_tree(&mut runner).expect("sample").current();
        check::validate(&service, &governed(spec)).is_ok()
    });
    let valid = valid.count();
    assert!((200..395).contains(&valid), "{valid} of 400");
    let of_type = |type_| VisiobookEnvironmentSpec { type_, ..VisiobookEnvironmentSpec::default() };
    let plain =
        VisiobookService::new("plain", serde_json::from_value(json!({ "image": "a:1" })).expect("spec"));
    for type_ in [EnvironmentType::Development, EnvironmentType::Staging, EnvironmentType::Production] {
        assert!(check::validate(&plain, &governed(of_type(type_))).is_ok());
    }
}
