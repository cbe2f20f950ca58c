//! Service: one address for the pods that serve. Its selector, by which traffic is switched, has a manager of its
//! own and is never listed by the general apply.

use serde_json::{Value, json};

use super::{Planned, Site, selector, variables};
use crate::api::kinds::Kind;
use crate::api::{ServiceType, names};
use crate::check::Serving;
use crate::contract;
use crate::rollout::Wanted;

pub(super) fn build(site: &Site<'_>, serving: &Serving, revision: &Wanted) -> [Planned; 2] {
    let name = site.owner.name.clone();
    let type_ = match serving.service_type {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    // Target ports are numbers: a name would find whichever container lists it first.
    let ports = json!([
        { "name": "http", "port": serving.service_port, "targetPort": variables::port(&revision.shape), "protocol": "TCP" },
        { "name": "metrics", "port": contract::METRICS_PORT, "targetPort": contract::METRICS_PORT, "protocol": "TCP" },
    ]);
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
