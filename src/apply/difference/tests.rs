//! The fixtures are plans and live objects as an API server 1.36 returned them, without status.

mod properties;

use serde_json::{Value, json};

use super::{Change, ChangeKind, Difference, compare, trim};

const OURS: &str = "visiobook-operator";

/// A plan that was applied, and the live object as somebody left it.
fn fixture(name: &str) -> (Value, Value) {
    let path = format!("{}/tests/fixtures/managed-fields/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let mut case: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    (case["plan"].take(), case["live"].take())
}

/// Changes as a log shows them, with their kind.
fn lines(difference: &Difference) -> Vec<String> {
    let Difference::Differs(changes) = difference else { return Vec::new() };
    let kind = |change: &Change| match change.kind {
        ChangeKind::Planned => "planned",
        ChangeKind::Drift { .. } => "drift",
        ChangeKind::Orphan => "orphan",
    };
    changes.iter().map(|change| format!("{} {change}", kind(change))).collect()
}

/// A small live object that we applied, with its `spec` and our field set for it.
fn live(spec: Value, fields: Value) -> Value {
    json!({"metadata": {"name": "x", "managedFields": [entry(OURS, "Apply", fields, "2026-01-01T00:00:00Z")]}, "spec": spec})
}

fn entry(manager: &str, operation: &str, fields: Value, time: &str) -> Value {
    json!({"manager": manager, "operation": operation, "time": time, "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields}})
}

fn with(mut live: Value, entry: Value) -> Value {
    live["metadata"]["managedFields"].as_array_mut().unwrap().push(entry);
    live
}

fn differences(spec: Value, live: &Value) -> Vec<String> {
    lines(&compare(&json!({"metadata": {"name": "x"}, "spec": spec}), live, OURS))
}

#[test]
fn what_was_just_applied_is_the_same() {
    for name in [
        "deployment",
        "deployment-with-guests",
        "service",
        "configmap",
        "hpa",
        "pdb",
        "networkpolicy",
        "ingress",
        "serviceaccount",
        "zeros",
    ] {
        let (plan, live) = fixture(name);
        assert_eq!(compare(&plan, &live, OURS), Difference::Same, "{name}");
    }
}

#[test]
fn drift_names_the_field_and_who_changed_it() {
    let sha = "registry.visiobook.com/books@sha256:0000000000000000000000000000000000000000000000000000000000000001";
    let image = "spec.template.spec.containers[name=app].image";
    for (name, expected) in [
        ("deployment-image-set", vec![format!("drift {image}: \"evil:1\" -> \"{sha}\", changed by kubectl-set")]),
        ("deployment-image-returned", vec![format!("drift {image}: \"{sha}\" -> \"{sha}\", changed by kubectl-set")]),
        ("deployment-scaled", vec!["drift spec.replicas: 5 -> 2, changed by kubectl".to_owned()]),
        ("deployment-replicas-applied", vec!["drift spec.replicas: 9 -> 2, changed by gitops".to_owned()]),
        (
            "deployment-label-swapped",
            vec!["drift metadata.labels[app.kubernetes.io/name]: (none) -> \"books\", changed by kubectl-label".to_owned()],
        ),
        (
            "deployment-toleration-patched",
            vec![
                "drift spec.template.spec.tolerations[0].value: \"other\" -> \"visiobook\", changed by kubectl-patch"
                    .to_owned(),
            ],
        ),
        (
            "service-selector-patched",
            vec![
                "drift spec.selector[platform.visiobook.com/colour]: \"green\" -> \"blue\", changed by kubectl-patch"
                    .to_owned(),
            ],
        ),
        (
            "service-port-swapped",
            vec![
                "drift spec.ports[port=9090,protocol=TCP]: (none) -> \
                 {\"name\":\"metrics\",\"port\":9090,\"protocol\":\"TCP\",\"targetPort\":9090}, changed by kubectl-edit"
                    .to_owned(),
            ],
        ),
        (
            "hpa-metric-edited",
            vec![
                "drift spec.metrics[0].resource.target.averageUtilization: 95 -> 70, changed by kubectl-edit".to_owned(),
            ],
        ),
        (
            "deployment-volume-swapped",
            vec!["drift spec.template.spec.volumes[name=tmp].emptyDir: (none) -> {}, changed by kubectl-edit".to_owned()],
        ),
        ("configmap-edited", vec!["drift data.LOG_LEVEL: \"debug\" -> \"info\", changed by kubectl-edit".to_owned()]),
    ] {
        let (plan, live) = fixture(name);
        assert_eq!(lines(&compare(&plan, &live, OURS)), expected, "{name}");
    }
}

/// A manager that only removes fields leaves no entry: nothing tells its work from a field new in the plan.
#[test]
fn removal_without_a_trace_looks_planned() {
    for (name, expected) in [
        ("deployment-label-removed", "planned metadata.labels[app.kubernetes.io/name]: (none) -> \"books\""),
        (
            "deployment-env-removed",
            "planned spec.template.spec.containers[name=app].env[name=LOG_LEVEL]: (none) -> \
             {\"name\":\"LOG_LEVEL\",\"value\":\"info\"}",
        ),
    ] {
        let (plan, live) = fixture(name);
        assert_eq!(lines(&compare(&plan, &live, OURS)), [expected], "{name}");
    }
}

#[test]
fn a_changed_plan_is_told_from_drift() {
    let (mut plan, live) = fixture("deployment");
    let app = &mut plan["spec"]["template"]["spec"]["containers"][0];
    app["image"] = json!("books:2");
    app["env"][0] = json!({"name": "NEW", "value": "1"});
    app.as_object_mut().unwrap().remove("livenessProbe");
    plan["spec"]["template"]["spec"]["imagePullSecrets"][0]["name"] = json!("other");
    plan["spec"]["template"]["spec"]["affinity"] = json!({"nodeAffinity": {}});
    plan["metadata"]["ownerReferences"][0]["controller"] = json!(false);
    let difference = compare(&plan, &live, OURS);
    let lines = lines(&difference);
    let paths: Vec<_> = lines.iter().filter_map(|line| line.split(": ").next()).collect();
    let app = "spec.template.spec.containers[name=app]";
    let owner = live["metadata"]["ownerReferences"][0]["uid"].as_str().unwrap();
    assert_eq!(
        paths,
        [
            format!("planned metadata.ownerReferences[uid={owner}].controller"),
            "planned spec.template.spec.affinity".to_owned(),
            format!("orphan {app}.env[name=LOG_LEVEL]"),
            format!("planned {app}.env[name=NEW]"),
            format!("planned {app}.image"),
            format!("orphan {app}.livenessProbe.failureThreshold"),
            format!("orphan {app}.livenessProbe.httpGet.path"),
            format!("orphan {app}.livenessProbe.httpGet.port"),
            format!("orphan {app}.livenessProbe.httpGet.scheme"),
            format!("orphan {app}.livenessProbe.periodSeconds"),
            format!("orphan {app}.livenessProbe.successThreshold"),
            format!("orphan {app}.livenessProbe.timeoutSeconds"),
            "planned spec.template.spec.imagePullSecrets[name=other]".to_owned(),
            "orphan spec.template.spec.imagePullSecrets[name=registry]".to_owned(),
        ]
    );
}

#[test]
fn fences_do_not_count() {
    let (mut plan, live) = fixture("deployment");
    plan["metadata"]["uid"] = live["metadata"]["uid"].clone();
    plan["metadata"]["resourceVersion"] = json!("1");
    assert_eq!(compare(&plan, &live, OURS), Difference::Same);
}

/// Seen on 1.36: an apply puts the items of a keyed list back into the order of the plan, around those of others.
#[test]
fn the_order_of_our_items_counts() {
    let fields = json!({"f:list": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}}, "k:{\"name\":\"b\"}": {".": {}, "f:name": {}}}});
    let live = live(json!({"list": [{"name": "a"}, {"name": "guest"}, {"name": "b"}]}), fields);
    assert_eq!(differences(json!({"list": [{"name": "a"}, {"name": "b"}]}), &live), [""; 0]);
    assert_eq!(
        differences(json!({"list": [{"name": "b"}, {"name": "a"}]}), &live),
        [
            "planned spec.list: [{\"name\":\"a\"},{\"name\":\"guest\"},{\"name\":\"b\"}] -> [{\"name\":\"b\"},{\"name\":\"a\"}]"
        ]
    );
}

