//! The JSON of the contract (D01-D04).

use std::collections::BTreeMap;

use serde::Serialize;

/// How a dependency, or the service, was found.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// It answers.
    Healthy,
    /// It does not.
    Unhealthy,
}

/// `/health` (D01), with the reason where it fails (D02).
#[derive(Debug, Serialize)]
pub struct Health<'a> {
    pub status: Found,
    pub timestamp: String,
    pub service: &'a str,
    pub version: &'a str,
    pub uptime: f64,
    pub dependencies: Dependencies<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `database` and `redis` where the service has them, and the services that it calls.
#[derive(Debug, Default, Serialize)]
pub struct Dependencies<'a> {
    #[serde(flatten)]
    pub stores: BTreeMap<&'a str, Found>,
    pub external_services: BTreeMap<&'a str, Found>,
}

/// `/ready` (D03), with the reason where it is not (D04).
#[derive(Debug, Serialize)]
pub struct Ready {
    pub status: &'static str,
    pub timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks: Option<Checks>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What readiness looks at.
#[derive(Debug, Serialize)]
pub struct Checks {
    pub database_migrations: bool,
    pub external_dependencies: bool,
    pub configuration: bool,
}

/// `/alive`.
#[derive(Debug, Serialize)]
pub struct Alive<'a> {
    pub status: &'static str,
    pub timestamp: String,
    pub since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
}
