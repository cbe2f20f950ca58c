//! The image of the installed operator is replaced by one of the next release, which renders one variable more, and put
//! back. Alone on the cluster: what others expect of pods would not hold meanwhile.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::Api;
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;

use crate::support::{PATIENCE, Site, eventually, kubectl, quick};

const NAMESPACE: &str = "visiobook-system";
const OPERATOR: &str = "deployment/visiobook-operator";
/// What the next release adds to every pod.
const ADDED: &str = "NEXT_RELEASE";

/// The installed operator with another image; the one before when dropped.
struct Replaced {
    before: String,
}

impl Replaced {
    fn by(image: &str) -> Replaced {
        let path = "-o=jsonpath={.spec.template.spec.containers[0].image}";
        let before = kubectl(&["get", OPERATOR, "-n", NAMESPACE, path], None);
        set_image(image);
        Replaced { before }
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        set_image(&self.before);
    }
}

fn set_image(image: &str) {
    kubectl(&["set", "image", OPERATOR, "-n", NAMESPACE, &format!("operator={image}")], None);
    kubectl(&["rollout", "status", OPERATOR, "-n", NAMESPACE, "--timeout=120s"], None);
    // The one before leads until it has ended, which no rollout waits for.
    let label = "app.kubernetes.io/name=visiobook-operator";
    let deadline = Instant::now() + PATIENCE;
    while kubectl(&["get", "pods", "-n", NAMESPACE, "-l", label, "-o", "name"], None).lines().count() > 1 {
        assert!(Instant::now() < deadline, "the operator before does not end");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_renders_one_variable_more_replaces_no_pod_neither_in_place_of_this_one_nor_back() {
    let next = std::env::var("VISIOBOOK_NEXT_IMAGE").expect("VISIOBOOK_NEXT_IMAGE: `make e2e` builds it");
    let site = Site::new("replaced", json!({ "type": "development" })).await;
    site.apply("rolling", quick(json!({ "replicas": 2 }))).await;
    site.apply("coloured", quick(json!({ "rollout": { "strategy": "BlueGreen" } }))).await;
    for name in ["rolling", "coloured"] {
        site.ready(name).await;
    }
    let (pods, sets) = (pods(&site).await, sets(&site).await);
    let old = template(&site, "rolling").await;

    let replaced = Replaced::by(&next);
    // The next release is at work once it has made something.
    site.apply("new", quick(json!({}))).await;
    site.ready("new").await;
    assert!(renders_more(&template(&site, "new").await));
    assert_eq!(without(self::pods(&site).await, "new"), pods);
    assert_eq!(without(self::sets(&site).await, "new"), sets);

    let edit = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "somebody/elses:1" }]);
    site.meddle(Kind::Deployment, "rolling-blue", edit).await.expect("edited");
    eventually("the old template", || async {
        let live = template(&site, "rolling").await;
        if live == old { Ok(()) } else { Err(live) }
    })
    .await;
    site.ready("rolling").await;

    // Back again: what the next release has made goes on as it is.
    let made = template(&site, "new").await;
    let running = only(self::pods(&site).await, "new");
    drop(replaced);
    site.apply("after", quick(json!({}))).await;
    site.ready("after").await;
    assert!(!renders_more(&template(&site, "after").await));
    assert_eq!((template(&site, "new").await, only(self::pods(&site).await, "new")), (made, running));
}

async fn template(site: &Site, name: &str) -> Value {
    site.existing(Kind::Deployment, &format!("{name}-blue")).await["spec"]["template"].clone()
}

fn renders_more(template: &Value) -> bool {
    let variables = template["spec"]["containers"][0]["env"].as_array().expect("env");
    variables.iter().any(|variable| variable["name"] == ADDED)
}

/// Name and uid of every pod.
async fn pods(site: &Site) -> Vec<String> {
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), &site.namespace);
    let pods = pods.list(&Default::default()).await.expect("pods");
    sorted(pods.iter().map(|pod| format!("{} {}", pod.name_any(), pod.uid().unwrap_or_default())))
}

async fn sets(site: &Site) -> Vec<String> {
    let sets: Api<ReplicaSet> = Api::namespaced(site.client.clone(), &site.namespace);
    sorted(sets.list(&Default::default()).await.expect("sets").iter().map(ResourceExt::name_any))
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn without(mut names: Vec<String>, service: &str) -> Vec<String> {
    names.retain(|name| !name.starts_with(&format!("{service}-")));
    names
}

fn only(mut names: Vec<String>, service: &str) -> Vec<String> {
    names.retain(|name| name.starts_with(&format!("{service}-")));
    names
}
