//! Secrets: what is missing holds back what needs it and nothing else, a rotation replaces the pods once, and no
//! value is ever shown.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use visiobook::api::VisiobookService;
use visiobook::api::kinds::Kind;

use crate::support::{Site, events, eventually, is, kubectl, message, quick};

fn reads(variable: &str, secret: &str, key: &str) -> Value {
    json!({ "secrets": { variable: { "name": secret, "key": key } } })
}

fn held(service: &VisiobookService, by: &str) -> bool {
    is(service, "SecretsResolved", "False") && message(service, "SecretsResolved").contains(by)
}

fn revision(service: &VisiobookService) -> Option<String> {
    service.status.as_ref().and_then(|status| status.active_revision.clone())
}

/// Seconds from now until the secrets of a service are resolved.
async fn seconds_until_resolved(site: &Site, name: &str) -> f64 {
    let started = Instant::now();
    site.until(name, "its secrets", |service| is(service, "SecretsResolved", "True")).await;
    started.elapsed().as_secs_f64()
}

/// Sequence number that Kubernetes gives to each new pod template.
async fn templates(site: &Site, name: &str) -> String {
    let deployment = site.existing(Kind::Deployment, &format!("{name}-blue")).await;
    deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_then_a_missing_key_hold_a_service_back_until_they_arrive() {
    let site = Site::new("missing", json!({ "type": "development" })).await;
    site.apply("users", quick(reads("API_TOKEN", "tokens", "api"))).await;
    let service = site
        .until("users", "the missing Secret to be named", |service| held(service, "Secret \"tokens\""))
        .await;
    let told = message(&service, "SecretsResolved");
    for word in ["spec.secrets.API_TOKEN", "create it, with key \"api\"", "[secret-exists]"] {
        assert!(told.contains(word), "no {word} in: {told}");
    }
    assert!(
        is(&service, "Ready", "False")
            && is(&service, "Accepted", "True")
            && is(&service, "Stalled", "False")
    );
    assert!(site.child(Kind::Deployment, "users-blue").await.is_none(), "it starts without its secret");

    site.secret("tokens", &[("other", "value")]).await;
    let service = site
        .until("users", "the missing key to be named", |service| held(service, "key \"api\" of Secret"))
        .await;
    assert!(message(&service, "SecretsResolved").contains("[secret-key-exists]"), "{:?}", service.status);

    site.secret("tokens", &[("other", "value"), ("api", "value")]).await;
    let seconds = seconds_until_resolved(&site, "users").await;
    assert!(seconds < 30.0, "resolved after {seconds} s");
    site.ready("users").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_holds_back_the_release_that_needs_it_and_what_runs_goes_on() {
    let site = Site::new("held", json!({ "type": "development" })).await;
    site.secret("tokens", &[("api", "value")]).await;
    site.apply("users", quick(reads("API_TOKEN", "tokens", "api"))).await;
    let before = site.ready("users").await;
    let pods = site.pod_uids("users").await;

    site.apply("users", quick(reads("API_TOKEN", "tokens", "later"))).await;
    let service = site.until("users", "the release to wait", |service| held(service, "key \"later\"")).await;
    assert!(is(&service, "Ready", "True") && is(&service, "Progressing", "True"), "{:?}", service.status);
    assert_eq!(revision(&service), revision(&before));
    assert_eq!(site.pod_uids("users").await, pods, "pods were replaced");

    site.secret("tokens", &[("api", "value"), ("later", "value")]).await;
    let service = site.ready("users").await;
    assert_ne!(revision(&service), revision(&before), "the release never came");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_goes_on_when_its_secret_is_deleted_and_when_it_comes_back() {
    let site = Site::new("deleted", json!({ "type": "development" })).await;
    site.secret("tokens", &[("api", "value")]).await;
    site.apply("users", quick(reads("API_TOKEN", "tokens", "api"))).await;
    let before = site.ready("users").await;
    let pods = site.pod_uids("users").await;

    let secrets: Api<Secret> = Api::namespaced(site.client.clone(), &site.namespace);
    secrets.delete("tokens", &DeleteParams::default()).await.expect("deleted");
    let service =
        site.until("users", "the loss to be told", |service| held(service, "Secret \"tokens\"")).await;
    assert!(is(&service, "Ready", "True"), "{:?}", service.status);
    site.stays_untouched("users", 2).await;

    site.secret("tokens", &[("api", "value")]).await;
    assert!(seconds_until_resolved(&site, "users").await < 30.0);
    let service = site.ready("users").await;
    assert_eq!(
        (revision(&service), site.pod_uids("users").await),
        (revision(&before), pods),
        "pods were replaced"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_replaces_the_pods_once_within_the_budget_and_is_no_new_revision() {
    let site = Site::new("rotated", json!({ "type": "development" })).await;
    let spec = json!({ "replicas": 2, "rollout": { "maxUnavailable": 0 } });
    let mut spec = quick(spec);
    visiobook::plan::merge(&mut spec, reads("API_TOKEN", "tokens", "api"));
    site.secret("tokens", &[("api", "first"), ("unrelated", "first")]).await;
    site.apply("users", spec).await;
    let before = site.ready("users").await;
    let pods = site.pod_uids("users").await;
    assert_eq!(templates(&site, "users").await, "\"1\"");

    // Neither a key that nobody reads nor what stands around the keys concerns the pods.
    site.secret("tokens", &[("api", "first"), ("unrelated", "second")]).await;
    let note = json!({ "metadata": { "annotations": { "note": "looked at" } } });
    let secrets: Api<Secret> = Api::namespaced(site.client.clone(), &site.namespace);
    secrets.patch("tokens", &PatchParams::default(), &Patch::Merge(&note)).await.expect("annotated");
    site.stays_untouched("users", 3).await;
    assert_eq!(site.pod_uids("users").await, pods);

    site.secret("tokens", &[("api", "second"), ("unrelated", "second")]).await;
    let fewest = AtomicI64::new(i64::MAX);
    eventually("all pods to be new", || async {
        let deployment = site.existing(Kind::Deployment, "users-blue").await;
        let available = deployment["status"]["availableReplicas"].as_i64().unwrap_or(0);
        fewest.fetch_min(available, Ordering::Relaxed);
        let now = site.pod_uids("users").await;
        if now.len() == 2 && now.iter().all(|pod| !pods.contains(pod)) { Ok(()) } else { Err(now) }
    })
    .await;
    assert_eq!(fewest.into_inner(), 2, "fewer pods were available than the rollout allows");
    let service = site.ready("users").await;
    assert_eq!(revision(&service), revision(&before), "a rotation made a revision");
    let replaced = site.pod_uids("users").await;

    site.stays_untouched("users", 4).await;
    assert_eq!(site.pod_uids("users").await, replaced, "pods were replaced twice");
    assert_eq!(templates(&site, "users").await, "\"2\"");
    let revisions =
        site.children(Kind::ControllerRevision).list(&Default::default()).await.expect("revisions");
    assert_eq!(revisions.items.len(), 1, "{:?}", revisions.items);
    let told = events(&site, "users").await;
    assert_eq!(told.iter().filter(|event| event.starts_with("SecretsRotated")).count(), 1, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn production_holds_back_a_jwt_secret_of_31_characters() {
    let environment =
        json!({ "type": "production", "defaults": { "replicas": 1, "autoscaling": { "enabled": false } } });
    let site = Site::new("short", environment).await;
    site.secret("jwt", &[("secret", &"x".repeat(31))]).await;
    site.apply("users", quick(reads("JWT_SECRET", "jwt", "secret"))).await;
    let service =
        site.until("users", "the length to be told", |service| held(service, "[secret-length]")).await;
    let told = message(&service, "SecretsResolved");
    assert!(told.contains("has 31 characters and needs at least 32"), "{told}");
    assert!(site.child(Kind::Deployment, "users-blue").await.is_none(), "it starts all the same");

    site.secret("jwt", &[("secret", &"x".repeat(32))]).await;
    assert!(seconds_until_resolved(&site, "users").await < 30.0);
    site.ready("users").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_secret_is_ever_shown() {
    let site = Site::new("canary", json!({ "type": "development" })).await;
    let values = ["canary-one-8d1f0c5a7b", "canary-two-8d1f0c5a7b"];
    // Such an annotation holds the data in plain text; plain `kubectl apply` writes it.
    let secret = |value: &str| json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "tokens" }, "stringData": { "api": value } });
    site.apply("users", quick(reads("API_TOKEN", "tokens", "nothing"))).await;
    kubectl(&["apply", "-n", &site.namespace, "-f", "-"], Some(&secret(values[0]).to_string()));
    site.until("users", "the missing key to be named", |service| held(service, "key \"nothing\"")).await;
    site.apply("users", quick(reads("API_TOKEN", "tokens", "api"))).await;
    site.ready("users").await;
    kubectl(&["apply", "-n", &site.namespace, "-f", "-"], Some(&secret(values[1]).to_string()));
    eventually("the rotation", || async {
        let told = events(&site, "users").await;
        if told.iter().any(|event| event.starts_with("SecretsRotated")) { Ok(()) } else { Err(told) }
    })
    .await;

    let mut seen: Vec<String> =
        site.all_children("users").await.iter().map(|(_, child)| child.to_string()).collect();
    assert!(seen.len() >= 6, "children are missing");
    let own = site.services().get("users").await.expect("service");
    seen.push(serde_json::to_string(&own).expect("json"));
    seen.extend(events(&site, "users").await);
    let logs =
        kubectl(&["logs", "-n", "visiobook-system", "deployment/visiobook-operator", "--since=10m"], None);
    assert!(logs.contains(&site.namespace), "the operator logs nothing of this namespace");
    seen.push(logs);
    for value in values {
        let encoded = base64(value.as_bytes());
        for text in &seen {
            assert!(!text.contains(value) && !text.contains(&encoded), "{value} is shown in: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_another_service_concerns_nobody_else() {
    let site = Site::new("others", json!({ "type": "development" })).await;
    site.secret("tokens", &[("api", "first")]).await;
    site.secret("keys", &[("api", "first")]).await;
    site.apply("users", quick(reads("API_TOKEN", "tokens", "api"))).await;
    site.apply("projects", quick(reads("API_TOKEN", "keys", "api"))).await;
    site.ready("users").await;
    site.ready("projects").await;
    let pods = site.pod_uids("projects").await;
    site.secret("tokens", &[("api", "second")]).await;
    eventually("the rotation", || async {
        let templates = templates(&site, "users").await;
        if templates == "\"2\"" { Ok(()) } else { Err(templates) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        (templates(&site, "projects").await.as_str(), site.pod_uids("projects").await),
        ("\"1\"", pods)
    );
}

/// As the API server would show it.
fn base64(bytes: &[u8]) -> String {
    let encoded = serde_json::to_string(&k8s_openapi::ByteString(bytes.to_vec())).expect("base64");
    encoded.trim_matches('"').to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_only_the_sidecar_reads_is_waited_for_once_and_rotates_without_a_restart() {
    let site = Site::new("mounted", json!({ "type": "production" })).await;
    // What is written does not depend on pods.
    let auth = json!({ "secret": { "name": "tokens", "key": "jwt" } });
    let spec =
        || quick(json!({ "replicas": 0, "autoscaling": { "enabled": false }, "sidecar": { "auth": auth } }));
    site.apply("users", spec()).await;
    let service =
        site.until("users", "the key to be named", |service| held(service, "Secret \"tokens\"")).await;
    assert!(
        message(&service, "SecretsResolved").contains("spec.sidecar.auth.secret"),
        "{:?}",
        service.status
    );
    site.secret("tokens", &[("jwt", "0123456789 0123456789 0123456789")]).await;
    let before = site.ready("users").await;
    let (first, pods) =
        (templates(&site, "users").await, site.existing(Kind::Deployment, "users-blue").await);
    let volumes = pods.pointer("/spec/template/spec/volumes").and_then(Value::as_array).expect("volumes");
    assert!(volumes.iter().any(|volume| volume["name"] == "sidecar-jwt"), "{volumes:?}");

    site.secret("tokens", &[("jwt", "9876543210 9876543210 9876543210"), ("jwt_PREVIOUS", "0123456789")])
        .await;
    site.stays_untouched("users", 3).await;
    let after = site.ready("users").await;
    assert_eq!((templates(&site, "users").await, revision(&after)), (first, revision(&before)));
}
