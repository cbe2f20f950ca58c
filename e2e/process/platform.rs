//! examples/platform as it stands, on real pods: up in order from one apply, under the contract, and right through the
//! outages of its stores.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::Api;
use serde_json::{Value, json};
use visiobook::api::names;
use visiobook::contract::{METRICS_PORT, SIDECAR_PORT};

use crate::support::conformance::conform_at;
use crate::support::exchange::{address, send};
use crate::support::operator::Stage;
use crate::support::{Site, eventually, kubectl, message, try_kubectl};

const SERVICES: [&str; 3] = ["database-service", "user-service", "book-service"];

/// For how long PostgreSQL is down.
const OUTAGE: Duration = Duration::from_secs(10);

/// The documents of a file of the examples.
fn documents(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file);
    serde_saphyr::from_multiple(&std::fs::read_to_string(path).expect("an example")).expect("YAML")
}

/// Apply the example, into the test's own namespace and with the last one first.
async fn apply(site: &Site) {
    let namespace = documents("platform/namespace.yaml").remove(0);
    let label = "pod-security.kubernetes.io/enforce";
    let level = namespace["metadata"]["labels"][label].as_str().expect("a level of security");
    kubectl(&["label", "namespace", &site.namespace, &format!("{label}={level}")], None);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/platform");
    let all = kubectl(&["kustomize", folder.to_str().expect("a path")], None);
    let all: Vec<Value> = serde_saphyr::from_multiple(&all).expect("YAML");
    for mut object in all.into_iter().rev().filter(|object| object["kind"] != "Namespace") {
        object["metadata"]["namespace"] = site.namespace.clone().into();
        site.apply_object(object).await;
    }
}

/// When a condition came true for the first time among the pods of a service.
async fn since(site: &Site, service: &str, type_: &str) -> jiff::Timestamp {
    let conditions = site.pods(service).await.into_iter().flat_map(|pod| pod.status?.conditions);
    let holds = conditions.flatten().filter(|it| it.type_ == type_ && it.status == "True");
    holds.filter_map(|it| it.last_transition_time).map(|time| time.0).min().expect("a condition that holds")
}

/// Each pod of ours, how often it was restarted, and since when it is ready: equal before and after means that none
/// was restarted, replaced, or taken out for a while.
async fn state(site: &Site) -> Vec<String> {
    let mut told = Vec::new();
    for service in SERVICES {
        for pod in site.pods(service).await {
            told.push(format!("{} {}", pod.name_any(), describe(pod)));
        }
    }
    told
}

fn describe(pod: Pod) -> String {
    let status = pod.status.unwrap_or_default();
    let containers = [status.container_statuses, status.init_container_statuses];
    let restarts: i32 =
        containers.into_iter().flatten().flatten().map(|container| container.restart_count).sum();
    let ready = status.conditions.unwrap_or_default().into_iter().find(|it| it.type_ == "Ready");
    let ready = ready.map(|ready| (ready.status, ready.last_transition_time.map(|time| time.0)));
    format!("{restarts} restarts, ready {ready:?}")
}

/// Where a pod of a service takes traffic.
async fn sidecar(site: &Site, service: &str) -> SocketAddr {
    let pod = site.pods(service).await.remove(0);
    let ip = pod.status.and_then(|status| status.pod_ip).and_then(|ip| ip.parse().ok());
    SocketAddr::new(ip.expect("an address"), SIDECAR_PORT)
}

/// What users do through their sidecars.
#[derive(Clone)]
struct Users {
    /// The Service.
    traffic: SocketAddr,
    /// One pod: each sidecar looks at the stores by itself.
    contract: SocketAddr,
}

impl Users {
    async fn register(&self, name: &str) -> std::io::Result<(u16, Value)> {
        let body =
            json!({ "email": format!("{name}@example.com"), "username": name, "password": "correct-horse" });
        send(self.traffic, "POST /api/v1/users", None, body).await
    }

