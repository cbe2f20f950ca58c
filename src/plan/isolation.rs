//! NetworkPolicy: who may connect to the pods, and where they may connect to. Pods carry the names of what they depend
//! on as labels, so that a policy selects callers that it does not know, and is never written because of them.

use serde_json::{Map, Value, json};

use super::{Planned, Site, job, service, sidecar, variables};
use crate::api::kinds::Kind;
use crate::api::{AllowFrom, ServiceType, SidecarMode, names};
use crate::check::{Isolation, Serving, Shape};
use crate::contract::{METRICS_PORT, SIDECAR_PORT};
use crate::facts::Facts;
use crate::rollout::{Stored, Wanted};

/// Label of a namespace that Kubernetes itself sets to its name.
const NAMESPACE: &str = "kubernetes.io/metadata.name";
/// Where DNS is answered.
const DNS_NAMESPACE: &str = "kube-system";

/// Labels of a pod: the services of its own namespace that it calls.
pub(super) fn labels(shape: &Shape) -> Map<String, Value> {
    let own = shape.depends_on.iter().filter(|dependency| dependency.namespace.is_none());
    own.map(|dependency| (depends_on(dependency.service()), "true".into())).collect()
}

fn depends_on(service: &str) -> String {
    format!("{}/{service}", names::DEPENDS_ON)
}

pub(super) fn build(
    site: &Site<'_>,
    serving: &Serving,
    revision: &Wanted,
    rendered: &Stored,
    facts: &Facts,
) -> Option<Planned> {
    let isolation = serving.isolation.as_ref()?;
    let mut http = Vec::new();
    if !revision.shape.worker {
        http.push(service::target(site, revision, rendered, facts));
    }
    if sidecar::is_proxy(&rendered.template) && !http.contains(&SIDECAR_PORT) {
        // Requests move to the sidecars during this release.
        http.push(SIDECAR_PORT);
    }
    let other = other(site);
    if let Some(shape) = other.filter(|shape| !shape.worker) {
        let target = if shape.mode() == SidecarMode::Proxy { SIDECAR_PORT } else { variables::port(shape) };
        if !http.contains(&target) {
            http.push(target);
        }
    }
    let mut scrapers = scrapers(isolation, facts);
    if has_checks(serving) {
        scrapers.push(job::caller(&site.owner.name));
    }
    let mut ingress = vec![json!({ "ports": ports(&[METRICS_PORT]), "from": scrapers })];
    let mut requests = json!({ "ports": ports(&http) });
    // Whoever has an address from outside comes from anywhere.
    if serving.service_type == ServiceType::ClusterIP {
        requests["from"] = callers(site, serving, isolation).into();
    }
    if !http.is_empty() {
        ingress.push(requests);
    }
    let types = [(!isolation.open).then_some("Ingress"), isolation.egress.as_ref().map(|_| "Egress")];
    let mut spec = json!({
        "podSelector": { "matchLabels": { names::NAME: site.owner.name } },
        "policyTypes": types.into_iter().flatten().collect::<Vec<_>>(),
    });
    if !isolation.open {
        spec["ingress"] = ingress.into();
    }
    if let Some(ranges) = &isolation.egress {
        // One policy is for the pods of both colours.
        spec["egress"] = egress(ranges, [Some(&revision.shape), other].into_iter().flatten()).into();
    }
    Some(Planned::new(site, Kind::NetworkPolicy, site.owner.name.clone(), json!({ "spec": spec })))
}

