//! What the operator tells a sidecar: one JSON document, written by `plan`, read by `sidecar`.
//!
//! Every field has a default, so that `{"service": "users"}` is a document. Unknown fields are refused by name: a
//! sidecar that does not know a rule must not start without it. A field added later is written only where it is
//! used, so that a new operator goes on working with the sidecar of the previous release.

mod defaults;

use std::collections::BTreeMap;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use defaults::{contract_port, first_version, port, retries, version, yes};

/// Version of the document that this release writes and reads.
pub const VERSION: u32 = 1;

/// Everything a sidecar is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Version of the document: 1.
    #[serde(default = "version")]
    pub version: u32,
    /// Name of the service, in answers, logs and metrics (D12).
    pub service: String,
    /// Its version (D12).
    #[serde(default = "first_version")]
    pub service_version: String,
    /// Rule book of its environment: development, staging or production.
    #[serde(default)]
    pub environment: Environment,
    /// Whether traffic passes through the sidecar: Proxy or Observe.
    #[serde(default)]
    pub mode: Mode,
    /// Port that traffic comes in on, in Proxy mode.
    #[serde(default = "port")]
    pub port: u16,
    /// Port of /health, /ready, /metrics and /kpis (G01).
    #[serde(default = "contract_port")]
    pub contract_port: u16,
    /// The application behind the sidecar.
    #[serde(default)]
    pub application: Application,
    /// Route templates such as `/api/v1/users/{id}`, or `GET /api/v1/users/{id}`: the labels of metrics (E18).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Logs.
    #[serde(default)]
    pub logs: Logs,
    /// Sizes and times that a connection may not exceed (H02).
    #[serde(default)]
    pub limits: Limits,
    /// Requests per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Ranges whose X-Forwarded-For is believed: proxies in front.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Origins that browsers may call from; none: CORS is left to the application (D63, X28).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cors_origins: Vec<String>,
    /// Header that carries the correlation id; none: `x-correlation-id` (D26).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_header: Option<String>,
    /// Whether security headers are set where the application sets none (D60).
    #[serde(default = "yes")]
    pub security_headers: bool,
    /// Host names that are answered; none: all (D77). `*.visiobook.com` covers one label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Who may call: tokens that are checked (D64).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Protection of sessions that are kept in a cookie (X61).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csrf: Option<Csrf>,
    /// Tokens between services (B22, D79).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tokens: Option<ServiceTokens>,
    /// Whether answers are compressed where the client asks for it (D74).
    #[serde(default)]
    pub compression: bool,
    /// When the application is left alone for a while (H07, G26).
    #[serde(default)]
    pub breaker: Breaker,
    /// How often a request that changes nothing is sent again after a failed connection (H08).
    #[serde(default = "retries")]
    pub retries: u32,
    /// What becomes of the application's own errors (D44, G25).
    #[serde(default)]
    pub errors: Errors,
    /// What the service depends on (D06, D07, D09).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// Variables that must be there for `checks.configuration` (D10, G12).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configuration: Vec<String>,
    /// How migrations are looked at; none: nothing to wait for (D11).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<Migrations>,
    /// Business KPIs: name in the answer to the application's metric (E36-E40).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kpis: BTreeMap<String, String>,
    /// File with PEM certificates of authorities that checks and the fetch of key sets trust beside the public ones. Read
    /// again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_certificates: Option<String>,
    /// Stopping without losing a request.
    #[serde(default)]
    pub drain: Drain,
}

/// Rule book of an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Errors are shown as they are.
    #[default]
    Development,
    /// Like production.
    Staging,
    /// Errors of the application are masked (D44).
    Production,
}

impl Environment {
    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Environment::Development => "development",
            Environment::Staging => "staging",
            Environment::Production => "production",
        }
    }
}

/// Whether traffic passes through the sidecar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// It does.
    #[default]
    Proxy,
    /// It does not: the sidecar only answers on the contract's port.
    Observe,
}

/// The application behind the sidecar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Application {
    /// Port that it listens on.
    pub port: u16,
    /// Whether it takes no requests: then nothing of it is asked but its metrics, on `metricsPort`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub worker: bool,
    /// What it speaks: HTTP1 or HTTP2 (without TLS, as gRPC does).
    pub protocol: Protocol,
    /// Most connections to it for requests.
    pub connections: usize,
    /// Most connections to it that have become something else, such as a WebSocket; who comes on top gets 503.
    pub tunnels: usize,
    /// Seconds for which an idle connection to it is kept. Node closes its own after 5.
    pub keep_alive_seconds: f64,
    /// Seconds to connect.
    pub connect_seconds: f64,
    /// Where it shows metrics of its own; none: nowhere.
    pub metrics_path: Option<String>,
    /// Port of these; none: its own.
    pub metrics_port: Option<u16>,
    /// Path of its own that a check of life asks; none: whether its port can be connected to.
    pub health_path: Option<String>,
    /// Its memory limit, of which /kpis tells what part is used; none: unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// What an application speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "HTTP1")]
    Http1,
    /// HTTP/2 with prior knowledge.
    #[serde(rename = "HTTP2")]
    Http2,
}

