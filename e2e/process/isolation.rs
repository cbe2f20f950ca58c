//! Which connections the NetworkPolicies of a plan let through, as an analyser judges that others wrote: no policy
//! engine runs in the cluster of the tests.

#[path = "../../tests/all/cases.rs"]
mod cases;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::facts::EnvironmentFact;

use cases::Case;

use crate::support::tools;

/// Namespaces, environments and services of the table below.
fn services() -> Vec<Case> {
    let environment = |spec: Value| EnvironmentFact::Governed {
        name: "any".into(),
        spec: serde_json::from_value(spec).expect("environment"),
    };
    let case = |namespace: &str, name: &str, said: Value, environment: &EnvironmentFact| {
        let mut spec = json!({ "image": "ghcr.io/visiobook/users:1.0" });
        visiobook::plan::merge(&mut spec, said);
        let service = json!({
            "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
            "metadata": { "name": name, "namespace": namespace }, "spec": spec,
        });
        let service = serde_json::from_value(service).expect("service");
        Case { service, environment: environment.clone() }
    };
    let open = environment(json!({ "type": "development", "ingress": { "domain": "visiobook.com" } }));
    let closed = environment(json!({
        "type": "production",
        "networkPolicy": { "metricsFrom": ["observability"], "egress": { "ranges": ["10.20.0.0/16"] } },
    }));
    vec![
        case("team", "users", json!({ "ingress": {} }), &open),
        case("team", "projects", json!({ "dependsOn": [{ "name": "users" }] }), &open),
        case(
            "team",
            "search",
            json!({ "networkPolicy": { "allowFrom": [{ "namespace": "shop", "service": "cart" }] } }),
            &open,
        ),
        case("team", "legacy", json!({ "sidecar": { "mode": "Observe" }, "port": 3000 }), &open),
        case("team", "public", json!({ "service": { "type": "LoadBalancer" } }), &open),
        case("team", "anybody", json!({ "networkPolicy": { "enabled": false } }), &open),
        case(
            "shop",
            "cart",
            json!({ "dependsOn": [{ "name": "search", "namespace": "team" }, { "name": "users", "namespace": "team" }] }),
            &open,
        ),
        case("shop", "till", json!({}), &open),
        case(
            "vault",
            "keys",
            json!({ "dependsOn": [{ "name": "audit" }, { "name": "search", "namespace": "team" }] }),
            &closed,
        ),
        case("vault", "audit", json!({}), &closed),
    ]
}

/// From, to, port, and whether they may connect. `namespace/service` is a pod of that service, `namespace/` a pod of
/// nobody's, and an address is outside of the cluster.
const CONNECTIONS: &[(&str, &str, u16, bool)] = &[
    // Who lists it in dependsOn, and nobody else of the namespace.
    ("team/projects", "team/users", 15080, true),
    ("team/search", "team/users", 15080, false),
    ("team/users", "team/projects", 15080, false),
    ("team/", "team/users", 15080, false),
    // Never past the sidecar.
    ("team/projects", "team/users", 8080, false),
    ("team/projects", "team/users", 9090, false),
    // From outside: the controller alone, and only where there is a way in.
    ("ingress-nginx/", "team/users", 15080, true),
    ("ingress-nginx/", "team/projects", 15080, false),
    ("ingress-nginx/", "team/users", 9090, false),
    ("203.0.113.7", "team/users", 15080, false),
    // Metrics: Prometheus and the operator.
    ("monitoring/", "team/users", 9090, true),
    ("visiobook-system/", "team/users", 9090, true),
    ("monitoring/", "team/users", 15080, false),
    ("monitoring/", "vault/audit", 9090, false),
    ("observability/", "vault/audit", 9090, true),
    ("visiobook-system/", "vault/audit", 9090, true),
    // Another namespace: the target says so; depending on someone opens nothing by itself.
    ("shop/cart", "team/search", 15080, true),
    ("shop/cart", "team/users", 15080, false),
    ("shop/till", "team/search", 15080, false),
    ("shop/", "team/search", 15080, false),
    // Beside a sidecar that only observes, requests go to the application.
    ("monitoring/", "team/legacy", 9090, true),
    ("team/projects", "team/legacy", 3000, false),
    // An address from outside is open to all, and so is who keeps nobody out.
    ("203.0.113.7", "team/public", 15080, true),
    ("203.0.113.7", "team/public", 9090, false),
    ("shop/till", "team/anybody", 8080, true),
    // Out: everywhere, unless the environment asks.
    ("team/users", "203.0.113.7", 443, true),
    ("vault/keys", "203.0.113.7", 443, false),
    ("vault/keys", "10.20.1.2", 5432, true),
    ("vault/audit", "10.20.1.2", 5432, true),
    ("vault/keys", "10.21.1.2", 5432, false),
    ("vault/keys", "kube-system/", 53, true),
    ("vault/keys", "kube-system/", 443, false),
    ("vault/keys", "vault/audit", 15080, true),
    ("vault/audit", "vault/keys", 15080, false),
    // It may go out, and the target does not let it in.
    ("vault/keys", "team/search", 15080, false),
    ("vault/keys", "team/users", 15080, false),
];

