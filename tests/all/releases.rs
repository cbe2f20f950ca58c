//! Releases from one colour to the other, as they are decided and planned.

use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::api::names::{self, Colour};
use visiobook::api::{Outcome, ReleaseState, RolloutStatus};
use visiobook::check;
use visiobook::facts::{
    DeploymentFact, EndpointFact, EnvironmentFact, Facts, Failure, Marks, Orders, RevisionFact,
};
use visiobook::plan::{self, Plan};
use visiobook::rollout::{self, Decision, Reason};
use visiobook::status;

use crate::cases::{Case, NOW};

/// A service under an environment that releases blue-green.
pub fn case(spec: Value, rollout: Value) -> Case {
    let mut all = json!({ "image": "ghcr.io/visiobook/users:1.0", "replicas": 3 });
    plan::merge(&mut all, spec);
    let service = json!({ "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService", "metadata": { "name": "users" }, "spec": all });
    let environment = json!({ "type": "production", "rollout": rollout, "defaults": { "autoscaling": { "enabled": false } } });
    let spec = serde_json::from_value(environment).expect("environment");
    Case {
        service: serde_json::from_value(service).expect("service"),
        environment: EnvironmentFact::Governed { name: "production".into(), spec },
    }
}

fn blue_green(spec: Value) -> Case {
    case(spec, json!({ "strategy": "BlueGreen" }))
}

/// Decide and plan, as a pass does.
pub fn pass(case: &Case, facts: &Facts) -> (Decision, Plan) {
    let decision = rollout::step(&case.verdict(), facts);
    let replicas = rollout::size(case.service.spec.replicas, None, &decision, facts);
    let plan = plan::build(&case.owner(), &decision, replicas, facts);
    (decision, plan)
}

/// What the next pass sees when all of a plan was written and its pods are ready.
pub fn after(case: &Case, decision: &Decision, plan: &Plan, before: Facts) -> Facts {
    let mut facts = Facts { now: before.now + 1, orders: before.orders.clone(), ..case.facts() };
    facts.wanted = case.service.spec.replicas;
    facts.release = decision.release.clone();
    facts.selected = Some(decision.colour);
    facts.revisions = before.revisions;
    let text = |object: &Value, path: &str| object.pointer(path).and_then(Value::as_str).map(str::to_string);
    for planned in &plan.objects {
        let object = &planned.object;
        let hash = text(object, "/metadata/labels/platform.visiobook.com~1revision");
        match planned.kind {
            Kind::ControllerRevision => {
                let hash = hash.expect("a revision");
                facts.revisions.retain(|stored| stored.hash != hash);
                facts.revisions.push(RevisionFact {
                    hash,
                    number: object["revision"].as_i64().expect("a number"),
                    data: object["data"].clone(),
                    serving: text(object, "/metadata/annotations/platform.visiobook.com~1serving"),
                });
            }
            Kind::Deployment => {
                let replicas = object["spec"]["replicas"].as_i64().expect("replicas") as i32;
                let colour = text(object, "/metadata/labels/version")
                    .and_then(|word| Colour::parse(&word))
                    .expect("a colour");
                let fact = DeploymentFact {
                    revision: hash.expect("a revision"),
                    replicas,
                    status_replicas: replicas,
                    updated: replicas,
                    ready: replicas,
                    available: replicas,
                    observed: true,
                    ..DeploymentFact::default()
                };
                facts.deployments.insert(colour, fact);
            }
            Kind::Service if planned.name == "users" && object["spec"]["ports"].is_array() => {
                facts.service_target =
                    object["spec"]["ports"][0]["targetPort"].as_u64().map(|port| port as u16);
            }
            _ => {}
        }
    }
    facts
}

/// Endpoints of everything that runs.
pub fn endpoints(facts: &Facts, active: Colour) -> Vec<EndpointFact> {
    let of = |(colour, there): (&Colour, &DeploymentFact)| {
        let (colour, revision) = (*colour, there.revision.clone());
        (0..there.ready)
            .map(move |index| EndpointFact {
                uid: format!("{colour:?}{index}"),
                colour,
                revision: revision.clone(),
                preview: colour != active,
            })
            .collect::<Vec<_>>()
    };
    facts.deployments.iter().flat_map(of).collect()
}

/// What a pass sees of a first version that runs.
fn running(first: &Case) -> Facts {
    let facts = Facts { now: NOW, ..first.facts() };
    let (decision, plan) = pass(first, &facts);
    after(first, &decision, &plan, facts)
}

/// A first version that runs, and what is decided and planned once a second one is asked for.
pub fn started(first: Value, second: Value) -> (Case, Decision, Plan, Facts) {
    begun(&blue_green(first), blue_green(second))
}

fn begun(first: &Case, next: Case) -> (Case, Decision, Plan, Facts) {
    let facts = Facts { secrets: next.facts().secrets, ..running(first) };
    let (decision, plan) = pass(&next, &facts);
    (next, decision, plan, facts)
}

