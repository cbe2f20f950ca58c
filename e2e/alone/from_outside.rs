//! The real Traefik in front of real pods, by Ingress and by HTTPRoute. It takes minutes to build.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use visiobook::api::ReleaseState;
use visiobook::api::names::Colour;

use crate::support::beside::{Beside, Borrowed, free_port};
use crate::support::definitions::Definitions;
use crate::support::operator::Stage;
use crate::support::proxy::Proxy;
use crate::support::{Clients, Site, eventually, kubectl, podinfo, soak, tools, try_kubectl};

/// Clients at once.
const CLIENTS: usize = 8;

/// A release that is reached from outside.
pub(super) fn books(release: usize) -> Value {
    let mut spec = podinfo(release);
    spec["replicas"] = 2.into();
    spec["ingress"] = json!({ "path": "/", "hosts": ["books.visiobook.com"], "tls": { "enabled": false } });
    spec
}

/// Traefik in front of one namespace.
pub(super) struct Edge {
    pub(super) plain: SocketAddr,
    /// With a certificate of its own making.
    pub(super) tls: SocketAddr,
    pub(super) processes: Vec<Beside>,
}

/// Traefik on ports of this machine, for one namespace.
pub(super) async fn traefik(site: &Site) -> Edge {
    let folder = tools("traefik").await;
    let [plain, tls, api] = [free_port(), free_port(), free_port()];
    // Gives it the rights of the tests, without keys of its own.
    let proxy = Beside::start(Path::new("kubectl"), &["proxy".into(), format!("--port={api}")]);
    let mut arguments = vec![
        format!("--entrypoints.web.address=127.0.0.1:{plain}"),
        format!("--entrypoints.secure.address=127.0.0.1:{tls}"),
        "--entrypoints.secure.http.tls=true".to_string(),
        "--log.level=DEBUG".to_string(),
        "--log.filePath=/tmp/traefik.out".to_string(),
    ];
    for provider in ["kubernetesingress", "kubernetesgateway"] {
        arguments.push(format!("--providers.{provider}=true"));
        arguments.push(format!("--providers.{provider}.endpoint=http://127.0.0.1:{api}"));
        arguments.push(format!("--providers.{provider}.namespaces={},default", site.namespace));
    }
    let traefik = Beside::start(&folder.join("traefik"), &arguments);
    let [plain, tls] = [plain, tls].map(|port| ([127, 0, 0, 1], port).into());
    Edge { plain, tls, processes: vec![proxy, traefik] }
}

/// What Traefik and the operator know of, gone when it is dropped.
pub(super) struct Gateways {
    _definitions: Definitions,
    _gateways: Borrowed,
}

impl Gateways {
    pub(super) async fn installed() -> Gateways {
        let crds = tools("traefik").await.with_file_name("crds");
        let gateways =
            Gateways { _definitions: Definitions::installed().await, _gateways: Borrowed::from(&crds).await };
        apply(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": { "name": "traefik" },
            "spec": { "controller": "traefik.io/ingress-controller" },
        }));
        apply(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": { "name": "traefik" },
            "spec": { "controllerName": "traefik.io/gateway-controller" },
        }));
        gateways
    }
}

impl Drop for Gateways {
    fn drop(&mut self) {
        try_kubectl(&["delete", "ingressclass,gatewayclass", "traefik", "--ignore-not-found"], None);
    }
}

/// Wait until a release is complete, and its pods alone are left; the first moves to green.
pub(super) async fn released(site: &Site, release: usize) {
    let colour = if release % 2 == 1 { Colour::Green } else { Colour::Blue };
    site.until("books", "the release to be complete", |service| {
        let rollout = service.status.as_ref().and_then(|status| status.rollout.as_ref());
        rollout.is_some_and(|now| {
            (now.number, now.colour, now.state) == (release as i64, colour, ReleaseState::Stable)
        })
    })
    .await;
}

fn apply(object: Value) {
    kubectl(&["apply", "--server-side", "-f", "-"], Some(&object.to_string()));
}

/// Whether a host answers from outside.
pub(super) async fn answers(host: &str, address: SocketAddr, path: &str) -> Result<(), String> {
    let client = Clients::to(host, address, path, 1);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let (answered, lost) = client.stop().await;
    if answered > 0 && lost.is_empty() { Ok(()) } else { Err(format!("{answered} answers, {lost:?}")) }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "part of `make soak`: builds Traefik"]
async fn t12_releases_behind_traefik_lose_no_request_by_ingress_or_by_route() {
    let _gateways = Gateways::installed().await;
    let ways = [
        ("ingress", json!({ "className": "traefik" })),
        ("route", json!({ "gateway": { "name": "public", "namespace": "default" } })),
    ];
    for (name, mut ingress) in ways {
        ingress["domain"] = "visiobook.com".into();
        let environment = json!({
            "type": "development", "ingress": ingress, "defaults": { "autoscaling": { "enabled": false } },
            "rollout": { "strategy": "BlueGreen", "soakSeconds": 2, "warmSeconds": 4 },
        });
        let stage = Stage::governed(name, environment).await;
        let site = &stage.site;
        let Edge { plain: address, processes: _processes, .. } = traefik(site).await;
        apply(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": { "name": "public", "namespace": "default" },
            "spec": { "gatewayClassName": "traefik", "listeners": [{
                "name": "web", "protocol": "HTTP", "port": address.port(),
                "allowedRoutes": { "namespaces": { "from": "All" } },
            }] },
        }));
        let proxy = Proxy::start().await;
        let operator = stage.operator(&proxy);
        operator.leads().await;
        site.apply("books", books(0)).await;
        site.ready("books").await;
        eventually("the way in", || answers("books.visiobook.com", address, "/version")).await;
        answers("other.visiobook.com", address, "/version").await.expect_err("nobody's host");

        let clients = Clients::to("books.visiobook.com", address, "/version", CLIENTS);
        for release in 1..=if soak() { 20 } else { 2 } {
            site.apply("books", books(release)).await;
            released(site, release).await;
        }
        let (answered, lost) = clients.stop().await;
        assert!(answered > 1000, "{name}: only {answered} answers");
        assert!(lost.is_empty(), "{name}: {} of {answered} were lost, first {:?}", lost.len(), lost.first());
        // What the sidecar keeps to the inside stays there.
        answers("books.visiobook.com", address, "/metrics").await.expect_err("the application's own metrics");
    }
}
