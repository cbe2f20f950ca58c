//! The examples as they stand: they become ready, and what is made of them is what the golden files record.

use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::Value;
use visiobook::api::VisiobookService;
use visiobook::api::kinds::Kind;
use visiobook::apply::resource;

use crate::support::{client, eventually, kubectl};

/// The examples by name, each with its namespace.
const EXAMPLES: [(&str, &str); 4] = [
    ("smallest", "visiobook-dev"),
    ("user-service", "visiobook-dev"),
    ("podinfo", "visiobook-dev"),
    ("ai-analysis-service", "visiobook-prod"),
];

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A node with GPUs for the one example that needs one, simulated if the cluster has none.
async fn a_node_with_gpus(client: &kube::Client) {
    let nodes: Api<Node> = Api::all(client.clone());
    let listed = nodes.list(&ListParams::default().labels("type=kwok")).await.expect("nodes");
    let gpus = |node: &Node| {
        node.status.as_ref()?.allocatable.as_ref()?.get("nvidia.com/gpu")?.0.parse::<i64>().ok()
    };
    if listed.iter().any(|node| gpus(node).is_some_and(|gpus| gpus >= 4)) {
        return;
    }
    let arguments = ["node", "add-simulated", "gpu-1", "--cpu", "64", "--memory", "256Gi", "--gpu", "8"];
    let added = Command::new(folder("e2e/cluster/cluster")).args(arguments).status().expect("the harness");
    assert!(added.success(), "no simulated node");
}

/// Every path of a planned value that the live one has not, or has otherwise.
fn differences(planned: &Value, live: &Value, path: &str, found: &mut Vec<String>) {
    match (planned, live) {
        (Value::Object(members), Value::Object(_)) => {
            for (name, member) in members {
                differences(member, &live[name], &format!("{path}.{name}"), found);
            }
        }
        (Value::Array(items), Value::Array(live)) if items.len() == live.len() => {
            for (index, (item, live)) in items.iter().zip(live).enumerate() {
                differences(item, live, &format!("{path}[{index}]"), found);
            }
        }
        (planned, live) if planned == live => {}
        (planned, live) => found.push(format!("{path}: recorded {planned}, live {live}")),
    }
}

/// What only a cluster knows, so that a golden file holds a stand-in: whose children they are, the digest of their
/// secrets, and a size that the autoscaler decides.
fn only_a_cluster_knows(planned: &mut Value, service: &VisiobookService) {
    let uid = service.metadata.uid.clone();
    let owners = planned.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut);
    for owner in owners.into_iter().flatten() {
        owner["uid"] = uid.clone().into();
    }
    if planned["kind"] != "Deployment" {
        return;
    }
    if let Some(annotations) = planned.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove("platform.visiobook.com/secrets-digest").expect("a digest");
    }
    let scaled = service
        .status
        .iter()
        .flat_map(|status| &status.children)
        .any(|child| child.kind == "HorizontalPodAutoscaler");
    if scaled {
        let replicas = service.spec.replicas.expect("a size");
        planned["spec"]["replicas"] = replicas.into();
        planned["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] = i32::from(replicas > 1).into();
    }
}

