//! The way in that resource and environment come to, the resource first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::EnvironmentRules;
use crate::api::{DomainService, EnvironmentType, Gateway, Profile, VisiobookServiceSpec};

/// The segment of a service below `/api/v1` (D57).
const SEGMENTS: [(&str, &str); 5] = [
    ("user-service", "users"),
    ("project-service", "projects"),
    ("storage-service", "storage"),
    ("ai-analysis-service", "analysis"),
    ("media-generation-service", "media"),
];
/// The class of an Ingress where nobody names one (A10).
const CLASS: &str = "nginx";
/// The namespace that ingress-nginx is installed into.
const NGINX_NAMESPACE: &str = "ingress-nginx";
/// What the Secrets of the certificates of the common hosts are called after (A10).
const COMMON: &str = "visiobook";
/// Annotations by which cert-manager makes the Secret of an Ingress.
const ISSUED_BY: [&str; 3] =
    ["cert-manager.io/cluster-issuer", "cert-manager.io/issuer", "kubernetes.io/tls-acme"];
/// Annotations that name hosts, each of which leads to one place.
const OF_HOSTS: [&str; 4] = [
    "cert-manager.io/alt-names",
    "cert-manager.io/common-name",
    "external-dns.alpha.kubernetes.io/hostname",
    "nginx.ingress.kubernetes.io/server-alias",
];

/// A way in, with defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exposure {
    /// Hosts, at least one.
    pub hosts: Vec<String>,
    /// Path that belongs to the service.
    pub path: String,
    /// Secret of the certificate; `None` without encryption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<String>,
    /// IngressClass; `None` where there is no Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Gateway; `None` where there is no HTTPRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// Annotations of the Ingress.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Namespaces of the pods that call.
    pub callers: Vec<String>,
    /// What differs on the way to the colour that does not serve; `None` where there is no such way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<PreviewHosts>,
}

/// Hosts that lead to the colour that does not serve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviewHosts {
    /// Hosts, one for each of the service's own.
    pub hosts: Vec<String>,
    /// Secret of their certificate; `None` without encryption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<String>,
}

impl Exposure {
    /// The way to the colour that does not serve, where there is one.
    pub fn to_preview(&self) -> Option<Exposure> {
        let PreviewHosts { hosts, tls_secret } = self.preview.clone()?;
        let mut annotations = self.annotations.clone();
        annotations.retain(|key, _| !OF_HOSTS.contains(&key.as_str()));
        Some(Exposure { hosts, tls_secret, annotations, preview: None, ..self.clone() })
    }
}

/// What an ingress controller calls its own annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Nginx,
    Traefik,
    Other,
}

impl Controller {
    /// By the name of its class, which may say more: `nginx-internal`.
    pub(super) fn of(class: &str) -> Controller {
        match class {
            _ if class.starts_with("nginx") => Controller::Nginx,
            _ if class.starts_with("traefik") => Controller::Traefik,
            _ => Controller::Other,
        }
    }
}

/// Whether a resource is to be reached from outside.
pub(super) fn wanted(spec: &VisiobookServiceSpec, environment: &EnvironmentRules) -> bool {
    if spec.is_worker() {
        return false;
    }
    let of_environment = environment.said.ingress.as_ref().is_some_and(|ingress| ingress.enabled);
    spec.ingress.as_ref().map_or(of_environment, |ingress| ingress.enabled.unwrap_or(true))
}

/// The class of its Ingress; `None` where its environment has a Gateway in place of one.
pub(super) fn class(environment: &EnvironmentRules) -> Option<&str> {
    let said = environment.said.ingress.as_ref();
    let named = said.and_then(|said| said.class_name.as_deref());
    named.or(said.is_none_or(|said| said.gateway.is_none()).then_some(CLASS))
}

/// Its hosts; none where neither resource nor environment says one.
pub(super) fn hosts(name: &str, spec: &VisiobookServiceSpec, environment: &EnvironmentRules) -> Vec<String> {
    let said = spec.ingress.as_ref().map(|ingress| ingress.hosts.clone()).unwrap_or_default();
    let domain = environment.said.ingress.as_ref().and_then(|ingress| ingress.domain.as_ref());
    match (said.is_empty(), domain) {
        (true, Some(domain)) => vec![match spec.profile {
            Some(Profile::Frontend) => format!("{name}.{domain}"),
            _ => format!("api.{domain}"),
        }],
        _ => said,
    }
}

/// Hosts of the colour that does not serve, one for each of the service's own; none where it is not to be reached from outside.
pub(super) fn preview_hosts(
    name: &str,
    spec: &VisiobookServiceSpec,
    environment: &EnvironmentRules,
) -> Vec<String> {
    let of_environment = environment.said.ingress.as_ref().is_some_and(|ingress| ingress.preview);
    let said = spec.ingress.as_ref().and_then(|ingress| ingress.preview);
    if !wanted(spec, environment) || !said.unwrap_or(of_environment) {
        return Vec::new();
    }
    hosts(name, spec, environment).iter().map(|host| format!("preview-{host}")).collect()
}