/// A release of a second version, and what a pass sees once both run.
fn deploying() -> (Case, Decision, Facts) {
    let (case, decision, plan, facts) = started(json!({}), json!({ "env": { "A": "1" } }));
    let facts = after(&case, &decision, &plan, facts);
    (case, decision, facts)
}

/// A release of a second version all of whose pods are ready, as a pass sees it that has looked.
fn ready() -> (Case, Facts) {
    let (case, _, facts) = deploying();
    let endpoints = Some(endpoints(&facts, Colour::Blue));
    (case, Facts { endpoints, ..facts })
}

fn object<'a>(plan: &'a Plan, kind: Kind, name: &str) -> Option<&'a Value> {
    plan.objects
        .iter()
        .find(|planned| planned.kind == kind && planned.name == name)
        .map(|planned| &planned.object)
}

#[test]
fn a_new_revision_starts_in_the_other_colour_at_full_size_and_nothing_else_moves() {
    let (_, decision, plan, facts) = started(json!({}), json!({ "env": { "A": "1" } }));
    let release = decision.release.as_ref().expect("a release");
    assert_eq!(
        (decision.colour, decision.reason, release.state),
        (Colour::Blue, Reason::Releasing, ReleaseState::Deploying)
    );
    for colour in Colour::ALL {
        let name = names::coloured("users", colour);
        let deployment = object(&plan, Kind::Deployment, &name).expect("a Deployment");
        assert_eq!(deployment["spec"]["replicas"], 3, "{name}");
        let budget = object(&plan, Kind::PodDisruptionBudget, &name).expect("a budget");
        assert_eq!(budget["spec"]["selector"]["matchLabels"]["version"], colour.as_str());
    }
    assert_eq!(
        object(&plan, Kind::Deployment, "users-blue").expect("blue")["metadata"]["labels"][names::REVISION],
        facts.deployments[&Colour::Blue].revision
    );
    let service = object(&plan, Kind::Service, "users").expect("the Service");
    assert_eq!(service["spec"]["selector"]["version"], "blue");
    let record: RolloutStatus =
        serde_json::from_str(service["metadata"]["annotations"][names::RELEASE].as_str().expect("a record"))
            .expect("a record");
    assert_eq!((record.attempt.as_ref(), record.colour), (release.attempt.as_ref(), Colour::Blue));
    let preview = object(&plan, Kind::Service, "users-preview").expect("the preview");
    assert_eq!(preview["spec"]["selector"]["version"], "green");
    assert_eq!(plan.objects.iter().filter(|planned| planned.kind == Kind::ControllerRevision).count(), 2);
}

#[test]
fn traffic_moves_in_the_write_of_the_record_and_the_old_colour_stays() {
    let (case, facts) = ready();
    let (unseen, _) = pass(&case, &Facts { endpoints: None, ..facts.clone() });
    assert!(unseen.look && unseen.colour == Colour::Blue, "nothing moves without a look: {unseen:?}");
    let (moved, plan) = pass(&case, &facts);
    let release = moved.release.as_ref().expect("a release");
    assert_eq!((moved.colour, release.state), (Colour::Green, ReleaseState::Soaking));
    let service = object(&plan, Kind::Service, "users").expect("the Service");
    assert_eq!(service["spec"]["selector"]["version"], "green");
    assert!(
        service["metadata"]["annotations"][names::RELEASE]
            .as_str()
            .is_some_and(|record| record.contains("Soaking"))
    );
    let leaving =
        moved.leaving(&facts, Some(Colour::Green), Some(Colour::Blue)).map(|leaving| leaving.colour);
    assert_eq!(leaving, Some(Colour::Blue), "its clients stay, though its sidecars know the operator");
    assert_eq!(object(&plan, Kind::Deployment, "users-blue").expect("blue")["spec"]["replicas"], 3);
    assert_eq!(
        object(&plan, Kind::Service, "users-preview").expect("the preview")["spec"]["selector"]["version"],
        "blue"
    );

    // One endpoint too few, one of an older revision, one listed twice: it stays.
    for change in [
        (|all: &mut Vec<EndpointFact>| drop(all.pop())) as fn(&mut Vec<EndpointFact>),
        |all| all.last_mut().expect("one").revision = "0000000000".into(),
        |all| all.last_mut().expect("one").uid = "Green0".into(),
        |all| all.last_mut().expect("one").preview = false,
    ] {
        let mut few = facts.clone();
        change(few.endpoints.as_mut().expect("endpoints"));
        let (stayed, _) = pass(&case, &few);
        assert_eq!(stayed.colour, Colour::Blue, "{:?}", few.endpoints);
        assert!(stayed.message.contains("2 of 3 endpoints"), "{}", stayed.message);
    }
}

/// Versions of a service that is reached from outside, with a preview, where the environment says so of the way in.
fn previewed(version: &str, ingress: Value) -> Case {
    let spec = json!({
        "env": { "VERSION": version }, "service": { "port": 8000 },
        "ingress": { "hosts": ["api.dev.example"], "path": "/users", "preview": true },
    });
    let mut case = blue_green(spec);
    let EnvironmentFact::Governed { spec, .. } = &mut case.environment else { unreachable!() };
    spec.ingress = serde_json::from_value(ingress).expect("ingress");
    case
}

