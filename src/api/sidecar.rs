//! The sidecar beside an application, as a team and its environment word it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::KeyRef;
use super::trust::{ServiceTokens, TrustedCertificates};
use crate::contract;

/// What the sidecar does for the application: the runtime contract, without a line of its code.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.mode) || self.mode == 'Proxy' || !(has(self.routes) || has(self.auth) || has(self.serviceTokens) || has(self.csrf) || has(self.cors) || has(self.hosts) || has(self.rateLimit) || has(self.compression) || has(self.errors) || has(self.retries) || has(self.breaker))")
    .message("routes, auth, serviceTokens, csrf, cors, hosts, rateLimit, compression, errors, retries and breaker need mode Proxy: in Observe and Off no request passes through the sidecar"))]
#[x_kube(validation = Rule::new("!has(self.mode) || self.mode != 'Off' || !(has(self.protocol) || has(self.resources) || has(self.logs) || has(self.kpis) || has(self.metricsPath) || has(self.metricsPort) || has(self.healthPath) || has(self.migrations) || has(self.trustedCertificates) || has(self.drainSeconds))")
    .message("mode Off leaves the sidecar out: take its other fields out too, or choose Proxy or Observe"))]
#[x_kube(validation = Rule::new("!has(self.csrf) || has(self.csrf.cookie) || (has(self.auth) && has(self.auth.cookie))")
    .message("csrf protects sessions that are kept in a cookie: name it in csrf.cookie or auth.cookie"))]
pub struct Sidecar {
    /// Whether requests pass through it, or whether there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<SidecarMode>,
    /// What the application speaks on its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Requests and limits of the sidecar. Default: 10m and 16Mi, limited to 64Mi and no CPU: a limit there would
    /// delay requests. A part left out keeps its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Templates such as `/api/v1/users/{id}` or `GET /api/v1/users/{id}`, which become labels of metrics.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Who may call. Default: everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Which other services may call. Their tokens are checked where this or auth is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tokens: Option<ServiceTokens>,
    /// Double-submit protection of sessions that are kept in a cookie, by the CSRF_SECRET of spec.secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csrf: Option<Csrf>,
    /// Which web pages may call. Default: what the environment says, else it is left to the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Host names that are answered, such as `api.visiobook.com` or `*.visiobook.com`, beside the service's own in the
    /// cluster. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Requests a minute of one client. Default: 1000 in development, 200 in staging, 100 in production where the
    /// environment names its trusted proxies, else no limit, for all clients would look like one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Whether answers are compressed for clients that ask for it. Default: what the environment says, else in
    /// production only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<bool>,
    /// What becomes of the application's own errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Errors>,
    /// Which requests are logged. Level and format are those of the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<SidecarLogs>,
    /// How often a request that changes nothing is sent again after a failed connection. Default: 2.
    #[schemars(range(min = 0, max = 10))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// When the application is left alone for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Breaker>,
    /// Name in /kpis to the application's metric, such as `activeUsers: active_users`.
    #[schemars(extend("maxProperties" = 64))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kpis: BTreeMap<String, String>,
    /// Where the application shows metrics of its own, merged into /metrics. Default: /metrics. Empty: nowhere.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self == '' || self.startsWith('/')").message("sidecar.metricsPath begins with a slash, or is empty"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_path: Option<String>,
    /// Port of these metrics. Default: the application's.
    #[schemars(range(min = 1, max = 65535))]
    #[x_kube(validation = Rule::new("!(self in [9090, 15080])").message("sidecar.metricsPort is a port of the application's own: 9090 and 15080 are the sidecar's"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_port: Option<u16>,
    /// Path of the application that tells whether it lives. Default: none, its port has to take a connection.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.startsWith('/')").message("sidecar.healthPath begins with a slash"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_path: Option<String>,
    /// Whether migrations have run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<Migrations>,
    /// Authorities of one's own that the sidecar trusts when it asks what the service depends on, and auth.jwks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_certificates: Option<TrustedCertificates>,
    /// Seconds that requests under way have when a pod stops. Default: 30. The grace period follows.
    #[schemars(range(min = 1, max = 3600))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_seconds: Option<u32>,
}

// The schema takes its words from here, not from the field.
/// Proxy (default): requests pass through the sidecar. Observe: it answers health and metrics only. Off: there is
/// none, and the application answers /health, /ready and /metrics itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SidecarMode {
    /// It does.
    #[default]
    Proxy,
    /// It does not: the sidecar answers on the contract's port only.
    Observe,
    /// There is none.
    Off,
}

/// What the application speaks on its port: HTTP1 (default), or HTTP2 without TLS, as gRPC does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    HTTP1,
    /// HTTP/2 with prior knowledge.
    HTTP2,
}

/// Tokens of users (D64).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Routes that need no token, such as `POST /api/v1/users` or `/api/v1/public/{*rest}`. Default: none.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_routes: Vec<String>,
    /// Key of HS256 tokens for the sidecar alone: a new value replaces no pod. `<key>_PREVIOUS` beside it counts too.
    /// Default: JWT_SECRET of spec.secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeyRef>,
    /// Required `iss`. Default: any.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Required `aud`. Default: any.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// URL of a JWKS for RS256 and ES256 tokens.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.startsWith('https://') || self.startsWith('http://')").message("auth.jwks is an http or https URL"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// Cookie in which the token may come too.
    #[schemars(length(min = 1, max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

