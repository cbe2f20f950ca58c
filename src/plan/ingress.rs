//! Ingress and HTTPRoute: the way in from outside of the cluster.

use serde_json::{Value, json};

use super::{Planned, Site};
use crate::api::kinds::Kind;
use crate::check::{Exposure, Serving};

pub(super) fn build(site: &Site<'_>, serving: &Serving) -> Vec<Planned> {
    let Some(exposure) = &serving.exposure else { return Vec::new() };
    [ingress(site, serving, exposure), route(site, serving, exposure)].into_iter().flatten().collect()
}

/// The path arrives as it is: applications expect all of it (G02).
fn ingress(site: &Site<'_>, serving: &Serving, exposure: &Exposure) -> Option<Planned> {
    let class = exposure.class.as_ref()?;
    let backend =
        json!({ "service": { "name": site.owner.name, "port": { "number": serving.service_port } } });
    let rules: Vec<Value> = exposure
        .hosts
        .iter()
        .map(|host| {
            let path = json!({ "path": exposure.path, "pathType": "Prefix", "backend": backend });
            json!({ "host": host, "http": { "paths": [path] } })
        })
        .collect();
    let mut body = json!({ "spec": { "ingressClassName": class, "rules": rules } });
    if let Some(secret) = &exposure.tls_secret {
        body["spec"]["tls"] = json!([{ "hosts": exposure.hosts, "secretName": secret }]);
    }
    if !exposure.annotations.is_empty() {
        body["metadata"] = json!({ "annotations": exposure.annotations });
    }
    Some(Planned::new(site, Kind::Ingress, site.owner.name.clone(), body))
}

fn route(site: &Site<'_>, serving: &Serving, exposure: &Exposure) -> Option<Planned> {
    let gateway = exposure.gateway.as_ref()?;
    let mut parent = json!({
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "namespace": gateway.namespace,
        "name": gateway.name,
    });
    if let Some(section) = &gateway.section_name {
        parent["sectionName"] = section.as_str().into();
    }
    let rule = json!({
        "matches": [{ "path": { "type": "PathPrefix", "value": exposure.path } }],
        "backendRefs": [{ "group": "", "kind": "Service", "name": site.owner.name, "port": serving.service_port, "weight": 1 }],
    });
    let body = json!({ "spec": { "parentRefs": [parent], "hostnames": exposure.hosts, "rules": [rule] } });
    Some(Planned::new(site, Kind::HTTPRoute, site.owner.name.clone(), body))
}
