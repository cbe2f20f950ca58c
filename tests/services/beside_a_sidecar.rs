//! Users behind the sidecar, as they run in a pod: the contract as a whole.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

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

async fn sidecar(platform: &Platform, service: &Running) -> Sidecar {
    let keys = tempfile::tempdir().unwrap();
    std::fs::write(keys.path().join("current"), SECRET).unwrap();
    let (port, contract_port) = (free_port(), free_port());
    let settings = json!({
        "service": "users",
        "serviceVersion": "1.2.3",
        "port": port,
        "contractPort": contract_port,
        "application": { "port": service.address.port(), "metricsPath": "/metrics" },
        "routes": ["/api/v1/users/{id}"],
        "auth": {
            "keysFolder": keys.path(),
            "publicRoutes": ["POST /api/v1/users", "POST /api/v1/users/sessions", "PUT /api/v1/users/sessions", "/api/docs", "/api/openapi.json"],
        },
        "dependencies": [
            { "name": "database", "kind": "Postgres", "variable": "DATABASE_URL" },
            { "name": "redis", "kind": "Redis", "variable": "REDIS_URL" },
        ],
        "kpis": { "activeUsers": "active_users", "newRegistrations": "new_registrations", "loginAttempts": "login_attempts" },
    });
    let child = Command::new(env!("CARGO_BIN_EXE_visiobook"))
        .arg("sidecar")
        .env("VISIOBOOK_SIDECAR", settings.to_string())
        .env("DATABASE_URL", platform.postgres.url())
        .env("REDIS_URL", platform.redis.as_ref().unwrap().url())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let sidecar = Sidecar { child, port, contract_port, _keys: keys };
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = service.at(contract_port).get("/ready").try_send().await;
        if answer.is_ok_and(|answer| answer.status == 200) {
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
    let sidecar = sidecar(&platform, &service).await;
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

    let spec = tempfile::NamedTempFile::new().unwrap();
    let told = json!({
        "service": "users",
        "version": "1.2.3",
        "routes": ["GET /api/v1/users/{id}"],
        "protectedRoute": "GET /api/v1/users/me",
        "dependencies": ["database", "redis"],
        "kpis": ["activeUsers", "newRegistrations", "loginAttempts"],
    });
    // JSON is YAML.
    std::fs::write(spec.path(), told.to_string()).unwrap();
    let conformance = Command::new(env!("CARGO_BIN_EXE_visiobook"))
        .args(["conformance", "--url", &front.url(""), "--contract-url", &contract.url("")])
        .arg("--spec")
        .arg(spec.path())
        .env("CONFORMANCE_TOKEN", &person.token)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&conformance.stdout).into_owned();
    assert!(conformance.status.success(), "{told}\n{}", String::from_utf8_lossy(&conformance.stderr));
}
