//! T13: what another release of the operator has stored.

use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;

use super::state;
use crate::support::operator::Stage;
use crate::support::proxy::Proxy;
use crate::support::{STANDIN, Site, eventually, message};

#[tokio::test(flavor = "multi_thread")]
async fn t13_a_revision_that_a_later_release_stored_goes_on_and_the_next_one_is_rendered_anew() {
    let stage = Stage::new("stored").await;
    let site = &stage.site;
    state::secret(site).await;
    let proxy = Proxy::start().await;
    let mut operator = stage.operator(&proxy);
    operator.leads().await;
    for name in ["wider", "newer"] {
        site.apply(name, state::first_spec()).await;
        state::settled(site, name).await;
    }
    operator.kill();
    store(site, "wider", |data| data["shape"]["added"] = json!("later")).await;
    store(site, "newer", |data| *data = json!({ "format": 99, "pods": [] })).await;
    let before = [deployment(site, "wider").await, deployment(site, "newer").await];
    let configs = names(site, Kind::ConfigMap, "newer").await;

    let operator = stage.operator(&proxy);
    operator.leads().await;
    let stalled = site.condition("newer", "Stalled", "True", "RevisionUnreadable").await;
    let told = message(&stalled, "Stalled");
    assert!(told.contains("format 99") && told.contains("Install the release"), "{told}");
    state::settled(site, "wider").await;
    assert_eq!([deployment(site, "wider").await, deployment(site, "newer").await], before);
    assert_eq!(names(site, Kind::ConfigMap, "newer").await, configs, "its pods need them");

    let mut spec = state::first_spec();
    spec["image"] = format!("{STANDIN}-next").into();
    site.apply("newer", spec).await;
    state::settled(site, "newer").await;
    assert_ne!(deployment(site, "newer").await, before[1]);
}

/// Put something else in the place of a stored revision, which nobody can change.
async fn store(site: &Site, name: &str, change: impl Fn(&mut Value)) {
    let revisions = site.children(Kind::ControllerRevision);
    let [stored] = &names(site, Kind::ControllerRevision, name).await[..] else { panic!("one revision") };
    let mut object = site.existing(Kind::ControllerRevision, stored).await;
    change(&mut object["data"]);
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        object["metadata"].as_object_mut().expect("metadata").remove(field);
    }
    revisions.delete(stored, &DeleteParams::background()).await.expect("deleted");
    let object = serde_json::from_value(object).expect("object");
    eventually("the place to be free", || async {
        revisions.create(&PostParams::default(), &object).await.map(drop)
    })
    .await;
}

async fn names(site: &Site, kind: Kind, service: &str) -> Vec<String> {
    let children = site.all_children(service).await;
    children
        .into_iter()
        .filter(|(of, _)| *of == kind)
        .filter_map(|(_, child)| Some(child["metadata"]["name"].as_str()?.to_string()))
        .collect()
}

/// What would differ if its pods were replaced.
async fn deployment(site: &Site, name: &str) -> (Value, Value) {
    let live = site.existing(Kind::Deployment, &format!("{name}-blue")).await;
    (live["metadata"]["uid"].clone(), live["spec"]["template"].clone())
}
