//! The sidecar's container, its keys and its settings.

use serde_json::{Map, Value, json};

use super::template::{self, named_port};
use super::{Owner, service_token, variables};
use crate::api::names;
use crate::api::{
    EnvironmentType, KeyRef, LogLevel, Migrations, Protocol, Sidecar, SidecarMode, TrustedCertificates,
};
use crate::check::{Shape, image, sidecar_resources};
use crate::contract::settings::{self, Settings};
use crate::contract::{self, METRICS_PORT, SETTINGS_VARIABLE, SIDECAR_PORT};
use crate::facts::Facts;

/// Seconds until endpoints that are gone are gone everywhere: the application goes on serving as long.
const PROPAGATION_SECONDS: i64 = 5;
/// Seconds for what is left when requests have drained.
const STOP_SECONDS: i64 = 10;
/// Where keys are mounted.
const KEYS: [(&str, &str); 2] =
    [("sidecar-jwt", "/etc/visiobook/keys/jwt"), ("sidecar-csrf", "/etc/visiobook/keys/csrf")];

/// Where the certificates of authorities are mounted.
const TRUST: (&str, &str) = ("sidecar-trust", "/etc/visiobook/trust");
const TRUST_FILE: &str = "ca.pem";

/// The native sidecar: it starts before the application, and its hook drains it before the application is stopped. Half a
/// second later it ends, so an application that is slow at SIGTERM outlives it. It has no probe of its own: the
/// application's ask it, and one that held up the start would keep the application from ever answering.
pub(super) fn container(
    owner: &Owner,
    shape: &Shape,
    hears_operator: bool,
    facts: &Facts,
    environment: &[Value],
) -> Value {
    let settings = settings(owner, shape, &facts.cluster_domain);
    let wanted = |variable: &Value| {
        settings.dependencies.iter().any(|dependency| *variable == dependency.variable)
            || (*variable == "DB_SSL_MODE" && variables::says(shape, "DATABASE_URL"))
    };
    let mut env = vec![json!({ "name": SETTINGS_VARIABLE, "value": write(&settings) })];
    env.extend(hears_operator.then(|| service_token::operator_variable(owner)));
    env.extend(environment.iter().filter(|entry| wanted(&entry["name"])).cloned());
    let mut ports = vec![named_port("metrics", METRICS_PORT)];
    if shape.mode() == SidecarMode::Proxy {
        ports.insert(0, named_port("http", SIDECAR_PORT));
    }
    let (requests, limits) =
        sidecar_resources(shape.sidecar.as_ref().and_then(|sidecar| sidecar.resources.as_ref()));
    let mut container = json!({
        "name": "sidecar",
        "image": super::sidecar_image(facts),
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "args": ["sidecar"],
        "env": env,
        "ports": ports,
        "resources": { "requests": requests, "limits": limits },
        "lifecycle": { "preStop": { "exec": { "command": ["/visiobook", "sidecar", "drain"] } } },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": contract::UID,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
    });
    let keys = KEYS.into_iter().zip([shape.token_key(), csrf_key(shape)]);
    let mounted = keys.filter_map(|(mount, key)| key.map(|_| mount)).chain(trusted(shape).map(|_| TRUST));
    // The application's, of whose disk the sidecar tells what is left (E15).
    container["volumeMounts"] = std::iter::once(("tmp", "/tmp"))
        .chain(mounted)
        .map(|(name, path)| json!({ "name": name, "mountPath": path, "readOnly": true }))
        .chain(service_token::keys_mount(shape, hears_operator))
        .collect();
    container
}

/// Whether the pods of a template have a sidecar that takes their traffic.
pub(super) fn is_proxy(template: &Value) -> bool {
    let sidecars = template.pointer("/spec/initContainers").and_then(Value::as_array);
    let ports = sidecars.into_iter().flatten().filter_map(|sidecar| sidecar["ports"].as_array()).flatten();
    ports.into_iter().any(|port| port["containerPort"] == SIDECAR_PORT)
}

