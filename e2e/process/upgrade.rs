//! T13: the next release renders one variable more, and restarts nothing because of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;

use super::{soak, state};
use crate::support::operator::{Launch, Stage};
use crate::support::proxy::{Proxy, tail};
use crate::support::{STANDIN, Site, eventually};

/// What the next release adds to every pod.
const ADDED: &str = "NEXT_RELEASE";

#[tokio::test(flavor = "multi_thread")]
async fn t13_an_operator_that_renders_one_variable_more_restarts_nothing_and_repairs_to_the_old_template() {
    let next =
        PathBuf::from(std::env::var_os("VISIOBOOK_NEXT").expect("VISIOBOOK_NEXT: `make e2e` builds it"));
    let stage = Stage::new("upgrade").await;
    let site = &stage.site;
    state::secret(site).await;
    let proxy = Proxy::start().await;
    let mut operator = stage.operator(&proxy);
    operator.leads().await;
    let names: Vec<String> =
        (0..if soak() { 200 } else { 20 }).map(|index| format!("fleet-{index:03}")).collect();
    stream::iter(&names)
        .for_each_concurrent(8, |name| async move { drop(site.apply(name, state::first_spec()).await) })
        .await;
    for name in &names {
        state::settled(site, name).await;
    }
    proxy.quiet(Duration::from_secs(3)).await;
    let before = fleet(site, &names).await;
    let sets = replica_sets(site).await;
    assert_eq!(sets.len(), names.len());
    operator.kill();

    let mark = proxy.mark();
    let operator = stage.launch(Launch { binary: &next, proxy: Some(&proxy), ..Launch::default() });
    operator.leads().await;
    proxy.quiet(Duration::from_secs(5)).await;
    let writes = proxy.writes(mark);
    assert!(writes.is_empty(), "the upgrade cost {} writes: {:#?}", writes.len(), tail(&writes));
    assert_eq!(fleet(site, &names).await, before);
    assert_eq!(replica_sets(site).await, sets);

    // Changed by hand, taken away as a whole: the old template comes back.
    let (edited, deleted, changed) = (&names[0], &names[1], &names[2]);
    let old = template(&site.existing(Kind::Deployment, &format!("{edited}-blue")).await);
    let edit = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "somebody/elses:1" }]);
    site.meddle(Kind::Deployment, &format!("{edited}-blue"), edit).await.expect("edited");
    site.children(Kind::Deployment)
        .delete(&format!("{deleted}-blue"), &Default::default())
        .await
        .expect("deleted");
    for name in [edited, deleted] {
        let old: Value = serde_json::from_str(&old.to_string().replace(edited, name)).expect("json");
        eventually("the old template", || async {
            let live =
                site.child(Kind::Deployment, &format!("{name}-blue")).await.map(|live| template(&live));
            // The one that was deleted may still be seen for a moment, and looks the same.
            if live.as_ref().is_some_and(|live| *live == old) { Ok(()) } else { Err(live) }
        })
        .await;
        state::settled(site, name).await;
    }
    proxy.quiet(Duration::from_secs(3)).await;
    for name in [edited, deleted] {
        let live = template(&site.existing(Kind::Deployment, &format!("{name}-blue")).await);
        assert_eq!(live.to_string(), old.to_string().replace(edited, name));
    }

    // A size is no release; a new image is, and it brings the variable.
    let size = Patch::Merge(json!({ "spec": { "replicas": 0, "service": { "port": 81 } } }));
    site.services().patch(&names[3], &PatchParams::default(), &size).await.expect("patched");
    state::settled(site, &names[3]).await;
    let unreleased = template(&site.existing(Kind::Deployment, &format!("{}-blue", names[3])).await);
    assert_eq!(variable(&unreleased), None);
    let mut spec = state::first_spec();
    spec["image"] = format!("{STANDIN}-next").into();
    site.apply(changed, spec).await;
    eventually("the new template", || async {
        let live = template(&site.existing(Kind::Deployment, &format!("{changed}-blue")).await);
        if variable(&live).as_deref() == Some("1") { Ok(()) } else { Err(live) }
    })
    .await;
}

fn template(deployment: &Value) -> Value {
    deployment["spec"]["template"].clone()
}

fn variable(template: &Value) -> Option<String> {
    let variables = template["spec"]["containers"][0]["env"].as_array().expect("env");
    let added = variables.iter().find(|variable| variable["name"] == ADDED)?;
    added["value"].as_str().map(str::to_string)
}

/// Uid and generation of every Deployment.
async fn fleet(site: &Site, names: &[String]) -> BTreeMap<String, String> {
    let mut fleet = BTreeMap::new();
    for name in names {
        let metadata = site.existing(Kind::Deployment, &format!("{name}-blue")).await["metadata"].clone();
        fleet.insert(name.clone(), format!("{} {}", metadata["uid"], metadata["generation"]));
    }
    fleet
}

async fn replica_sets(site: &Site) -> Vec<String> {
    let sets: Api<ReplicaSet> = Api::namespaced(site.client.clone(), &site.namespace);
    let mut names: Vec<String> =
        sets.list(&Default::default()).await.expect("sets").iter().map(ResourceExt::name_any).collect();
    names.sort();
    names
}
