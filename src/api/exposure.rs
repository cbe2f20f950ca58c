//! How a service is reached, inside of the cluster and from outside, as a team and its environment word it.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How other pods reach the service.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.enabled) || self.enabled || (!has(self.type) && !has(self.port))")
    .message("service.enabled: false makes a worker, which nobody sends requests: take service.type and service.port out"))]
pub struct ServicePort {
    /// Whether anybody sends it requests. Default: true. False makes a worker: it listens on no port, and its Service
    /// leads to the metrics alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// ClusterIP (default), NodePort or LoadBalancer.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<ServiceType>,
    /// Port of the Service. Default: 80. 9090 is the metrics port.
    #[schemars(range(min = 1, max = 65535))]
    #[x_kube(validation = Rule::new("self != 9090").message("service.port 9090 is taken by the metrics port: choose another"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Annotations of the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Reach of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Inside the cluster.
    #[default]
    ClusterIP,
    /// On a port of every node.
    NodePort,
    /// Through a load balancer of the cloud.
    LoadBalancer,
}

/// How clients outside of the cluster reach a service.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ingress {
    /// Whether it is reached from outside. Default: true where `ingress` is written, else what the environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Host names, such as `api.visiobook.com`. Default: `api.` and the environment's domain, or for a frontend the
    /// service's name and that domain.
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.all(host, size(host) <= 253 && host.matches('^(\\\\*\\\\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))").message("ingress.hosts are names such as api.visiobook.com or *.visiobook.com"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Path that belongs to the service, with everything below it. Default: `/api/v1/` and the segment of the
    /// guidelines (users, projects, storage, analysis, media), else the service's name without `-service`; `/` for a
    /// frontend. It arrives at the application as it is.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^(/|(/[A-Za-z0-9._~-]+)+)$')").message("ingress.path starts with / and has no / at its end, such as /api/v1/users"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Encryption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<IngressTls>,
    /// Requests a minute of one client address, counted by each ingress controller of class nginx; 0: no limit.
    /// Default: 1000 in development, 200 in staging, 100 in production.
    #[schemars(range(min = 0, max = 1_000_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Whether the colour that does not serve is reached too, under the same hosts with `preview-` before them, as long
    /// as a release has two colours. Default: what the environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<bool>,
    /// Further annotations of the Ingress.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Encryption of the way in.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressTls {
    /// Whether it is encrypted. Default: true; production refuses false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Secret of the namespace with certificate and key. Default: what the environment says, else visiobook-tls, or
    /// the service's name and `-tls` under hosts of its own.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')").message("ingress.tls.secretName is a name of lower-case letters, digits, dashes and dots"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}

/// How the services of an environment are reached from outside of the cluster.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentIngress {
    /// Whether services that say nothing are reached from outside. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enabled: bool,
    /// Whether the colour that does not serve is reached too, of services that do not say. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
    /// Domain of all hosts, such as `visiobook.com`. Services may have hosts of it only. Default: any host.
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')").message("ingress.domain is a name such as visiobook.com"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// IngressClass. Default: nginx. With a gateway and no class there is no Ingress.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')").message("ingress.className is the name of an IngressClass: lower-case letters, digits, dashes and dots"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    /// ClusterIssuer by which cert-manager gets the certificates. Default: none, the Secrets are there already.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_issuer: Option<String>,
    /// Secret with certificate and key of every host, in each namespace.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')").message("ingress.tlsSecretName is a name of lower-case letters, digits, dashes and dots"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret_name: Option<String>,
    /// Gateway that HTTPRoutes attach to. It ends the encryption itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// Namespace from which the pods of the ingress controller or Gateway call. Default: ingress-nginx for the class
    /// nginx, the gateway's own namespace for a gateway, else the name of the class.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("ingress.controllerNamespace is lower-case letters, digits and dashes"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_namespace: Option<String>,
    /// Annotations of every Ingress.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A Gateway of the Gateway API.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')").message("gateway.name is lower-case letters, digits, dashes and dots"))]
    pub name: String,
    /// Its namespace.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("gateway.namespace is lower-case letters, digits and dashes"))]
    pub namespace: String,
    /// Listener of it. Default: all.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}
