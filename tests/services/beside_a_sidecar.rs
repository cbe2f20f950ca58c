//! Services behind the sidecar, as they run in a pod: the contract as a whole.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::issuer::{self, Issuer};
use super::registry::{SYNC, registry, told};
use super::support::{Platform, Running, SECRET};

struct Sidecar {
    child: Child,
    port: u16,
    contract_port: u16,
    _keys: tempfile::TempDir,
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A sidecar in front of a service, with what `settings` say beside what every one here has.
async fn sidecar(platform: &Platform, service: &Running, public: &[&str], settings: Value) -> Sidecar {
    let keys = tempfile::tempdir().unwrap();
    std::fs::write(keys.path().join("current"), SECRET).unwrap();
    let (port, contract_port) = (free_port(), free_port());
    let public = [&["/api/docs", "/api/openapi.json"], public].concat();
    let mut document = json!({
        "serviceVersion": "1.2.3",
        "port": port,
        "contractPort": contract_port,
        "application": { "port": service.address.port(), "metricsPath": "/metrics" },
        "auth": { "keysFolder": keys.path(), "publicRoutes": public },
        "dependencies": [
            { "name": "database", "kind": "Postgres", "variable": "DATABASE_URL" },
            { "name": "redis", "kind": "Redis", "variable": "REDIS_URL" },
        ],
    });
    for (name, value) in settings.as_object().unwrap() {
        document[name] = value.clone();
    }
    let child = Command::new(env!("CARGO_BIN_EXE_visiobook"))
        .arg("sidecar")
        .env("VISIOBOOK_SIDECAR", document.to_string())
        .env("DATABASE_URL", platform.postgres.url())
        .env("REDIS_URL", platform.redis.as_ref().unwrap().url())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let sidecar = Sidecar { child, port, contract_port, _keys: keys };
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let front = service.at(contract_port);
        // It is ready without Redis, and healthy once it has asked both.
        let answers = tokio::join!(front.get("/ready").try_send(), front.get("/health").try_send());
        if [answers.0, answers.1].into_iter().all(|answer| answer.is_ok_and(|answer| answer.status == 200)) {
            return sidecar;
        }
        assert!(Instant::now() < deadline, "the sidecar is not ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_behind_the_sidecar_keep_the_contract() {
    let platform = Platform::new();
    let service = platform.start().await;
    service.until_ready().await;
    let settings = json!({
        "service": "users",
        "routes": ["/api/v1/users/{id}"],
        "kpis": { "activeUsers": "active_users", "newRegistrations": "new_registrations", "loginAttempts": "login_attempts" },
    });
    let public = ["POST /api/v1/users", "POST /api/v1/users/sessions", "PUT /api/v1/users/sessions"];
    let sidecar = sidecar(&platform, &service, &public, settings).await;
    let front = service.at(sidecar.port);
    let person = front.somebody().await;
    let user = front.get(&person.path()).by(&person).send().await;
    assert!(user.headers.contains_key("x-process-time"));
    user.expect(200);
    front.get(&person.path()).send().await.refuses(401, "Authorization header required");
    front.get("/metrics").send().await.expect(404);

    let contract = service.at(sidecar.contract_port);
    let text = contract.get("/metrics").send().await.expect(200);
    let text = text.as_str().unwrap();
    for name in [
        "http_requests_total",
        "db_query_duration_seconds_bucket",
        "new_registrations 1",
        "db_connections_active",
    ] {
        assert!(text.contains(name), "{name}");
    }
    let collisions = text.lines().find(|line| line.contains("collision") && !line.starts_with('#'));
    assert!(collisions.is_none_or(|line| line.ends_with(" 0")), "{collisions:?}");
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let kpis = contract.get("/kpis").send().await.expect(200);
        if kpis["businessMetrics"]["newRegistrations"] == 1.0 {
            break;
        }
        assert!(Instant::now() < deadline, "{kpis}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    let told = json!({
        "service": "users",
        "version": "1.2.3",
        "routes": ["GET /api/v1/users/{id}"],
        "protectedRoute": "GET /api/v1/users/me",
        "dependencies": ["database", "redis"],
        "kpis": ["activeUsers", "newRegistrations", "loginAttempts"],
    });
    conform(&front, &contract, told, &person.token);
}

/// What `visiobook conformance` says of a service behind its sidecar: nothing is wrong.
fn conform(front: &Running, contract: &Running, spec: Value, token: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    // JSON is YAML.
    std::fs::write(file.path(), spec.to_string()).unwrap();
    let conformance = Command::new(env!("CARGO_BIN_EXE_visiobook"))
        .args(["conformance", "--url", &front.url(""), "--contract-url", &contract.url("")])
        .arg("--spec")
        .arg(file.path())
        .env("CONFORMANCE_TOKEN", token)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&conformance.stdout).into_owned();
    assert!(conformance.status.success(), "{told}\n{}", String::from_utf8_lossy(&conformance.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_behind_the_sidecar_keeps_the_contract_and_both_verify_who_tells() {
    let (platform, issuer, service) = registry().await;
    let settings = json!({
        "service": "database",
        "routes": ["/api/v1/migrations/services/{id}"],
        "serviceTokens": { "keysFolder": issuer.keys(), "namespace": "shop" },
        "kpis": { "registeredServices": "registered_services", "schemaSyncs": "schema_syncs" },
    });
    let sidecar = sidecar(&platform, &service, &[], settings).await;
    let (front, contract) = (service.at(sidecar.port), service.at(sidecar.contract_port));
    let token = issuer.token("shop", "books");
    let tell =
        |token: &str| front.post(SYNC, told("books", &[("books", "id", "uuid")])).bearing(token).send();
    let first = tell(&token).await.expect(201);
    tell(&Issuer::new().token("shop", "books")).await.refuses(401, "Invalid token");
    front.post(SYNC, json!({})).send().await.refuses(401, "Authorization header required");
    // What a sidecar says of a caller is nothing to the registry, which was reached past it.
    let forged = service.post(SYNC, told("books", &[])).header("x-user-id", "service/shop/books");
    forged.header("x-user-role", "service").send().await.refuses(401, "Authorization header required");
    let path = format!("/api/v1/migrations/services/{}", first["id"].as_str().unwrap());
    front.get(&path).bearing(&issuer::person("moderator")).send().await.expect(200);
    let spec = json!({
        "service": "database",
        "version": "1.2.3",
        "routes": ["GET /api/v1/migrations/services/{id}"],
        "protectedRoute": "GET /api/v1/migrations/services",
        "dependencies": ["database", "redis"],
        "kpis": ["registeredServices", "schemaSyncs"],
    });
    conform(&front, &contract, spec, &token);
}
