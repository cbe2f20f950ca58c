//! Environment variables: the operator's defaults under what the resource says, each variable exactly once (X15).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::service_token;
use crate::api::{Dependency, EnvironmentType, LogLevel, Profile, SidecarMode, Stack};
use crate::check::{Shape, image};
use crate::contract;

/// Variables of the ConfigMap: the contract's (A14) under the resource's own.
pub(super) fn configured(shape: &Shape) -> BTreeMap<String, String> {
    let contract = [
        ("API_GATEWAY_URL", contract::API_GATEWAY_URL.to_string()),
        ("CORRELATION_ID_HEADER", contract::CORRELATION_ID_HEADER.to_string()),
        ("PROMETHEUS_PORT", contract::METRICS_PORT.to_string()),
    ];
    let mut variables: BTreeMap<String, String> = contract
        .into_iter()
        .filter(|(variable, _)| !says(shape, variable))
        // Beside a sidecar that port is taken (L09).
        .filter(|(variable, _)| *variable != "PROMETHEUS_PORT" || shape.mode() == SidecarMode::Off)
        .filter(|(variable, _)| {
            !shape.depends_on.iter().any(|other| other.is_placed() && url_variable(other) == *variable)
        })
        .map(|(variable, value)| (variable.to_string(), value))
        .collect();
    variables.extend(shape.config.clone());
    variables
}

/// Every variable that a service is given without saying a word, with its value.
pub fn given(service: &str, shape: &Shape) -> BTreeMap<String, String> {
    let mut variables = configured(shape);
    let defaults = defaults(service, shape).into_iter();
    variables.extend(
        defaults.filter(|(name, _)| !says(shape, name)).map(|(name, value)| (name.to_string(), value)),
    );
    variables
}

/// The `env` of the application's container, sorted by name.
pub(super) fn environment(service: &str, shape: &Shape, config_name: &str) -> Vec<Value> {
    let mut variables: BTreeMap<String, Value> = BTreeMap::new();
    for (variable, value) in defaults(service, shape) {
        if !says(shape, variable) {
            variables.insert(variable.into(), json!({ "name": variable, "value": value }));
        }
    }
    for (variable, entry) in service_token::variables(service, shape) {
        if !says(shape, variable) {
            variables.insert(variable.into(), entry);
        }
    }
    for dependency in &shape.depends_on {
        let variable = url_variable(dependency);
        if !says(shape, &variable) {
            let entry = json!({ "name": variable, "value": url(dependency) });
            variables.insert(variable, entry);
        }
    }
    for (variable, value) in &shape.env {
        // An empty value is not stored, so it is not written either.
        let entry = if value.is_empty() {
            json!({ "name": variable })
        } else {
            json!({ "name": variable, "value": value })
        };
        variables.insert(variable.clone(), entry);
    }
    let references = configured(shape)
        .into_keys()
        .map(|variable| {
            let reference = json!({ "configMapKeyRef": { "name": config_name, "key": variable } });
            (variable, reference)
        })
        .chain(shape.config_map_key_refs.iter().map(|(variable, key)| {
            (variable.clone(), json!({ "configMapKeyRef": { "name": key.name, "key": key.key } }))
        }))
        .chain(shape.secrets.iter().map(|(variable, key)| {
            (variable.clone(), json!({ "secretKeyRef": { "name": key.name, "key": key.key } }))
        }));
    for (variable, reference) in references {
        variables.insert(variable.clone(), json!({ "name": variable, "valueFrom": reference }));
    }
    variables.into_values().collect()
}

/// The variable that holds a dependency's URL (D09).
pub(super) fn url_variable(dependency: &Dependency) -> String {
    format!("{}_URL", dependency.name.to_uppercase().replace('-', "_"))
}

/// Where a dependency is, from what the resource says alone: what is watched must not change a revision.
fn url(dependency: &Dependency) -> String {
    let port = dependency.port.unwrap_or(80);
    match &dependency.namespace {
        Some(namespace) => format!("http://{}.{namespace}:{port}", dependency.name),
        None => format!("http://{}:{port}", dependency.name),
    }
}

/// Level of the application's logs, as the environment says (X45).
pub(super) fn log_level(shape: &Shape) -> LogLevel {
    shape.log_level.unwrap_or(match shape.environment {
        EnvironmentType::Development => LogLevel::Debug,
        EnvironmentType::Staging | EnvironmentType::Production => LogLevel::Info,
    })
}