/// Keys of Secrets as files, which the kubelet keeps up to date: they are no part of the revision, and no pod is
/// replaced for them.
pub(super) fn volumes(shape: &Shape) -> Vec<Value> {
    let source = |key: &KeyRef, from: &str, file: &str, optional: bool| {
        let mut source = json!({ "name": key.name, "items": [{ "key": from, "path": file }] });
        if optional {
            source["optional"] = true.into();
        }
        json!({ "secret": source })
    };
    let volume = |name: &str, sources: Vec<Value>| json!({ "name": name, "projected": { "sources": sources, "defaultMode": 0o440 } });
    let [(jwt, _), (csrf, _)] = KEYS;
    let tokens = shape.token_key().map(|key| {
        let previous = shape.secrets.get("JWT_SECRET_PREVIOUS").filter(|_| own_key(shape).is_none());
        let previous = match previous {
            Some(previous) => source(previous, &previous.key, "previous", true),
            None => source(key, &format!("{}_PREVIOUS", key.key), "previous", true),
        };
        volume(jwt, vec![source(key, &key.key, "current", false), previous])
    });
    let sessions = csrf_key(shape).map(|key| volume(csrf, vec![source(key, &key.key, "secret", false)]));
    let trust = trusted(shape).map(|trusted| match &trusted.config_map {
        Some(key) => {
            let items = json!([{ "key": key.key, "path": TRUST_FILE }]);
            json!({ "name": TRUST.0, "configMap": { "name": key.name, "items": items, "defaultMode": 0o444 } })
        }
        None => volume(
            TRUST.0,
            trusted.secret.iter().map(|key| source(key, &key.key, TRUST_FILE, false)).collect(),
        ),
    });
    tokens.into_iter().chain(sessions).chain(trust).collect()
}

/// Certificates of authorities of one's own.
fn trusted(shape: &Shape) -> Option<&TrustedCertificates> {
    shape.sidecar.as_ref()?.trusted_certificates.as_ref()
}

/// The key of tokens that is the sidecar's alone.
fn own_key(shape: &Shape) -> Option<&KeyRef> {
    shape.sidecar.as_ref()?.auth.as_ref()?.secret.as_ref()
}

/// The key that sessions are protected with, where they are (X61).
fn csrf_key(shape: &Shape) -> Option<&KeyRef> {
    shape.sidecar.as_ref()?.csrf.as_ref()?;
    shape.secrets.get("CSRF_SECRET")
}

/// Seconds until the kubelet kills what did not stop (X30): the service's own word, else as long as everything may take.
pub(super) fn grace_seconds(shape: &Shape) -> i64 {
    let said = shape.pod.get("terminationGracePeriodSeconds").and_then(Value::as_i64);
    said.unwrap_or_else(|| match shape.mode() {
        SidecarMode::Off => contract::GRACE_SECONDS,
        SidecarMode::Proxy | SidecarMode::Observe => {
            PROPAGATION_SECONDS + drain_seconds(shape) + STOP_SECONDS
        }
    })
}

/// Seconds for which a pod goes on as before once it is to stop, well within its grace period.
pub(super) fn propagation_seconds(shape: &Shape) -> i64 {
    PROPAGATION_SECONDS.min((grace_seconds(shape) / 2).max(1))
}

/// Seconds that requests under way have, so that the application has some left of the grace period to stop.
fn requests_seconds(shape: &Shape) -> i64 {
    let left = grace_seconds(shape) - propagation_seconds(shape) - STOP_SECONDS;
    drain_seconds(shape).min(left.max(1))
}

fn drain_seconds(shape: &Shape) -> i64 {
    let said = shape.sidecar.as_ref().and_then(|sidecar| sidecar.drain_seconds);
    said.map_or(contract::SHUTDOWN_SECONDS, i64::from)
}

