//! Service: one address for the pods that serve. Its selector, by which traffic is switched, has a manager of its
//! own and is never listed by the general apply.

use serde_json::{Value, json};

use super::{Planned, Site, selector, sidecar, variables};
use crate::api::kinds::Kind;
use crate::api::{Protocol, RolloutStatus, ServiceType, names};
use crate::check::Serving;
use crate::contract;
use crate::facts::Facts;
use crate::rollout::{Stored, Wanted};

/// Port of the Service of the colour that does not serve.
pub(super) const PREVIEW_PORT: u16 = 80;

pub(super) fn build(
    site: &Site<'_>,
    serving: &Serving,
    revision: &Wanted,
    rendered: &Stored,
    facts: &Facts,
) -> [Planned; 2] {
    let name = site.owner.name.clone();
    let type_ = match serving.service_type {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    let mut ports = ports(serving.service_port, target(site, revision, rendered, facts), revision);
    if !revision.shape.worker
        && revision.shape.sidecar.as_ref().and_then(|sidecar| sidecar.protocol) == Some(Protocol::HTTP2)
    {
        ports[0]["appProtocol"] = "kubernetes.io/h2c".into();
    }
    let mut body = json!({ "spec": { "type": type_, "ports": ports } });
    if !serving.service_annotations.is_empty() {
        body["metadata"] = json!({ "annotations": Value::from_iter(serving.service_annotations.clone()) });
    }
    let general = Planned::new(site, Kind::Service, name.clone(), body);
    let switch = Planned {
        manager: names::SWITCH_MANAGER,
        object: json!({
            "apiVersion": Kind::Service.api_version(),
            "kind": Kind::Service.as_str(),
            "metadata": metadata(site),
            "spec": { "selector": selector(site) },
        }),
        ..general.clone()
    };
    [switch, general]
}

/// Target ports are numbers: a name would find whichever container lists it first. A worker has its metrics alone, for
/// whoever scrapes finds pods by Services.
fn ports(port: u16, target: u16, revision: &Wanted) -> Value {
    let http = json!({ "name": "http", "port": port, "targetPort": target, "protocol": "TCP" });
    let metrics = json!({
        "name": "metrics", "port": contract::METRICS_PORT, "targetPort": contract::METRICS_PORT, "protocol": "TCP",
    });
    if revision.shape.worker { json!([metrics]) } else { json!([http, metrics]) }
}

/// The record of the releases is written with the selector, so that neither is ever without the other.
fn metadata(site: &Site<'_>) -> Value {
    let mut metadata = json!({ "name": site.owner.name, "namespace": site.owner.namespace });
    if let Some(release) = &site.decision.release {
        // What it waits for is found anew in each pass, and no reason to write.
        let record = RolloutStatus { reason: String::new(), ..release.clone() };
        let record = serde_json::to_string(&record).unwrap_or_default();
        metadata["annotations"] = json!({ names::RELEASE: record });
    }
    metadata
}

/// The Service of the colour that does not serve: the new version before traffic moves, the old one after it.
pub(super) fn preview(site: &Site<'_>, revision: &Wanted, rendered: &Stored) -> Planned {
    let application = variables::port(&revision.shape);
    let target = if sidecar::is_proxy(&rendered.template) { contract::SIDECAR_PORT } else { application };
    let body = json!({
        "metadata": { "labels": { names::PREVIEW: "true" } },
        "spec": {
            "type": "ClusterIP",
            "ports": ports(PREVIEW_PORT, target, revision),
            "selector": selector(site),
        },
    });
    Planned::new(site, Kind::Service, names::preview(&site.owner.name), body)
}

/// Port of the pods that requests go to: the sidecar's where the pods were rendered with one in their way. While pods
/// without it are still replaced, requests go on to the application's own port, which all of them have.
pub(super) fn target(site: &Site<'_>, revision: &Wanted, rendered: &Stored, facts: &Facts) -> u16 {
    let application = variables::port(&revision.shape);
    if !sidecar::is_proxy(&rendered.template) {
        return application;
    }
    let moved = facts.service_target.is_none_or(|target| target == contract::SIDECAR_PORT);
    let replaced = facts
        .deployments
        .get(&site.decision.colour)
        .is_none_or(|deployment| deployment.revision == revision.hash && deployment.is_settled());
    if moved || replaced { contract::SIDECAR_PORT } else { application }
}
