use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};

use super::*;

fn report(settings: Value, draining: &Arc<AtomicBool>) -> Arc<Report> {
    let mut with = json!({ "service": "books", "serviceVersion": "1.2.3" });
    with.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let variables = with["variables"].take();
    with.as_object_mut().unwrap().remove("variables");
    let settings: Settings = serde_json::from_value(with).unwrap();
    let lookup = |name: &str| variables[name].as_str().map(str::to_owned);
    Arc::new(Report::new(&settings, Registry::new(), Arc::default(), draining.clone(), &lookup).unwrap())
}

fn parts(response: Response<Bytes>) -> (u16, Value) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    assert_eq!(response.headers()[CONTENT_LENGTH], response.body().len().to_string());
    (status, serde_json::from_slice(response.body()).unwrap())
}

async fn asked(report: &Report, path: &str) -> (u16, Value) {
    parts(report.answer(&Method::GET, path, "c-1").await)
}

async fn until(report: &Report, path: &str, status: u16) -> Value {
    for _ in 0..400 {
        let (now, body) = asked(report, path).await;
        if now == status {
            return body;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{path}: {:?}", asked(report, path).await);
}

async fn serve(application: Router) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, application).await });
    port
}

fn assert_is_utc(timestamp: &Value) {
    let text = timestamp.as_str().unwrap();
    assert!(text.ends_with('Z') && text.parse::<Timestamp>().is_ok(), "{text}");
}

#[tokio::test]
async fn a_service_that_depends_on_nothing_is_healthy_and_ready_once_it_answers() {
    let port = serve(Router::new()).await;
    let report = report(json!({ "application": { "port": port } }), &Arc::default());
    let (status, body) = asked(&report, "/alive").await;
    assert_eq!((status, &body["status"]), (503, &json!("not_alive")));
    assert_eq!(body["error"], format!("the application has not answered on port {port} yet"));
    assert_eq!(asked(&report, "/ready").await.0, 503);

    let looking = tokio::spawn({
        let report = report.clone();
        async move { report.run().await }
    });
    let alive = until(&report, "/alive", 200).await;
    assert_eq!(alive["status"], "alive");
    let (status, mut body) = asked(&report, "/health").await;
    assert_is_utc(&body["timestamp"]);
    assert!(body["uptime"].as_f64().is_some_and(|uptime| uptime > 0.0));
    (body["timestamp"], body["uptime"]) = (json!(null), json!(null));
    let expected = json!({
        "status": "healthy", "timestamp": null, "service": "books", "version": "1.2.3", "uptime": null,
        "dependencies": { "external_services": {} },
    });
    assert_eq!((status, body), (200, expected));
    let (status, mut body) = asked(&report, "/ready").await;
    assert_is_utc(&body["timestamp"].take());
    let checks = json!({ "database_migrations": true, "external_dependencies": true, "configuration": true });
    assert_eq!((status, body), (200, json!({ "status": "ready", "timestamp": null, "checks": checks })));
    looking.abort();
}