/// Everything the sidecar is told.
fn settings(owner: &Owner, shape: &Shape, domain: &str) -> Settings {
    let default = Sidecar::default();
    let said = shape.sidecar.as_deref().unwrap_or(&default);
    let production = shape.environment == EnvironmentType::Production;
    let proxies = shape.mode() == SidecarMode::Proxy;
    let mut settings =
        Settings { service_version: image::version(&shape.image), ..Settings::new(&owner.name) };
    settings.environment = match shape.environment {
        EnvironmentType::Development => settings::Environment::Development,
        EnvironmentType::Staging => settings::Environment::Staging,
        EnvironmentType::Production => settings::Environment::Production,
    };
    settings.mode = if proxies { settings::Mode::Proxy } else { settings::Mode::Observe };
    let application = &mut settings.application;
    application.port = variables::port(shape);
    application.worker = shape.worker;
    application.protocol = match said.protocol.unwrap_or_default() {
        Protocol::HTTP1 => settings::Protocol::Http1,
        Protocol::HTTP2 => settings::Protocol::Http2,
    };
    if let Some(path) = &said.metrics_path {
        application.metrics_path = (!path.is_empty()).then(|| path.clone());
    }
    application.memory_bytes = template::memory_bytes(shape);
    application.metrics_port = said.metrics_port;
    application.health_path = said.health_path.clone();
    settings.correlation_header =
        plain(shape, "CORRELATION_ID_HEADER").filter(|header| header != contract::CORRELATION_ID_HEADER);
    settings.logs = logs(said, shape);
    settings.dependencies = dependencies(shape);
    let tokens = shape.token_key().is_some() && variables::says(shape, "JWT_SECRET");
    settings.configuration =
        [("DATABASE_URL", variables::says(shape, "DATABASE_URL")), ("JWT_SECRET", tokens)]
            .into_iter()
            .filter(|(_, wanted)| *wanted)
            .map(|(variable, _)| variable.to_string())
            .collect();
    settings.migrations = said.migrations.map(|migrations| match migrations {
        Migrations::Prisma => settings::Migrations::Prisma,
        Migrations::Alembic => settings::Migrations::Alembic,
        Migrations::AnyTable => settings::Migrations::AnyTable,
    });
    settings.kpis = said.kpis.clone();
    settings.drain = settings::Drain {
        propagation_seconds: propagation_seconds(shape) as f64,
        requests_seconds: requests_seconds(shape) as f64,
    };
    settings.trusted_certificates = trusted(shape).map(|_| format!("{}/{TRUST_FILE}", TRUST.1));
    if !proxies {
        return settings;
    }
    let callers = said.service_tokens.clone().unwrap_or_default();
    settings.service_tokens = service_token::verifies(shape).then(|| settings::ServiceTokens {
        keys_folder: service_token::KEYS_FOLDER.to_string(),
        namespace: owner.namespace.clone(),
        allow: callers.allow,
        required: callers.required,
    });
    settings.routes = said.routes.clone();
    settings.rate_limit = rate_limit(said, shape);
    settings.trusted_proxies = shape.trusted_proxies.iter().filter_map(|range| range.parse().ok()).collect();
    settings.cors_origins = said.cors.as_ref().map(|cors| cors.origins.clone()).unwrap_or_default();
    settings.hosts = hosts(owner, said, shape, domain);
    settings.auth = said.auth.as_ref().map(|auth| settings::Auth {
        keys_folder: shape.token_key().map(|_| KEYS[0].1.to_string()),
        jwks: auth.jwks.clone(),
        issuer: auth.issuer.clone(),
        audience: auth.audience.clone(),
        public_routes: auth.public_routes.clone(),
        cookie: auth.cookie.clone(),
    });
    let cookie = said.auth.as_ref().and_then(|auth| auth.cookie.as_ref());
    settings.csrf = said.csrf.as_ref().map(|csrf| settings::Csrf {
        keys_folder: KEYS[1].1.to_string(),
        session_cookie: csrf.cookie.as_ref().or(cookie).cloned().unwrap_or_default(),
    });
    // D74 and D44: in production, unless somebody says otherwise.
    settings.compression = said.compression.unwrap_or(production);
    let errors = said.errors.clone().unwrap_or_default();
    settings.errors = settings::Errors {
        envelope: errors.envelope.unwrap_or(false),
        mask: errors.mask.unwrap_or(production),
    };
    if let Some(retries) = said.retries {
        settings.retries = retries;
    }
    if let Some(breaker) = &said.breaker {
        settings.breaker.failures = breaker.failures.unwrap_or(settings.breaker.failures);
        settings.breaker.open_seconds = breaker.open_seconds.map_or(settings.breaker.open_seconds, f64::from);
    }
    settings
}

/// The names that are said, and where any are, those by which other services call this one.
fn hosts(owner: &Owner, said: &Sidecar, shape: &Shape, domain: &str) -> Vec<String> {
    if said.hosts.is_empty() {
        return Vec::new();
    }
    let Owner { name, namespace, .. } = owner;
    let own = [
        "".to_string(),
        format!(".{namespace}"),
        format!(".{namespace}.svc"),
        format!(".{namespace}.svc.{domain}"),
    ];
    let mut hosts = said.hosts.clone();
    hosts.extend(own.iter().map(|rest| format!("{name}{rest}")));
    // Checks call it so before traffic moves.
    hosts.push(names::preview(name));
    hosts.extend(shape.preview_hosts.iter().cloned());
    hosts.dedup();
    hosts
}

