//! The readiness gate on real pods: order from nothing, cycles, outages, and an operator that is killed.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::api::names;

use crate::support::operator::{Operator, Stage, visiobook};
use crate::support::proxy::{Proxy, tail};
use crate::support::{Site, conditions, events, eventually, is, kubectl, message, quick, try_kubectl};

async fn stage(name: &str) -> Stage {
    Stage::governed(name, json!({ "type": "development", "defaults": { "replicas": 1 } })).await
}

/// A service that calls these.
fn needs(names: &[&str], more: Value) -> Value {
    let depends_on: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
    let mut spec = quick(json!({ "dependsOn": depends_on }));
    visiobook::plan::merge(&mut spec, more);
    spec
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

fn holds(pod: &Pod, type_: &str) -> bool {
    condition(pod, type_).is_some_and(|condition| condition.status == "True")
}

/// When a condition of the only pod of a service came true.
async fn since(site: &Site, service: &str, type_: &str) -> jiff::Timestamp {
    let pods = site.pods(service).await;
    let condition = condition(&pods[0], type_).unwrap_or_else(|| panic!("{service} has no {type_}"));
    assert_eq!(condition.status, "True", "{service}: {condition:?}");
    condition.last_transition_time.as_ref().expect("a time").0
}

/// Wait until a pod answers and is kept from requests all the same, and tell why.
async fn held(site: &Site, service: &str) -> String {
    eventually(&format!("a pod of {service} at the gate"), || async {
        let pods = site.pods(service).await;
        let held = pods.iter().find_map(|pod| {
            let said = condition(pod, names::CONTRACT).filter(|said| said.status == "False")?;
            (holds(pod, "ContainersReady") && !holds(pod, "Ready")).then(|| said.message.clone())
        });
        held.flatten().ok_or_else(|| pods.into_iter().map(|pod| pod.status).collect::<Vec<_>>())
    })
    .await
}

/// What a service depends on goes away: its only pod is replaced by one that has no image.
async fn take_away(site: &Site, name: &str) {
    let spec = quick(json!({
        "image": "ghcr.io/visiobook-esp/user-service:bad",
        "rollout": { "maxSurge": 0, "maxUnavailable": 1 },
    }));
    site.apply(name, spec).await;
    site.until(name, "the outage", |service| is(service, "Ready", "False")).await;
}

async fn delete_pods(site: &Site, service: &str) {
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), &site.namespace);
    for pod in site.pods(service).await {
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete(&pod.name_any(), &params).await.expect("deleted");
    }
}

async fn start(stage: &Stage) -> Operator {
    let operator = stage.launch(Default::default());
    operator.leads().await;
    operator
}

