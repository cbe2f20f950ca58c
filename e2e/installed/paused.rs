//! `paused` keeps the operator's hands off one service.

use kube::api::DeleteParams;
use serde_json::json;
use visiobook::api::kinds::Kind;

use crate::support::{Site, events, eventually, is, message, quick};

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_service_is_not_written_to_and_says_so_until_it_goes_on() {
    let site = Site::new("paused", json!({ "type": "development" })).await;
    site.apply("users", quick(json!({}))).await;
    let before = site.ready("users").await;
    site.apply("users", quick(json!({ "paused": true }))).await;
    let service = site.condition("users", "Paused", "True", "SpecPaused").await;
    assert!(message(&service, "Paused").contains("nothing is written"), "{:?}", service.status);
    assert!(is(&service, "Ready", "True") && is(&service, "Reconciling", "False"), "{:?}", service.status);

    // Neither a change by hand, nor a lost child, nor a new version makes it write.
    let label =
        json!([{ "op": "add", "path": "/metadata/labels/app.kubernetes.io~1name", "value": "intruded" }]);
    site.meddle(Kind::ServiceAccount, "users", label).await.expect("changed");
    site.children(Kind::PodDisruptionBudget)
        .delete("users-blue", &DeleteParams::default())
        .await
        .expect("deleted");
    site.apply("users", quick(json!({ "paused": true, "env": { "RELEASE": "2" } }))).await;
    site.condition("users", "Paused", "True", "SpecPaused").await;
    site.stays_untouched("users", 4).await;
    let account = site.existing(Kind::ServiceAccount, "users").await;
    assert_eq!(account["metadata"]["labels"]["app.kubernetes.io/name"], "intruded");
    assert!(
        site.child(Kind::PodDisruptionBudget, "users-blue").await.is_none(),
        "it writes while it is paused"
    );
    let told = events(&site, "users").await;
    assert!(told.iter().any(|event| event.starts_with("Paused:")), "{told:?}");
    assert!(!told.iter().any(|event| event.starts_with("DriftRepaired")), "{told:?}");

    site.apply("users", quick(json!({ "env": { "RELEASE": "2" } }))).await;
    eventually("drift to be repaired", || async {
        let account = site.existing(Kind::ServiceAccount, "users").await;
        let budget = site.child(Kind::PodDisruptionBudget, "users-blue").await;
        match (account["metadata"]["labels"]["app.kubernetes.io/name"] == "users", budget) {
            (true, Some(_)) => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let service = site.ready("users").await;
    assert!(is(&service, "Paused", "False"), "{:?}", service.status);
    let revision = |service: &visiobook::api::VisiobookService| {
        service.status.as_ref().and_then(|status| status.active_revision.clone())
    };
    assert_ne!(revision(&service), revision(&before), "what changed while it was paused never arrived");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_paused_from_the_start_makes_nothing_until_it_goes_on() {
    let site = Site::new("paused-first", json!({ "type": "development" })).await;
    site.apply("users", quick(json!({ "paused": true }))).await;
    let service = site.condition("users", "Paused", "True", "SpecPaused").await;
    assert!(is(&service, "Ready", "Unknown"), "{:?}", service.status);
    site.stays_untouched("users", 3).await;
    assert!(site.all_children("users").await.is_empty());
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
}