#[test]
fn the_colour_that_does_not_serve_has_a_host_of_its_own_as_long_as_it_has_a_service() {
    let first = previewed("1", json!({}));
    let stand = |plan: &Plan| {
        [Kind::Service, Kind::Ingress].map(|kind| object(plan, kind, "users-preview").is_some())
    };
    assert_eq!(stand(&pass(&first, &first.facts()).1), [false; 2], "one colour has no preview");
    let (case, decision, plan, facts) = begun(&first, previewed("2", json!({})));
    let way = object(&plan, Kind::Ingress, "users-preview").expect("a way to the preview");
    let backend = json!({ "service": { "name": "users-preview", "port": { "number": 80 } } });
    let path = json!({ "path": "/users", "pathType": "Prefix", "backend": backend });
    let spec = json!({
        "ingressClassName": "nginx",
        "rules": [{ "host": "preview-api.dev.example", "http": { "paths": [path] } }],
        "tls": [{ "hosts": ["preview-api.dev.example"], "secretName": "users-preview-tls" }],
    });
    assert_eq!(way["spec"], spec);
    let own = object(&plan, Kind::Ingress, "users").expect("the way in");
    assert_eq!(way["metadata"]["annotations"], own["metadata"]["annotations"]);
    assert_eq!(own["spec"]["rules"][0]["host"], "api.dev.example");
    let service = object(&plan, Kind::Service, "users-preview").expect("the preview");
    assert_eq!(service["spec"]["ports"][0]["port"], 80);
    let policy = object(&plan, Kind::NetworkPolicy, "users").expect("a policy").to_string();
    assert!(policy.contains("ingress-nginx"), "the pods of both colours are called from there: {policy}");
    // A name that is taken holds back the Deployments after it.
    let place = |kind: Kind, name: &str| {
        plan.objects.iter().position(|planned| planned.kind == kind && planned.name == name)
    };
    assert!(place(Kind::Deployment, "users-green") < place(Kind::Ingress, "users-preview"));

    // It stands on both sides of the switch, and goes with the colour that it leads to.
    let mut facts = after(&case, &decision, &plan, facts);
    facts.endpoints = Some(endpoints(&facts, Colour::Blue));
    let abort = decision.release.and_then(|release| release.attempt);
    let orders = Orders { abort, ..Orders::default() };
    let (aborted, plan) = pass(&case, &Facts { orders, ..facts.clone() });
    let kept = |plan: &Plan| plan.keep.contains(&(Kind::Ingress, "users-preview".into()));
    assert_eq!((aborted.other.is_none(), stand(&plan), kept(&plan)), (true, [false; 2], false));
    let (moved, plan) = pass(&case, &facts);
    assert_eq!((moved.colour, stand(&plan)), (Colour::Green, [true; 2]));

    // Where nothing is known of that colour all of it stays, but for what is no longer asked for.
    let mut lost = after(&case, &moved, &plan, facts);
    lost.revisions.retain(|stored| moved.revision.as_ref().is_some_and(|it| it.hash == stored.hash));
    let (unknown, plan) = pass(&case, &lost);
    assert!(unknown.other.is_some_and(|other| other.revision.is_none()));
    assert_eq!((stand(&plan), kept(&plan)), ([false; 2], true));
    let mut silent = case;
    silent.service.spec.ingress.as_mut().expect("said").preview = None;
    let (_, plan) = pass(&silent, &lost);
    assert!(!kept(&plan) && plan.keep.contains(&(Kind::Service, "users-preview".into())));
}

#[test]
fn a_gateway_leads_to_the_preview_by_a_route() {
    let ingress = json!({ "gateway": { "name": "public", "namespace": "edge" } });
    let (_, _, plan, _) = begun(&previewed("1", ingress.clone()), previewed("2", ingress));
    assert_eq!(object(&plan, Kind::Ingress, "users-preview"), None);
    let route = object(&plan, Kind::HTTPRoute, "users-preview").expect("a route");
    let own = object(&plan, Kind::HTTPRoute, "users").expect("a route");
    assert_eq!(route["spec"]["hostnames"], json!(["preview-api.dev.example"]));
    assert_eq!(route["spec"]["parentRefs"], own["spec"]["parentRefs"]);
    assert_eq!(route["spec"]["rules"][0]["matches"], own["spec"]["rules"][0]["matches"]);
    let backend = json!({ "group": "", "kind": "Service", "name": "users-preview", "port": 80, "weight": 1 });
    assert_eq!(route["spec"]["rules"][0]["backendRefs"], json!([backend]));
}

#[test]
fn what_the_service_still_selects_is_never_taken_away() {
    let (case, decision, facts) = deploying();
    // The release is over, and the write that moved the selector back has not been seen.
    let mut record = decision.release.clone().expect("a release");
    record.state = ReleaseState::Stable;
    record.rejected_revision = record.attempted().map(str::to_string);
    let facts = Facts { release: Some(record), selected: Some(Colour::Green), ..facts };
    let (decision, plan) = pass(&case, &facts);
    assert!(decision.other.is_none() && object(&plan, Kind::Deployment, "users-green").is_none());
    assert!(plan.keep.contains(&(Kind::Deployment, "users-green".into())));
    let gone = Facts { selected: Some(Colour::Blue), ..facts };
    assert!(!pass(&case, &gone).1.keep.contains(&(Kind::Deployment, "users-green".into())));
}

