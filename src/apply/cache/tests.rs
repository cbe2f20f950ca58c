use kube::api::DynamicObject;
use serde_json::json;

use super::*;

fn live(name: &str, uid: &str, version: u64) -> Live {
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": name, "namespace": "n", "uid": uid, "resourceVersion": version.to_string(),
            "ownerReferences": [{ "apiVersion": "x", "kind": "VisiobookService", "name": "s", "uid": "owner", "controller": true }],
        },
        "data": { "version": version.to_string() },
    }))
    .unwrap();
    Live::keep(Kind::ConfigMap, object)
}

fn owner() -> Owner {
    Owner { name: "s".into(), namespace: "n".into(), uid: "owner".into() }
}

fn news() -> Seen {
    Seen::News(Some(("n".into(), "s".into())))
}

#[test]
fn late_news_from_the_watch_does_not_undo_an_answer() {
    let cache = Cache::default();
    assert_eq!(cache.see(live("a", "1", 10)).0, news());
    assert_eq!(cache.see(live("a", "1", 12)).0, news(), "the answer to our own write");
    assert_eq!(cache.see(live("a", "1", 11)).0, Seen::Known);
    assert_eq!(cache.see(live("a", "1", 12)).0, Seen::Known);
    assert_eq!(cache.get(Kind::ConfigMap, "n", "a").unwrap().resource_version, 12);
    assert_eq!(cache.owned_by(&owner()).len(), 1);
}

#[test]
fn what_we_deleted_does_not_come_back_by_late_news() {
    let cache = Cache::default();
    cache.see(live("a", "1", 10));
    cache.forget(&live("a", "1", 10), false);
    assert_eq!(cache.see(live("a", "1", 11)).0, Seen::Known);
    assert!(cache.get(Kind::ConfigMap, "n", "a").is_none());
    assert_eq!(cache.forget(&live("a", "1", 12), true), Seen::Known);
    assert_eq!(cache.see(live("a", "2", 13)).0, news(), "made again");
}

#[test]
fn the_end_of_what_we_deleted_is_news_once_it_is_wanted_again() {
    let cache = Cache::default();
    cache.see(live("a", "1", 10));
    cache.forget(&live("a", "1", 10), false);
    let held_back = Arc::new(live("a", "1", 11));
    assert!(cache.unbury(&held_back));
    assert!(cache.get(Kind::ConfigMap, "n", "a").is_some());
    assert_eq!(cache.forget(&live("a", "1", 12), true), news());
    assert!(!cache.unbury(&held_back), "it is gone already");
    assert!(cache.get(Kind::ConfigMap, "n", "a").is_none());
}

#[test]
fn the_end_of_an_older_object_does_not_take_its_successor() {
    let cache = Cache::default();
    cache.see(live("a", "2", 20));
    assert_eq!(cache.forget(&live("a", "1", 15), true), Seen::Known);
    assert!(cache.get(Kind::ConfigMap, "n", "a").is_some());
}

#[test]
fn a_list_removes_what_it_does_not_show_within_its_scope() {
    let cache = Cache::default();
    cache.see(live("a", "1", 10));
    cache.see(live("b", "2", 10));
    cache.begin_list(Kind::ConfigMap, &Some("n".into()));
    cache.see(live("a", "1", 10));
    assert_eq!(cache.end_list(Kind::ConfigMap, &Some("n".into())), vec![("n".to_string(), "s".to_string())]);
    assert!(cache.get(Kind::ConfigMap, "n", "b").is_none());
    cache.begin_list(Kind::ConfigMap, &Some("other".into()));
    assert!(cache.end_list(Kind::ConfigMap, &Some("other".into())).is_empty());
    assert_eq!(cache.owned_by(&owner()).len(), 1);
}

#[test]
fn a_child_that_lost_its_reference_is_still_ours_if_we_made_it() {
    let stripped = |version: u64, manager: &str, owners: serde_json::Value| {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "a", "namespace": "n", "uid": "1", "resourceVersion": version.to_string(),
                "labels": { "app.kubernetes.io/name": "s" }, "ownerReferences": owners,
                "managedFields": [{ "manager": manager, "operation": "Apply" }],
            },
        });
        Live::keep(Kind::ConfigMap, serde_json::from_value(object).unwrap())
    };
    let cache = Cache::default();
    cache.see(live("a", "1", 10));
    assert_eq!(cache.see(stripped(11, names::MANAGER, json!([]))).0, news());
    assert_eq!(cache.owned_by(&owner()).len(), 1);
    let not_controlling =
        json!([{ "apiVersion": "x", "kind": "VisiobookService", "name": "s", "uid": "owner" }]);
    cache.see(stripped(12, names::MANAGER, not_controlling));
    assert_eq!(cache.owned_by(&owner()).len(), 1);

    // Made by somebody else, or another's now.
    assert!(!stripped(13, "kubectl", json!([])).belongs_to(&owner()));
    let other =
        json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "2", "controller": true }]);
    cache.see(stripped(14, names::MANAGER, other));
    assert!(cache.owned_by(&owner()).is_empty());
}