/// Logs of the sidecar and of requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Logs {
    /// Least level that is written.
    pub level: Level,
    /// json or text.
    pub format: Format,
    /// Part of the requests that is logged, from 0 to 1; errors and slow ones always are (D31).
    pub sample_rate: f64,
    /// Milliseconds from which a request is slow (D30).
    pub slow_milliseconds: u64,
}

/// Least level that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Everything.
    Debug,
    /// Every request.
    #[default]
    Info,
    /// Slow requests, and those the client got wrong.
    Warn,
    /// Failures.
    Error,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// What a connection may not exceed (H02). Times are of inactivity, never totals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Seconds until a request's head is complete.
    pub head_seconds: f64,
    /// Seconds without a byte from the client in mid-request.
    pub read_seconds: f64,
    /// Seconds in which the client takes no byte of an answer, or the application sends none.
    pub write_seconds: f64,
    /// Seconds between two requests of a connection.
    pub idle_seconds: f64,
    /// Bytes of a request's head, and of what is read ahead of its body: a connection may hold as much memory.
    pub head_bytes: usize,
    /// Connections from clients at a time.
    pub connections: usize,
}

/// Requests per minute (D71, X46, G33).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// Requests a minute of one client.
    pub requests_per_minute: u32,
    /// Requests at once; none: a tenth of a minute's, at least 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Subjects that are not limited, such as a load test's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exempt_subjects: Vec<String>,
}

/// Tokens of users.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Auth {
    /// Folder with the secrets of HS256, one a file: `current`, `previous` or `<kid>`. Read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_folder: Option<String>,
    /// File or http(s) URL with a JWKS for RS256 and ES256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// Required `iss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Required `aud`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Routes that need no token, as `POST /api/v1/users` or `/api/v1/public/{*rest}` (D67).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_routes: Vec<String>,
    /// Cookie in which the token may come too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

/// Double-submit protection of cookie sessions (D72, X61).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Csrf {
    /// Folder with the file `secret`.
    pub keys_folder: String,
    /// Cookie whose presence makes a request a session's.
    pub session_cookie: String,
}

/// Tokens between services (B22, D79).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceTokens {
    /// Folder with the public keys they are verified with, PEM, one a file, named by `kid`.
    pub keys_folder: String,
    /// The service's own namespace. Services of others may call only where `allow` names them.
    pub namespace: String,
    /// Services that may call, as `<name>` or `<namespace>/<name>`, beside those of its namespace whose token says that
    /// they call this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Whether nobody may call without a token, where there are no users either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

/// When the application is left alone for a while (G26): connection failures and time-outs count, answers do not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures in a row that open it; 0: never.
    pub failures: u32,
    /// Seconds it stays open before one request tries again.
    pub open_seconds: f64,
}

/// What becomes of the application's own errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Errors {
    /// Whether an error that is no envelope of D40 becomes one (G25).
    pub envelope: bool,
    /// Whether the message of 5xx answers is masked (D44).
    pub mask: bool,
}

/// Something the service depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dependency {
    /// What people call it: `database`, `redis`, or the name of a service.
    pub name: String,
    /// How it is spoken to.
    pub kind: DependencyKind,
    /// Where it is: the name of the variable that holds its URL.
    pub variable: String,
    /// Whether /ready waits for it (D09).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub critical: bool,
    /// Seconds it has to answer; none: 5, or 3 where critical (D07, D09).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// Seconds between two checks; none: 30 (H11), and 5 while it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<f64>,
}

/// How a dependency is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DependencyKind {
    /// `SELECT 1`.
    Postgres,
    /// `PING`.
    Redis,
    /// `GET <url>/health`.
    Service,
}

/// Whose migration table is looked at (D11, X44).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Migrations {
    /// No unfinished row in `_prisma_migrations`.
    Prisma,
    /// A row in `alembic_version`.
    Alembic,
    /// A table in the schema `public`.
    AnyTable,
}

/// Stopping without losing a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Drain {
    /// Seconds for which connections are still accepted while endpoints disappear.
    pub propagation_seconds: f64,
    /// Seconds that requests under way have after that (H03, X30).
    pub requests_seconds: f64,
}