#[test]
fn both_colours_are_let_in_where_they_listen_on_different_ports() {
    let observe = |port: u16| json!({ "port": port, "sidecar": { "mode": "Observe" }, "networkPolicy": { "enabled": true } });
    let (case, decision, plan, facts) = started(observe(8001), observe(8002));
    let policy = object(&plan, Kind::NetworkPolicy, "users").expect("a policy").to_string();
    assert!(policy.contains("8001") && policy.contains("8002"), "{policy}");
    let port = |plan: &Plan| {
        let general =
            plan.objects.iter().rfind(|planned| planned.kind == Kind::Service && planned.name == "users");
        general.expect("the Service").object["spec"]["ports"][0]["targetPort"].clone()
    };
    assert_eq!(port(&plan), 8001);
    let mut facts = after(&case, &decision, &plan, facts);
    facts.endpoints = Some(endpoints(&facts, Colour::Blue));
    assert_eq!(port(&pass(&case, &facts).1), 8002, "port and selector move together");
}

#[test]
fn times_and_approval_come_from_the_environment_and_a_service_may_be_stricter() {
    let release = |spec: Value, rollout: Value| {
        let valid = case(spec, rollout).verdict().expect("valid");
        serde_json::to_value(valid.serving.release).expect("json")
    };
    let blue_green = json!({ "strategy": "BlueGreen" });
    assert_eq!(release(json!({}), json!({})), Value::Null, "RollingUpdate, unless somebody says otherwise");
    assert_eq!(
        release(json!({ "rollout": blue_green }), json!({})),
        json!({ "approval": false, "deadline": 900, "soak": 30, "warm": 600 })
    );
    let stricter = json!({ "rollout": { "approval": true, "deadlineSeconds": 60, "soakSeconds": 120, "warmSeconds": 3600 } });
    assert_eq!(
        release(stricter.clone(), blue_green.clone()),
        json!({ "approval": true, "deadline": 60, "soak": 120, "warm": 3600 })
    );
    let strict = json!({ "strategy": "BlueGreen", "approval": true, "deadlineSeconds": 30, "soakSeconds": 240, "warmSeconds": 7200 });
    let looser = json!({ "rollout": { "strategy": "RollingUpdate", "approval": false, "deadlineSeconds": 60, "soakSeconds": 120, "warmSeconds": 3600 } });
    let refusals = case(looser, strict).verdict().expect_err("looser than the environment");
    let fields: Vec<&str> = refusals.iter().map(|refusal| refusal.field.as_str()).collect();
    let expected = ["strategy", "approval", "deadlineSeconds", "soakSeconds", "warmSeconds"];
    assert_eq!(fields, expected.map(|field| format!("spec.rollout.{field}")));
    let long =
        case(json!({ "rollout": { "deadlineSeconds": 901 } }), json!({})).verdict().expect_err("above 900 s");
    assert_eq!(long[0].rule, "rollout-time");
}

#[test]
fn how_it_is_released_is_no_part_of_a_revision() {
    let revision = |spec: Value| blue_green(spec).verdict().expect("valid").shape.revision();
    let said = json!({ "rollout": { "strategy": "BlueGreen", "approval": true, "soakSeconds": 99 } });
    assert_eq!(revision(json!({})), revision(said));
}

#[test]
fn a_refused_change_leaves_a_release_to_itself_and_it_can_still_be_aborted() {
    let (_, decision, facts) = deploying();
    let attempt = decision.release.and_then(|release| release.attempt);
    let refused = blue_green(json!({ "image": "ghcr.io/visiobook/users:latest" }));
    let (goes_on, planned) = pass(&refused, &facts);
    assert_eq!(goes_on.reason, Reason::Refused);
    assert!(object(&planned, Kind::Deployment, "users-green").is_some(), "{}", goes_on.message);
    let mut aborted = facts.clone();
    aborted.orders.abort = attempt;
    let (aborted, planned) = pass(&refused, &aborted);
    assert_eq!(aborted.release.map(|release| release.state), Some(ReleaseState::Stable));
    assert!(object(&planned, Kind::Deployment, "users-green").is_none());
    assert!(object(&planned, Kind::Deployment, "users-blue").is_some());
}

