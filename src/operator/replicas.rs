//! Who set `spec.replicas`: the scale subresource, as it should, or somebody's apply of the resource.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::ObjectMeta;
use serde_json::Value;

/// The manager that applies `spec.replicas` beside the scale subresource, if any.
pub(super) fn applied_by(meta: &ObjectMeta) -> Option<String> {
    meta.managed_fields
        .iter()
        .flatten()
        .filter(|entry| entry.subresource.is_none())
        .filter(|entry| {
            // An edit by hand is a wish of the moment; an apply comes again. A client that applies by itself, such as
            // kubectl or Argo CD, writes what it applied beside it.
            entry.operation.as_deref() == Some("Apply")
                || owns(
                    entry,
                    &["f:metadata", "f:annotations", "f:kubectl.kubernetes.io/last-applied-configuration"],
                )
        })
        .find(|entry| owns(entry, &["f:spec", "f:replicas"]))
        .and_then(|entry| entry.manager.clone())
}

fn owns(entry: &ManagedFieldsEntry, path: &[&str]) -> bool {
    let owned = entry.fields_v1.as_ref().map(|fields| &fields.0);
    owned
        .and_then(|fields| path.iter().try_fold(fields, |at, step| at.get(step)))
        .is_some_and(|leaf| leaf == &Value::Object(Default::default()))
}
