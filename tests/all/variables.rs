//! Variables: each exactly once, the resource's word above the operator's (X15), and H.1's defaults.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use visiobook::facts::EnvironmentFact;

use crate::cases::Case;

/// Name to value, or to the key of the ConfigMap (`config:`) or Secret (`secret:`) it comes from.
fn variables(spec: Value, type_: &str) -> BTreeMap<String, String> {
    let service = json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
        "metadata": { "name": "users", "namespace": "test" }, "spec": spec,
    });
    let environment = serde_json::from_value(json!({ "type": type_ })).expect("environment");
    let case = Case {
        service: serde_json::from_value(service).expect("service"),
        environment: EnvironmentFact::Governed { name: type_.into(), spec: environment },
    };
    let plan = case.plan();
    let find = |kind: &str| {
        plan.objects.iter().find(|planned| planned.kind.as_str() == kind).expect("planned").object.clone()
    };
    let (deployment, config) = (find("Deployment"), find("ConfigMap"));
    let entries = deployment
        .pointer("/spec/template/spec/containers/0/env")
        .and_then(Value::as_array)
        .expect("env")
        .clone();
    let mut found = BTreeMap::new();
    for entry in entries {
        let name = entry["name"].as_str().expect("name").to_string();
        let reference = |kind: &str, field: &str| {
            entry.pointer(&format!("/valueFrom/{kind}/{field}")).and_then(Value::as_str)
        };
        let value = if let Some(key) = reference("configMapKeyRef", "key") {
            match config["data"].get(key) {
                Some(value) => value.as_str().expect("text").to_string(),
                None => format!("config:{}/{key}", reference("configMapKeyRef", "name").expect("name")),
            }
        } else if let Some(key) = reference("secretKeyRef", "key") {
            format!("secret:{}/{key}", reference("secretKeyRef", "name").expect("name"))
        } else {
            entry["value"].as_str().unwrap_or_default().to_string()
        };
        assert!(found.insert(name.clone(), value).is_none(), "{name} is set twice");
    }
    found
}

#[test]
fn an_empty_resource_gets_the_contract_and_nothing_of_stores() {
    let found = variables(json!({ "image": "a/b:2.1" }), "development");
    let off = variables(json!({ "image": "a/b:2.1", "sidecar": { "mode": "Off" } }), "development");
    // Beside a sidecar the port of the metrics is taken.
    assert_eq!(off["PROMETHEUS_PORT"], "9090");
    let expected = [
        ("API_GATEWAY_URL", "http://api-gateway-service:8080"),
        ("CORRELATION_ID_HEADER", "x-correlation-id"),
        ("ENVIRONMENT", "development"),
        ("LOG_FORMAT", "text"),
        ("LOG_LEVEL", "debug"),
        ("LOG_OUTPUT", "stdout"),
        ("PORT", "8080"),
        ("SERVICE_NAME", "users"),
        ("SERVICE_VERSION", "2.1"),
        ("SHUTDOWN_TIMEOUT", "30s"),
    ];
    assert_eq!(found, expected.map(|(name, value)| (name.to_string(), value.to_string())).into());
}

#[test]
fn a_declared_store_brings_its_pool_sized_by_environment() {
    let secret = |key: &str| json!({ "name": "s", "key": key });
    let spec = json!({ "image": "a/b:1", "secrets": { "DATABASE_URL": secret("db"), "REDIS_URL": secret("redis"), "JWT_SECRET": secret("jwt"), "MONGODB_URI": secret("mongo") } });
    for (type_, open, idle, tls, redis) in [
        ("development", "5", "2", "disable", "5"),
        ("staging", "10", "3", "require", "10"),
        ("production", "25", "5", "require", "20"),
    ] {
        let found = variables(spec.clone(), type_);
        for (name, value) in [
            ("DATABASE_URL", "secret:s/db"),
            ("DB_MAX_OPEN_CONNS", open),
            ("DB_MAX_IDLE_CONNS", idle),
            ("DB_SSL_MODE", tls),
            ("DB_CONN_MAX_LIFETIME", "1h"),
            ("REDIS_POOL_SIZE", redis),
            ("JWT_EXPIRES_IN", "24h"),
            ("BCRYPT_ROUNDS", "12"),
            ("MONGODB_MAX_POOL_SIZE", "50"),
            ("MONGODB_MIN_POOL_SIZE", "10"),
            ("MONGODB_SOCKET_TIMEOUT", "45s"),
        ] {
            assert_eq!(found[name], value, "{name} in {type_}");
        }
    }
}

#[test]
fn the_stack_sets_port_and_alias() {
    for (stack, port, alias) in [
        ("nodejs", "8080", "NODE_ENV"),
        ("python", "8000", "PYTHON_ENV"),
        ("go", "8080", "APP_ENV"),
        ("vue", "8080", "NODE_ENV"),
        ("rust", "8080", "APP_ENV"),
    ] {
        let found = variables(json!({ "image": "a/b:1", "stack": stack }), "production");
        assert_eq!((found["PORT"].as_str(), found[alias].as_str()), (port, "production"), "{stack}");
    }
}

#[test]
fn the_word_of_the_resource_wins_wherever_it_stands() {
    let said = [
        json!({ "image": "a/b:1", "env": { "LOG_LEVEL": "warn", "API_GATEWAY_URL": "http://x" } }),
        json!({ "image": "a/b:1", "config": { "LOG_LEVEL": "warn", "API_GATEWAY_URL": "http://x" } }),
    ];
    for spec in said {
        let found = variables(spec, "production");
        assert_eq!((found["LOG_LEVEL"].as_str(), found["API_GATEWAY_URL"].as_str()), ("warn", "http://x"));
    }
    let found = variables(
        json!({ "image": "a/b:1", "configMapKeyRefs": { "DB_HOST": { "name": "myapp-config", "key": "db_host" } } }),
        "production",
    );
    assert_eq!(found["DB_HOST"], "config:myapp-config/db_host");
    assert_eq!(found["DB_SSL_MODE"], "require");
}

#[test]
fn what_a_service_calls_is_found_by_its_url() {
    let spec = json!({
        "image": "a/b:1", "env": { "MEDIA_SERVICE_URL": "http://media" },
        "dependsOn": [
            { "name": "storage-service" }, { "name": "media-service" }, { "name": "api-gateway" },
            { "name": "projects", "namespace": "shop", "port": 8080 },
        ],
    });
    let found = variables(spec, "production");
    for (name, url) in [
        ("STORAGE_SERVICE_URL", "http://storage-service:80"),
        ("MEDIA_SERVICE_URL", "http://media"),
        ("PROJECTS_URL", "http://projects.shop:8080"),
        // Its Service has a name and a port of its own (X52).
        ("API_GATEWAY_URL", "http://api-gateway-service:8080"),
    ] {
        assert_eq!(found[name], url, "{name}");
    }
    let placed = json!({ "image": "a/b:1", "dependsOn": [{ "name": "api-gateway", "namespace": "edge" }] });
    assert_eq!(variables(placed, "production")["API_GATEWAY_URL"], "http://api-gateway.edge:80");
}
