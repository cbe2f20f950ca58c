//! The Visiobook runtime law, as constants: ports, paths, headers and the variables every service is given.
//!
//! Numbers carry the requirement they come from (`docs/requirements.md`).

pub mod domain_services;
pub mod evidence;
pub mod leave;
pub mod service_token;
pub mod settings;

/// Port of an application that says nothing (X14, A04).
pub const PORT: u16 = 8080;
/// Port of an application of the `python` stack that says nothing (A35, L09).
pub const PORT_PYTHON: u16 = 8000;
/// Port of `/metrics`, the same in every pod and every Service (A22, G01).
pub const METRICS_PORT: u16 = 9090;
/// Where metrics are scraped (D05, A20).
pub const METRICS_PATH: &str = "/metrics";
/// What the liveness probe asks (A07).
pub const HEALTH_PATH: &str = "/health";
/// What the readiness probe asks (A08).
pub const READY_PATH: &str = "/ready";
/// Where `configFiles` are mounted (A27).
pub const CONFIG_PATH: &str = "/app/config";
/// Header that carries the correlation id (A14, D26).
pub const CORRELATION_ID_HEADER: &str = "x-correlation-id";
/// Where services find the gateway unless told otherwise (A14, X52).
pub const API_GATEWAY_URL: &str = "http://api-gateway-service:8080";
/// What a dependency on the gateway is called (D07), and its Service (X52).
pub const API_GATEWAY: &str = "api-gateway";
/// Name of the gateway's Service (X52).
pub const API_GATEWAY_SERVICE: &str = "api-gateway-service";
/// User and group that containers run as (A16, A17, X16).
pub const UID: i64 = 1001;
/// Seconds an application has to stop by itself (H03, X30).
pub const SHUTDOWN_SECONDS: i64 = 30;
/// Seconds until the kubelet kills what did not stop (X30).
pub const GRACE_SECONDS: i64 = 45;
/// Characters a JWT secret has at least in production (H01).
pub const JWT_SECRET_MIN: usize = 32;
/// Characters an encryption key has, exactly, in production (H01).
pub const ENCRYPTION_KEY_LENGTH: usize = 32;
/// Variables that hold a time-out, which is at least one second (H01, H02).
pub const TIMEOUT_VARIABLES: [&str; 3] = ["READ_TIMEOUT", "WRITE_TIMEOUT", "SHUTDOWN_TIMEOUT"];
/// Port that the sidecar takes traffic on: the target of the Service's `http` port.
pub const SIDECAR_PORT: u16 = 15080;
/// Variable that holds a sidecar's settings, as JSON.
pub const SETTINGS_VARIABLE: &str = "VISIOBOOK_SIDECAR";
/// Where the KPIs of the last 300 s are (E30, E31, G35).
pub const KPIS_PATH: &str = "/kpis";
/// What the kubelet asks: whether the application answers, whatever it depends on (L09).
pub const ALIVE_PATH: &str = "/alive";
/// The second spelling of the correlation id (D78, X19).
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// Milliseconds that a request took (D28, X29).
pub const PROCESS_TIME_HEADER: &str = "x-process-time";
/// Content type of metrics (D05).
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Where a process of the pod begins its drain, and waits for the end (the sidecar's preStop hook).
pub const DRAIN_PATH: &str = "/drain";
/// Where the kubelet waits for the end of a drain before it stops the application (the application's preStop hook).
pub const DRAINED_PATH: &str = "/drained";