    /// A registered person's token.
    async fn token(&self, name: &str) -> String {
        eventually("a registration", || async {
            let answer = self.register(name).await.map_err(|error| error.to_string())?;
            if [201, 409].contains(&answer.0) { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
        let body = json!({ "email": format!("{name}@example.com"), "password": "correct-horse" });
        let (status, session) =
            send(self.traffic, "POST /api/v1/users/sessions", None, body).await.expect("an answer");
        assert!(status < 300, "{status} {session}");
        session["accessToken"].as_str().expect("a token").to_string()
    }

    async fn read(&self, token: &str) -> (u16, Value) {
        let read = send(self.traffic, "GET /api/v1/users/me", Some(token), Value::Null);
        read.await.expect("an answer, whatever it says")
    }

    /// What a path of the contract's port says.
    async fn told(&self, path: &str) -> (u16, Value) {
        send(self.contract, &format!("GET {path}"), None, Value::Null).await.expect("the sidecar")
    }

    /// Register one person after the other until told to stop: the ids that were acknowledged, and how many were refused.
    async fn write(self, stop: Arc<AtomicBool>) -> (BTreeSet<String>, usize) {
        let (mut acknowledged, mut refused) = (BTreeSet::new(), 0);
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            match self.register(&format!("w-{number}")).await.expect("an answer, whatever it says") {
                (201, user) => drop(acknowledged.insert(user["id"].as_str().expect("an id").to_string())),
                (status, body) => {
                    assert_eq!(status, 503, "{body}");
                    refused += 1;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        (acknowledged, refused)
    }
}

/// End PostgreSQL as a crash does, again whenever it is back, for a while.
fn crash(namespace: String) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        while begun.elapsed() < OUTAGE {
            let ended = ["exec", "-n", &namespace, "postgres-0", "--", "sh", "-c", "kill -QUIT 1"];
            // Most of the time nobody is there to be ended.
            try_kubectl(&ended, None);
            std::thread::sleep(Duration::from_millis(300));
        }
    })
}

/// What the database of users answers, a row a line.
fn sql(namespace: &str, sql: &str) -> Result<String, String> {
    let script = format!("PGPASSWORD=$POSTGRES_PASSWORD psql -h 127.0.0.1 -U visiobook users -Atc \"{sql}\"");
    let (answered, told) =
        try_kubectl(&["exec", "-n", namespace, "postgres-0", "--", "sh", "-c", &script], None);
    if answered { Ok(told) } else { Err(told) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_comes_up_in_order_keeps_the_contract_and_survives_its_stores() {
    let environment = documents("environments/development.yaml").remove(0)["spec"].clone();
    let stage = Stage::governed("platform", environment).await;
    let site = &stage.site;
    let operator = stage.launch(Default::default());
    operator.leads().await;
    apply(site).await;
    let waiting = site
        .until("book-service", "what it waits for", |it| {
            message(it, "DependenciesReady").contains("waiting for")
        })
        .await;
    let said = message(&waiting, "DependenciesReady");
    assert!(said.contains("database-service") || said.contains("user-service"), "{said}");
    for name in SERVICES {
        site.ready(name).await;
    }
    for (first, then) in [(SERVICES[0], SERVICES[1]), (SERVICES[1], SERVICES[2])] {
        let (first, then) = (since(site, first, "Ready").await, since(site, then, names::CONTRACT).await);
        assert!(first <= then, "{first} {then}");
    }

    let users = Users {
        traffic: address(site, "user-service", 80).await,
        contract: SocketAddr::new(sidecar(site, "user-service").await.ip(), METRICS_PORT),
    };
    let token = users.token("ada").await;
    the_registry_knows(site, "user-service").await;
    both_keep_the_contract(site, &token).await;
    // The team's own knows people by the same token, without a line of code.
    let books = address(site, "book-service", 80).await;
    for (token, expected) in [(None, 401), (Some(token.as_str()), 201)] {
        let (status, body) =
            send(books, "POST /api/v1/books", token, json!({ "title": "Nadja" })).await.expect("books");
        assert_eq!(status, expected, "{body}");
    }

    let before = state(site).await;
    redis_goes_and_comes(site, &users, &token).await;
    assert_eq!(state(site).await, before, "without Redis everybody serves");
    postgres_crashes_and_comes(site, &users, &token).await;
    assert_eq!(state(site).await, before, "an outage of the database restarts nobody and takes nobody out");
}

/// A token that the operator has minted for a service.
async fn service_token(site: &Site, service: &str) -> String {
    let secrets: Api<Secret> = Api::namespaced(site.client.clone(), &site.namespace);
    let secret = secrets.get(&format!("{service}-service-token")).await.expect("a token");
    String::from_utf8(secret.data.expect("data")["token"].0.clone()).expect("text")
}

/// It was told the schema of a service, by that service.
async fn the_registry_knows(site: &Site, service: &str) {
    let registry = address(site, "database-service", 80).await;
    let token = service_token(site, service).await;
    eventually("the registry to be told", || async {
        let asked = send(registry, "GET /api/v1/migrations/services", Some(&token), Value::Null).await;
        let (status, body) = asked.map_err(|error| error.to_string())?;
        let known = body["items"].as_array().is_some_and(|items| {
            items.iter().any(|it| it["service"] == service && it["namespace"] == site.namespace.as_str())
        });
        if status == 200 && known { Ok(()) } else { Err(format!("{status} {body}")) }
    })
    .await;
    // Who says nothing of itself learns nothing.
    let (status, _) =
        send(registry, "GET /api/v1/migrations/services", None, Value::Null).await.expect("an answer");
    assert_eq!(status, 401);
}

async fn both_keep_the_contract(site: &Site, person: &str) {
    let of_users = json!({
        "service": "user-service",
        "routes": ["GET /api/v1/users/{id}"],
        "protectedRoute": "GET /api/v1/users/me",
        "dependencies": ["database", "redis", "database-service"],
        "kpis": ["activeUsers", "newRegistrations", "loginAttempts"],
        "shared": true,
    });
    conform_at("user-service", sidecar(site, "user-service").await, of_users, Some(person));
    let of_registry = json!({
        "service": "database-service",
        "routes": ["GET /api/v1/migrations/services/{id}"],
        "protectedRoute": "GET /api/v1/migrations/services",
        "dependencies": ["database", "redis"],
        "kpis": ["registeredServices", "schemaSyncs", "schemaChanges", "schemaFindings"],
        "shared": true,
    });
    let token = service_token(site, "user-service").await;
    conform_at("database-service", sidecar(site, "database-service").await, of_registry, Some(&token));
}

async fn redis_goes_and_comes(site: &Site, users: &Users, token: &str) {
    let scale = |replicas: &str| {
        kubectl(&["scale", "-n", &site.namespace, "deployment/redis", "--replicas", replicas], None)
    };
    scale("0");
    eventually("health to tell of Redis", || async {
        assert_eq!(users.read(token).await.0, 200, "reads do without");
        let (status, health) = users.told("/health").await;
        let gone = status == 503 && health["dependencies"]["redis"] == "unhealthy";
        if gone && health["dependencies"]["database"] == "healthy" { Ok(()) } else { Err(health) }
    })
    .await;
    assert_eq!(users.told("/ready").await.0, 200, "it is no reason not to be ready");
    scale("1");
    healthy(users).await;
}

async fn healthy(users: &Users) {
    eventually("health", || async {
        let (status, health) = users.told("/health").await;
        if status == 200 { Ok(()) } else { Err(health) }
    })
    .await;
}

async fn postgres_crashes_and_comes(site: &Site, users: &Users, token: &str) {
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(users.clone().write(stop.clone()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let outage = crash(site.namespace.clone());
    let mut refused = 0;
    while !outage.is_finished() {
        let (status, body) = users.read(token).await;
        if status != 200 {
            assert_eq!((status, &body["error"]["code"]), (503, &json!(503)), "{body}");
            assert!(body["error"]["correlationId"].is_string(), "{body}");
            refused += 1;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    outage.await.expect("the outage");
    assert!(refused > 0, "there was no outage");
    eventually("PostgreSQL", || async { sql(&site.namespace, "SELECT 1").map(drop) }).await;
    let back = Instant::now();
    eventually("reads", || async {
        let (status, body) = users.read(token).await;
        if status == 200 { Ok(()) } else { Err(body) }
    })
    .await;
    assert!(back.elapsed() < Duration::from_secs(30), "back only after {:?}", back.elapsed());
    healthy(users).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    let (acknowledged, _) = writer.await.expect("the writer");
    assert!(acknowledged.len() > 2, "only {} were written", acknowledged.len());
    let there = sql(&site.namespace, "SELECT id FROM users").expect("rows");
    let there: BTreeSet<&str> = there.lines().collect();
    let lost: Vec<_> = acknowledged.iter().filter(|id| !there.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}