/// Protection of cookie sessions (D72, X61).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Csrf {
    /// Cookie whose presence makes a request a session's. Default: auth.cookie.
    #[schemars(length(min = 1, max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

/// Web pages that may call (D63, X28).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// Their origins, such as `https://app.visiobook.com`.
    #[schemars(length(min = 1))]
    pub origins: Vec<String>,
}

/// Requests a minute of one client (D71, X46).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Requests a minute; 0: no limit. Default: 1000 in development, 200 in staging, 100 in production.
    #[schemars(range(min = 0, max = 1_000_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Requests at once. Default: a tenth of a minute's, at least 10.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Subjects of tokens that are not limited, such as a load test's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exempt_subjects: Vec<String>,
}

/// What becomes of the application's own errors (D40, D44).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Errors {
    /// Whether an error that is not in the contract's envelope is put into it. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<bool>,
    /// Whether the message of a 5xx answer is masked. Default: in production only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<bool>,
}

/// Which requests are logged (D30, D31).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SidecarLogs {
    /// Part of the requests, from 0 to 1; errors and slow ones always are. Default: what the environment says, else 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "write_rate")]
    pub sample_rate: Option<f64>,
    /// Milliseconds from which a request is slow. Default: 1000.
    #[schemars(range(min = 1, max = 3_600_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_milliseconds: Option<u32>,
}

/// A rate as the API server stores it, which writes 1.0 as 1: the stored revision must equal the planned one.
fn write_rate<S: Serializer>(rate: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match rate {
        Some(rate) if rate.fract() == 0.0 => serializer.serialize_i64(*rate as i64),
        rate => rate.serialize(serializer),
    }
}

/// When the application is left alone for a while (H07): connections that fail and time-outs count, answers do not.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Breaker {
    /// Failures in a row; 0: never. Default: 5.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// Seconds until one request tries again. Default: 30.
    #[schemars(range(min = 1, max = 3600))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_seconds: Option<u32>,
}

/// How /ready looks at the migrations of DATABASE_URL (D11). Default: not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Migrations {
    /// No unfinished row in `_prisma_migrations`.
    Prisma,
    /// A row in `alembic_version`.
    Alembic,
    /// A table in the schema `public`.
    AnyTable,
}

/// A service that this one calls (D07, D09).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Its name. The application finds its URL in `<NAME>_URL`, upper case with underscores, unless it defines that
    /// variable itself.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("dependsOn names Services: start with a letter, then lower-case letters, digits and dashes only"))]
    #[x_kube(validation = Rule::new("!(self in ['database', 'redis'])").message("stores are declared by DATABASE_URL and REDIS_URL in spec.secrets, not in spec.dependsOn"))]
    pub name: String,
    /// Its namespace. Default: that of this service.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("dependsOn.namespace is lower-case letters, digits and dashes"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Port of its Service. Default: 80.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whether /ready waits for it. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub critical: bool,
}

impl Dependency {
    /// Whether the resource says where it is: then the contract's own place for it (X52) does not count.
    pub fn is_placed(&self) -> bool {
        self.namespace.is_some() || self.port.is_some()
    }

    /// Name of the Service that it is: the gateway is called by the name of its Service (X52).
    pub fn service(&self) -> &str {
        if self.name == contract::API_GATEWAY && !self.is_placed() {
            contract::API_GATEWAY_SERVICE
        } else {
            &self.name
        }
    }
}

/// What all services of an environment are given by their sidecars.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.rateLimit) || has(self.trustedProxies)")
    .message("sidecar.rateLimit counts by the client's address, which only sidecar.trustedProxies let through: set them too"))]
pub struct EnvironmentSidecar {
    /// Image of the sidecars and of domain services, which a service gets with its next release. Default: the
    /// operator's own. A private registry needs defaults.imagePullSecrets. No rule of spec.images applies to it.
    #[schemars(length(min = 1, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Origins that browsers may call from, such as `https://app.visiobook.com`. Default: left to the applications.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cors_origins: Vec<String>,
    /// Ranges of the proxies in front, such as `10.0.0.0/8`, whose X-Forwarded-For is believed. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// Requests a minute of one client; 0: no limit. Default: 1000 in development, 200 in staging, 100 in production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<EnvironmentRateLimit>,
    /// Whether answers are compressed. Default: in production only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<bool>,
    /// Requests and limits of a sidecar. Default: 10m and 16Mi, limited to 64Mi. Where a quota bounds limits.cpu, set a
    /// limit here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Part of the requests that is logged, from 0 to 1; errors and slow ones always are. Default: 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_sample_rate: Option<f64>,
}

/// Requests a minute that an environment gives each client.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentRateLimit {
    /// Requests a minute; 0: no limit.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub requests_per_minute: u32,
}
