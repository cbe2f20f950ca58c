//! What each of the two is given: the same application, and the same times.

use std::collections::BTreeMap;

use kube::config::Kubeconfig;
use serde_json::{Value, json};
use visiobook::api::names;

use super::Side;

/// The resource, its Service and a label of its pods.
pub const NAME: &str = "users";
pub const PODS: usize = 2;
/// Seconds for which the old pods stay once traffic has left them, where nothing else is asked for.
pub const WARM: u64 = 10;
const IMAGE: &str = "docker.io/stefanprodan/podinfo:6.9.2";

/// How a release is asked for.
#[derive(Clone, Copy)]
pub struct Change {
    pub number: u32,
    /// Whether its image is anywhere.
    pub good: bool,
    /// Seconds for which ours watches it before it calls it promoted.
    pub soak: u64,
    /// Seconds for which the old pods stay once traffic has left them.
    pub warm: u64,
    /// Seconds within which it has to be ready.
    pub deadline: u64,
}

impl Change {
    pub fn good(number: u32) -> Change {
        Change { number, good: true, soak: 1, warm: WARM, deadline: 300 }
    }
}

/// Its rights: the same for both, as what they do with them is measured.
pub fn binding(namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": namespace },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "ServiceAccount", "name": "controller", "namespace": namespace }],
    })
}

/// Ours alone: where its service lives.
pub fn environment(name: &str) -> Value {
    json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookEnvironment",
        "metadata": { "name": name },
        "spec": {
            "type": "development", "defaults": { "replicas": PODS, "autoscaling": { "enabled": false } },
            "rollout": { "strategy": "BlueGreen", "approval": true, "soakSeconds": 1, "warmSeconds": 1 },
        },
    })
}

/// Theirs alone: a Service, whose selector they complete.
pub fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
        "spec": { "selector": { names::NAME: NAME }, "ports": [{ "port": 80, "targetPort": 8080 }] },
    })
}

/// The resource that is released.
pub fn released(side: Side, change: Change) -> Value {
    let variables = [
        ("PODINFO_PORT", "8080".to_string()),
        ("PODINFO_DATA_PATH", "/tmp".to_string()),
        ("PODINFO_UI_MESSAGE", change.number.to_string()),
    ];
    let image = if change.good { IMAGE } else { "docker.io/stefanprodan/podinfo:0.0.0-missing" };
    match side {
        Side::Ours => json!({
            "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService", "metadata": { "name": NAME },
            "spec": {
                "image": image, "env": BTreeMap::from(variables),
                "probes": { "readiness": { "initialDelaySeconds": 0, "periodSeconds": 1 } },
                // The warm time begins when the soak is over.
                "rollout": {
                    "soakSeconds": change.soak, "warmSeconds": change.warm - change.soak,
                    "deadlineSeconds": change.deadline,
                },
            },
        }),
        Side::Argo => json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": NAME },
            "spec": {
                "replicas": PODS, "selector": { "matchLabels": { names::NAME: NAME } },
                "progressDeadlineSeconds": change.deadline, "progressDeadlineAbort": true,
                "strategy": { "blueGreen": {
                    "activeService": NAME, "previewService": "users-preview", "autoPromotionEnabled": false,
                    "scaleDownDelaySeconds": change.warm,
                } },
                "template": {
                    "metadata": { "labels": { names::NAME: NAME } },
                    "spec": { "containers": [{
                        "name": NAME, "image": image, "ports": [{ "containerPort": 8080 }],
                        "env": variables.map(|(name, value)| json!({ "name": name, "value": value })),
                        "readinessProbe": { "httpGet": { "path": "/readyz", "port": 8080 }, "periodSeconds": 1 },
                        // As whoever writes it with care: requests still come while nodes learn that it goes.
                        "lifecycle": { "preStop": { "sleep": { "seconds": 5 } } },
                    }] },
                },
            },
        }),
    }
}

/// The cluster of the bench's own kubeconfig, with another token.
pub fn kubeconfig(token: &str, namespace: &str) -> Value {
    let known = Kubeconfig::read().expect("KUBECONFIG");
    let current = known.current_context.as_deref().expect("a current context");
    let context = known.contexts.iter().find(|named| named.name == current);
    let name = context.and_then(|named| named.context.as_ref()).expect("a context").cluster.clone();
    let cluster = known.clusters.into_iter().find(|named| named.name == name).expect("a cluster").cluster;
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "contexts": [{ "name": "bench", "context": { "cluster": "bench", "user": "bench", "namespace": namespace } }],
        "clusters": [{ "name": "bench", "cluster": cluster }],
        "users": [{ "name": "bench", "user": { "token": token } }],
    })
}
