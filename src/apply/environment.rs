//! What is written of environments: their status, the list of them, and a label of namespaces.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

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

/// Write the list of environments: exactly these, on the version that was seen.
pub async fn list_environments(
    writer: &Writer,
    namespace: &str,
    wanted: &BTreeMap<String, String>,
    seen: Option<&(BTreeMap<String, String>, String)>,
) -> Result<ConfigMap, Error> {
    let api: Api<ConfigMap> = Api::namespaced(writer.claimed()?, namespace);
    let answer = match seen {
        None => {
            let list = json!({ "metadata": { "name": names::ENVIRONMENTS }, "data": wanted });
            let list: ConfigMap = serde_json::from_value(list).unwrap_or_default();
            api.create(
                &PostParams { field_manager: Some(names::MANAGER.into()), ..PostParams::default() },
                &list,
            )
            .await
        }
        Some((listed, version)) => {
            let mut data: BTreeMap<&str, Value> =
                wanted.iter().map(|(k, v)| (k.as_str(), v.as_str().into())).collect();
            for name in listed.keys() {
                data.entry(name).or_insert(Value::Null);
            }
            let patch = json!({ "metadata": { "resourceVersion": version }, "data": data });
            let params = PatchParams { field_manager: Some(names::MANAGER.into()), ..PatchParams::default() };
            api.patch(names::ENVIRONMENTS, &params, &Patch::Merge(&patch)).await
        }
    };
    answer.map_err(|error| refused(error, format!("write ConfigMap {}", names::ENVIRONMENTS)))
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
