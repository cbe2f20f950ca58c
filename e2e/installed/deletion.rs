//! What a service made goes with it.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use visiobook::api::kinds::Kind;

use crate::support::{Site, delete_service, eventually, kubectl, quick};

#[tokio::test(flavor = "multi_thread")]
async fn t24_the_children_of_a_deleted_service_go_and_those_of_its_neighbour_stay() {
    let site = Site::new("delete", json!({ "type": "development" })).await;
    let spec = quick(json!({ "autoscaling": { "enabled": true, "minReplicas": 1 } }));
    site.apply("users", spec.clone()).await;
    site.apply("projects", spec).await;
    site.ready("users").await;
    site.ready("projects").await;
    assert_eq!(site.all_children("users").await.len(), 9);

    delete_service(&site, "users").await;
    eventually("the children to go", || async {
        let left = site.all_children("users").await;
        let pods = site.pod_uids("users").await;
        if left.is_empty() && pods.is_empty() { Ok(()) } else { Err((left.len(), pods)) }
    })
    .await;
    // None comes back, and the neighbour keeps all of its own.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(site.all_children("users").await.is_empty(), "a child came back");
    assert_eq!(site.all_children("projects").await.len(), 9);
    assert_eq!(site.pods("projects").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn t24_a_deletion_in_the_foreground_ends_too() {
    let site = Site::new("foreground", json!({ "type": "development" })).await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    kubectl(
        &["delete", "vbs", "users", "-n", &site.namespace, "--cascade=foreground", "--timeout=120s"],
        None,
    );
    assert!(
        site.child(Kind::Deployment, "users-blue").await.is_none(),
        "the foreground deletion left the Deployment"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t24_a_namespace_with_services_can_be_deleted() {
    let site = Site::new("whole", json!({ "type": "development" })).await;
    for name in ["users", "projects"] {
        site.apply(name, quick(json!({}))).await;
    }
    site.ready("users").await;
    site.ready("projects").await;
    let namespaces: Api<Namespace> = Api::all(site.client.clone());
    namespaces.delete(&site.namespace, &DeleteParams::default()).await.expect("deleted");
    eventually("the namespace to go", || async {
        match namespaces.get_opt(&site.namespace).await {
            Ok(None) => Ok(()),
            other => Err(other.map(|namespace| namespace.and_then(|namespace| namespace.status))),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t24_a_service_that_is_deleted_and_made_again_at_once_ends_up_whole() {
    let site = Site::new("again", json!({ "type": "development" })).await;
    site.apply("users", quick(json!({}))).await;
    let before = site.ready("users").await;
    delete_service(&site, "users").await;
    // Its predecessor's children carry its name and are still on their way out.
    site.apply("users", quick(json!({}))).await;
    let after = site.ready("users").await;
    assert_ne!(before.metadata.uid, after.metadata.uid);
    for (kind, child) in site.all_children("users").await {
        let owner = child["metadata"]["ownerReferences"][0]["uid"].as_str().map(str::to_string);
        assert_eq!(owner, after.metadata.uid, "{} belongs to its predecessor", kind.as_str());
    }
    assert_eq!(site.all_children("users").await.len(), 8);
}
