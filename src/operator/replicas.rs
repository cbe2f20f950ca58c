//! Who set `spec.replicas`: the scale subresource, as it should, or somebody's apply of the resource.

use kube::api::ObjectMeta;
use serde_json::Value;

/// The manager that applies `spec.replicas` beside the scale subresource, if any.
pub(super) fn applied_by(meta: &ObjectMeta) -> Option<String> {
    meta.managed_fields
        .iter()
        .flatten()
        .filter(|entry| entry.subresource.is_none())
        .filter(|entry| {
            // An edit by hand is a wish of the moment; an apply comes again.
            entry.operation.as_deref() == Some("Apply")
                || entry.manager.as_deref() == Some("kubectl-client-side-apply")
        })
        .find(|entry| {
            let owned = entry.fields_v1.as_ref().map(|fields| &fields.0);
            owned
                .and_then(|fields| fields.get("f:spec")?.get("f:replicas"))
                .is_some_and(|leaf| leaf == &Value::Object(Default::default()))
        })
        .and_then(|entry| entry.manager.clone())
}