/// Level and format are the application's, as far as the resource says them in plain.
fn logs(said: &Sidecar, shape: &Shape) -> settings::Logs {
    let level = match plain(shape, "LOG_LEVEL").as_deref() {
        Some("debug") => LogLevel::Debug,
        Some("info") => LogLevel::Info,
        Some("warn" | "warning") => LogLevel::Warn,
        Some("error") => LogLevel::Error,
        _ => variables::log_level(shape),
    };
    let format = plain(shape, "LOG_FORMAT").unwrap_or_else(|| variables::log_format(shape).to_string());
    let requests = said.logs.clone().unwrap_or_default();
    let default = settings::Logs::default();
    settings::Logs {
        level: match level {
            LogLevel::Debug => settings::Level::Debug,
            LogLevel::Info => settings::Level::Info,
            LogLevel::Warn => settings::Level::Warn,
            LogLevel::Error => settings::Level::Error,
        },
        format: if format == "text" { settings::Format::Text } else { settings::Format::Json },
        sample_rate: requests.sample_rate.unwrap_or(default.sample_rate),
        slow_milliseconds: requests.slow_milliseconds.map_or(default.slow_milliseconds, u64::from),
    }
}

/// What the resource says of a variable in plain, in lower case.
fn plain(shape: &Shape, variable: &str) -> Option<String> {
    shape.env.get(variable).or_else(|| shape.config.get(variable)).map(|value| value.to_lowercase())
}

/// D71: by environment where clients can be told apart, or as the resource asks.
fn rate_limit(said: &Sidecar, shape: &Shape) -> Option<settings::RateLimit> {
    if said.rate_limit.is_none() && shape.trusted_proxies.is_empty() {
        return None;
    }
    let limit = said.rate_limit.clone().unwrap_or_default();
    let requests_per_minute = limit.requests_per_minute.unwrap_or(match shape.environment {
        EnvironmentType::Development => 1000,
        EnvironmentType::Staging => 200,
        EnvironmentType::Production => 100,
    });
    (requests_per_minute > 0).then_some(settings::RateLimit {
        requests_per_minute,
        burst: limit.burst,
        exempt_subjects: limit.exempt_subjects,
    })
}

/// Stores that the resource declares, and services that it calls.
fn dependencies(shape: &Shape) -> Vec<settings::Dependency> {
    let dependency = |name: &str, kind, variable: String, critical| settings::Dependency {
        name: name.to_string(),
        kind,
        variable,
        critical,
        timeout_seconds: None,
        interval_seconds: None,
    };
    // D03: without its database a service is not ready; without its cache it is slow.
    let stores = [
        ("database", settings::DependencyKind::Postgres, "DATABASE_URL", true),
        ("redis", settings::DependencyKind::Redis, "REDIS_URL", false),
    ];
    let stores = stores
        .into_iter()
        .filter(|(_, _, variable, _)| variables::says(shape, variable))
        .map(|(name, kind, variable, critical)| dependency(name, kind, variable.to_string(), critical));
    let services = shape.depends_on.iter().map(|said| {
        dependency(
            &said.name,
            settings::DependencyKind::Service,
            variables::url_variable(said),
            said.critical,
        )
    });
    stores.chain(services).collect()
}

/// The document: only what differs from what a sidecar takes for granted, so that one of the last release reads it.
fn write(settings: &Settings) -> String {
    let value = |settings: &Settings| match serde_json::to_value(settings) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    let mut document = value(settings);
    leave_out(&mut document, &value(&Settings::new("")));
    // Kubernetes would take `$(NAME)` for a variable.
    Value::Object(document).to_string().replace('$', "\\u0024")
}

fn leave_out(members: &mut Map<String, Value>, granted: &Map<String, Value>) {
    members.retain(|name, member| match (member, granted.get(name)) {
        (Value::Object(member), Some(Value::Object(granted))) => {
            leave_out(member, granted);
            !member.is_empty()
        }
        (member, granted) => granted != Some(member),
    });
}
