//! The sidecar that is planned beside an application: its container, its keys and what it is told.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use visiobook::api::names::Colour;
use visiobook::check;
use visiobook::contract::settings::Settings;
use visiobook::facts::{DeploymentFact, EnvironmentFact, SecretFact};
use visiobook::{plan, rollout};

use crate::cases::{Case, SIDECAR_IMAGE};

fn case(spec: Value, environment: Value) -> Case {
    let mut said = json!({ "image": "ghcr.io/visiobook/users:1.0" });
    plan::merge(&mut said, spec);
    let service = json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
        "metadata": { "name": "users", "namespace": "test" }, "spec": said,
    });
    Case {
        service: serde_json::from_value(service).expect("service"),
        environment: EnvironmentFact::Governed {
            name: "any".into(),
            spec: serde_json::from_value(environment).expect("environment"),
        },
    }
}

/// The spec of the planned pods.
fn pod(spec: Value, environment: Value) -> Value {
    let case = case(spec, environment);
    assert_eq!(case.verdict().err(), None);
    let plan = case.plan();
    let deployment = plan.objects.iter().find(|planned| planned.kind.as_str() == "Deployment");
    deployment.expect("a Deployment").object["spec"]["template"]["spec"].clone()
}

/// What the sidecar is told.
fn settings(spec: Value, environment: Value) -> Value {
    let pod = pod(spec, environment);
    let written = pod["initContainers"][0]["env"][0]["value"].as_str().expect("settings").to_string();
    serde_json::from_str(&written).expect("JSON")
}

fn typed(type_: &str) -> Value {
    json!({ "type": type_ })
}

