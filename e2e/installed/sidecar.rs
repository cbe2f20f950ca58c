//! The sidecar in real pods, before applications that know nothing of it.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use visiobook::api::kinds::Kind;

use crate::support::conformance::conform;
use crate::support::exchange::address;
use crate::support::{Clients, Site, kubectl, run, soak, try_kubectl};

/// An example application, with the routes that it has.
fn example(language: &str) -> Value {
    json!({
        "image": format!("docker.io/visiobook/example-{language}:1.0.0"),
        "replicas": 1,
        "sidecar": {
            "routes": ["/api/v1/books", "/api/v1/books/{id}", "/api/v1/slow", "/api/v1/events", "/api/v1/fail", "/api/v1/echo"],
            "errors": { "envelope": true, "mask": true },
            "cors": { "origins": ["https://app.visiobook.com"] },
        },
    })
}

fn podinfo() -> Value {
    json!({
        "image": "docker.io/stefanprodan/podinfo:6.9.2",
        "replicas": 1,
        "env": { "PODINFO_PORT": "8080", "PODINFO_DATA_PATH": "/tmp" },
        "sidecar": { "routes": ["/api/info", "/version"], "errors": { "envelope": true } },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn four_applications_without_the_guidelines_code_conform_to_the_contract() {
    let site = Site::new("conform", json!({ "type": "development" })).await;
    let languages = ["node", "python", "go"];
    for language in languages {
        site.apply(language, example(language)).await;
    }
    site.apply("podinfo", podinfo()).await;
    for language in languages {
        site.ready(language).await;
        let spec = json!({
            "service": language,
            "routes": ["GET /api/v1/books", "GET /api/v1/books/{id}"],
            "corsOrigins": ["https://app.visiobook.com"],
        });
        conform(&site, language, spec, None).await;
    }
    site.ready("podinfo").await;
    conform(&site, "podinfo", json!({ "service": "podinfo", "routes": ["GET /api/info"] }), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_at_rolling_updates() {
    let site = Site::new("rolling", json!({ "type": "development" })).await;
    // One that dies at SIGTERM, and one that takes its time.
    let wanted: u64 = if soak() { 50_000 } else { 5_000 };
    for (name, path, mut spec) in
        [("node", "/api/v1/books", example("node")), ("podinfo", "/version", podinfo())]
    {
        spec["replicas"] = json!(2);
        site.apply(name, spec.clone()).await;
        site.ready(name).await;
        let clients = Clients::start(address(&site, name, 80).await, path, 16);
        let (started, mut updates) = (Instant::now(), 0);
        while clients.answered() < wanted || updates < 2 {
            updates += 1;
            spec["env"]["UPDATE"] = json!(updates.to_string());
            site.apply(name, spec.clone()).await;
            site.until(name, "the update", |service| {
                let revision = service.status.as_ref().and_then(|status| status.active_revision.clone());
                revision.is_some()
                    && crate::support::observed(service)
                    && crate::support::is(service, "Ready", "True")
                    && crate::support::is(service, "Reconciling", "False")
            })
            .await;
            // The pods of the old revision are still draining.
            wait_for_pods(&site, name, 2).await;
            assert!(started.elapsed() < Duration::from_secs(1800), "too slow");
        }
        let (answered, lost) = clients.stop().await;
        println!("{name}: {answered} answered through {updates} updates, {} lost", lost.len());
        assert!(
            lost.is_empty(),
            "{name}: {} of {answered} lost: {:?}",
            lost.len(),
            &lost[..lost.len().min(10)]
        );
    }
}

/// Wait until there are so many pods and no more.
async fn wait_for_pods(site: &Site, name: &str, count: usize) {
    let selector = format!("app.kubernetes.io/name={name}");
    let started = Instant::now();
    loop {
        let pods = kubectl(&["get", "pods", "-n", &site.namespace, "-l", &selector, "-o", "name"], None);
        if pods.lines().count() == count {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{pods}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_runs_restricted_and_starts_before_the_application() {
    let site = Site::new("restricted", json!({ "type": "development" })).await;
    kubectl(&["label", "namespace", &site.namespace, "pod-security.kubernetes.io/enforce=restricted"], None);
    site.apply("go", example("go")).await;
    site.ready("go").await;
    let pods = kubectl(&["get", "pods", "-n", &site.namespace, "-o", "json"], None);
    let pods: Value = serde_json::from_str(&pods).expect("json");
    let pod = &pods["items"][0];
    let sidecar = &pod["spec"]["initContainers"][0];
    assert_eq!((&sidecar["name"], &sidecar["restartPolicy"]), (&json!("sidecar"), &json!("Always")));
    for probe in ["startupProbe", "readinessProbe"] {
        assert!(sidecar[probe].is_null(), "a {probe} of the sidecar would count for the pod (T18)");
    }
    let started =
        |status: &Value| status["state"]["running"]["startedAt"].as_str().expect("running").to_string();
    let first = started(&pod["status"]["initContainerStatuses"][0]);
    let second = started(&pod["status"]["containerStatuses"][0]);
    assert!(first <= second, "{first} {second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_dies_comes_back_and_takes_no_application_with_it() {
    let site = Site::new("dies", json!({ "type": "development" })).await;
    site.apply("go", example("go")).await;
    site.ready("go").await;
    let address = address(&site, "go", 80).await;
    let clients = Clients::start(address, "/api/v1/books", 1);
    let pod = kubectl(&["get", "pods", "-n", &site.namespace, "-o", "name"], None).trim().to_string();
    // The container has no shell: the kubelet's checkpoint of a crash is an exec that ends the process.
    // It may end before the exec has told how it went.
    let _ = try_kubectl(
        &["exec", "-n", &site.namespace, &pod, "-c", "sidecar", "--", "/visiobook", "sidecar", "drain"],
        None,
    );
    drop(clients.stop().await);
    let restarts = || {
        let text = kubectl(&["get", "-n", &site.namespace, &pod, "-o", "json"], None);
        let pod: Value = serde_json::from_str(&text).expect("json");
        (
            pod["status"]["initContainerStatuses"][0]["restartCount"].as_u64().expect("restarts"),
            pod["status"]["containerStatuses"][0]["restartCount"].as_u64().expect("restarts"),
        )
    };
    let started = Instant::now();
    // A drained sidecar ends, and the kubelet starts it anew (T17).
    while restarts().0 == 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "the sidecar did not come back");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let clients = Clients::start(address, "/api/v1/books", 1);
    while clients.answered() < 10 {
        assert!(started.elapsed() < Duration::from_secs(90), "no answer after the restart");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(clients.stop().await);
    assert_eq!(restarts().1, 0, "the application went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_gets_no_requests_and_is_watched_all_the_same() {
    let site = Site::new("worker", json!({ "type": "development" })).await;
    // Its image listens on a port, of which nobody is told.
    site.apply("thumbnails", json!({ "image": crate::support::STANDIN, "service": { "enabled": false } }))
        .await;
    site.ready("thumbnails").await;
    let service = site.child(Kind::Service, "thumbnails").await.expect("Service");
    let ports: Vec<_> =
        service["spec"]["ports"].as_array().expect("ports").iter().map(|port| &port["name"]).collect();
    assert_eq!(ports, ["metrics"]);
    let contract = address(&site, "thumbnails", 9090).await;
    let client = Clients::start(contract, "/health", 1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (answered, lost) = client.stop().await;
    assert!(answered > 0 && lost.is_empty(), "{lost:?}");
    let http = std::net::SocketAddr::new(contract.ip(), 80);
    let refused = tokio::time::timeout(Duration::from_secs(2), tokio::net::TcpStream::connect(http)).await;
    assert!(!matches!(refused, Ok(Ok(_))), "nothing listens for requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_site_has_routes_of_its_own_and_the_headers_of_the_contract() {
    let site = Site::new("site", json!({ "type": "development" })).await;
    let spec =
        json!({ "stack": "vue", "profile": "frontend", "image": "docker.io/visiobook/example-site:1.0.0" });
    site.apply("web-user-portal", spec).await;
    site.ready("web-user-portal").await;
    let traffic = address(&site, "web-user-portal", 80).await;
    for (path, status, wanted) in [
        (
            "/",
            200,
            vec!["content-type: text/html", "content-security-policy: default-src 'self'", "id=\"app\""],
        ),
        ("/projects/7/edit", 200, vec!["content-type: text/html", "x-frame-options: deny", "id=\"app\""]),
        (
            "/assets/app.js",
            200,
            vec!["content-type: text/javascript", "etag:", "cache-control: public", "location.pathname"],
        ),
        ("/assets/gone.js", 404, vec!["x-correlation-id:"]),
    ] {
        let url = format!("http://{traffic}{path}");
        let answer =
            run(Command::new("curl").args(["--silent", "--show-error", "--include", &url])).to_lowercase();
        assert!(answer.starts_with(&format!("http/1.1 {status}")), "{path}: {answer}");
        for part in wanted {
            assert!(answer.contains(part), "{path} without {part}: {answer}");
        }
    }
}
