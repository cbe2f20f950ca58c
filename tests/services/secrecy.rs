//! Nothing that is secret is told: neither in logs nor in answers.

use serde_json::json;

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
