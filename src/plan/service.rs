//! Service: one address for the pods that serve. Its selector, by which traffic is switched, has a manager of its
//! own and is never listed by the general apply.

use serde_json::{Value, json};

use super::{Planned, Site, selector, sidecar, variables};
use crate::api::kinds::Kind;
use crate::api::{Protocol, ServiceType, names};
use crate::check::Serving;
use crate::contract;
use crate::facts::Facts;
use crate::rollout::{Stored, Wanted};

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
    // Target ports are numbers: a name would find whichever container lists it first.
    let mut ports = json!([
        { "name": "http", "port": serving.service_port, "targetPort": target(site, revision, rendered, facts), "protocol": "TCP" },
        { "name": "metrics", "port": contract::METRICS_PORT, "targetPort": contract::METRICS_PORT, "protocol": "TCP" },
    ]);
    if revision.shape.sidecar.as_ref().and_then(|sidecar| sidecar.protocol) == Some(Protocol::HTTP2) {
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
            "metadata": { "name": name, "namespace": site.owner.namespace },
            "spec": { "selector": selector(site) },
        }),
        ..general.clone()
    };
    [switch, general]
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
