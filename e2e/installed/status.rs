//! What the status says while things change, when they go wrong, and after it was lost.

use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use visiobook::api::VisiobookService;
use visiobook::api::kinds::Kind;

use crate::support::{PATIENCE, Site, conditions, events, is, kubectl, message, observed, quick};

const NEXT: &str = "ghcr.io/visiobook-esp/user-service:1.1.0";
const NOWHERE: &str = "ghcr.io/visiobook-esp/user-service:9.9.9";

fn version(service: &VisiobookService) -> Option<&str> {
    service.status.as_ref().and_then(|status| status.version.as_deref())
}

/// What kstatus, and so Flux and Argo CD, call Current.
fn is_current(service: &VisiobookService) -> bool {
    observed(service) && is(service, "Reconciling", "False") && is(service, "Stalled", "False")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_in_mid_release_never_reads_as_current() {
    let site = Site::new("kstatus", json!({ "type": "development" })).await;
    site.apply("users", quick(json!({ "replicas": 2 }))).await;
    let first = site.ready("users").await;
    assert_eq!(version(&first), Some("1.0.0"));

    site.apply("users", quick(json!({ "replicas": 2, "image": NEXT }))).await;
    let (mut was_in_progress, started) = (false, Instant::now());
    loop {
        let service = site.services().get("users").await.expect("service");
        assert!(is(&service, "Ready", "True") && is(&service, "Stalled", "False"), "{:?}", service.status);
        was_in_progress |=
            observed(&service) && is(&service, "Reconciling", "True") && is(&service, "Progressing", "True");
        if is_current(&service) {
            let deployment = site.existing(Kind::Deployment, "users-blue").await;
            let status = &deployment["status"];
            assert_eq!(
                (&status["updatedReplicas"], &status["replicas"]),
                (&json!(2), &json!(2)),
                "Current too early"
            );
            assert_eq!(version(&service), Some("1.1.0"));
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{:?}", service.status);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(was_in_progress, "the release was never told");
    let order: Vec<String> =
        conditions(&site.services().get("users").await.expect("service")).map(|c| c.type_.clone()).collect();
    assert_eq!(
        order,
        [
            "Ready",
            "Accepted",
            "SecretsResolved",
            "DependenciesReady",
            "Progressing",
            "Autoscaling",
            "Exposed",
            "MonitoringReady",
            "Paused",
            "Reconciling",
            "Stalled"
        ]
    );
    let told = events(&site, "users").await;
    assert_eq!(told.iter().filter(|event| event.starts_with("RevisionStarted")).count(), 2, "{told:?}");
    assert!(told.iter().any(|event| event.contains(&format!("image {NEXT}"))), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_leaves_the_old_pods_serving_and_the_next_release_recovers() {
    let site = Site::new("no-image", json!({ "type": "development" })).await;
    let spec =
        |image: &str| quick(json!({ "replicas": 2, "image": image, "rollout": { "maxUnavailable": 0 } }));
    site.apply("users", spec(crate::support::STANDIN)).await;
    let first = site.ready("users").await;
    let pods = site.pod_uids("users").await;

    site.apply("users", spec(NOWHERE)).await;
    site.condition("users", "Progressing", "True", "RollingOut").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let service = site.condition("users", "Progressing", "True", "RollingOut").await;
    assert!(is(&service, "Ready", "True") && is(&service, "Reconciling", "True"), "{:?}", service.status);
    assert_eq!(version(&service), Some("1.0.0"), "it tells a version that does not serve");
    let revision = |service: &VisiobookService| {
        service.status.as_ref().and_then(|status| status.active_revision.clone())
    };
    assert_eq!(revision(&service), revision(&first));
    let now = site.pod_uids("users").await;
    assert!(pods.iter().all(|pod| now.contains(pod)), "an old pod went before its successor was ready");

    site.apply("users", spec(NEXT)).await;
    let service = site.ready("users").await;
    assert_eq!(version(&service), Some("1.1.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_never_become_ready_are_told_and_a_correction_recovers() {
    let site = Site::new("not-ready", json!({ "type": "development" })).await;
    site.apply("users", quick(json!({ "env": { "READY": "false" } }))).await;
    let service = site.condition("users", "Ready", "False", "PodsNotReady").await;
    let told = message(&service, "Ready");
    assert!(
        told.contains("0 of 1 pods are ready") && told.contains("kubectl describe pods -l app=users"),
        "{told}"
    );
    assert!(is(&service, "Reconciling", "True") && is(&service, "Stalled", "False"), "{:?}", service.status);
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_wants_a_port_of_the_sidecar_is_told_with_the_way_out() {
    let site = Site::new("port-taken", json!({ "type": "development" })).await;
    // Nobody can know it before: the number stands in a Secret.
    site.secret("ports", &[("metrics", "9090")]).await;
    let spec =
        |key: &str| quick(json!({ "secrets": { "PROMETHEUS_PORT": { "name": "ports", "key": key } } }));
    site.apply("users", spec("metrics")).await;
    let told = |service: &VisiobookService| {
        let told = message(service, "Ready");
        is(service, "Ready", "False")
            && [
                "container app of pod users-blue-",
                "ended with code 1",
                "ports 9090 and 15080 are the sidecar's",
            ]
            .iter()
            .all(|word| told.contains(word))
    };
    site.until("users", "the port to be told", told).await;
    site.secret("ports", &[("metrics", "9090"), ("other", "9100")]).await;
    site.apply("users", spec("other")).await;
    site.ready("users").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_is_lost_is_rebuilt_without_touching_what_runs() {
    let site = Site::new("lost", json!({ "type": "development" })).await;
    site.apply("users", quick(json!({}))).await;
    kubectl(&["scale", "vbs/users", "--replicas=2", "-n", &site.namespace], None);
    let scaled = |service: &VisiobookService| {
        service.status.as_ref().is_some_and(|status| status.pods.as_deref() == Some("2/2"))
    };
    site.until("users", "two pods", scaled).await;
    let before = site.ready("users").await;
    let children = site.versions("users").await;
    let pods = site.pod_uids("users").await;

    let nothing = json!([{ "op": "remove", "path": "/status" }]);
    let patch = Patch::Json::<()>(serde_json::from_value(nothing).expect("a patch"));
    let lost = site.services().patch_status("users", &PatchParams::default(), &patch).await.expect("lost");
    assert!(lost.status.is_none(), "{:?}", lost.status);
    let after = site
        .until("users", "the status to be rebuilt", |service| service.status.is_some() && is_current(service))
        .await;

    let comparable = |service: &VisiobookService| {
        let mut status = serde_json::to_value(&service.status).expect("json");
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"] = Value::Null;
        }
        status
    };
    assert_eq!(comparable(&after), comparable(&before));
    assert_eq!((after.spec.replicas, site.pod_uids("users").await), (Some(2), pods));
    assert_eq!(site.versions("users").await[1..], children[1..], "a child was written to");
}