#[test]
fn what_its_environment_outlaws_on_the_way_gets_no_traffic_and_is_over() {
    let (case, mut facts) = ready();
    let hash = case.verdict().expect("valid").shape.revision();
    let own = Some(check::own("users", &case.service.spec));
    facts.marks.insert(hash, Marks { own: own.clone(), wave: None });
    facts.own = own;
    assert_eq!(pass(&case, &facts).0.colour, Colour::Green);

    let said = json!({ "type": "production", "images": { "registries": ["registry.example"] }, "rollout": { "strategy": "BlueGreen" } });
    let spec = serde_json::from_value(said).expect("environment");
    let stricter = EnvironmentFact::Governed { name: "production".into(), spec };
    let gone = EnvironmentFact::Missing { name: "production".into() };
    for environment in [stricter, gone] {
        let outlawed = Case { environment, service: case.service.clone() };
        let (ended, plan) = pass(&outlawed, &facts);
        assert_eq!((ended.colour, ended.reason), (Colour::Blue, Reason::Refused));
        assert!(ended.message.contains("is no longer allowed"), "{}", ended.message);
        assert!(object(&plan, Kind::Deployment, "users-green").is_none());
        let record = ended.release.clone().expect("a release");
        assert_eq!((record.state, record.outcome), (ReleaseState::Stable, Some(Outcome::Failed)));
        // Allowed again, it does not begin by itself.
        let mut again = after(&case, &ended, &plan, facts.clone());
        again.deployments.remove(&Colour::Green);
        let allowed = pass(&case, &again).0.release.expect("a release");
        assert_eq!((allowed.state, allowed.attempt), (ReleaseState::Stable, record.attempt));
    }
}

#[test]
fn traffic_waits_until_pods_of_another_revision_have_left_the_colour() {
    let (case, mut facts) = ready();
    let endpoints = facts.endpoints.as_mut().expect("endpoints");
    let left = EndpointFact { uid: "left".into(), revision: "0123456789".into(), ..endpoints[3].clone() };
    assert_eq!(left.colour, Colour::Green);
    endpoints.push(left);
    let (waits, _) = pass(&case, &facts);
    assert_eq!(waits.colour, Colour::Blue);
    assert!(waits.message.contains("pods of another revision (1) have yet to leave"), "{}", waits.message);
    assert_eq!(waits.wake_at, Some(facts.now + 1));
}

#[test]
fn an_order_for_an_attempt_is_none_for_one_that_begins_when_every_record_is_lost() {
    let (case, _, facts) = deploying();
    let hash = case.verdict().expect("valid").shape.revision();
    let mut lost = Facts { release: None, status_release: None, ..facts };
    lost.deployments.remove(&Colour::Green);
    lost.orders.approve = Some(format!("{hash}-4"));
    lost.orders.abort = Some("anything-9223372036854775807".into());
    let begun = pass(&case, &lost).0.release.expect("a release");
    assert_eq!(begun.attempt, Some(format!("{hash}-5")));
}

#[test]
fn what_was_taken_back_is_not_rolled_out_pod_by_pod_when_the_strategy_changes() {
    let (case, _, mut facts) = deploying();
    let attempt = facts.release.as_ref().and_then(|release| release.attempt.clone());
    facts.orders.abort.clone_from(&attempt);
    let (aborted, plan) = pass(&case, &facts);
    let mut facts = after(&case, &aborted, &plan, facts);
    facts.deployments.remove(&Colour::Green);
    let live = facts.deployments[&Colour::Blue].revision.clone();
    let rolling = self::case(json!({ "env": { "A": "1" } }), json!({ "strategy": "RollingUpdate" }));
    let (kept, _) = pass(&rolling, &facts);
    assert_eq!(kept.revision.map(|it| it.hash), Some(live));
    assert!(kept.message.contains("taken back"), "{}", kept.message);

    facts.orders.retry = attempt;
    let asked = rolling.verdict().expect("valid").shape.revision();
    assert_eq!(pass(&rolling, &facts).0.revision.map(|it| it.hash), Some(asked));
}

/// A freeze of an hour, from now on.
fn frozen(spec: Value, rollout: Value) -> Case {
    let window = json!([{ "reason": "sales", "from": "2027-01-15T08:00:00Z", "to": "2027-01-15T09:00:00Z" }]);
    let mut all = json!({ "freezes": window });
    plan::merge(&mut all, rollout);
    case(spec, all)
}

const THAW: i64 = NOW + 3600;

fn glass(attempt: &str) -> Orders {
    Orders {
        break_glass: Some(attempt.into()),
        break_glass_by: Some("ada".into()),
        break_glass_reason: Some("customers cannot pay".into()),
        ..Orders::default()
    }
}

