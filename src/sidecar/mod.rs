//! The data plane beside the application: gives any stack the runtime contract. Knows no Kubernetes.
//!
//! A request enters at `server`, passes the layers of `stack`, and reaches the application through `upstream`.
//! `report` answers the contract's own port from what `dependencies` and `http_metrics` gathered.

pub mod access_log;
pub mod answer;
pub mod auth;
pub mod breaker;
pub mod client;
pub mod compression;
pub mod contract_port;
pub mod correlation;
pub mod cors;
pub mod dependencies;
pub mod drain;
pub mod exchange;
pub mod fetch;
pub mod headers;
pub mod hosts;
pub mod http_metrics;
pub mod leave;
pub mod logs;
pub mod panics;
pub mod rate_limit;
pub mod report;
pub mod route;
pub mod run;
pub mod server;
pub mod settings;
pub mod stack;
pub mod upstream;