#[test]
fn every_pod_has_a_native_sidecar_that_is_locked_down() {
    let pod = pod(json!({}), typed("production"));
    let expected = json!([{
        "name": "sidecar", "image": SIDECAR_IMAGE, "imagePullPolicy": "IfNotPresent", "restartPolicy": "Always",
        "args": ["sidecar"],
        "env": [{ "name": "VISIOBOOK_SIDECAR", "value": r#"{"application":{"memoryBytes":536870912},"compression":true,"environment":"production","errors":{"mask":true},"service":"users","serviceVersion":"1.0"}"# }],
        "ports": [
            { "name": "http", "containerPort": 15080, "protocol": "TCP" },
            { "name": "metrics", "containerPort": 9090, "protocol": "TCP" },
        ],
        "resources": { "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "memory": "64Mi" } },
        "lifecycle": { "preStop": { "exec": { "command": ["/visiobook", "sidecar", "drain"] } } },
        "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "readOnlyRootFilesystem": true,
            "runAsNonRoot": true, "runAsUser": 1001, "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": [{ "name": "tmp", "mountPath": "/tmp", "readOnly": true }],
    }]);
    assert_eq!(pod["initContainers"], expected);
    let off = self::pod(json!({ "sidecar": { "mode": "Off" } }), typed("production"));
    assert_eq!(off["initContainers"], Value::Null);
}

#[test]
fn a_sidecar_is_told_only_what_differs_and_a_variable_of_kubernetes_stays_a_text() {
    assert_eq!(
        settings(json!({}), typed("staging")),
        json!({
            "service": "users", "serviceVersion": "1.0", "environment": "staging",
            "application": { "memoryBytes": 536_870_912 },
        })
    );
    let spec = json!({ "env": { "LOG_LEVEL": "WARN", "LOG_FORMAT": "json" }, "sidecar": { "routes": ["/a/$(PORT)"] } });
    let pod = pod(spec.clone(), typed("development"));
    assert!(!pod["initContainers"][0]["env"][0]["value"].as_str().expect("text").contains('$'));
    let told = settings(spec, typed("development"));
    assert_eq!((&told["logs"], &told["routes"]), (&json!({ "level": "warn" }), &json!(["/a/$(PORT)"])));
}

#[test]
fn everything_a_resource_says_of_its_sidecar_arrives() {
    let spec = json!({
        "port": 3000,
        "secrets": {
            "DATABASE_URL": { "name": "db", "key": "url" }, "JWT_SECRET": { "name": "jwt", "key": "secret" },
            "CSRF_SECRET": { "name": "csrf", "key": "key" },
        },
        "sidecar": {
            "protocol": "HTTP2", "routes": ["GET /api/v1/users/{id}"], "hosts": ["*.visiobook.com"], "compression": false,
            "auth": { "publicRoutes": ["POST /api/v1/users"], "issuer": "i", "audience": "a", "jwks": "https://l/jwks", "cookie": "session" },
            "csrf": {}, "cors": { "origins": ["https://app.visiobook.com"] },
            "rateLimit": { "requestsPerMinute": 60, "burst": 5, "exemptSubjects": ["load"] },
            "errors": { "envelope": true, "mask": false }, "logs": { "sampleRate": 0.5, "slowMilliseconds": 200 },
            "retries": 0, "breaker": { "failures": 3, "openSeconds": 10 }, "kpis": { "activeUsers": "active_users" },
            "metricsPath": "", "metricsPort": 9100, "healthPath": "/healthz", "migrations": "Prisma",
        },
    });
    let expected = json!({
        "service": "users", "serviceVersion": "1.0", "environment": "production",
        "application": { "port": 3000, "protocol": "HTTP2", "memoryBytes": 536_870_912, "metricsPath": null, "metricsPort": 9100, "healthPath": "/healthz" },
        "routes": ["GET /api/v1/users/{id}"],
        "hosts": ["*.visiobook.com", "users", "users.test", "users.test.svc", "users.test.svc.cluster.local", "users-preview"],
        "serviceTokens": { "keysFolder": "/etc/visiobook/keys/services", "namespace": "test" },
        "auth": {
            "keysFolder": "/etc/visiobook/keys/jwt", "publicRoutes": ["POST /api/v1/users"], "issuer": "i", "audience": "a",
            "jwks": "https://l/jwks", "cookie": "session",
        },
        "csrf": { "keysFolder": "/etc/visiobook/keys/csrf", "sessionCookie": "session" },
        "corsOrigins": ["https://app.visiobook.com"],
        "rateLimit": { "requestsPerMinute": 60, "burst": 5, "exemptSubjects": ["load"] },
        "errors": { "envelope": true }, "logs": { "sampleRate": 0.5, "slowMilliseconds": 200 },
        "retries": 0, "breaker": { "failures": 3, "openSeconds": 10.0 }, "kpis": { "activeUsers": "active_users" },
        "migrations": "Prisma", "configuration": ["DATABASE_URL", "JWT_SECRET"],
        "dependencies": [{ "name": "database", "kind": "Postgres", "variable": "DATABASE_URL", "critical": true }],
    });
    assert_eq!(settings(spec.clone(), typed("production")), expected);
    let read: visiobook::contract::settings::Settings = serde_json::from_value(expected).expect("settings");
    assert!(read.auth.is_some());
}

#[test]
fn an_environment_governs_what_a_resource_does_not_say() {
    let environment = json!({ "type": "staging", "sidecar": {
        "image": "registry.local/visiobook:7", "corsOrigins": ["https://staging.visiobook.com"], "trustedProxies": ["10.0.0.0/8"],
        "compression": true, "logSampleRate": 0.1, "resources": { "limits": { "memory": "128Mi" } },
    } });
    let pod = pod(json!({}), environment.clone());
    assert_eq!(pod["initContainers"][0]["image"], "registry.local/visiobook:7");
    assert_eq!(pod["initContainers"][0]["resources"]["limits"], json!({ "memory": "128Mi" }));
    let told = settings(json!({}), environment);
    assert_eq!(told["corsOrigins"], json!(["https://staging.visiobook.com"]));
    assert_eq!(told["trustedProxies"], json!(["10.0.0.0/8"]));
    assert_eq!((&told["compression"], &told["logs"]), (&json!(true), &json!({ "sampleRate": 0.1 })));
}

#[test]
fn requests_are_limited_by_environment_where_clients_can_be_told_apart() {
    for (type_, most) in [("development", 1000), ("staging", 200), ("production", 100)] {
        let proxied = |more: Value| {
            let mut environment = json!({ "type": type_, "sidecar": { "trustedProxies": ["10.0.0.0/8"] } });
            plan::merge(&mut environment["sidecar"], more);
            environment
        };
        assert_eq!(
            settings(json!({}), typed(type_))["rateLimit"],
            Value::Null,
            "every client looks like the proxy"
        );
        assert_eq!(
            settings(json!({}), proxied(json!({})))["rateLimit"]["requestsPerMinute"],
            most,
            "{type_}"
        );
        let asked = json!({ "sidecar": { "rateLimit": {} } });
        assert_eq!(settings(asked, typed(type_))["rateLimit"]["requestsPerMinute"], most, "{type_}");
        let none = json!({ "rateLimit": { "requestsPerMinute": 0 } });
        assert_eq!(settings(json!({}), proxied(none))["rateLimit"], Value::Null);
        let own = json!({ "sidecar": { "rateLimit": { "requestsPerMinute": 7 } } });
        let environment = proxied(json!({ "rateLimit": { "requestsPerMinute": 500 } }));
        assert_eq!(settings(own, environment)["rateLimit"]["requestsPerMinute"], 7);
    }
}

#[test]
fn a_sidecar_sees_the_stores_and_services_that_the_resource_declares_and_no_other_variable() {
    let secret = |key: &str| json!({ "name": "s", "key": key });
    let spec = json!({
        "secrets": { "DATABASE_URL": secret("db"), "REDIS_URL": secret("redis"), "API_KEY": secret("api") },
        "dependsOn": [{ "name": "storage-service", "critical": true }, { "name": "api-gateway" }],
    });
    let pod = pod(spec.clone(), typed("production"));
    let seen: Vec<&str> = pod["initContainers"][0]["env"]
        .as_array()
        .expect("env")
        .iter()
        .map(|entry| entry["name"].as_str().expect("name"))
        .collect();
    assert_eq!(
        seen,
        [
            "VISIOBOOK_SIDECAR",
            "API_GATEWAY_URL",
            "DATABASE_URL",
            "DB_SSL_MODE",
            "REDIS_URL",
            "STORAGE_SERVICE_URL"
        ]
    );
    assert_eq!(
        settings(spec, typed("production"))["dependencies"],
        json!([
            { "name": "database", "kind": "Postgres", "variable": "DATABASE_URL", "critical": true },
            { "name": "redis", "kind": "Redis", "variable": "REDIS_URL" },
            { "name": "storage-service", "kind": "Service", "variable": "STORAGE_SERVICE_URL", "critical": true },
            { "name": "api-gateway", "kind": "Service", "variable": "API_GATEWAY_URL" },
        ])
    );
}

#[test]
fn keys_are_mounted_for_the_sidecar_with_the_previous_one_where_it_is_there() {
    let of = |auth: Value| json!({ "secrets": { "JWT_SECRET": { "name": "jwt", "key": "secret" } }, "sidecar": { "auth": auth } });
    let keys = |spec: Value| pod(spec, typed("production"));
    let volume = |name: &str, key: &str| {
        json!({ "name": "sidecar-jwt", "projected": { "defaultMode": 0o440, "sources": [
            { "secret": { "name": name, "items": [{ "key": key, "path": "current" }] } },
            { "secret": { "name": name, "items": [{ "key": format!("{key}_PREVIOUS"), "path": "previous" }], "optional": true } },
        ] } })
    };
    // The application's /tmp, whose room it tells.
    let room = json!({ "name": "tmp", "mountPath": "/tmp", "readOnly": true });
    let key = json!({ "name": "sidecar-jwt", "mountPath": "/etc/visiobook/keys/jwt", "readOnly": true });
    let services =
        json!({ "name": "sidecar-services", "mountPath": "/etc/visiobook/keys/services", "readOnly": true });
    let shared = keys(of(json!({})));
    assert_eq!(shared["volumes"][2], volume("jwt", "secret"));
    assert_eq!(shared["initContainers"][0]["volumeMounts"], json!([room, key, services]));
    assert_eq!(
        keys(of(json!({ "secret": { "name": "own", "key": "k" } })))["volumes"][2],
        volume("own", "k")
    );
    let none = keys(json!({ "sidecar": { "auth": { "jwks": "https://l/jwks" } } }));
    assert_eq!(none["volumes"][2]["name"], "sidecar-services", "a key is mounted that nobody has");
    assert_eq!(none["initContainers"][0]["volumeMounts"], json!([room, services]));
}

#[test]
fn a_key_that_only_the_sidecar_reads_holds_a_revision_back_but_replaces_no_pod() {
    let case = case(
        json!({ "sidecar": { "auth": { "secret": { "name": "jwt", "key": "secret" } } } }),
        typed("production"),
    );
    let verdict = case.verdict();
    let mut facts = case.facts();
    assert_eq!(facts.secrets.len(), 1);
    let decision = rollout::step(&verdict, &facts);
    assert!(decision.held.is_empty() && decision.rotation.digest.is_none(), "{decision:?}");
    for (fact, rule) in [
        (SecretFact::SecretMissing, "secret-exists"),
        (SecretFact::Present { digest: "k:d".into(), length: 31 }, "secret-length"),
    ] {
        facts.secrets.values_mut().for_each(|secret| *secret = fact.clone());
        let held = rollout::step(&verdict, &facts).held;
        assert_eq!((held[0].rule, held[0].field.as_str()), (rule, "spec.sidecar.auth.secret"));
    }
}

#[test]
fn another_image_of_the_sidecar_is_no_other_revision() {
    let revision = |environment: Value| {
        check::validate(
            &case(json!({}), environment.clone()).service,
            &case(json!({}), environment).environment,
        )
        .expect("valid")
        .shape
        .revision()
    };
    let plain = revision(typed("production"));
    assert_eq!(
        plain,
        revision(json!({ "type": "production", "sidecar": { "image": "registry.local/visiobook:7" } }))
    );
    assert_ne!(plain, revision(json!({ "type": "production", "sidecar": { "compression": false } })));
}

#[test]
fn requests_pass_through_sidecars_only_once_every_pod_has_one() {
    let case = case(json!({}), typed("production"));
    let target = |service_target: Option<u16>, deployment: Option<DeploymentFact>| {
        let mut facts = case.facts();
        facts.service_target = service_target;
        facts.deployments.extend(deployment.map(|deployment| (Colour::Blue, deployment)));
        let decision = rollout::step(&case.verdict(), &facts);
        let plan = plan::build(&case.owner(), &decision, 1, &facts);
        let service =
            plan.objects.iter().find(|planned| planned.object["spec"]["ports"].is_array()).expect("Service");
        service.object["spec"]["ports"][0]["targetPort"].as_u64().expect("number")
    };
    let hash = case.decide().revision.expect("revision").hash;
    let running = |revision: &str, updated: i32| DeploymentFact {
        revision: revision.into(),
        replicas: 1,
        status_replicas: 1,
        updated,
        available: 1,
        observed: true,
        ..DeploymentFact::default()
    };
    assert_eq!(target(None, None), 15080, "the first pods have one");
    assert_eq!(target(Some(8080), Some(running("before", 1))), 8080, "no pod has one yet");
    assert_eq!(target(Some(8080), Some(running(&hash, 0))), 8080, "some have one");
    assert_eq!(target(Some(8080), Some(running(&hash, 1))), 15080, "all have one");
    assert_eq!(target(Some(15080), Some(running("before", 1))), 15080, "all had one before");
}

/// What operators of earlier releases told sidecars, and what sidecars of them read: a folder for each release, which
/// `VISIOBOOK_KEEP_RELEASE=0.2.0 cargo test --test all earlier` adds.
fn earlier() -> Vec<(String, Vec<Value>, Value)> {
    let releases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/releases");
    if let Ok(version) = std::env::var("VISIOBOOK_KEEP_RELEASE") {
        let folder = releases.join(version);
        fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, value: &Value| {
            fs::write(folder.join(name), serde_json::to_string_pretty(value).unwrap() + "\n").unwrap();
        };
        write("told.json", &told().into());
        write("schema.json", &serde_json::to_value(schemars::schema_for!(Settings)).unwrap());
    }
    let read = |path: PathBuf| serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap();
    let kept: Vec<_> = fs::read_dir(releases).unwrap().map(|release| release.unwrap()).collect();
    assert!(!kept.is_empty());
    let release = |folder: fs::DirEntry| {
        let told = read(folder.path().join("told.json")).as_array().unwrap().clone();
        (folder.file_name().into_string().unwrap(), told, read(folder.path().join("schema.json")))
    };
    kept.into_iter().map(release).collect()
}

/// What the sidecars of all examples and cases are told today.
fn told() -> Vec<Value> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut told = Vec::new();
    let mut files: Vec<_> = fs::read_dir(golden).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|name| name == "yaml")) {
        let objects: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(file).unwrap()).unwrap();
        let containers =
            |object: &Value| object["spec"]["template"]["spec"]["initContainers"].as_array().cloned();
        for container in objects.iter().filter_map(containers).flatten() {
            let variables = container["env"].as_array().cloned().unwrap_or_default();
            let settings = variables.iter().find(|variable| variable["name"] == "VISIOBOOK_SIDECAR");
            told.extend(
                settings.map(|said| serde_json::from_str::<Value>(said["value"].as_str().unwrap()).unwrap()),
            );
        }
    }
    assert!(told.len() > 5, "{}", told.len());
    told
}

