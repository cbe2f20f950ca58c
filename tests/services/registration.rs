//! Services that tell the registry their schema, beside their work.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::issuer::Issuer;
use super::registry::registry;
use super::support::{Platform, Running};

/// Wait until the registry knows a service: what it says of it.
async fn until_told(registry: &Running, token: &str, of: &Running) -> Value {
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let list = registry.get("/api/v1/migrations/services").bearing(token).send().await.expect(200);
        if let Some(one) = list["items"].as_array().unwrap().first() {
            return one.clone();
        }
        assert!(Instant::now() < deadline, "{}\n{}", of.log(), registry.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until_it_says(service: &Running, words: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !service.log().contains(words) {
        assert!(Instant::now() < deadline, "{words}\n{}", service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_works_without_the_registry_and_tells_it_when_it_is_there() {
    let issuer = Issuer::new();
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let token = tempfile::NamedTempFile::new().unwrap();
    fs::write(token.path(), issuer.token_until("shop", "users", super::issuer::now() - 1)).unwrap();
    let users = Platform::new()
        .with("DATABASE_SERVICE_URL", &format!("http://127.0.0.1:{port}/"))
        .with("SERVICE_TOKEN", "not looked at beside the file")
        .with("SERVICE_TOKEN_FILE", token.path().to_str().unwrap());
    let mut service = users.start().await;
    // Nobody is there, and nobody waits for it.
    service.until_ready().await;
    service.somebody().await;
    until_it_says(&service, "The registry was not told the schema").await;

    let platform = Platform::of("database")
        .with("SERVICE_KEYS_FOLDER", issuer.keys().to_str().unwrap())
        .with("PORT", &port.to_string());
    let registry = platform.start().await;
    // Its token has run out meanwhile, and the next one is in the file.
    until_it_says(&service, "it answers 401: Invalid token").await;
    let current = issuer.token("shop", "users");
    fs::write(token.path(), &current).unwrap();
    let told = until_told(&registry, &current, &service).await;
    assert_eq!(
        (&told["service"], &told["namespace"], &told["version"]),
        (&"users".into(), &"shop".into(), &"1.2.3".into())
    );
    until_it_says(&service, "The registry was told the schema").await;

    let path = format!("/api/v1/migrations/services/{}", told["id"].as_str().unwrap());
    let schema = registry.get(&format!("{path}/schema")).bearing(&current).send().await.expect(200);
    let has = |list: &str, field: &str, name: &str| {
        schema[list].as_array().unwrap().iter().any(|entry| entry[field] == name)
    };
    assert!(has("schema", "table_name", "user_profiles") && has("schema", "data_type", "jsonb"), "{schema}");
    assert!(has("indexes", "index_name", "idx_users_email"), "{schema}");
    assert!(has("constraints", "constraint_name", "fk_user_profiles_user_id"), "{schema}");
    let email = schema["schema"].as_array().unwrap().iter().find(|column| column["column_name"] == "email");
    assert_eq!(email.unwrap()["character_maximum_length"], 255);
    // DL02-DL04, of users as they are.
    let lint = registry.get(&format!("{path}/lint")).bearing(&current).send().await.expect(200);
    assert_eq!(lint["findings"], serde_json::json!([]));
    assert_eq!(lint["tables"], 6);

    // The next start of the same release is no revision.
    service = users.start().await;
    until_it_says(&service, "The registry was told the schema").await;
    assert_eq!(platform.postgres.answer("SELECT count(*), max(revision) FROM schema_revisions"), "1|1");
    let (_, well) = service.stop();
    assert!(well, "{}", service.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_told_once_it_is_there() {
    let (platform, issuer, registry) = registry().await;
    let token = issuer.token("shop", "users");
    let users =
        Platform::bare(None).with("DATABASE_SERVICE_URL", &registry.url("")).with("SERVICE_TOKEN", &token);
    users.postgres.wait();
    let service = users.start().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(platform.postgres.answer("SELECT count(*) FROM registered_services"), "0");
    users.migrate();
    let told = until_told(&registry, &token, &service).await;
    assert_eq!(told["revision"], 1);
    // The registry tells itself as well, where it is told to.
    let own = issuer.token("shop", "database");
    let variables = [("DATABASE_SERVICE_URL", registry.url("")), ("SERVICE_TOKEN", own.clone())];
    let mut command = platform.command(&[]);
    let mut child = command.envs(variables).stdout(std::process::Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while platform.postgres.answer("SELECT count(*) FROM registered_services") != "2" {
        assert!(Instant::now() < deadline, "{}", registry.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let list =
        registry.get("/api/v1/migrations/services?filter[service]=database").bearing(&own).send().await;
    let id = list.expect(200)["items"][0]["id"].as_str().unwrap().to_owned();
    let lint = registry
        .get(&format!("/api/v1/migrations/services/{id}/lint"))
        .bearing(&own)
        .send()
        .await
        .expect(200);
    assert_eq!((&lint["passed"], &lint["tables"]), (&true.into(), &3.into()), "{lint}");
}
