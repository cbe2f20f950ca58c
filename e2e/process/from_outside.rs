//! The real Traefik in front of real pods, by Ingress and by HTTPRoute. It takes minutes to build.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use visiobook::api::ReleaseState;
use visiobook::api::names::Colour;

use crate::support::beside::{Beside, Borrowed, free_port};
use crate::support::definitions::Definitions;
use crate::support::operator::{Stage, alone};
use crate::support::proxy::Proxy;
use crate::support::{Clients, Site, eventually, kubectl, soak, tools};

/// Clients at once.
const CLIENTS: usize = 8;

fn podinfo(release: usize) -> Value {
    json!({
        "image": "docker.io/stefanprodan/podinfo:6.9.2",
        "replicas": 2,
        "env": { "PODINFO_PORT": "8080", "PODINFO_DATA_PATH": "/tmp", "RELEASE": release.to_string() },
        "probes": { "readiness": { "initialDelaySeconds": 0, "periodSeconds": 1 } },
        "ingress": { "path": "/", "hosts": ["books.visiobook.com"], "tls": { "enabled": false } },
    })
}

/// Traefik on a port of this machine, for one namespace.
async fn traefik(site: &Site) -> (Vec<Beside>, SocketAddr) {
    let folder = tools("traefik").await;
    let (port, api) = (free_port(), free_port());
    // Gives it the rights of the tests, without keys of its own.
    let proxy = Beside::start(Path::new("kubectl"), &["proxy".into(), format!("--port={api}")]);
    let mut arguments = vec![
        format!("--entrypoints.web.address=127.0.0.1:{port}"),
        "--log.level=DEBUG".to_string(),
        "--log.filePath=/tmp/traefik.out".to_string(),
    ];
    for provider in ["kubernetesingress", "kubernetesgateway"] {
        arguments.push(format!("--providers.{provider}=true"));
        arguments.push(format!("--providers.{provider}.endpoint=http://127.0.0.1:{api}"));
        arguments.push(format!("--providers.{provider}.namespaces={},default", site.namespace));
    }
    let traefik = Beside::start(&folder.join("traefik"), &arguments);
    (vec![proxy, traefik], ([127, 0, 0, 1], port).into())
}

fn apply(object: Value) {
    kubectl(&["apply", "--server-side", "-f", "-"], Some(&object.to_string()));
}

/// Whether a host answers from outside.
async fn answers(host: &str, address: SocketAddr, path: &str) -> Result<(), String> {
    let client = Clients::to(host, address, path, 1);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let (answered, lost) = client.stop().await;
    if answered > 0 && lost.is_empty() { Ok(()) } else { Err(format!("{answered} answers, {lost:?}")) }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "part of `make soak`: builds Traefik"]
async fn t12_releases_behind_traefik_lose_no_request_by_ingress_or_by_route() {
    let alone = alone().await;
    let crds = tools("traefik").await.with_file_name("crds");
    let _definitions = Definitions::installed().await;
    let _gateways = Borrowed::from(&crds).await;
    apply(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": { "name": "traefik" },
        "spec": { "controller": "traefik.io/ingress-controller" },
    }));
    apply(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": { "name": "traefik" },
        "spec": { "controllerName": "traefik.io/gateway-controller" },
    }));
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
        let stage = Stage::governed(&alone, name, environment).await;
        let site = &stage.site;
        let (_processes, address) = traefik(site).await;
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
        site.apply("books", podinfo(0)).await;
        site.ready("books").await;
        eventually("the way in", || answers("books.visiobook.com", address, "/version")).await;
        answers("other.visiobook.com", address, "/version").await.expect_err("nobody's host");

        let clients = Clients::to("books.visiobook.com", address, "/version", CLIENTS);
        let mut colour = Colour::Blue;
        for release in 1..=if soak() { 20 } else { 2 } {
            site.apply("books", podinfo(release)).await;
            colour = colour.other();
            site.until("books", "the release to be complete", |service| {
                let rollout = service.status.as_ref().and_then(|status| status.rollout.as_ref());
                rollout.is_some_and(|now| {
                    (now.number, now.colour, now.state) == (release as i64, colour, ReleaseState::Stable)
                })
            })
            .await;
        }
        let (answered, lost) = clients.stop().await;
        assert!(answered > 1000, "{name}: only {answered} answers");
        assert!(lost.is_empty(), "{name}: {} of {answered} were lost, first {:?}", lost.len(), lost.first());
        // What the sidecar keeps to the inside stays there.
        answers("books.visiobook.com", address, "/metrics").await.expect_err("the application's own metrics");
    }
    kubectl(&["delete", "ingressclass,gatewayclass", "traefik", "--ignore-not-found"], None);
}