/// Format of logs (D33).
pub(super) fn log_format(shape: &Shape) -> &'static str {
    if shape.environment == EnvironmentType::Development { "text" } else { "json" }
}

/// Whether the resource itself defines a variable.
pub(super) fn says(shape: &Shape, variable: &str) -> bool {
    shape.env.contains_key(variable)
        || shape.config.contains_key(variable)
        || shape.secrets.contains_key(variable)
        || shape.config_map_key_refs.contains_key(variable)
}

/// The value of a variable in the pods; `None` where none is, or where a Secret or another ConfigMap holds it.
pub(super) fn plain(service: &str, shape: &Shape, variable: &str) -> Option<String> {
    if says(shape, variable) {
        return shape.env.get(variable).or_else(|| shape.config.get(variable)).cloned();
    }
    defaults(service, shape).into_iter().find(|(name, _)| *name == variable).map(|(_, value)| value)
}

/// Port that the application listens on (X14).
pub(super) fn port(shape: &Shape) -> u16 {
    shape.port.unwrap_or(match shape.stack {
        Some(Stack::Python) => contract::PORT_PYTHON,
        _ => contract::PORT,
    })
}

/// What every application is given (H.1), and what is given with a store that the resource declares (DL14, DL15).
fn defaults(service: &str, shape: &Shape) -> Vec<(&'static str, String)> {
    let environment = shape.environment;
    let by_type = |development: &str, staging: &str, production: &str| match environment {
        EnvironmentType::Development => development.to_string(),
        EnvironmentType::Staging => staging.to_string(),
        EnvironmentType::Production => production.to_string(),
    };
    let mut variables = vec![
        ("SERVICE_NAME", service.to_string()),
        ("SERVICE_VERSION", image::version(&shape.image)),
        ("ENVIRONMENT", environment.as_str().to_string()),
        ("LOG_LEVEL", log_level(shape).as_str().to_string()),
        ("LOG_FORMAT", log_format(shape).to_string()),
        ("LOG_OUTPUT", "stdout".to_string()),
        ("SHUTDOWN_TIMEOUT", format!("{}s", contract::SHUTDOWN_SECONDS)),
    ];
    if !shape.worker {
        variables.push(("PORT", port(shape).to_string()));
    }
    if cfg!(feature = "next-release") {
        variables.push(("NEXT_RELEASE", "1".to_string()));
    }
    // The name under which each stack's libraries look for the environment (X04).
    let alias = match shape.stack {
        Some(Stack::Nodejs | Stack::Vue) => Some("NODE_ENV"),
        Some(Stack::Python) => Some("PYTHON_ENV"),
        Some(Stack::Go | Stack::Rust) => Some("APP_ENV"),
        None => None,
    };
    variables.extend(alias.map(|alias| (alias, environment.as_str().to_string())));
    if says(shape, "DATABASE_URL") || says(shape, "DB_HOST") {
        variables.extend([
            ("DB_MAX_OPEN_CONNS", by_type("5", "10", "25")),
            ("DB_MAX_IDLE_CONNS", by_type("2", "3", "5")),
            ("DB_CONN_MAX_LIFETIME", "1h".to_string()),
            ("DB_SSL_MODE", by_type("disable", "require", "require")),
        ]);
    }
    if says(shape, "REDIS_URL") || says(shape, "REDIS_ADDR") {
        variables.push(("REDIS_POOL_SIZE", by_type("5", "10", "20")));
    }
    if says(shape, "MONGODB_URI") {
        variables.extend([
            ("MONGODB_MAX_POOL_SIZE", "50".to_string()),
            ("MONGODB_MIN_POOL_SIZE", "10".to_string()),
            ("MONGODB_MAX_CONN_IDLE_TIME", "30s".to_string()),
            ("MONGODB_SERVER_SELECTION_TIMEOUT", "5s".to_string()),
            ("MONGODB_SOCKET_TIMEOUT", "45s".to_string()),
            ("MONGODB_CONNECT_TIMEOUT", "10s".to_string()),
        ]);
    }
    if says(shape, "JWT_SECRET") {
        variables.push(("BCRYPT_ROUNDS", "12".to_string()));
        // A domain service's own tokens hold as long as they do, whatever is said.
        if shape.domain_service.is_none() {
            variables.push(("JWT_EXPIRES_IN", "24h".to_string()));
        }
    }
    if shape.profile == Some(Profile::Ai) && shape.gpu.is_some() {
        variables.push(("GPU_MEMORY_FRACTION", "0.9".to_string()));
    }
    variables
}