/// The first field of a document that a schema does not have.
fn unknown(document: &Value, schema: &Value, root: &Value, at: &str) -> Option<String> {
    if let Some(path) = schema["$ref"].as_str() {
        return unknown(document, &root["$defs"][path.rsplit('/').next()?], root, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let choice = choices.iter().find(|choice| choice["type"] != "null")?;
        return unknown(document, choice, root, at);
    }
    match document {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let at = format!("{at}/{name}");
            let other = Some(&schema["additionalProperties"]).filter(|other| other.is_object());
            match schema["properties"].get(name).or(other) {
                Some(known) => unknown(value, known, root, &at),
                None => Some(at),
            }
        }),
        Value::Array(items) => {
            items.iter().find_map(|item| unknown(item, &schema["items"], root, &format!("{at}/-")))
        }
        _ => None,
    }
}

#[test]
fn a_sidecar_reads_what_an_earlier_operator_tells_it() {
    for (release, told, _) in earlier() {
        for settings in told {
            let read = serde_json::from_value::<Settings>(settings.clone());
            assert!(read.is_ok(), "{release}: {read:?} of {settings}");
        }
    }
}

#[test]
fn an_earlier_sidecar_knows_all_that_it_is_told_today() {
    for (release, _, schema) in earlier() {
        for settings in told() {
            assert_eq!(unknown(&settings, &schema, &schema, ""), None, "{release} would refuse {settings}");
        }
        let newer = json!({ "service": "users", "logs": { "level": "info", "shape": "round" } });
        assert_eq!(unknown(&newer, &schema, &schema, ""), Some("/logs/shape".into()));
    }
}