#[test]
fn an_object_that_we_never_applied_differs_everywhere() {
    let (plan, live) = fixture("pdb");
    let difference = compare(&plan, &live, "somebody");
    let Difference::Differs(changes) = difference else { panic!("{difference:?}") };
    assert!(changes.iter().all(|change| change.kind == ChangeKind::Drift { manager: Some(OURS.to_owned()) }));
    let (plan, mut live) = fixture("pdb");
    live["metadata"].as_object_mut().unwrap().remove("managedFields");
    let Difference::Differs(changes) = compare(&plan, &live, OURS) else { panic!("no difference") };
    assert!(changes.iter().all(|change| change.kind == ChangeKind::Planned && change.live == change.plan));
}

#[test]
fn a_set_is_compared_item_by_item() {
    let live = live(json!({"set": ["a", "guest", "b"]}), json!({"f:set": {"v:\"a\"": {}, "v:\"b\"": {}}}));
    assert_eq!(differences(json!({"set": ["a", "b"]}), &live), [""; 0]);
    assert_eq!(
        differences(json!({"set": ["a", "c"]}), &live),
        ["orphan spec.set[\"b\"]: \"b\" -> (none)", "planned spec.set[\"c\"]: (none) -> \"c\""]
    );
}

#[test]
fn a_key_with_a_default_may_be_left_out() {
    let tcp = json!({".": {}, "f:port": {}});
    let udp = json!({".": {}, "f:port": {}, "f:protocol": {}});
    let fields = json!({"f:ports": {"k:{\"port\":53,\"protocol\":\"TCP\"}": tcp, "k:{\"port\":53,\"protocol\":\"UDP\"}": udp}});
    let live =
        live(json!({"ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}), fields);
    assert_eq!(
        differences(json!({"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}), &live),
        [""; 0]
    );
    assert_eq!(
        differences(json!({"ports": [{"port": 53}]}), &live),
        ["orphan spec.ports[port=53,protocol=UDP]: {\"port\":53,\"protocol\":\"UDP\"} -> (none)"]
    );
}

#[test]
fn an_atomic_value_is_compared_whole() {
    let live = live(json!({"args": ["a", "b"], "map": {"a": 1, "b": 2}}), json!({"f:args": {}, "f:map": {}}));
    assert_eq!(differences(json!({"args": ["a", "b"], "map": {"a": 1, "b": 2}}), &live), [""; 0]);
    assert_eq!(
        differences(json!({"args": ["b", "a"], "map": {"a": 1}}), &live),
        [
            "planned spec.args: [\"a\",\"b\"] -> [\"b\",\"a\"]",
            "planned spec.map: {\"a\":1,\"b\":2} -> {\"a\":1}"
        ]
    );
}

#[test]
fn an_empty_list_that_nobody_touched_claims_nothing() {
    let untouched = live(json!({"a": 1}), json!({"f:a": {}}));
    assert_eq!(differences(json!({"a": 1, "list": []}), &untouched), [""; 0]);
    let filled = live(json!({"a": 1, "list": ["x"]}), json!({"f:a": {}}));
    let filled = with(filled, entry("hand", "Update", json!({"f:list": {}}), "2026-01-02T00:00:00Z"));
    assert_eq!(
        differences(json!({"a": 1, "list": []}), &filled),
        ["drift spec.list: [\"x\"] -> [], changed by hand"]
    );
}

#[test]
fn an_empty_struct_that_others_fill_stays_ours() {
    let object = live(json!({"context": {"user": 1}}), json!({"f:context": {}}));
    let object =
        with(object, entry("hand", "Update", json!({"f:context": {"f:user": {}}}), "2026-01-02T00:00:00Z"));
    assert_eq!(differences(json!({"context": {}}), &object), [""; 0]);
    // We own the struct and no longer its part, though the value is the planned one.
    assert_eq!(
        differences(json!({"context": {"user": 1}}), &object),
        ["drift spec.context.user: 1 -> 1, changed by hand"]
    );
}

#[test]
fn the_latest_owner_is_named() {
    let object = live(json!({"a": 1, "b": 2}), json!({"f:b": {}}));
    let object = with(object, entry("early", "Update", json!({"f:a": {}}), "2026-01-02T00:00:00Z"));
    let object = with(object, entry("late", "Apply", json!({"f:a": {}}), "2026-01-03T00:00:00Z"));
    let object = with(object, entry("other", "Update", json!({"f:c": {}}), "2026-01-04T00:00:00Z"));
    assert_eq!(differences(json!({"a": 2, "b": 2}), &object), ["drift spec.a: 1 -> 2, changed by late"]);
}

#[test]
fn another_api_version_is_applied_again() {
    let (plan, mut live) = fixture("pdb");
    live["metadata"]["managedFields"][0]["apiVersion"] = json!("policy/v1beta1");
    assert_eq!(
        lines(&compare(&plan, &live, OURS)),
        ["planned apiVersion: \"policy/v1beta1\" -> \"policy/v1\""]
    );
}

#[test]
fn values_of_a_secret_are_never_shown() {
    let mut live = live(json!({"a": "old"}), json!({"f:a": {}}));
    live["kind"] = json!("Secret");
    let plan = json!({"kind": "Secret", "spec": {"a": "new"}});
    assert_eq!(lines(&compare(&plan, &live, OURS)), ["planned spec.a: (hidden) -> (hidden)"]);
}

#[test]
fn long_values_are_shortened() {
    let live = live(json!({"a": "é".repeat(500)}), json!({"f:a": {}}));
    let Difference::Differs(changes) = compare(&json!({"spec": {"a": 1}}), &live, OURS) else {
        panic!("no difference")
    };
    assert_eq!(changes[0].live.as_ref().map(|text| text.chars().count()), Some(121));
}

#[test]
fn trimming_changes_no_comparison() {
    let (plan, mut live) = fixture("deployment-image-set");
    live["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = json!("{}");
    let before = compare(&plan, &live, OURS);
    trim(&mut live, OURS);
    assert_eq!(compare(&plan, &live, OURS), before);
    let text = live.to_string();
    assert!(!text.contains("last-applied") && !text.contains("\"subresource\":\"status\""), "{text}");
    assert!(text.contains("kubectl-set") && text.contains("platform.visiobook.com/revision"), "{text}");
    trim(&mut Value::Null, OURS);
}
