//! A domain service on real pods and a real PostgreSQL, from a resource that says two secrets.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use visiobook::contract::SIDECAR_PORT;

use crate::support::eventually;
use crate::support::exchange::send;
use crate::support::operator::{SIDECAR_IMAGE, Stage};
use crate::support::servers::Server;

#[tokio::test(flavor = "multi_thread")]
async fn users_come_from_a_resource_with_two_secrets_and_their_sidecar_checks_tokens() {
    let host: IpAddr = std::env::var("VISIOBOOK_HOST")
        .ok()
        .and_then(|host| host.parse().ok())
        .expect("VISIOBOOK_HOST: the address under which pods reach this machine (`cluster env` prints it)");
    let database = Server::postgres_on(host);
    let environment = json!({ "type": "development", "defaults": { "replicas": 1 } });
    let stage = Stage::governed("users", environment).await;
    let site = &stage.site;
    let operator = stage.launch(Default::default());
    operator.leads().await;
    let secret = "a-secret-of-tests-that-is-long-enough";
    site.secret("users", &[("url", &database.url()), ("jwt", secret)]).await;
    let spec = json!({
        "domainService": "users",
        "env": { "BCRYPT_ROUNDS": "4" },
        "secrets": {
            "DATABASE_URL": { "name": "users", "key": "url" }, "JWT_SECRET": { "name": "users", "key": "jwt" },
        },
    });
    site.apply("users", spec).await;
    let service = site.ready("users").await;
    let version = service.status.as_ref().and_then(|status| status.version.clone());
    assert_eq!(version.as_deref(), SIDECAR_IMAGE.rsplit(':').next(), "the version of the image that it runs");
    let pod = site.pods("users").await.remove(0);
    let pod: IpAddr =
        pod.status.and_then(|status| status.pod_ip).and_then(|ip| ip.parse().ok()).expect("an address");
    let pod = SocketAddr::new(pod, SIDECAR_PORT);
    let ada = json!({ "email": "ada@example.com", "username": "ada", "password": "correct-horse-battery" });
    let (status, user) = eventually("a registration without a token", || async {
        let answer =
            send(pod, "POST /api/v1/users", None, ada.clone()).await.map_err(|error| error.to_string())?;
        if [201, 409].contains(&answer.0) { Ok(answer) } else { Err(format!("{answer:?}")) }
    })
    .await;
    assert!(status == 409 || user["email"] == "ada@example.com", "{user}");
    let session = json!({ "email": "ada@example.com", "password": "correct-horse-battery" });
    let (status, session) = send(pod, "POST /api/v1/users/sessions", None, session).await.expect("an answer");
    assert!(status < 300, "{status} {session}");
    let token = session["accessToken"].as_str().expect("a token").to_string();
    for (token, expected) in [(None, 401), (Some("forged"), 401), (Some(token.as_str()), 200)] {
        let (status, body) = send(pod, "GET /api/v1/users/me", token, Value::Null).await.expect("an answer");
        assert_eq!(status, expected, "{token:?}: {body}");
    }
    // Its document needs no token.
    let (status, document) = send(pod, "GET /api/openapi.json", None, Value::Null).await.expect("an answer");
    assert!(status == 200 && document["openapi"].is_string(), "{status}");
}
