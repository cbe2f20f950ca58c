//! Tokens of services and copies of pull secrets, as an operator keeps them: minted, renewed in time, put back, and
//! signed with keys that follow each other, all without a request while nothing is due.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;

use crate::support::operator::{Launch, Stage};
use crate::support::proxy::{Call, Proxy, tail};
use crate::support::{STANDIN, Site, events, eventually};

const TOKEN: &str = "orders-service-token";

fn orders() -> Value {
    json!({ "image": STANDIN, "replicas": 0, "dependsOn": [{ "name": "users" }] })
}

fn users() -> Value {
    json!({ "image": STANDIN, "replicas": 0, "sidecar": { "serviceTokens": { "required": true } } })
}

async fn secret(site: &Site, name: &str) -> Option<Secret> {
    Api::<Secret>::namespaced(site.client.clone(), &site.namespace).get_opt(name).await.expect("secret")
}

/// The token as it is mounted.
async fn token(site: &Site) -> String {
    let bytes = eventually("a token", || async {
        let secret = secret(site, TOKEN).await.and_then(|secret| secret.data);
        secret.and_then(|mut data| data.remove("token")).ok_or(())
    })
    .await;
    String::from_utf8(bytes.0).expect("text")
}

/// The public keys as the sidecar of `users` reads them.
async fn keys(site: &Site) -> Vec<(String, String)> {
    let maps: Api<ConfigMap> = Api::namespaced(site.client.clone(), &site.namespace);
    let map = maps.get_opt("users-service-keys").await.expect("keys");
    map.and_then(|map| map.data).unwrap_or_default().into_iter().collect()
}

/// What a token says, if one of the keys signed it.
fn verified(token: &str, keys: &[(String, String)]) -> Option<Value> {
    let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
    let (_, public) = keys.iter().find(|(name, _)| *name == kid)?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["visiobook-services"]);
    let key = DecodingKey::from_ec_pem(public.as_bytes()).expect("a public key");
    jsonwebtoken::decode::<Value>(token, &key, &validation).ok().map(|decoded| decoded.claims)
}

