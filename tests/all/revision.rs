//! Golden vectors of the revision: a change here restarts every pod of every cluster that upgrades (T13).

use serde_json::json;
use visiobook::check::Shape;

#[test]
fn revisions_match_their_golden_vectors() {
    let vectors = [
        (json!({ "environment": "development", "image": "ghcr.io/visiobook/users:1.0" }), "420efed0a5"),
        (json!({ "environment": "production", "image": "ghcr.io/visiobook/users:1.0" }), "640b161821"),
        (
            json!({
                "environment": "production", "image": "ghcr.io/visiobook/users:1.0", "stack": "nodejs", "port": 3000,
                "env": { "B": "2", "A": "1" }, "config": { "C": "é" }, "secrets": { "S": { "name": "s", "key": "k" } },
                "limits": { "cpu": "1", "memory": "1Gi" }, "gpu": { "count": 1 }, "pod": { "nodeSelector": { "a": "" } },
            }),
            "3f61fb4bd1",
        ),
    ];
    for (shape, revision) in vectors {
        let shape: Shape = serde_json::from_value(shape).expect("shape");
        assert_eq!(shape.revision(), revision);
    }
}

#[test]
fn what_nobody_has_set_is_not_in_the_hash() {
    let shape: Shape =
        serde_json::from_value(json!({ "environment": "development", "image": "a:1" })).expect("shape");
    assert_eq!(
        serde_json::to_value(&shape).expect("json"),
        json!({ "environment": "development", "image": "a:1" })
    );
}

#[test]
fn a_gate_that_is_said_as_it_is_anyway_replaces_no_pods() {
    let revision = |spec: serde_json::Value| {
        let case = crate::defaults::case(spec, json!({ "type": "development" }));
        case.verdict().expect("valid").shape.revision()
    };
    let needs = |mode: Option<&str>| {
        let gate = mode.map(|mode| json!({ "mode": mode }));
        revision(json!({ "dependsOn": [{ "name": "books" }], "gate": gate }))
    };
    for mode in ["Latched", "Continuous"] {
        assert_eq!(needs(Some(mode)), needs(None), "{mode}");
    }
    assert_ne!(needs(Some("Off")), needs(None), "the gate is part of the pods");
    let alone = |mode: &str| revision(json!({ "gate": { "mode": mode } }));
    assert_eq!(alone("Off"), revision(json!({})));
    assert_ne!(alone("Latched"), alone("Off"));
}