#[tokio::test(flavor = "multi_thread")]
async fn three_services_start_in_order_from_nothing_and_say_what_they_wait_for() {
    let stage = stage("order").await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    // The last one first.
    site.apply("app", needs(&["api"], json!({}))).await;
    let why = held(site, "app").await;
    let named = format!("{}/api: there is no VisiobookService and no Service", site.namespace);
    assert!(why.contains(&named), "{why}");
    site.apply("api", needs(&["store"], json!({}))).await;
    let why = held(site, "api").await;
    assert!(why.contains("/store: there is no"), "{why}");
    let status = site.condition("app", "Ready", "False", "WaitingForDependencies").await;
    site.condition("app", "DependenciesReady", "False", "NotReady").await;
    let told =
        site.until("app", "the time", |it| message(it, "DependenciesReady").contains("not ready since"));
    let told = message(&told.await, "DependenciesReady");
    assert!(told.contains(&format!("waiting for {}/api: not ready since", site.namespace)), "{told}");
    assert!(!is(&status, "Stalled", "True"), "who waits for others is not stuck");
    // Where people look.
    let pod = site.pods("app").await[0].name_any();
    eventually("an event of the pod", || async {
        let told = kubectl(&["-n", &site.namespace, "describe", "pod", &pod], None);
        if told.contains("WaitingForDependencies") && told.contains("/api: ") { Ok(()) } else { Err(told) }
    })
    .await;
    let listed = kubectl(&["-n", &site.namespace, "get", "vbs", "app"], None);
    assert!(listed.contains("WaitingForDependencies"), "{listed}");
    let of_service = events(site, "app").await;
    assert!(of_service.iter().any(|event| event.starts_with("DependenciesNotReady")), "{of_service:?}");

    site.apply("store", quick(json!({}))).await;
    for name in ["store", "api", "app"] {
        site.ready(name).await;
    }
    site.condition("app", "DependenciesReady", "True", "Ready").await;
    site.condition("store", "DependenciesReady", "True", "NoneNeeded").await;
    let (store, api, app) = (
        since(site, "store", "Ready").await,
        since(site, "api", names::CONTRACT).await,
        since(site, "app", names::CONTRACT).await,
    );
    assert!(store <= api && since(site, "api", "Ready").await <= app, "{store} {api} {app}");
    assert!(
        condition(&site.pods("store").await[0], names::CONTRACT).is_none(),
        "who needs nobody has no gate"
    );

    // One that finds all ready is written to once.
    let mark = proxy.mark();
    delete_pods(site, "app").await;
    site.ready("app").await;
    eventually("the new pod", || async {
        let pods = site.pods("app").await;
        if pods.len() == 1 && holds(&pods[0], "Ready") { Ok(()) } else { Err(pods.len()) }
    })
    .await;
    proxy.quiet(Duration::from_secs(3)).await;
    let calls: Vec<_> = proxy.since(mark).into_iter().filter(|call| call.kind == "pods/status").collect();
    assert_eq!(calls.len(), 1, "{:#?}", tail(&calls));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_is_named_whole_takes_nothing_down_and_ends_with_its_cause() {
    let stage = stage("cycle").await;
    let site = &stage.site;
    let _operator = start(&stage).await;
    // Two that run, and then come to wait for each other.
    site.apply("a", quick(json!({}))).await;
    site.apply("b", needs(&["a"], json!({}))).await;
    site.ready("b").await;
    site.apply("a", needs(&["b"], json!({}))).await;
    let told = site.condition("a", "DependenciesReady", "False", "DependencyCycle").await;
    let (here, cycle) = (&site.namespace, message(&told, "DependenciesReady"));
    assert!(cycle.contains(&format!("{here}/a -> {here}/b -> {here}/a")), "{cycle}");
    site.condition("b", "DependenciesReady", "False", "DependencyCycle").await;
    // Both go on, and so do their releases.
    site.ready("a").await;
    site.apply("b", needs(&["a"], json!({ "env": { "RELEASE": "2" } }))).await;
    let released = site.ready("b").await;
    assert!(is(&released, "Stalled", "False"), "{:?}", released.status);

    // Two that never ran cannot start, and say so.
    site.apply("x", needs(&["y"], json!({}))).await;
    site.apply("y", needs(&["x"], json!({}))).await;
    for name in ["x", "y"] {
        let stuck = site.condition(name, "Stalled", "True", "DependencyCycle").await;
        let told = message(&stuck, "Stalled");
        assert!(told.contains("wait for each other"), "{told}");
    }
    site.apply("y", quick(json!({}))).await;
    for name in ["x", "y"] {
        site.ready(name).await;
    }
    site.condition("x", "DependenciesReady", "True", "Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_takes_no_pod_out_lets_replacements_in_and_holds_a_new_revision() {
    let stage = stage("latch").await;
    let site = &stage.site;
    let operator = start(&stage).await;
    site.apply("store", quick(json!({}))).await;
    site.apply("api", needs(&["store"], json!({}))).await;
    site.ready("api").await;
    let before = site.pod_uids("api").await;
    take_away(site, "store").await;
    site.condition("api", "DependenciesReady", "False", "NotReady").await;
    assert!(is(&site.services().get("api").await.expect("api"), "Ready", "True"));

    // The latch outlives the operator that set it, and every pod that passed.
    drop(operator);
    delete_pods(site, "api").await;
    let started = Instant::now();
    let _operator = start(&stage).await;
    eventually("a replacement", || async {
        let pods = site.pods("api").await;
        let is_in =
            pods.len() == 1 && !before.contains(&pods[0].uid().expect("uid")) && holds(&pods[0], "Ready");
        if is_in { Ok(()) } else { Err(pods.into_iter().map(|pod| pod.status).collect::<Vec<_>>()) }
    })
    .await;
    println!("a replacement was in {:?} after it was wanted", started.elapsed());

    let old = site.pod_uids("api").await;
    site.apply("api", needs(&["store"], json!({ "env": { "RELEASE": "2" } }))).await;
    let why = held(site, "api").await;
    assert!(why.contains("/store: not ready since"), "{why}");
    let pods = site.pods("api").await;
    let serving = pods.iter().find(|pod| old.contains(&pod.uid().expect("uid"))).expect("the old pod stays");
    assert!(holds(serving, "Ready"));
    site.apply("store", quick(json!({ "rollout": { "maxSurge": 0, "maxUnavailable": 1 } }))).await;
    site.ready("store").await;
    site.ready("api").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn continuous_takes_pods_out_for_an_outage_and_lets_them_in_again() {
    let stage = stage("continuous").await;
    let site = &stage.site;
    let _operator = start(&stage).await;
    site.apply("store", quick(json!({}))).await;
    let spec = |mode: &str| needs(&["store"], json!({ "gate": { "mode": mode } }));
    site.apply("api", spec("Latched")).await;
    site.ready("api").await;
    let before = site.pod_uids("api").await;
    site.apply("api", spec("Continuous")).await;
    site.ready("api").await;
    assert_eq!(site.pod_uids("api").await, before, "the mode replaced pods");

    take_away(site, "store").await;
    let away = Instant::now();
    let why = held(site, "api").await;
    let (took, patience) = (away.elapsed(), Duration::from_secs(visiobook::gate::PATIENCE as u64));
    assert!(why.contains("/store: not ready since"), "{why}");
    assert!(took > patience - Duration::from_secs(5) && took < patience * 2, "taken out after {took:?}");
    site.apply("store", quick(json!({ "rollout": { "maxSurge": 0, "maxUnavailable": 1 } }))).await;
    site.ready("store").await;
    let back = Instant::now();
    site.ready("api").await;
    let took = back.elapsed();
    assert!(took > Duration::from_secs(5) && took < Duration::from_secs(30), "let in after {took:?}");
    assert_eq!(site.pod_uids("api").await, before, "no pod was replaced for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_operator_ready_pods_stay_new_ones_wait_and_eject_leaves_none_that_do() {
    let stage = stage("away").await;
    let site = &stage.site;
    let mut operator = start(&stage).await;
    site.apply("store", quick(json!({}))).await;
    site.apply("api", needs(&["store"], json!({ "replicas": 2 }))).await;
    site.ready("api").await;
    operator.kill();
    let stays = site.pods("api").await[0].name_any();
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), &site.namespace);
    let goes = site.pods("api").await[1].name_any();
    pods.delete(&goes, &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() })
        .await
        .expect("deleted");
    eventually("a new pod that answers", || async {
        let all = site.pods("api").await;
        let new = all.iter().find(|pod| pod.name_any() != stays);
        match new {
            Some(new) if all.len() == 2 && holds(new, "ContainersReady") => Ok(()),
            _ => Err(all.into_iter().map(|pod| pod.status).collect::<Vec<_>>()),
        }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for pod in site.pods("api").await {
        assert_eq!(holds(&pod, "Ready"), pod.name_any() == stays, "{:?}", pod.status);
    }
    let operator = start(&stage).await;
    let back = Instant::now();
    eventually("both pods", || async {
        let all = site.pods("api").await;
        if all.iter().all(|pod| holds(pod, "Ready")) { Ok(()) } else { Err(all.len()) }
    })
    .await;
    let took = back.elapsed();
    assert!(took < Duration::from_secs(30), "let in {took:?} after the operator was back");

    // What Kubernetes replaces while somebody has paused the service comes in all the same.
    site.ready("api").await;
    site.apply("api", needs(&["store"], json!({ "replicas": 2, "paused": true }))).await;
    site.condition("api", "Paused", "True", "SpecPaused").await;
    delete_pods(site, "api").await;
    eventually("pods of a paused service", || async {
        let all = site.pods("api").await;
        if all.len() == 2 && all.iter().all(|pod| holds(pod, "Ready")) { Ok(()) } else { Err(all.len()) }
    })
    .await;

    let gated = |deployment: &Value| deployment.pointer("/spec/template/spec/readinessGates").is_some();
    assert!(gated(&site.existing(Kind::Deployment, "api-blue").await));
    let (code, told) = visiobook(&["eject", "api", "--namespace", &site.namespace, "--yes"]);
    assert!(code == 0 && told.contains("wait for nobody any more"), "{told}");
    drop(operator);
    assert!(!gated(&site.existing(Kind::Deployment, "api-blue").await), "{told}");
    delete_pods(site, "api").await;
    eventually("pods without an operator", || async {
        let all = site.pods("api").await;
        if all.len() == 2 && all.iter().all(|pod| holds(pod, "Ready")) { Ok(()) } else { Err(all.len()) }
    })
    .await;
    assert!(conditions(&site.services().get("store").await.expect("store")).count() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_the_colour_that_does_not_serve_are_gated_too() {
    let environment = json!({
        "type": "development", "defaults": { "replicas": 1 },
        "rollout": { "strategy": "BlueGreen", "soakSeconds": 1, "warmSeconds": 3600 },
    });
    let stage = Stage::governed("gate-colours", environment).await;
    let site = &stage.site;
    let _operator = start(&stage).await;
    // A Service of somebody else's is there, and nothing more is known of it.
    let foreign = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "legacy" },
        "spec": { "type": "ExternalName", "externalName": "legacy.example.com" } });
    site.apply_object(foreign).await;
    site.apply("api", needs(&["legacy"], json!({}))).await;
    site.ready("api").await;
    site.apply("api", needs(&["legacy", "store"], json!({}))).await;
    let why = held(site, "api").await;
    assert!(why.contains("/store: there is no VisiobookService"), "{why}");
    let selector = site.existing(Kind::Service, "api").await["spec"]["selector"]["version"].clone();
    assert_eq!(selector, "blue", "traffic moved to pods that wait");
    assert!(is(&site.services().get("api").await.expect("api"), "Ready", "True"));
    site.apply("store", quick(json!({}))).await;
    eventually("traffic on green", || async {
        let selector = site.existing(Kind::Service, "api").await["spec"]["selector"]["version"].clone();
        if selector == "green" { Ok(()) } else { Err(selector) }
    })
    .await;
}

/// The policy that ships, for the account of a test.
struct Policy(String);

impl Policy {
    fn of(stage: &Stage) -> Policy {
        let shipped = std::fs::read_to_string(crate::support::root().join("config/rbac/own-pods.yaml"));
        let name = format!("{}-own-pods", stage.site.namespace);
        let text = shipped.expect("config/rbac").replace("visiobook-operator-own-pods", &name);
        let text = text.replace("system:serviceaccount:visiobook-system:visiobook-operator", &stage.user());
        kubectl(&["apply", "--server-side", "-f", "-"], Some(&text));
        Policy(name)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
            try_kubectl(&["delete", kind, &self.0, "--ignore-not-found"], None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_operators_token_can_say_one_thing_of_a_pod_and_nothing_of_others() {
    let stage = stage("gate-policy").await;
    let site = &stage.site;
    let _policy = Policy::of(&stage);
    site.apply_object(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "bare" },
        "spec": { "nodeName": "nowhere", "containers": [{ "name": "a", "image": "a" }] } }))
        .await;
    // kubectl reads what it patches; the operator does not, and may not.
    for object in [
        json!({ "kind": "Role", "metadata": { "name": "reader" },
            "rules": [{ "apiGroups": [""], "resources": ["pods", "pods/status"], "verbs": ["get"] }] }),
        json!({ "kind": "RoleBinding", "metadata": { "name": "reader" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader" },
            "subjects": [{ "kind": "ServiceAccount", "name": "operator", "namespace": site.namespace }] }),
    ] {
        let mut object = object;
        object["apiVersion"] = "rbac.authorization.k8s.io/v1".into();
        site.apply_object(object).await;
    }
    let say = |pod: &str, status: Value| {
        let (user, patch) = (stage.user(), json!({ "status": status }).to_string());
        let arguments = ["-n", &site.namespace, "--as", &user, "patch", "pod", pod, "--subresource=status"];
        try_kubectl(&[&arguments[..], &["--type=strategic", "-p", &patch]].concat(), None)
    };
    let word =
        |type_: &str| json!({ "conditions": [{ "type": type_, "status": "False", "reason": "Forged" }] });
    eventually("the policy to hold", || async {
        let (succeeded, told) = say("bare", word(names::CONTRACT));
        if !succeeded && told.contains("one condition of pods that carry its readiness gate") {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    // It hinders nobody who does what is meant.
    let _operator = start(&stage).await;
    site.apply("store", quick(json!({}))).await;
    site.apply("api", needs(&["store"], json!({}))).await;
    site.ready("api").await;
    let pod = site.pods("api").await[0].name_any();
    for status in
        [word("Ready"), word("ContainersReady"), json!({ "phase": "Failed" }), json!({ "message": "forged" })]
    {
        let (succeeded, told) = say(&pod, status.clone());
        assert!(!succeeded && told.contains("nothing else of a pod"), "{status}: {told}");
    }
}