#[test]
fn in_a_freeze_a_first_version_starts_and_a_next_one_waits_until_its_end_or_for_broken_glass() {
    for strategy in ["BlueGreen", "RollingUpdate"] {
        let rollout = json!({ "strategy": strategy });
        let first = frozen(json!({}), rollout.clone());
        let facts = Facts { now: NOW, ..first.facts() };
        let (decision, plan) = pass(&first, &facts);
        assert_ne!(decision.reason, Reason::Frozen, "{}", decision.message);
        assert!(
            object(&plan, Kind::Deployment, "users-blue").is_some(),
            "what a service needs to exist is made"
        );
        let facts = after(&first, &decision, &plan, facts);

        let next = frozen(json!({ "env": { "A": "1" } }), rollout);
        let (waits, plan) = pass(&next, &facts);
        assert_eq!(
            (waits.reason, waits.wake_at, plan.wake_at),
            (Reason::Frozen, Some(THAW), Some(THAW)),
            "{strategy}"
        );
        assert!(waits.message.contains("2027-01-15T09:00:00Z (sales)"), "{}", waits.message);
        assert!(object(&plan, Kind::Deployment, "users-green").is_none(), "{strategy}: it started");
        let runs = &facts.deployments[&Colour::Blue].revision;
        let blue = object(&plan, Kind::Deployment, "users-blue").expect("blue");
        assert_eq!(blue["metadata"]["labels"][names::REVISION], **runs, "{strategy}: it was replaced");

        // What the message says is what lets it go on: with a name and a reason, and not one without.
        let hash = next.verdict().expect("valid").shape.revision();
        let attempt = if strategy == "BlueGreen" { format!("{hash}-1") } else { hash.clone() };
        assert!(waits.message.contains(&format!("{}={attempt} ", names::BREAK_GLASS)), "{}", waits.message);
        let mut nameless = glass(&attempt);
        nameless.break_glass_reason = None;
        for orders in [nameless, glass("0000000000-1")] {
            let (still, _) = pass(&next, &Facts { orders, ..facts.clone() });
            assert_eq!(still.reason, Reason::Frozen, "{strategy}");
        }
        let (goes_on, plan) = pass(&next, &Facts { orders: glass(&attempt), ..facts.clone() });
        let starts = |plan: &Plan| {
            plan.objects.iter().any(|planned| {
                planned.kind == Kind::Deployment
                    && planned.object["metadata"]["labels"][names::REVISION] == *hash
            })
        };
        assert!(starts(&plan), "{strategy}: {}", goes_on.message);
        match goes_on.release.and_then(|release| release.break_glass) {
            Some(glass) => assert_eq!((&*glass.by, &*glass.reason), ("ada", "customers cannot pay")),
            None => assert!(goes_on.message.contains("ada says customers cannot pay"), "{}", goes_on.message),
        }
        let (thawed, plan) = pass(&next, &Facts { now: THAW, ..facts });
        assert!(starts(&plan), "{strategy}: {}", thawed.message);
    }
}

#[test]
fn a_release_that_a_freeze_overtakes_waits_ready_and_without_a_deadline() {
    let (_, mut facts) = ready();
    let icy = frozen(json!({ "env": { "A": "1" } }), json!({ "strategy": "BlueGreen" }));
    facts.environment = icy.environment.clone();
    let (waits, plan) = pass(&icy, &facts);
    let release = waits.release.clone().expect("a release");
    assert_eq!((waits.colour, release.state), (Colour::Blue, ReleaseState::AwaitingApproval));
    assert!(release.reason.contains("(sales)"), "{}", release.reason);
    let attempt = release.attempt.clone().expect("an attempt");
    let facts = after(&icy, &waits, &plan, facts);
    assert_eq!(pass(&icy, &facts).0.wake_at, Some(THAW));

    let look = |facts: &Facts| Facts { endpoints: Some(endpoints(facts, Colour::Blue)), ..facts.clone() };
    // Past the deadline that it had: who waits for a freeze is not late.
    let late = Facts { now: THAW, ..look(&facts) };
    assert_eq!(pass(&icy, &late).0.colour, Colour::Green);
    // Glass, an abort.
    let (moved, _) = pass(&icy, &Facts { orders: glass(&attempt), ..look(&facts) });
    assert_eq!(moved.colour, Colour::Green);
    assert_eq!(
        moved.release.and_then(|release| release.break_glass).map(|glass| glass.by),
        Some("ada".into())
    );
    let abort = Orders { abort: Some(attempt), ..Orders::default() };
    let (aborted, _) = pass(&icy, &Facts { orders: abort, ..look(&facts) });
    assert_eq!(aborted.release.map(|release| release.state), Some(ReleaseState::Stable));
}

/// What is told of a pass over a service whose first version serves.
fn report(
    decision: &Decision,
    plan: &Plan,
    facts: &Facts,
    failure: Option<&Failure>,
    is_recorded: bool,
) -> status::Report {
    let pass = status::Pass {
        name: "users",
        generation: 2,
        facts,
        decision,
        plan,
        applied: &Default::default(),
        failure,
        is_recorded,
        serving: facts.deployments.get(&Colour::Blue),
        replicas: 3,
        lacks: &[],
        gating: &Default::default(),
        unready: &[],
        previous: &Default::default(),
    };
    status::report(&pass, jiff::Timestamp::from_second(NOW).expect("a time"))
}

#[test]
fn a_service_that_waits_for_a_freeze_is_reconciling_and_not_progressing() {
    let first = frozen(json!({}), json!({ "strategy": "BlueGreen" }));
    let next = frozen(json!({ "env": { "A": "1" } }), json!({ "strategy": "BlueGreen" }));
    let (_, decision, plan, facts) = begun(&first, next);
    let told = report(&decision, &plan, &facts, None, true);
    let says = |type_: &str| {
        let found = told.status.conditions.iter().find(|condition| condition.type_ == type_).expect(type_);
        (found.status.clone(), found.reason.clone())
    };
    assert_eq!(says("Reconciling"), ("True".into(), "Frozen".into()));
    assert_eq!(says("Progressing"), ("False".into(), "Frozen".into()));
    assert_eq!(says("Stalled").0, "False");
    assert!(told.events.iter().any(|event| event.reason == "Frozen" && !event.warning), "{:?}", told.events);
    let release = told.status.rollout.expect("a release");
    assert_eq!(release.deadline.map(|at| at.0.as_second()), Some(THAW));
}

