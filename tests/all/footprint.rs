//! What the operator remembers of a service: thousands of them are kept.

use kube::api::DynamicObject;
use visiobook::apply::Live;

use crate::cases::Case;

/// Bytes of all children of a service, as they are kept.
fn kept(name: &str, uid: u8) -> Vec<(String, usize)> {
    let service = serde_json::json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
        "metadata": { "name": name, "namespace": "books" },
        "spec": {
            "image": "ghcr.io/visiobook/books:1.0", "stack": "nodejs", "config": { "A": "1" }, "ingress": { "hosts": ["a.example.com"] },
        },
    });
    let service = serde_json::from_value(service).expect("service");
    let case = Case { service, environment: Default::default() };
    case.plan()
        .objects
        .into_iter()
        .map(|planned| {
            let mut object: DynamicObject = serde_json::from_value(planned.object).expect("object");
            object.metadata.uid = Some(format!("{uid:08}-0000-0000-0000-000000000000"));
            (format!("{} {}", planned.kind.as_str(), planned.name), Live::keep(planned.kind, object).bytes())
        })
        .collect()
}

#[test]
fn another_service_of_a_sort_costs_few_bytes() {
    kept("first", 1);
    let second = kept("second-of-all", 2);
    let all: usize = second.iter().map(|(_, bytes)| bytes).sum();
    assert!(all < 3000, "{all} bytes: {second:#?}");
}
