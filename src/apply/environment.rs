//! What is written of environments: their status, and a label of namespaces.

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::writer::{Error, Writer, payload};
use crate::api::{GROUP, PodSecurityLevel, VisiobookEnvironment, VisiobookEnvironmentStatus, names};

/// Publish the status of an environment under its own field manager, on the version it was decided on.
pub async fn publish_environment(
    writer: &Writer,
    environment: &VisiobookEnvironment,
    status: &VisiobookEnvironmentStatus,
) -> Result<VisiobookEnvironment, Error> {
    let name = environment.name_any();
    let body = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "VisiobookEnvironment",
        "metadata": { "name": name, "uid": environment.uid(), "resourceVersion": environment.resource_version() },
        "status": status,
    });
    let params = PatchParams::apply(names::STATUS_MANAGER).force();
    let api: Api<VisiobookEnvironment> = Api::all(writer.claimed()?);
    let answer = api.patch_status(&name, &params, &Patch::Apply(&payload(&body))).await;
    answer.map_err(|error| refused(error, format!("publish the status of VisiobookEnvironment {name}")))
}

/// Have a namespace enforce a stricter Pod Security Standard.
pub async fn raise_pod_security(
    writer: &Writer,
    namespace: &str,
    uid: &str,
    level: PodSecurityLevel,
) -> Result<(), Error> {
    let labels = json!({ "pod-security.kubernetes.io/enforce": level.as_str() });
    let patch = json!({ "metadata": { "uid": uid, "labels": labels } });
    let params = PatchParams { field_manager: Some(names::MANAGER.into()), ..PatchParams::default() };
    let api: Api<Namespace> = Api::all(writer.claimed()?);
    let answer = api.patch(namespace, &params, &Patch::Merge(&patch)).await;
    answer.map(drop).map_err(|error| refused(error, format!("label namespace {namespace}")))
}

fn refused(error: kube::Error, what: String) -> Error {
    Error::Refused { what, source: Box::new(error) }
}