/// The way in, where there is one.
pub(super) fn exposure(
    name: &str,
    spec: &VisiobookServiceSpec,
    environment: &EnvironmentRules,
) -> Option<Exposure> {
    if !wanted(spec, environment) {
        return None;
    }
    let said = spec.ingress.clone().unwrap_or_default();
    let of_environment = environment.said.ingress.clone().unwrap_or_default();
    let hosts = hosts(name, spec, environment);
    let tls = said.tls.clone().unwrap_or_default();
    let is_encrypted = tls.enabled.unwrap_or(true);
    let named = tls.secret_name.or(of_environment.tls_secret_name);
    let is_common = spec.profile != Some(Profile::Frontend) && said.hosts.is_empty();
    let after = if is_common { COMMON } else { name };
    let tls_secret = is_encrypted.then(|| named.clone().unwrap_or_else(|| format!("{after}-tls")));
    let class = class(environment).map(str::to_string);
    let mut annotations = BTreeMap::new();
    if let Some(class) = &class {
        annotations =
            of_controller(Controller::of(class), said.requests_per_minute, is_encrypted, environment.type_);
    }
    // A Secret that the environment or the resource names is there already.
    if let Some(issuer) = of_environment.cluster_issuer.filter(|_| is_encrypted && named.is_none()) {
        annotations.insert(ISSUED_BY[0].into(), issuer);
    }
    annotations.extend(of_environment.annotations);
    annotations.extend(said.annotations);
    let preview_hosts = preview_hosts(name, spec, environment);
    let preview = (!preview_hosts.is_empty()).then(|| {
        // cert-manager makes a Secret for one Ingress, and another would contend for it.
        let is_issued = ISSUED_BY.iter().any(|key| annotations.contains_key(*key));
        let shared = named.filter(|_| !is_issued);
        let secret = || shared.unwrap_or_else(|| format!("{after}-preview-tls"));
        PreviewHosts { hosts: preview_hosts, tls_secret: is_encrypted.then(secret) }
    });
    Some(Exposure {
        hosts,
        path: said.path.unwrap_or_else(|| {
            // Its routes are the same whatever the resource is called.
            let own = spec.domain_service.and_then(DomainService::definition);
            own.map_or_else(|| path(name, spec.profile), |own| below(own.segment))
        }),
        tls_secret,
        callers: callers(
            of_environment.controller_namespace,
            class.as_deref(),
            of_environment.gateway.as_ref(),
        ),
        class,
        gateway: of_environment.gateway,
        annotations,
        preview,
    })
}

/// Redirection and rate limit in the words of a controller (A10, A11, G03). Traefik has no annotation for a limit: the
/// sidecar's own holds there.
fn of_controller(
    controller: Controller,
    said: Option<u32>,
    encrypted: bool,
    type_: EnvironmentType,
) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    let mut set = |key: &str, value: String| annotations.insert(key.to_string(), value);
    match controller {
        Controller::Nginx => {
            set("nginx.ingress.kubernetes.io/ssl-redirect", encrypted.to_string());
            let limit = said.unwrap_or(match type_ {
                EnvironmentType::Development => 1000,
                EnvironmentType::Staging => 200,
                EnvironmentType::Production => 100,
            });
            if limit > 0 {
                set("nginx.ingress.kubernetes.io/limit-rpm", limit.to_string());
            }
        }
        Controller::Traefik if encrypted => {
            set("traefik.ingress.kubernetes.io/router.entrypoints", "websecure".into());
            set("traefik.ingress.kubernetes.io/router.tls", "true".into());
        }
        Controller::Traefik | Controller::Other => {}
    }
    annotations
}

/// Where the pods of whatever brings requests in live.
fn callers(said: Option<String>, class: Option<&str>, gateway: Option<&Gateway>) -> Vec<String> {
    if let Some(said) = said {
        return vec![said];
    }
    let controller = class.map(|class| match Controller::of(class) {
        Controller::Nginx => NGINX_NAMESPACE.to_string(),
        Controller::Traefik => "traefik".to_string(),
        Controller::Other => class.to_string(),
    });
    let mut callers: Vec<String> =
        controller.into_iter().chain(gateway.map(|gateway| gateway.namespace.clone())).collect();
    callers.sort();
    callers.dedup();
    callers
}

fn path(name: &str, profile: Option<Profile>) -> String {
    if profile == Some(Profile::Frontend) {
        return "/".into();
    }
    let known = SEGMENTS.iter().find(|(service, _)| *service == name).map(|(_, segment)| *segment);
    below(known.unwrap_or(name.strip_suffix("-service").unwrap_or(name)))
}

fn below(segment: &str) -> String {
    format!("/api/v1/{segment}")
}
