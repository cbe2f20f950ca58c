//! Load that k6 makes, over every way to a service, while it is released. k6 and Traefik take minutes to build.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::from_outside::{Edge, Gateways, books, released, traefik};
use crate::support::exchange::address;
use crate::support::operator::Stage;
use crate::support::proxy::Proxy;
use crate::support::{eventually, soak, tools};

const HOST: &str = "books.visiobook.com";

/// What one way to the service came to; its names are those of `k6.js`.
#[derive(Debug, Deserialize)]
struct Scenario {
    answered: u64,
    lost: u64,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "part of `make soak`: builds k6 and Traefik"]
async fn t12_releases_under_the_load_of_k6_lose_nothing_over_any_way() {
    let k6 = tools("k6").await.join("k6");
    let _gateways = Gateways::installed().await;
    let environment = json!({
        "type": "development", "ingress": { "className": "traefik", "domain": "visiobook.com" },
        "defaults": { "autoscaling": { "enabled": false } },
        "rollout": { "strategy": "BlueGreen", "soakSeconds": 2, "warmSeconds": 4 },
    });
    let stage = Stage::governed("k6", environment).await;
    let site = &stage.site;
    let Edge { plain, tls, processes: _processes } = traefik(site).await;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("books", books(0)).await;
    site.ready("books").await;
    let cluster = address(site, "books", 80).await;
    eventually("the way in", || super::from_outside::answers(HOST, plain, "/version")).await;

    let seconds = if soak() { 600 } else { 60 };
    let mut command = Command::new(k6);
    command
        .args(["run", "--quiet", "--no-color", "--no-usage-report", "--address", ""])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/alone/k6.js"))
        .env("SECONDS", seconds.to_string())
        .env("CLUSTER", cluster.to_string())
        .env("PLAIN", format!("{HOST}:{}", plain.port()))
        .env("TLS", format!("{HOST}:{}", tls.port()));
    let load = tokio::task::spawn_blocking(move || command.output().expect("k6"));
    let mut releases = 0;
    // The last one ends while requests still come.
    let enough = tokio::time::Instant::now() + Duration::from_secs(seconds) / 2;
    while releases == 0 || tokio::time::Instant::now() < enough {
        releases += 1;
        site.apply("books", books(releases)).await;
        released(site, releases).await;
    }
    assert!(!load.is_finished(), "the load ended before {releases} releases did");
    let output = load.await.expect("k6");
    let (told, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let ways: BTreeMap<String, Scenario> =
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}\n{complained}"));
    println!("{releases} releases: {ways:#?}");
    let first: Vec<&str> = complained.lines().take(10).collect();
    assert_eq!(ways.len(), 9, "{told}");
    for (way, Scenario { answered, lost }) in &ways {
        assert_eq!(*lost, 0, "{way}: {lost} of {} were lost: {first:#?}", answered + lost);
        assert!(*answered > 20, "{way}: only {answered} answers");
    }
    assert!(output.status.success(), "{complained}");
}
