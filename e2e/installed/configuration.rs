//! Configuration and revisions: a change makes new ones, what is still used stays, and going back finds what was.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use visiobook::api::VisiobookService;
use visiobook::api::kinds::Kind;

use crate::support::{Site, quick};

fn colour(word: &str) -> Value {
    quick(json!({ "config": { "COLOUR": word } }))
}

fn revision(service: &VisiobookService) -> String {
    service.status.as_ref().and_then(|status| status.active_revision.clone()).expect("an active revision")
}

async fn names(site: &Site, kind: Kind) -> BTreeSet<String> {
    let list = site.all_children("users").await;
    // The dashboard is a ConfigMap too, and no pod reads it.
    let is_board = |child: &Value| !child["metadata"]["labels"]["grafana_dashboard"].is_null();
    let of_kind = list.iter().filter(|(of, child)| *of == kind && !is_board(child));
    of_kind.map(|(_, child)| child["metadata"]["name"].as_str().expect("name").to_string()).collect()
}

async fn template(site: &Site) -> Value {
    site.existing(Kind::Deployment, "users-blue").await["spec"]["template"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_configuration_is_a_new_config_map_and_a_new_revision_and_going_back_finds_the_old_ones()
{
    let site = Site::new("config", json!({ "type": "development" })).await;
    site.apply("users", colour("red")).await;
    let first = revision(&site.ready("users").await);
    let (first_maps, first_template) = (names(&site, Kind::ConfigMap).await, template(&site).await);
    let first_map = first_maps.first().expect("a ConfigMap").clone();
    let stored = site.existing(Kind::ControllerRevision, &format!("users-{first}")).await;

    site.apply("users", colour("green")).await;
    let second = revision(&site.ready("users").await);
    let maps = names(&site, Kind::ConfigMap).await;
    assert_ne!(first, second);
    assert!(maps.len() == 2 && maps.contains(&first_map), "{maps:?}");
    for map in &maps {
        let map = site.existing(Kind::ConfigMap, map).await;
        assert_eq!(map["immutable"], true);
    }
    let uses: Vec<bool> = maps.iter().map(|map| first_template.to_string().contains(map)).collect();
    assert_eq!(uses.iter().filter(|uses| **uses).count(), 1);
    assert!(
        !template(&site).await.to_string().contains(&first_map),
        "the new pods read the old configuration"
    );

    site.apply("users", colour("red")).await;
    assert_eq!(revision(&site.ready("users").await), first, "the same spec is another revision");
    assert_eq!(template(&site).await, first_template);
    let again = site.existing(Kind::ControllerRevision, &format!("users-{first}")).await;
    assert_eq!(
        (&again["metadata"]["uid"], &again["data"]),
        (&stored["metadata"]["uid"], &stored["data"]),
        "it was stored anew"
    );
    assert_eq!(names(&site, Kind::ControllerRevision).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_old_revisions_are_kept_with_their_configuration_and_no_more() {
    let site = Site::new("history", json!({ "type": "development" })).await;
    // What is kept does not depend on pods, and without any each release is quick.
    let spec = |release: usize| {
        let mut spec = colour(&format!("shade-{release}"));
        spec["replicas"] = json!(0);
        spec
    };
    let (mut revisions, mut maps) = (Vec::new(), Vec::new());
    for release in 0..8 {
        site.apply("users", spec(release)).await;
        let now = revision(&site.ready("users").await);
        let map = names(&site, Kind::ConfigMap)
            .await
            .into_iter()
            .find(|map| !maps.contains(map))
            .expect("a new ConfigMap");
        revisions.push(format!("users-{now}"));
        maps.push(map);
    }
    let newest = |all: &[String]| all.iter().rev().take(6).cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&site, Kind::ControllerRevision).await, newest(&revisions));
    assert_eq!(names(&site, Kind::ConfigMap).await, newest(&maps));

    // The oldest of those that are kept runs again: it stays, and so does all the rest.
    site.apply("users", spec(2)).await;
    assert_eq!(format!("users-{}", revision(&site.ready("users").await)), revisions[2]);
    assert_eq!(names(&site, Kind::ControllerRevision).await, newest(&revisions));
    // One more pushes out the oldest that does not run.
    site.apply("users", spec(8)).await;
    site.ready("users").await;
    let kept = names(&site, Kind::ControllerRevision).await;
    assert!(
        kept.len() == 6 && !kept.contains(&revisions[2]) && kept.contains(&revisions[3]),
        "{kept:?} of {revisions:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shapes_no_pod_replaces_none() {
    let site = Site::new("no-shape", json!({ "type": "development" })).await;
    site.apply("users", colour("red")).await;
    let first = revision(&site.ready("users").await);
    let pods = site.pod_uids("users").await;
    let around = json!({
        "service": { "port": 8081, "annotations": { "team": "users" } },
        "disruptionBudget": { "minAvailable": 1 },
        "rollout": { "maxSurge": 2 },
        "serviceAccount": { "annotations": { "team": "users" } },
    });
    let mut spec = colour("red");
    visiobook::plan::merge(&mut spec, around);
    site.apply("users", spec).await;
    let service = site.ready("users").await;
    assert_eq!((revision(&service), site.pod_uids("users").await), (first, pods));
    let ports = site.existing(Kind::Service, "users").await["spec"]["ports"].clone();
    assert_eq!(ports[0]["port"], 8081, "{ports}");
}