async fn templates(site: &Site) -> Value {
    let orders = site.existing(Kind::Deployment, "orders-blue").await["spec"]["template"].clone();
    json!([orders, site.existing(Kind::Deployment, "users-blue").await["spec"]["template"]])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_minted_kept_and_renewed_in_time_without_a_restart() {
    let stage = Stage::new("token").await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    // Made anew after 40 of 160 seconds.
    let operator = stage.launch(Launch {
        proxy: Some(&proxy),
        more: &["--service-token-seconds", "160"],
        ..Launch::default()
    });
    operator.leads().await;
    site.apply("users", users()).await;
    site.apply("orders", orders()).await;
    super::state::settled(site, "users").await;
    super::state::settled(site, "orders").await;

    let first = token(site).await;
    let said = verified(&first, &keys(site).await).expect("a token that holds");
    assert_eq!(said["sub"], json!(format!("service/{}/orders", site.namespace)));
    assert_eq!(said["calls"], json!([format!("{}/users", site.namespace)]));
    assert_eq!(said["exp"].as_u64().expect("exp") - said["iat"].as_u64().expect("iat"), 160);
    let before = templates(site).await;

    // Not due: no request at all.
    proxy.quiet(Duration::from_secs(3)).await;
    let mark = proxy.mark();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked: Vec<Call> = proxy.since(mark).into_iter().filter(|call| !call.is_upkeep()).collect();
    assert!(asked.is_empty(), "{:#?}", tail(&asked));

    // Due: one write.
    let mark = proxy.mark();
    eventually("the token to be renewed", || async {
        let now = token(site).await;
        if now != first { Ok(()) } else { Err("still the first") }
    })
    .await;
    let second = token(site).await;
    assert!(verified(&second, &keys(site).await).is_some());
    let writes: Vec<Call> =
        proxy.since(mark).into_iter().filter(|call| call.writes() && !call.is_upkeep()).collect();
    assert_eq!(writes.len(), 1, "{:#?}", tail(&writes));
    assert_eq!(templates(site).await, before, "a renewed token replaces pods");

    // Somebody writes a token of their own, and somebody deletes it.
    let forged = json!({ "stringData": { "token": "forged" } });
    let secrets: Api<Secret> = Api::namespaced(site.client.clone(), &site.namespace);
    let params = PatchParams { field_manager: Some("intruder".into()), ..PatchParams::default() };
    secrets.patch(TOKEN, &params, &Patch::Merge(&forged)).await.expect("forged");
    eventually("the forged token to be replaced", || async {
        let now = token(site).await;
        if verified(&now, &keys(site).await).is_some() { Ok(()) } else { Err(now) }
    })
    .await;
    let told = eventually("the repair to be told", || async {
        let told = events(site, "orders").await;
        let is_repaired = told.iter().any(|event| event.contains("intruder changed data.token of Secret"));
        if is_repaired { Ok(told) } else { Err(told) }
    })
    .await;
    assert!(!told.iter().any(|event| event.contains("forged")), "{told:?}");
    secrets.delete(TOKEN, &DeleteParams::default()).await.expect("deleted");
    assert!(verified(&token(site).await, &keys(site).await).is_some());

    // Who calls nobody has none.
    site.apply("orders", json!({ "image": STANDIN, "replicas": 0 })).await;
    eventually("the token to go", || async {
        let left = secret(site, TOKEN).await;
        if left.is_none() { Ok(()) } else { Err(left.map(|secret| secret.metadata.annotations)) }
    })
    .await;
    let log = serde_json::to_string(&operator.log()).expect("log");
    for hidden in [&first, &second] {
        assert!(!log.contains(hidden.as_str()), "a token is logged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verifiers_have_a_key_before_it_signs_and_the_old_one_until_its_tokens_are_gone() {
    let stage = Stage::new("keys").await;
    let site = &stage.site;
    let operator = stage.launch(Launch {
        more: &["--service-token-seconds", "60", "--signing-key-seconds", "60"],
        ..Launch::default()
    });
    operator.leads().await;
    site.apply("users", users()).await;
    site.apply("orders", orders()).await;
    super::state::settled(site, "users").await;
    super::state::settled(site, "orders").await;
    let before = templates(site).await;
    let kid = |token: &str| jsonwebtoken::decode_header(token).expect("a token").kid.expect("kid");
    // Whatever is presented at any time holds, and three things are seen in this order.
    let (mut published, mut signs, mut forgotten) = (false, false, false);
    let started = std::time::Instant::now();
    while !forgotten {
        assert!(started.elapsed() < Duration::from_secs(300), "published {published}, signs {signs}");
        let presented = token(site).await;
        let known = keys(site).await;
        assert!(verified(&presented, &known).is_some(), "{} is not known: {known:?}", kid(&presented));
        published |= known.len() == 2 && kid(&presented) == "first";
        signs |= published && known.len() == 2 && kid(&presented) != "first";
        forgotten = signs && !known.iter().any(|(name, _)| name == "first");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(templates(site).await, before, "a key replaces pods");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_secret_reaches_the_services_of_its_environment_and_follows_its_original() {
    let environment = json!({
        "type": "development", "defaults": { "replicas": 0, "copiedPullSecrets": ["registry"] },
    });
    let stage = Stage::governed("pull", environment).await;
    let site = &stage.site;
    let operator = stage.launch(Launch::default());
    operator.leads().await;
    site.apply("users", json!({ "image": STANDIN, "replicas": 0 })).await;
    site.until("users", "the original to be missed", |service| {
        crate::support::message(service, "SecretsResolved").contains("[pull-secret-exists]")
    })
    .await;

    let original = |password: &str| {
        let auths = json!({ "auths": { "registry.local": { "username": "puller", "password": password } } });
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "registry" },
            "type": "kubernetes.io/dockerconfigjson", "stringData": { ".dockerconfigjson": auths.to_string() },
        })
    };
    site.apply_object(original("first")).await;
    super::state::settled(site, "users").await;
    let pod = site.existing(Kind::Deployment, "users-blue").await["spec"]["template"]["spec"].clone();
    let copy = pod["imagePullSecrets"][0]["name"].as_str().expect("a pull secret").to_string();
    let holds = async |password: &str| {
        eventually(&format!("a copy with {password}"), || async {
            let copy = secret(site, &copy).await;
            let value = copy.as_ref().and_then(|copy| copy.data.as_ref()?.get(".dockerconfigjson").cloned());
            let text = value.map(|ByteString(bytes)| String::from_utf8_lossy(&bytes).into_owned());
            if text.as_ref().is_some_and(|text| text.contains(password)) {
                Ok(())
            } else {
                Err(text.is_some())
            }
        })
        .await;
    };
    holds("first").await;
    site.apply_object(original("second")).await;
    holds("second").await;

    // The original goes: what runs keeps its copy, and it is told.
    let secrets: Api<Secret> = Api::namespaced(site.client.clone(), &site.namespace);
    secrets.delete("registry", &DeleteParams::default()).await.expect("deleted");
    site.until("users", "the original to be missed", |service| {
        crate::support::message(service, "SecretsResolved").contains("[pull-secret-exists]")
    })
    .await;
    holds("second").await;
    // The environment names it no more: the copy goes with the release.
    site.environment(&site.namespace, json!({ "type": "development", "defaults": { "replicas": 0 } })).await;
    eventually("the copy to go", || async {
        let left = secret(site, &copy).await;
        if left.is_none() { Ok(()) } else { Err(left.map(|secret| secret.metadata.annotations)) }
    })
    .await;
    let log = serde_json::to_string(&operator.log()).expect("log");
    assert!(!log.contains("puller"), "credentials are logged");
}
