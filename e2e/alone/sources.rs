//! Secrets of a store and sealed ones, up to where their own controllers take over: the tests write what those would.

use serde_json::{Value, json};
use visiobook::api::kinds::Kind;

use crate::support::definitions::Definitions;
use crate::support::operator::Stage;
use crate::support::proxy::Proxy;
use crate::support::{STANDIN, eventually, message};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_asks_its_store_waits_for_the_answer_and_tells_when_a_value_is_new() {
    let _definitions = Definitions::installed().await;
    let environment = json!({
        "type": "production", "defaults": { "replicas": 0, "autoscaling": { "enabled": false } },
        "secrets": { "kind": "External", "store": { "name": "vault" } },
    });
    let stage = Stage::governed("store", environment).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    let spec = json!({ "image": STANDIN, "secrets": { "TOKEN": { "remote": { "key": "users-token" } } } });
    site.apply("users", spec).await;
    let service = site.condition("users", "SecretsResolved", "False", "SecretsMissing").await;
    assert!(message(&service, "SecretsResolved").contains("to fetch \"users-token\" from vault"));
    let asked = site.existing(Kind::ExternalSecret, "users-secrets").await;
    assert_eq!(asked["spec"]["refreshInterval"], "24h");
    assert!(site.child(Kind::Deployment, "users-blue").await.is_none());

    // Whoever changes what is asked for is undone.
    let other = json!([{ "op": "replace", "path": "/spec/data/0/remoteRef/key", "value": "somebody-elses" }]);
    site.meddle(Kind::ExternalSecret, "users-secrets", other).await.expect("changed");
    eventually("the key again", || async {
        let now = site.existing(Kind::ExternalSecret, "users-secrets").await;
        let key = now["spec"]["data"][0]["remoteRef"]["key"].clone();
        if key == "users-token" { Ok(()) } else { Err(key) }
    })
    .await;

    site.secret("users-secrets", &[("TOKEN", "one")]).await;
    let service = site.condition("users", "SecretsResolved", "True", "Resolved").await;
    assert_eq!(service.status.expect("status").secrets_rotated, None);
    crate::process::state::settled(site, "users").await;
    site.secret("users-secrets", &[("TOKEN", "two")]).await;
    site.until("users", "the time of the new value", |service| {
        service.status.as_ref().is_some_and(|status| status.secrets_rotated.is_some())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_no_sealed_secret_made_is_not_taken_where_secrets_are_sealed() {
    let environment = json!({
        "type": "staging", "defaults": { "replicas": 0, "autoscaling": { "enabled": false } },
        "secrets": { "kind": "Sealed" },
    });
    let stage = Stage::governed("sealed", environment).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.secret("tokens", &[("api", "value")]).await;
    let spec = json!({ "image": STANDIN, "secrets": { "TOKEN": { "name": "tokens", "key": "api" } } });
    site.apply("users", spec).await;
    let service = site.condition("users", "SecretsResolved", "False", "SecretsMissing").await;
    assert!(message(&service, "SecretsResolved").contains("[secret-sealed]"));

    let owner = json!({
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "name": "tokens", "controller": true,
        "uid": "00000000-0000-0000-0000-000000000002",
    });
    let sealed: Value = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "tokens", "ownerReferences": [owner] }, "stringData": { "api": "value" },
    });
    site.apply_object(sealed).await;
    site.condition("users", "SecretsResolved", "True", "Resolved").await;
    crate::process::state::settled(site, "users").await;
}
