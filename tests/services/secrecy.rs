//! Nothing that is secret is told: neither in logs nor in answers.

use serde_json::json;

use super::issuer::{self, Issuer};
use super::registry::{SYNC, told};
use super::support::{PASSWORD, Platform, SECRET};

#[tokio::test(flavor = "multi_thread")]
async fn neither_logs_nor_answers_tell_a_secret() {
    let mut platform = Platform::new().with("LOG_LEVEL", "debug");
    let service = platform.start().await;
    let ada = service.somebody().await;
    let mut told = String::new();
    for body in [
        json!({ "email": ada.email, "password": [PASSWORD] }),
        json!({ "email": ada.email, "password": PASSWORD, PASSWORD.to_uppercase(): 1 }),
        json!({ "email": ada.email, "username": "x", "password": PASSWORD }),
        json!(PASSWORD),
    ] {
        for path in ["/api/v1/users", "/api/v1/users/sessions"] {
            told += &service.post(path, body.clone()).send().await.body.to_string();
        }
    }
    told += &service.get(&ada.path()).by(&ada).send().await.body.to_string();
    platform.redis.as_mut().unwrap().stop();
    told += &service.get(&ada.path()).by(&ada).send().await.body.to_string();
    platform.postgres.stop();
    told += &service.get(&ada.path()).by(&ada).send().await.body.to_string();
    told += &service
        .put("/api/v1/users/sessions", json!({ "refreshToken": ada.refresh }))
        .send()
        .await
        .body
        .to_string();
    let body = json!({ "email": ada.email, "password": PASSWORD });
    told += &service.post("/api/v1/users/sessions", body).send().await.body.to_string();
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    told += &service.get("/health").send().await.body.to_string();
    told += &service.get("/ready").send().await.body.to_string();
    told += &service.log();
    // It did say something.
    assert!(told.contains("Database operation failed") && told.contains("Cache operation failed"), "{told}");
    let hash = "$2b$";
    for secret in [PASSWORD, SECRET, "hush", hash, &ada.token, &ada.refresh] {
        assert!(!told.contains(secret), "{secret}\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_and_who_tells_it_tell_no_secret_either() {
    let issuer = Issuer::new();
    let mut platform = Platform::of("database")
        .with("SERVICE_KEYS_FOLDER", issuer.keys().to_str().unwrap())
        .with("LOG_LEVEL", "debug");
    let registry = platform.start().await;
    registry.until_ready().await;
    let token = issuer.token("shop", "books");
    let foreign = Issuer::new().token("shop", "users");
    let users = Platform::bare(None)
        .with("LOG_LEVEL", "debug")
        .with("DATABASE_SERVICE_URL", &registry.url(""))
        .with("SERVICE_TOKEN", &foreign);
    users.migrate();
    let teller = users.start().await;
    teller.until_ready().await;
    let mut said = String::new();
    let person = issuer::person("user");
    for (token, body) in [
        (&token, told("books", &[("books", "id", "uuid")])),
        (&token, told("users", &[])),
        (&token, json!({ "service": token })),
        (&token, json!([token])),
        (&foreign, told("users", &[])),
        (&person, told("users", &[])),
    ] {
        said += &registry.post(SYNC, body).bearing(token).send().await.body.to_string();
    }
    platform.redis.as_mut().unwrap().stop();
    platform.postgres.stop();
    said += &registry.post(SYNC, told("books", &[])).bearing(&token).send().await.body.to_string();
    said += &registry.get("/api/v1/migrations/services").bearing(&token).send().await.body.to_string();
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    for path in ["/health", "/ready", "/metrics", "/kpis", "/api/openapi.json"] {
        said += &registry.get(path).send().await.body.to_string();
        said += &teller.get(path).send().await.body.to_string();
    }
    said += &registry.log();
    said += &teller.log();
    // Both did say something.
    assert!(
        said.contains("Database operation failed") && said.contains("it answers 401: Invalid token"),
        "{said}"
    );
    for secret in [SECRET, "hush", "PRIVATE KEY", &token, &foreign, &person] {
        assert!(!said.contains(secret), "{secret}\n{said}");
    }
}