async fn children_are_as_recorded(client: &kube::Client, name: &str, namespace: &str) -> Vec<String> {
    let services: Api<VisiobookService> = Api::namespaced(client.clone(), namespace);
    let recorded =
        std::fs::read_to_string(folder(&format!("tests/golden/{name}.yaml"))).expect("golden file");
    let recorded: Vec<Value> = serde_saphyr::from_multiple(&recorded).expect("YAML");
    assert!(recorded.len() >= 7, "{name}: the golden file lacks children");
    let service = services.get(name).await.expect("service");
    let mut found = Vec::new();
    for mut planned in recorded {
        only_a_cluster_knows(&mut planned, &service);
        let (kind, child) =
            (planned["kind"].as_str().expect("kind"), planned["metadata"]["name"].as_str().expect("name"));
        let of = Kind::ALL.into_iter().find(|of| of.as_str() == kind).expect("a kind");
        let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource(of));
        let live = match objects.get_opt(child).await {
            // The cluster does not know the kind.
            Err(kube::Error::Api(status)) if of.is_optional() && status.code == 404 => continue,
            live => live.expect("child"),
        };
        match live {
            Some(live) => differences(
                &planned,
                &serde_json::to_value(live).expect("json"),
                &format!("{kind} {child}"),
                &mut found,
            ),
            None => found.push(format!("{kind} {child} is not there")),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_become_ready_as_recorded_and_do_what_people_expect_of_kubectl() {
    let client = client().await;
    a_node_with_gpus(&client).await;
    let (examples, environments) = (folder("examples"), folder("examples/environments"));
    let (examples, environments) = (examples.to_str().expect("path"), environments.to_str().expect("path"));
    // What an earlier demo left would be of another revision.
    for (name, namespace) in EXAMPLES {
        kubectl(
            &["delete", "vbs", name, "-n", namespace, "--ignore-not-found", "--cascade=foreground"],
            None,
        );
    }
    kubectl(&["apply", "-f", environments], None);
    kubectl(
        &[
            "wait",
            "--for=condition=Ready",
            "--timeout=60s",
            "vbe/development",
            "vbe/staging",
            "vbe/production",
        ],
        None,
    );
    kubectl(&["apply", "-f", examples], None);
    for (name, namespace) in EXAMPLES {
        kubectl(
            &["wait", "--for=condition=Ready", "--timeout=120s", "-n", namespace, &format!("vbs/{name}")],
            None,
        );
    }
    for (name, namespace) in EXAMPLES {
        eventually(&format!("the children of {name} to be as recorded"), || async {
            let found = children_are_as_recorded(&client, name, namespace).await;
            if found.is_empty() { Ok(()) } else { Err(found) }
        })
        .await;
    }

    let table = kubectl(&["get", "vbs", "-n", "visiobook-dev"], None);
    let row = |name: &str| {
        table
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        row("NAME"),
        ["NAME", "READY", "STATUS", "VERSION", "PODS", "ENVIRONMENT", "SINCE"],
        "{table}"
    );
    assert_eq!(
        row("smallest")[..6],
        ["smallest", "True", "Serving", "1.0.0", "1/1", "development"],
        "{table}"
    );
    assert_eq!(row("user-service")[..4], ["user-service", "True", "Serving", "latest"], "{table}");
    let all = kubectl(&["get", "visiobook", "-n", "visiobook-dev", "-o", "name"], None);
    assert!(all.contains("visiobookservice.platform.visiobook.com/podinfo"), "the category lists {all}");

    kubectl(&["scale", "vbs/smallest", "--replicas=2", "-n", "visiobook-dev"], None);
    let pods = "--for=jsonpath={.status.pods}=2/2";
    kubectl(&["wait", pods, "--timeout=60s", "-n", "visiobook-dev", "vbs/smallest"], None);
    let described = kubectl(&["describe", "vbs/smallest", "-n", "visiobook-dev"], None);
    assert!(described.contains("RevisionStarted"), "{described}");
    kubectl(&["delete", "-f", examples, "--cascade=foreground"], None);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_every_default() {
    for (path, words) in [
        ("vbs.spec.autoscaling", &["Default: 2.", "Default: 10.", "Default: 70.", "Default: 80."][..]),
        ("vbs.spec.port", &["8000", "8080"]),
        ("vbs.spec.probes", &["Default: GET /alive of the sidecar", "Default: false"]),
        ("vbs.spec.sidecar", &["Proxy (default)", "10m and 16Mi", "1000 in development"]),
        ("vbs.spec.disruptionBudget", &["Default: true.", "Default: 1."]),
        ("vbe.spec.defaults", &["Default: 1 in development, 3", "50m and 64Mi"]),
    ] {
        let said = kubectl(&["explain", path], None);
        // The text is wrapped.
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(said.contains(word), "{path} lacks \"{word}\": {said}");
        }
    }
}