#[test]
fn a_child_that_is_refused_does_not_hide_where_a_release_stands() {
    let first = frozen(json!({}), json!({ "strategy": "BlueGreen" }));
    let next = frozen(json!({ "env": { "A": "1" } }), json!({ "strategy": "BlueGreen" }));
    let (_, decision, plan, facts) = begun(&first, next);
    let refused =
        Failure { reason: "Taken", message: "Ingress users is somebody else's".into(), transient: false };
    let rollout =
        |is_recorded: bool| report(&decision, &plan, &facts, Some(&refused), is_recorded).status.rollout;
    assert_eq!(
        rollout(true).map(|release| release.state),
        decision.release.as_ref().map(|release| release.state)
    );
    assert_eq!(rollout(false), None, "what its Service does not say has not happened");
}

/// As `blue_green`, where what pods connect to is named.
fn isolated(spec: Value) -> Case {
    let mut case = blue_green(spec);
    let EnvironmentFact::Governed { spec, .. } = &mut case.environment else { panic!("governed") };
    let egress = json!({ "egress": { "ranges": ["10.20.0.0/16"] } });
    spec.network_policy = serde_json::from_value(egress).expect("egress");
    case
}

#[test]
fn the_pods_of_both_colours_reach_what_they_depend_on() {
    let first = isolated(json!({ "dependsOn": [{ "name": "media" }, { "name": "api-gateway" }] }));
    let next = isolated(json!({ "dependsOn": [{ "name": "media" }, { "name": "search" }] }));
    let (_, _, plan, _) = begun(&first, next);
    let policy = object(&plan, Kind::NetworkPolicy, "users").expect("a policy");
    let to = policy["spec"]["egress"][1]["to"].as_array().expect("rules");
    let names: Vec<&str> = to
        .iter()
        .filter_map(|peer| peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"].as_str())
        .collect();
    // The gateway by the name of its Service (X52).
    assert_eq!(names, ["media", "api-gateway-service", "search"]);
}

#[test]
fn what_pods_of_either_colour_use_stays_while_a_release_is_under_way() {
    let first = blue_green(json!({ "serviceAccount": { "name": "reader" } }));
    let next = blue_green(json!({ "serviceAccount": { "name": "writer" } }));
    let (_, _, plan, _) = begun(&first, next);
    for account in ["reader", "writer"] {
        let is_planned = object(&plan, Kind::ServiceAccount, account).is_some();
        assert!(is_planned || plan.keep.contains(&(Kind::ServiceAccount, account.into())), "{account}");
    }
}

#[test]
fn the_revision_that_an_undo_leads_to_is_kept_however_many_were_tried_since() {
    let first = blue_green(json!({}));
    let mut facts = running(&first);
    let oldest = facts.revisions[0].clone();
    let tried =
        (2..9).map(|number| RevisionFact { hash: format!("tried-{number}"), number, ..oldest.clone() });
    facts.revisions.extend(tried);
    let promoted = blue_green(json!({ "env": { "A": "1" } }));
    let (decision, plan) = pass(&promoted, &facts);
    let release = decision.release.clone().expect("a release");
    let mut facts = after(&promoted, &decision, &plan, facts);
    // It serves, and its predecessor runs no more.
    let hash = release.attempted().expect("an attempt").to_string();
    facts.deployments.retain(|_, pods| pods.revision == hash);
    let colour = *facts.deployments.keys().next().expect("a colour");
    facts.selected = Some(colour);
    facts.release = Some(RolloutStatus {
        state: ReleaseState::Stable,
        colour,
        revision: hash,
        previous_revision: Some(oldest.hash.clone()),
        ..release
    });
    let (_, plan) = pass(&promoted, &facts);
    assert!(plan.keep.contains(&(Kind::ControllerRevision, names::revision("users", &oldest.hash))));
    assert!(
        !plan.keep.contains(&(Kind::ControllerRevision, names::revision("users", "tried-2"))),
        "five are"
    );
}

#[test]
fn an_undo_that_failed_is_tried_again_when_somebody_says_so() {
    let first = blue_green(json!({}));
    let facts = running(&first);
    let oldest = facts.revisions[0].hash.clone();
    let second = blue_green(json!({ "env": { "A": "1" } }));
    let (decision, plan) = pass(&second, &facts);
    let release = decision.release.clone().expect("a release");
    let mut facts = after(&second, &decision, &plan, facts);
    let (hash, attempt) = (release.attempted().expect("an attempt").to_string(), release.attempt.clone());
    facts.deployments.retain(|_, pods| pods.revision == hash);
    let colour = *facts.deployments.keys().next().expect("a colour");
    facts.selected = Some(colour);
    facts.release = Some(RolloutStatus {
        state: ReleaseState::Stable,
        outcome: Some(Outcome::Promoted),
        colour,
        revision: hash.clone(),
        previous_revision: Some(oldest.clone()),
        ..release
    });
    facts.orders.undo = attempt;
    let (begun, _) = pass(&second, &facts);
    let begun = begun.release.expect("an undo");
    assert_eq!((begun.state, begun.attempted()), (ReleaseState::Deploying, Some(&*oldest)));

    // Its pods never start.
    facts.now += 100_000;
    facts.release = Some(begun.clone());
    let (failed, _) = pass(&second, &facts);
    let record = failed.release.expect("a record");
    assert_eq!((record.state, record.outcome), (ReleaseState::Stable, Some(Outcome::DeadlineExceeded)));
    // One that the resource asked for, and asks for no more, is no undo.
    let plain = RolloutStatus { rejected_revision: None, ..record.clone() };
    let mut of_plain = Facts { release: Some(plain), ..facts.clone() };
    of_plain.orders.retry.clone_from(&begun.attempt);
    assert_eq!(pass(&second, &of_plain).0.release.expect("a record").state, ReleaseState::Stable);
    facts.release = Some(record);
    let (told, _) = pass(&second, &facts);
    let attempt = begun.attempt.expect("an attempt");
    assert!(told.message.contains(&format!("{} to {attempt}", names::RETRY)), "{}", told.message);
    facts.release = told.release;
    facts.orders.retry = Some(attempt);
    let again = pass(&second, &facts).0.release.expect("a release");
    assert_eq!((again.state, again.attempted()), (ReleaseState::Deploying, Some(&*oldest)));
    // Taken back by somebody, it is over.
    let mut taken_back = Facts { release: Some(again.clone()), ..facts.clone() };
    taken_back.orders.abort.clone_from(&again.attempt);
    let kept = pass(&second, &taken_back).0.release.expect("a record");
    assert_eq!((kept.outcome, kept.rejected_revision), (Some(Outcome::Aborted), None));
    assert_eq!((again.number, again.rejected_revision), (begun.number + 1, Some(hash)), "it is an undo");
}

/// A service that reads these keys of a store, each from another place.
fn fetching(keys: &[&str]) -> Case {
    let remote = |key: &&str| ((*key).to_string(), json!({ "remote": { "key": format!("users/{key}") } }));
    let secrets: serde_json::Map<String, Value> = keys.iter().map(remote).collect();
    let mut case = blue_green(json!({ "secrets": secrets }));
    let EnvironmentFact::Governed { spec, .. } = &mut case.environment else { panic!("governed") };
    let source = json!({ "kind": "External", "store": { "name": "vault" } });
    spec.secrets = serde_json::from_value(source).expect("secrets");
    case
}

fn fetched(plan: &Plan) -> Vec<String> {
    let spec = &object(plan, Kind::ExternalSecret, "users-secrets").expect("an ExternalSecret")["spec"];
    let keys = spec["data"].as_array().expect("keys").iter();
    keys.map(|key| key["remoteRef"]["key"].as_str().expect("a key").to_string()).collect()
}

#[test]
fn a_store_gives_what_the_pods_of_both_colours_read() {
    let (first, second) = (fetching(&["OLD", "SAME"]), fetching(&["NEW", "SAME"]));
    let (case, decision, plan, facts) = begun(&first, second);
    assert_eq!(fetched(&plan), ["users/NEW", "users/OLD", "users/SAME"]);
    // What is stored with either is what both need, so nothing is forgotten on the way.
    let mut facts = Facts { secrets: case.facts().secrets, ..after(&case, &decision, &plan, facts) };
    let (decision, plan) = pass(&case, &facts);
    assert_eq!(fetched(&plan), ["users/NEW", "users/OLD", "users/SAME"]);
    // It serves alone: of a key that nobody reads the store may know nothing any more.
    let release = decision.release.expect("a release");
    let serving = release.attempted().expect("an attempt").to_string();
    facts.deployments.retain(|_, pods| pods.revision == serving);
    let colour = *facts.deployments.keys().next().expect("a colour");
    let previous_revision = Some(release.revision.clone());
    let state = ReleaseState::Stable;
    facts.release = Some(RolloutStatus { state, colour, revision: serving, previous_revision, ..release });
    facts.selected = Some(colour);
    assert_eq!(fetched(&pass(&case, &facts).1), ["users/NEW", "users/SAME"]);
}

#[test]
fn a_store_that_takes_the_place_of_another_is_not_asked_for_its_keys() {
    let (first, mut second) = (fetching(&["OLD", "SAME"]), fetching(&["NEW", "SAME"]));
    let EnvironmentFact::Governed { spec, .. } = &mut second.environment else { panic!("governed") };
    let source = json!({ "kind": "External", "store": { "name": "other" } });
    spec.secrets = serde_json::from_value(source).expect("secrets");
    let (_, _, plan, _) = begun(&first, second);
    assert_eq!(fetched(&plan), ["users/NEW", "users/SAME"]);
}