/// The policy of the pods of Jobs, where the environment names what pods may connect to. They reach what the service
/// reaches, the service itself where they check it, and whoever has measured it.
pub(super) fn jobs(
    site: &Site<'_>,
    serving: &Serving,
    revision: Option<&Wanted>,
    facts: &Facts,
) -> Option<Planned> {
    let isolation = serving.isolation.as_ref()?;
    let ranges = isolation.egress.as_ref()?;
    let run = site.decision.jobs.run.as_ref().map(|run| &run.revision.shape);
    // A migration that has begun is left to its end, whatever is asked for meanwhile.
    let stored = |hash: &str| facts.revisions.iter().find(|stored| stored.hash == hash);
    let running = facts.jobs.iter().filter(|job| job.end.is_none()).filter_map(|job| stored(&job.revision));
    let running: Vec<Stored> = running.filter_map(|it| Stored::read(&it.hash, &it.data).ok()).collect();
    let shapes = [revision.map(|revision| &revision.shape), other(site), run].into_iter().flatten();
    let shapes: Vec<&Shape> = shapes.chain(running.iter().map(|stored| &stored.shape)).collect();
    let migrates = shapes.iter().any(|shape| shape.migration.is_some());
    if run.is_none() && running.is_empty() && !migrates && !has_checks(serving) {
        return None;
    }
    let mut rules = egress(ranges, shapes.into_iter());
    if let Some(checked) = serving.release.as_ref().and_then(|release| release.checks.as_ref()) {
        let mut to = vec![json!({ "podSelector": { "matchLabels": { names::NAME: site.owner.name } } })];
        if checked.measured.is_some() {
            to.extend(isolation.metrics_from.iter().map(|name| namespace(name)));
        }
        rules.push(json!({ "to": to }));
    }
    let spec = json!({
        "podSelector": { "matchLabels": { names::JOB_OF: site.owner.name } },
        "policyTypes": ["Egress"],
        "egress": rules,
    });
    Some(Planned::new(site, Kind::NetworkPolicy, names::jobs(&site.owner.name), json!({ "spec": spec })))
}

/// What the pods of the other colour are made from, where that is known.
fn other<'a>(site: &Site<'a>) -> Option<&'a Shape> {
    let other = site.decision.other.as_ref().and_then(|other| other.revision.as_ref());
    other.map(|other| &other.shape)
}

/// Whether Jobs ask the service what they check.
fn has_checks(serving: &Serving) -> bool {
    serving.release.as_ref().is_some_and(|release| release.checks.is_some())
}

fn callers(site: &Site<'_>, serving: &Serving, isolation: &Isolation) -> Vec<Value> {
    let mut callers =
        vec![json!({ "podSelector": { "matchLabels": { depends_on(&site.owner.name): "true" } } })];
    if has_checks(serving) {
        callers.push(job::caller(&site.owner.name));
    }
    callers.extend(isolation.allow_from.iter().map(peer));
    callers
        .extend(serving.exposure.iter().flat_map(|exposure| &exposure.callers).map(|name| namespace(name)));
    callers
}

fn scrapers(isolation: &Isolation, facts: &Facts) -> Vec<Value> {
    let mut namespaces = isolation.metrics_from.clone();
    if !namespaces.contains(&facts.operator_namespace) {
        namespaces.push(facts.operator_namespace.clone());
    }
    namespaces.iter().map(|name| namespace(name)).collect()
}

fn peer(allowed: &AllowFrom) -> Value {
    let mut peer = allowed.namespace.as_ref().map_or_else(|| json!({}), |name| namespace(name));
    if let Some(service) = &allowed.service {
        peer["podSelector"] = json!({ "matchLabels": { names::NAME: service } });
    }
    peer
}

fn namespace(name: &str) -> Value {
    json!({ "namespaceSelector": { "matchLabels": { NAMESPACE: name } } })
}

fn egress<'a>(ranges: &[String], shapes: impl Iterator<Item = &'a Shape>) -> Vec<Value> {
    let dns = json!([{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }]);
    let mut rules = vec![json!({ "ports": dns, "to": [namespace(DNS_NAMESPACE)] })];
    let mut to: Vec<Value> = Vec::new();
    for dependency in shapes.flat_map(|shape| &shape.depends_on) {
        let service = Some(dependency.service().to_string());
        let peer = peer(&AllowFrom { namespace: dependency.namespace.clone(), service });
        if !to.contains(&peer) {
            to.push(peer);
        }
    }
    to.extend(ranges.iter().map(|range| json!({ "ipBlock": { "cidr": range } })));
    if !to.is_empty() {
        rules.push(json!({ "to": to }));
    }
    rules
}

fn ports(ports: &[u16]) -> Vec<Value> {
    ports.iter().map(|port| json!({ "port": port, "protocol": "TCP" })).collect()
}
