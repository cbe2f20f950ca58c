//! The smallest useful resource.

use serde_json::json;

use crate::support::Site;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_and_nothing_else_becomes_a_ready_service() {
    let site = Site::new("smoke", json!({ "type": "development" })).await;
    site.apply("tiny", json!({ "image": crate::support::STANDIN })).await;
    let service = site.ready("tiny").await;
    let status = service.status.expect("status");
    assert_eq!((status.pods.as_deref(), status.version.as_deref()), (Some("1/1"), Some("1.0.0")));
    assert_eq!(status.children.len(), 8, "{:?}", status.children);
}
