//! What every service owes, seen on users: health, readiness, metrics, KPIs, envelopes, documents.

use http::Method;
use serde_json::{Value, json};

use super::registry::registry;
use super::support::{PASSWORD, Platform, Running};

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_suite_passes() {
    let platform = Platform::new();
    let service = platform.start().await;
    service.until_ready().await;
    // C31, in the order of the guidelines.
    let body = json!({ "email": "contract@example.com", "username": "contractuser", "password": PASSWORD });
    let answer = service.post("/api/v1/users", body).send().await;
    assert_eq!(answer.headers["etag"], "\"1\"");
    let user = answer.expect(201);
    assert_eq!((&user["email"], &user["username"]), (&"contract@example.com".into(), &"contractuser".into()));
    for field in ["id", "role", "createdAt", "updatedAt"] {
        assert!(user[field].is_string(), "{user}");
    }
    assert!(user.get("password").is_none(), "{user}");
    assert!(user["createdAt"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    let health = service.get("/health").send().await.expect(200);
    assert_eq!(health["status"], "healthy");
    assert_eq!((&health["service"], &health["version"]), (&"users".into(), &"1.2.3".into()));
    assert_eq!(health["dependencies"]["database"], "healthy");
    assert_eq!(health["dependencies"]["redis"], "healthy");
    let ready = service.get("/ready").send().await.expect(200);
    assert_eq!(ready["status"], "ready");
    let checks = json!({ "database_migrations": true, "external_dependencies": true, "configuration": true });
    assert_eq!(ready["checks"], checks);

    let person = service.log_in(user["id"].as_str().unwrap().into(), "contract@example.com".into()).await;
    service.get(&person.path()).by(&person).send().await.expect(200);
    service.put(&person.path(), json!({ "username": "renamed" })).by(&person).send().await.expect(200);
    service.delete(&person.path()).by(&person).send().await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_kpis_tell_what_was_done() {
    let platform = Platform::new();
    let service = platform.start().await;
    let person = service.somebody().await;
    service.get(&person.path()).by(&person).send().await.expect(200);
    service.get(&person.path()).by(&person).send().await.expect(200);
    let answer = service.get("/metrics").send().await;
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let Value::String(text) = answer.expect(200) else { panic!() };
    for line in [
        "new_registrations 1",
        "login_attempts 1",
        r#"business_operations_total{operation="create_user",status="success"} 1"#,
        r#"db_query_duration_seconds_bucket{operation="insert",table="users",le="0.01"}"#,
        r#"business_operation_duration_seconds_bucket{operation="log_in",le="0.1"}"#,
        r#"cache_reads_total{outcome="hit"} 1"#,
        "db_connections_active",
        "db_pool_connections_max 5",
        "outbox_events_pending",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let kpis = service.get("/kpis").send().await.expect(200);
    assert_eq!(kpis["businessMetrics"]["newRegistrations"], 1.0);
    assert_eq!(kpis["businessMetrics"]["loginAttempts"], 1.0);
    assert!(kpis["businessMetrics"]["activeUsers"].is_number() && kpis["averageResponseTime"].is_number());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_its_id_and_the_security_headers() {
    let platform = Platform::new();
    let service = platform.start().await;
    let answer = service.get("/api/v1/users").header("x-request-id", "r-1").send().await;
    answer.refuses(401, "Authorization header required");
    assert_eq!(answer.headers["x-correlation-id"], "r-1");
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    assert_eq!(answer.headers["content-security-policy"], "default-src 'self'");
    assert_eq!(answer.headers["cache-control"], "no-store");
    service.get("/api/v1/nothing").send().await.refuses(404, "No such route");
    let answer = service.ask(Method::PATCH, "/api/v1/users").send().await;
    answer.refuses(405, "This route does not take this method");
    assert!(answer.headers["allow"].to_str().unwrap().contains("POST"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_json_of_a_sane_size_and_nothing_else() {
    let platform = Platform::new();
    let service = platform.start().await;
    let send = |kind: &'static str, body: Vec<u8>| {
        service.ask(Method::POST, "/api/v1/users").header("content-type", kind).body(body).send()
    };
    send("text/plain", b"{}".to_vec()).await.refuses(415, "Send the body as application/json");
    send("application/json", b"{\"email\":".to_vec()).await.refuses(400, "Invalid request data");
    send("application/json", vec![b'['; 60_000]).await.refuses(400, "Invalid request data");
    send("application/json", vec![b' '; 70_000]).await.refuses(413, "The body has more than 65536 bytes");
    send("application/json", b"{\"email\":\"\xff\"}".to_vec()).await.refuses(400, "Invalid request data");
    let bomb = service.post("/api/v1/users", json!({})).header("content-encoding", "gzip").send().await;
    bomb.refuses(415, "Send the body without a content encoding");
    let body = json!({ "email": "a@b.co", "username": "abc", "password": "12345678", "role": "admin" });
    let answer = service.post("/api/v1/users", body).send().await;
    answer.refuses(400, "Invalid request data");
    assert_eq!(answer.body["error"]["details"][0]["field"], "role");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_name_every_route_and_need_nothing_from_elsewhere() {
    let platform = Platform::new();
    let service = platform.start().await;
    let document = service.get("/api/openapi.json").send().await.expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    assert_eq!(document["info"]["title"], "Visiobook Microservice");
    assert_eq!(document["info"]["version"], "1.2.3");
    for (path, methods) in [
        ("/api/v1/users", vec!["get", "post"]),
        ("/api/v1/users/{id}", vec!["get", "put", "patch", "delete"]),
        ("/api/v1/users/sessions", vec!["post", "put", "get", "delete"]),
    ] {
        for method in methods {
            let operation = &document["paths"][path][method];
            assert!(operation["responses"]["503"].is_object(), "{method} {path}: {operation}");
        }
    }
    let references = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for part in references.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name} is not defined");
    }
    let Value::String(page) = service.get("/api/docs").send().await.expect(200) else { panic!() };
    for needle in ["Visiobook Microservice", "/api/v1/users/{id}", "id=\"type-User\"", "/api/docs/style.css"]
    {
        assert!(page.contains(needle), "{needle}");
    }
    for foreign in ["<script", "<style", " style=", "http://", "https://", "javascript:"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let Value::String(style) = service.get("/api/docs/style.css").send().await.expect(200) else { panic!() };
    assert!(style.contains("body") && !style.contains("url("));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_sidecar_is_told_of_routes_is_what_the_document_says() {
    let platform = Platform::new();
    are_what_the_document_says("users", &platform.start().await).await;
    let (_platform, _issuer, service) = registry().await;
    are_what_the_document_says("database", &service).await;
}

async fn are_what_the_document_says(name: &str, service: &Running) {
    let told = visiobook::contract::domain_services::find(name).unwrap();
    let document = service.get("/api/openapi.json").send().await.expect(200);
    let paths = document["paths"].as_object().unwrap();
    let mut public = Vec::new();
    for (path, operations) in paths {
        assert!(told.routes.contains(&path.as_str()), "{path} would have no label of its own in metrics");
        for (method, operation) in operations.as_object().unwrap() {
            if operation["security"].as_array().is_none_or(Vec::is_empty) {
                public.push(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    for route in &public {
        assert!(
            told.public_routes.contains(&route.as_str()),
            "{route} needs no token, and the sidecar asks for one"
        );
    }
    // What is not in the document is the document itself, and its page.
    for route in told.public_routes {
        let (method, path) = route.split_once(' ').unwrap();
        let is_document = path == "/api/openapi.json" || path.starts_with("/api/docs");
        assert!(public.iter().any(|known| known == route) || is_document, "{route} is public by mistake");
        if method == "GET" {
            service.get(path).send().await.expect(200);
        }
    }
    let known = |route: &&str| !paths.contains_key(*route) && route.starts_with("/api/v1/");
    assert_eq!(told.routes.iter().filter(|route| known(route)).count(), 0, "a route that there is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_there_is_no_cache_and_everything_works() {
    let platform = Platform::bare(None);
    platform.migrate();
    let service = platform.start().await;
    service.until_ready().await;
    let person = service.somebody().await;
    service.get(&person.path()).by(&person).send().await.expect(200);
    let health = service.get("/health").send().await.expect(200);
    assert!(health["dependencies"].get("redis").is_none(), "{health}");
}

#[test]
fn a_wrong_configuration_is_told_whole_and_starts_nothing() {
    let platform =
        Platform::bare(None).with("PORT", "no").with("BCRYPT_ROUNDS", "99").with("ENVIRONMENT", "moon");
    let output = platform.run(&[]);
    assert!(!output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    for name in ["PORT is", "BCRYPT_ROUNDS is", "ENVIRONMENT is"] {
        assert!(told.contains(name), "{told}");
    }
}