#[tokio::test]
async fn the_connections_that_exist_are_those_that_somebody_named() {
    let (mut policies, mut labels) = (Vec::new(), BTreeMap::new());
    for case in services() {
        let owner = case.owner();
        for planned in case.plan().objects {
            match planned.kind {
                Kind::NetworkPolicy => policies.push(planned.object),
                Kind::Deployment => {
                    let found = planned.object.pointer("/spec/template/metadata/labels").expect("labels");
                    labels.insert(format!("{}/{}", owner.namespace, owner.name), found.clone());
                }
                _ => {}
            }
        }
    }
    assert_eq!(policies.len(), services().len() - 1, "one policy each, but for who keeps nobody out");
    let cyclonus = tools("cyclonus").await.join("cyclonus");
    let verdicts = judge(&cyclonus, &policies, &labels);
    assert_eq!(verdicts.len(), CONNECTIONS.len());
    let wrong: Vec<_> = CONNECTIONS
        .iter()
        .zip(&verdicts)
        .filter(|((_, _, _, allowed), verdict)| allowed != *verdict)
        .collect();
    assert!(wrong.is_empty(), "judged otherwise: {wrong:#?}");

    // Without the policies everything connects, so it is they that deny.
    assert!(judge(&cyclonus, &[], &labels).into_iter().all(|allowed| allowed));
}

/// Ask cyclonus of every connection.
fn judge(cyclonus: &Path, policies: &[Value], labels: &BTreeMap<String, Value>) -> Vec<bool> {
    let peer = |who: &str| match who.split_once('/') {
        None => json!({ "IP": who }),
        Some((namespace, _)) => json!({ "IP": "192.168.1.1", "Internal": {
            "Namespace": namespace,
            "NamespaceLabels": { "kubernetes.io/metadata.name": namespace },
            "PodLabels": labels.get(who).cloned().unwrap_or_else(|| json!({ "app": "stranger" })),
        } }),
    };
    let traffic = CONNECTIONS.iter().map(|(from, to, port, _)| {
        let protocol = if *port == 53 { "UDP" } else { "TCP" };
        json!({ "Source": peer(from), "Destination": peer(to), "ResolvedPort": port, "Protocol": protocol })
    });
    let folder = tempfile::tempdir().expect("folder");
    let write = |name: &str, value: &Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, value.to_string()).expect("file");
        path
    };
    let list =
        json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList", "items": policies });
    let output = Command::new(cyclonus)
        .args(["analyze", "--mode", "query-traffic", "--policy-path"])
        .arg(write("policies.yaml", &list))
        .arg("--traffic-path")
        .arg(write("traffic.json", &traffic.collect()))
        .output()
        .expect("cyclonus");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let verdicts = text.lines().filter(|line| line.to_uppercase().contains("IS ALLOWED?"));
    verdicts.map(|line| line.to_lowercase().contains("true")).collect()
}
