//! Status, and the size of a service that never said how many pods it wants.

use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec};
use kube::ResourceExt;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use super::writer::{Error, Writer, payload};
use crate::api::{GROUP, VisiobookService, VisiobookServiceStatus, names};

/// Publish a status under its own field manager, on the version it was decided on.
pub async fn publish(
    writer: &Writer,
    service: &VisiobookService,
    status: &VisiobookServiceStatus,
) -> Result<VisiobookService, Error> {
    let name = service.name_any();
    let body = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "VisiobookService",
        "metadata": { "name": name, "uid": service.uid(), "resourceVersion": service.resource_version() },
        "status": status,
    });
    let params = PatchParams::apply(names::STATUS_MANAGER).force();
    let api = api(writer, service)?;
    let answer = api.patch_status(&name, &params, &Patch::Apply(&payload(&body))).await;
    answer.map_err(|error| refused(error, "publish the status"))
}

/// Write the number of pods through the scale subresource, which then owns it: a later apply of the resource
/// without `replicas` keeps it. Tells the resource as it is after.
pub async fn fill_replicas(
    writer: &Writer,
    service: &VisiobookService,
    replicas: i32,
) -> Result<VisiobookService, Error> {
    let name = service.name_any();
    let scale = Scale {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: service.namespace(),
            uid: service.uid(),
            resource_version: service.resource_version(),
            ..ObjectMeta::default()
        },
        spec: Some(ScaleSpec { replicas: Some(replicas) }),
        status: None,
    };
    let params = PostParams { field_manager: Some(names::MANAGER.to_string()), ..PostParams::default() };
    let answer = api(writer, service)?.replace_scale(&name, &params, &scale).await;
    let scale = answer.map_err(|error| refused(error, "set the number of pods"))?;
    let mut filled = service.clone();
    filled.spec.replicas = Some(replicas);
    filled.metadata.resource_version = scale.metadata.resource_version;
    // The write was conditional on the version, so it made exactly one generation.
    filled.metadata.generation = filled.metadata.generation.map(|generation| generation + 1);
    Ok(filled)
}

fn api(writer: &Writer, service: &VisiobookService) -> Result<Api<VisiobookService>, Error> {
    Ok(Api::namespaced(writer.claimed()?, &service.namespace().unwrap_or_default()))
}

fn refused(error: kube::Error, what: &str) -> Error {
    Error::Refused { what: what.to_string(), source: Box::new(error) }
}