#[tokio::test]
async fn other_services_are_shown_and_only_critical_ones_hold_readiness_up() {
    let well = serve(Router::new().route("/health", get(async || "{}"))).await;
    let ill = serve(Router::new().route("/health", get(async || StatusCode::SERVICE_UNAVAILABLE))).await;
    let critical = |is_critical: bool| {
        json!({
            "application": { "port": well },
            "dependencies": [
                { "name": "well", "kind": "Service", "variable": "WELL_URL", "critical": true },
                { "name": "ill", "kind": "Service", "variable": "ILL_URL", "critical": is_critical },
                { "name": "unset", "kind": "Service", "variable": "UNSET_URL", "critical": true },
                { "name": "books", "kind": "Service", "variable": "ILL_URL", "critical": true },
            ],
            "variables": {
                "WELL_URL": format!("http://127.0.0.1:{well}"), "ILL_URL": format!("http://127.0.0.1:{ill}/"),
            },
        })
    };
    for (is_critical, ready) in [(false, 200), (true, 503)] {
        let report = report(critical(is_critical), &Arc::default());
        let before = asked(&report, "/ready").await;
        assert_eq!(before.1["checks"]["external_dependencies"], false);
        let looking = tokio::spawn({
            let report = report.clone();
            async move { report.run().await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let health = until(&report, "/health", 200).await;
        let shown = json!({ "external_services": { "well": "healthy", "ill": "unhealthy" } });
        assert_eq!(health["dependencies"], shown);
        assert_eq!(health["error"], json!(null));
        let body = until(&report, "/ready", ready).await;
        assert_eq!(body["checks"]["external_dependencies"], !is_critical);
        if is_critical {
            assert_eq!(body["error"], "ill: GET /health answered 503");
        }
        looking.abort();
    }
}

#[tokio::test]
async fn a_store_that_fails_makes_the_service_unhealthy_and_no_answer_waits_for_it() {
    // It takes connections and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let port = serve(Router::new()).await;
    let report = report(
        json!({
            "application": { "port": port },
            "dependencies": [
                { "name": "database", "kind": "Postgres", "variable": "DATABASE_URL", "timeoutSeconds": 0.3 },
                { "name": "redis", "kind": "Redis", "variable": "REDIS_URL", "timeoutSeconds": 0.3 },
            ],
            "migrations": "Prisma",
            "variables": {
                "DATABASE_URL": format!("postgres://u:hush@{address}/books"),
                "REDIS_URL": format!("redis://:hush@{address}"),
            },
        }),
        &Arc::default(),
    );
    let looking = tokio::spawn({
        let report = report.clone();
        async move { report.run().await }
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    let started = Instant::now();
    let (status, body) = asked(&report, "/health").await;
    let (ready, not_ready) = asked(&report, "/ready").await;
    let (alive, _) = asked(&report, "/alive").await;
    assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
    assert_eq!((status, ready, alive), (503, 503, 200));
    assert_eq!(body["status"], "unhealthy");
    assert_eq!(
        body["dependencies"],
        json!({ "database": "unhealthy", "redis": "unhealthy", "external_services": {} })
    );
    assert_eq!(body["error"], "database: no answer within 0.3 s; redis: no answer within 0.3 s");
    assert_eq!(not_ready["checks"]["database_migrations"], false);
    assert_eq!(not_ready["error"], "migrations: database does not answer");
    looking.abort();
}

#[tokio::test]
async fn a_dead_application_is_unhealthy_and_says_so() {
    let report = report(json!({ "application": { "port": 1 } }), &Arc::default());
    let looking = tokio::spawn({
        let report = report.clone();
        async move { report.run().await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    for path in ["/alive", "/health", "/ready"] {
        let (status, body) = asked(&report, path).await;
        assert_eq!(status, 503, "{path}");
        let error = body["error"].as_str().unwrap();
        assert!(error.starts_with("the application does not take connections on port 1"), "{path}: {error}");
    }
    assert!(!report.is_alive());
    looking.abort();
}

#[tokio::test]
async fn metrics_tell_whether_the_application_answers() {
    let port = serve(Router::new().route("/", get(|| async { "here" }))).await;
    for (port, told) in [(port, "visiobook_application_up 1"), (1, "visiobook_application_up 0")] {
        let report = report(json!({ "application": { "port": port } }), &Arc::default());
        let metrics = async || {
            let text = report.answer(&Method::GET, "/metrics", "c-1").await.into_body();
            String::from_utf8(text.to_vec()).unwrap()
        };
        // Nothing is told before anybody has looked.
        assert!(!metrics().await.contains("visiobook_application_up "));
        let looking = tokio::spawn({
            let report = report.clone();
            async move { report.run().await }
        });
        let mut text = String::new();
        for _ in 0..400 {
            text = metrics().await;
            if text.lines().any(|line| line == told) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(text.lines().any(|line| line == told), "no {told} in\n{text}");
        looking.abort();
    }
}

#[tokio::test]
async fn missing_configuration_is_named() {
    let report = report(
        json!({ "configuration": ["SERVICE_NAME", "DATABASE_URL"], "variables": { "SERVICE_NAME": "books" } }),
        &Arc::default(),
    );
    let (status, body) = asked(&report, "/ready").await;
    assert_eq!((status, &body["checks"]["configuration"]), (503, &json!(false)));
    let error = body["error"].as_str().unwrap();
    assert!(error.contains("Missing required environment variable(s): DATABASE_URL"), "{error}");
}

#[tokio::test]
async fn migrations_without_a_database_are_never_done() {
    let report = report(json!({ "migrations": "Alembic" }), &Arc::default());
    let (_, body) = asked(&report, "/ready").await;
    assert_eq!(body["checks"]["database_migrations"], false);
    assert!(body["error"].as_str().unwrap().contains("there is no database to look at"));
}

#[tokio::test]
async fn a_pod_that_leaves_is_not_ready_at_once() {
    let draining = Arc::new(AtomicBool::new(false));
    let report = report(json!({}), &draining);
    draining.store(true, Ordering::Relaxed);
    let (status, mut body) = asked(&report, "/ready").await;
    assert_is_utc(&body["timestamp"].take());
    assert_eq!(
        (status, body),
        (503, json!({ "status": "not_ready", "timestamp": null, "error": "draining" }))
    );
}

#[tokio::test]
async fn kpis_are_those_of_the_requests() {
    let kpis: Arc<Collector> = Arc::default();
    let settings: Settings = serde_json::from_value(json!({ "service": "books" })).unwrap();
    let report = Report::new(&settings, Registry::new(), kpis.clone(), Arc::default(), &|_| None).unwrap();
    kpis.record(10.0, 200);
    kpis.record(30.0, 500);
    let (status, body) = asked(&report, "/kpis").await;
    assert_eq!((status, &body["averageResponseTime"], &body["errorRate"]), (200, &json!(20.0), &json!(50.0)));
    assert_eq!((&body["uptime"], &body["cpuUsage"]), (&json!(100.0), &json!(null)));
    assert!(body["diskUsage"].is_number());
    assert_eq!(body["businessMetrics"], json!({}));
}

#[tokio::test]
async fn head_is_get_without_a_body_and_nothing_else_is_answered() {
    let report = report(json!({}), &Arc::default());
    for path in ["/alive", "/health", "/ready", "/kpis", "/metrics"] {
        let get = report.answer(&Method::GET, path, "c-1").await;
        let head = report.answer(&Method::HEAD, path, "c-1").await;
        assert_eq!(head.status(), get.status(), "{path}");
        assert!(head.body().is_empty() && !get.body().is_empty());
        assert!(head.headers()[CONTENT_LENGTH] != "0");
        assert_eq!(head.headers()[CONTENT_TYPE], get.headers()[CONTENT_TYPE]);
        let (status, body) = parts(report.answer(&Method::POST, path, "c-1").await);
        assert_eq!((status, &body["error"]["type"]), (405, &json!("METHOD_NOT_ALLOWED")), "{path}");
        assert_eq!(body["error"]["correlationId"], "c-1");
    }
    let metrics = report.answer(&Method::GET, "/metrics", "c-1").await;
    assert_eq!(metrics.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    for path in ["/", "/health/", "/HEALTH", "/api/v1/books"] {
        let (status, body) = parts(report.answer(&Method::GET, path, "c-1").await);
        assert_eq!((status, &body["error"]["code"]), (404, &json!(404)), "{path}");
    }
}

#[test]
fn peers_are_answered_about_health_and_not_about_figures() {
    let report = report(json!({}), &Arc::default());
    let status = |method: &Method, path: &str| {
        report.answer_peer(method, path, "c-1").map(|response| response.status().as_u16())
    };
    assert_eq!((status(&Method::GET, "/health"), status(&Method::HEAD, "/ready")), (Some(503), Some(503)));
    assert_eq!((status(&Method::GET, "/metrics"), status(&Method::GET, "/kpis")), (Some(404), Some(404)));
    assert_eq!(status(&Method::DELETE, "/health"), Some(405));
    assert_eq!((status(&Method::GET, "/alive"), status(&Method::GET, "/api/v1/books")), (None, None));
}
