//! Ingress and HTTPRoute: the way in from outside of the cluster.

use serde_json::{Value, json};

use super::{Planned, Site, service};
use crate::api::kinds::Kind;
use crate::api::names;
use crate::check::{Exposure, Serving};

/// A Service that requests are led to.
struct Backend {
    name: String,
    port: u16,
}

pub(super) fn build(site: &Site<'_>, serving: &Serving) -> Vec<Planned> {
    let backend = Backend { name: site.owner.name.clone(), port: serving.service_port };
    serving.exposure.iter().flat_map(|exposure| lead(site, &backend, exposure)).collect()
}

/// The way to the colour that does not serve (C15).
pub(super) fn preview(site: &Site<'_>, serving: &Serving) -> Vec<Planned> {
    let backend = Backend { name: names::preview(&site.owner.name), port: service::PREVIEW_PORT };
    let exposure = serving.exposure.as_ref().and_then(Exposure::to_preview);
    exposure.iter().flat_map(|exposure| lead(site, &backend, exposure)).collect()
}

fn lead(site: &Site<'_>, backend: &Backend, exposure: &Exposure) -> impl Iterator<Item = Planned> {
    [ingress(site, backend, exposure), route(site, backend, exposure)].into_iter().flatten()
}

/// The path arrives as it is: applications expect all of it (G02).
fn ingress(site: &Site<'_>, to: &Backend, exposure: &Exposure) -> Option<Planned> {
    let class = exposure.class.as_ref()?;
    let backend = json!({ "service": { "name": to.name, "port": { "number": to.port } } });
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
    Some(Planned::new(site, Kind::Ingress, to.name.clone(), body))
}

fn route(site: &Site<'_>, to: &Backend, exposure: &Exposure) -> Option<Planned> {
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
        "backendRefs": [{ "group": "", "kind": "Service", "name": to.name, "port": to.port, "weight": 1 }],
    });
    let body = json!({ "spec": { "parentRefs": [parent], "hostnames": exposure.hosts, "rules": [rule] } });
    Some(Planned::new(site, Kind::HTTPRoute, to.name.clone(), body))
}
