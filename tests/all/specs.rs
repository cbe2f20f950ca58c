//! Random resources: every field of a VisiobookServiceSpec, in values that Kubernetes itself would take, and
//! environments to hold them against. Shared with the tests on a cluster.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use visiobook::api::{VisiobookEnvironmentSpec, VisiobookService, VisiobookServiceSpec};

type Values = BoxedStrategy<Value>;

/// A service under a name that it may have.
pub fn services() -> impl Strategy<Value = VisiobookService> {
    (names(), specs()).prop_map(|(name, spec)| {
        let spec: VisiobookServiceSpec =
            serde_json::from_value(spec.clone()).unwrap_or_else(|error| panic!("{error}: {spec:#}"));
        VisiobookService::new(&name, spec)
    })
}

/// An environment of any type.
pub fn environments() -> impl Strategy<Value = VisiobookEnvironmentSpec> {
    let defaults = object(vec![
        ("replicas", 0.3, (0..5).prop_map(Value::from).boxed()),
        ("logLevel", 0.3, one_of(&["debug", "info", "warn", "error"])),
        ("resources", 0.3, resources()),
        ("autoscaling", 0.3, object(vec![("enabled", 1.0, flag())])),
        ("imagePullSecrets", 0.3, named_list()),
        ("gpuNodeSelector", 0.3, labels()),
        ("gpuTolerations", 0.3, vec(toleration(), 1..3).prop_map(Value::from).boxed()),
    ]);
    let limits = object(vec![
        ("cpu", 0.3, quantity(&["2", "64", "100"])),
        ("memory", 0.3, quantity(&["8Gi", "1Ti"])),
        ("replicas", 0.1, (500..1000).prop_map(Value::from).boxed()),
        (
            "gpu",
            0.5,
            object(vec![
                ("allowed", 1.0, Just(json!(true)).boxed()),
                ("perPod", 0.3, Just(json!(8)).boxed()),
            ]),
        ),
    ]);
    let environment = object(vec![
        ("type", 1.0, one_of(&["development", "staging", "production"])),
        ("defaults", 0.5, defaults),
        ("limits", 0.5, limits),
        ("images", 0.3, object(vec![("forbidLatest", 0.3, flag())])),
        ("sidecar", 0.4, environment_sidecar()),
        ("ingress", 0.4, environment_ingress()),
        ("monitoring", 0.3, monitoring()),
        ("secrets", 0.8, environment_secrets()),
        ("networkPolicy", 0.4, environment_network_policy()),
    ]);
    environment.prop_map(|value| serde_json::from_value(value).expect("environment"))
}

fn names() -> impl Strategy<Value = String> {
    "[a-z]([-a-z0-9]{0,38}[a-z0-9])?".prop_filter("an ending of our own", |name| {
        !visiobook::api::names::RESERVED_ENDINGS.iter().any(|ending| name.ends_with(ending))
    })
}

fn specs() -> impl Strategy<Value = Value> {
    let fields = object(vec![
        ("stack", 0.5, one_of(&["nodejs", "python", "go", "vue", "rust"])),
        ("profile", 0.5, one_of(&["backend", "ai", "frontend"])),
        ("image", 1.0, images()),
        ("imagePullPolicy", 0.3, one_of(&["IfNotPresent", "Always", "Never"])),
        ("imagePullSecrets", 0.3, named_list()),
        ("command", 0.2, texts(0..3)),
        ("args", 0.2, texts(0..3)),
        ("port", 0.3, ports()),
        ("replicas", 0.5, (0..12).prop_map(Value::from).boxed()),
        ("resources", 0.4, resources()),
        (
            "gpu",
            0.15,
            object(vec![
                ("count", 1.0, (1..4).prop_map(Value::from).boxed()),
                ("resourceName", 0.3, one_of(&["amd.com/gpu"])),
            ]),
        ),
        ("configFiles", 0.3, config_files()),
        ("dependsOn", 0.3, dependencies()),
        ("gate", 0.2, object(vec![("mode", 0.8, one_of(&["Latched", "Continuous", "Off"]))])),
        ("sidecar", 0.6, sidecar()),
        ("probes", 0.4, probes()),
        ("autoscaling", 0.4, autoscaling()),
        (
            "service",
            0.4,
            object(vec![
                ("type", 0.5, one_of(&["ClusterIP", "NodePort", "LoadBalancer"])),
                ("port", 0.5, ports()),
                ("annotations", 0.3, annotations()),
            ]),
        ),
        ("disruptionBudget", 0.4, disruption_budget()),
        ("ingress", 0.3, ingress()),
        ("monitoring", 0.3, monitoring()),
        ("networkPolicy", 0.4, network_policy()),
        ("serviceAccount", 0.4, service_account()),
        (
            "rollout",
            0.4,
            object(vec![
                ("strategy", 0.3, one_of(&["RollingUpdate"])),
                ("maxSurge", 0.5, share()),
                ("maxUnavailable", 0.5, share()),
            ]),
        ),
        ("paused", 0.1, flag()),
    ]);
    let parts = (fields, variables(), option::weighted(0.6, pods()), proptest::bool::weighted(0.1));
    parts.prop_map(|(mut spec, variables, pod, works)| {
        if works {
            work(&mut spec);
        }
        let members = spec.as_object_mut().expect("object");
        members.extend(variables);
        if let Some(pod) = pod {
            members.insert("pod".into(), pod);
        }
        spec
    })
}

/// Make a worker of it, which nobody sends requests.
fn work(spec: &mut Value) {
    let members = spec.as_object_mut().expect("object");
    for field in ["port", "ingress"] {
        members.remove(field);
    }
    members.insert("service".into(), json!({ "enabled": false }));
    let Some(sidecar) = members.get_mut("sidecar").and_then(Value::as_object_mut) else { return };
    if sidecar.get("mode").is_some_and(|mode| mode == "Proxy") {
        sidecar.remove("mode");
    }
    let of_requests = [
        "routes",
        "auth",
        "serviceTokens",
        "csrf",
        "cors",
        "hosts",
        "rateLimit",
        "compression",
        "errors",
        "retries",
        "breaker",
    ];
    sidecar.retain(|field, _| !of_requests.contains(&field.as_str()));
}

fn images() -> Values {
    prop_oneof![
        3 => "[a-z]{1,8}(/[a-z0-9]{1,8}){0,2}:[a-zA-Z0-9_][-a-zA-Z0-9._]{0,20}",
        3 => "ghcr\\.io/visiobook/[a-z]{1,12}@sha256:[0-9a-f]{64}",
        3 => "registry\\.local:5000/[a-z]{1,12}:v[0-9]@sha256:[0-9a-f]{64}",
        1 => "localhost/[a-z]{1,12}",
    ]
    .prop_map(Value::from)
    .boxed()
}

/// Variables from all four sources, each from one of them.
fn variables() -> impl Strategy<Value = Map<String, Value>> {
    let known = prop_oneof![
        "DATABASE_URL",
        "DB_HOST",
        "REDIS_URL",
        "MONGODB_URI",
        "JWT_SECRET",
        "LOG_LEVEL",
        "NODE_ENV",
        "SERVICE_NAME"
    ];
    let key = prop_oneof![3 => "[A-Za-z_][A-Za-z0-9_]{0,20}", 1 => known];
    btree_map(key, (0..4u8, text(), reference()), 0..10).prop_map(|variables| {
        let mut sources: Map<String, Value> = Map::new();
        for (variable, (source, text, reference)) in variables {
            let (source, value) = match source {
                0 => ("env", text),
                1 => ("config", text),
                2 if text.as_str().is_some_and(|text| text.len() % 2 == 1) => {
                    ("secrets", json!({ "remote": reference_of_store(&reference) }))
                }
                2 => ("secrets", reference),
                _ => ("configMapKeyRefs", reference),
            };
            let map = sources.entry(source).or_insert_with(|| json!({}));
            map[variable] = value;
        }
        sources
    })
}

fn reference() -> Values {
    object(vec![("name", 1.0, subdomain()), ("key", 1.0, config_key())])
}

/// The same words, as a key of a store.
fn reference_of_store(reference: &Value) -> Value {
    json!({ "key": reference["name"], "property": reference["key"] })
}

fn config_key() -> Values {
    "[a-zA-Z0-9_][-._a-zA-Z0-9]{0,30}".prop_map(Value::from).boxed()
}

fn config_files() -> Values {
    let files = btree_map("[-._a-zA-Z0-9]{1,20}", text(), 1..4);
    let path =
        prop_oneof![4 => "/etc/[a-z]{1,8}", 4 => "/srv/[a-z]{1,8}/[a-z]{1,8}", 1 => "/tmp", 1 => "/data/0"];
    (files, option::of(path))
        .prop_map(|(files, path)| match path {
            Some(path) => json!({ "files": files, "mountPath": path }),
            None => json!({ "files": files }),
        })
        .boxed()
}

fn resources() -> Values {
    let requests = object(vec![
        ("cpu", 0.6, quantity(&["0.01", "5m", "0.05", "50m", "1e-1"])),
        ("memory", 0.6, quantity(&["1Mi", "1048576", "0.5Gi", "64M", "1e6", "1536Ki"])),
        ("ephemeral-storage", 0.2, quantity(&["1Gi", "3Gi", "100M"])),
        ("example.com/widget", 0.1, quantity(&["1", "2", "1000m"])),
    ]);
    let limits = object(vec![
        ("cpu", 0.6, quantity(&["500m", "0.5", "1", "1.5", "2000m"])),
        ("memory", 0.6, quantity(&["1Gi", "1024Mi", "1000M", "1.5Gi", "2e9"])),
        ("ephemeral-storage", 0.2, quantity(&["2Gi", "2048Mi", "4G"])),
        ("example.com/widget", 0.1, quantity(&["1", "2"])),
    ]);
    object(vec![("requests", 0.7, requests), ("limits", 0.7, limits)])
}

fn probes() -> Values {
    let timing = |name| {
        let successes = if name == "readiness" { 1..5 } else { 1..2 };
        vec![
            ("initialDelaySeconds", 0.4, (0..60).prop_map(Value::from).boxed()),
            ("periodSeconds", 0.4, (1..60).prop_map(Value::from).boxed()),
            ("timeoutSeconds", 0.4, (1..10).prop_map(Value::from).boxed()),
            ("failureThreshold", 0.4, (1..10).prop_map(Value::from).boxed()),
            ("successThreshold", 0.4, successes.prop_map(Value::from).boxed()),
            ("enabled", 0.2, flag()),
        ]
    };
    let port = || prop_oneof![ports(), one_of(&["http", "metrics"])].boxed();
    let header = object(vec![
        ("name", 1.0, "[A-Z][-A-Za-z]{0,10}".prop_map(Value::from).boxed()),
        ("value", 1.0, prop_oneof![Just(json!("")), "[a-z]{1,8}".prop_map(Value::from)].boxed()),
    ]);
    let get = object(vec![
        ("path", 0.6, "/[a-z]{0,8}".prop_map(Value::from).boxed()),
        ("port", 1.0, port()),
        ("host", 0.1, one_of(&["localhost", ""])),
        ("scheme", 0.3, one_of(&["HTTP", "HTTPS"])),
        ("httpHeaders", 0.3, vec(header, 0..3).prop_map(Value::from).boxed()),
    ]);
    let action = prop_oneof![
        get.prop_map(|get| json!({ "httpGet": get })),
        object(vec![("port", 1.0, port()), ("host", 0.1, one_of(&["localhost"]))])
            .prop_map(|tcp| json!({ "tcpSocket": tcp })),
        vec("[a-z]{1,5}", 1..4).prop_map(|command| json!({ "exec": { "command": command } })),
        object(vec![("port", 1.0, ports()), ("service", 0.5, one_of(&["", "health"]))])
            .prop_map(|grpc| json!({ "grpc": grpc })),
    ];
    let probe = |name| {
        let action = action.clone();
        (object(timing(name)), option::weighted(if name == "startup" { 0.95 } else { 0.6 }, action))
            .prop_map(|(timing, action)| joined([Some(timing), action]))
            .boxed()
    };
    object(vec![
        ("liveness", 0.5, probe("liveness")),
        ("readiness", 0.5, probe("readiness")),
        ("startup", 0.4, probe("startup")),
        ("deep", 0.2, Just(json!(true)).boxed()),
    ])
}

fn dependencies() -> Values {
    let rest = object(vec![
        ("namespace", 0.3, one_of(&["shop", "edge-1"])),
        ("port", 0.3, ports()),
        ("critical", 0.4, flag()),
    ]);
    let name = prop_oneof![8 => "[a-z]([-a-z0-9]{0,20}[a-z0-9])?", 1 => Just("api-gateway".to_string())];
    btree_map(name, rest, 0..4)
        .prop_map(|dependencies| {
            dependencies
                .into_iter()
                .map(|(name, rest)| joined([Some(rest), Some(json!({ "name": name }))]))
                .collect()
        })
        .boxed()
}

/// A sidecar in each of its modes, with what each of them takes.
fn sidecar() -> Values {
    let observing = || {
        vec![
            ("protocol", 0.3, one_of(&["HTTP1", "HTTP2"])),
            ("resources", 0.3, sidecar_resources()),
            (
                "logs",
                0.3,
                object(vec![
                    ("sampleRate", 0.5, (0..=10).prop_map(|tenths| json!(f64::from(tenths) / 10.0)).boxed()),
                    ("slowMilliseconds", 0.5, (1..5000).prop_map(Value::from).boxed()),
                ]),
            ),
            (
                "kpis",
                0.3,
                btree_map("[a-z]{1,8}[A-Z]?", "[a-z_]{1,10}", 0..3).prop_map(|kpis| json!(kpis)).boxed(),
            ),
            ("metricsPath", 0.3, one_of(&["", "/metrics", "/internal/prometheus"])),
            ("metricsPort", 0.2, Just(json!(9100)).boxed()),
            ("healthPath", 0.2, one_of(&["/healthz"])),
            ("drainSeconds", 0.3, (1..600).prop_map(Value::from).boxed()),
        ]
    };
    let routes = || set("(GET |POST )?/[a-z$]{1,6}(/\\{id\\})?");
    let proxying = || {
        vec![
            ("routes", 0.4, routes()),
            (
                "auth",
                0.3,
                object(vec![
                    ("publicRoutes", 0.5, routes()),
                    ("secret", 0.4, reference()),
                    ("issuer", 0.3, one_of(&["https://login.visiobook.com"])),
                    ("audience", 0.3, one_of(&["visiobook"])),
                    ("jwks", 0.9, one_of(&["https://login.visiobook.com/jwks.json"])),
                    ("cookie", 0.3, one_of(&["session"])),
                ]),
            ),
            ("cors", 0.3, object(vec![("origins", 1.0, set("https://[a-z]{1,8}\\.example(:8443)?"))])),
            ("serviceTokens", 0.3, object(vec![("allow", 0.7, set("[a-z]{1,8}(/[a-z]{1,8})?"))])),
            ("trustedCertificates", 0.3, object(vec![("configMap", 1.0, reference())])),
            ("hosts", 0.3, set("(\\*\\.)?[a-z]{1,8}\\.example")),
            (
                "rateLimit",
                0.3,
                object(vec![
                    ("requestsPerMinute", 0.6, (0..1000).prop_map(Value::from).boxed()),
                    ("burst", 0.4, (1..100).prop_map(Value::from).boxed()),
                    ("exemptSubjects", 0.3, set("[a-z]{1,8}")),
                ]),
            ),
            ("compression", 0.3, flag()),
            ("errors", 0.3, object(vec![("envelope", 0.5, flag()), ("mask", 0.5, flag())])),
            ("retries", 0.3, (0..5).prop_map(Value::from).boxed()),
            (
                "breaker",
                0.3,
                object(vec![
                    ("failures", 0.5, (0..20).prop_map(Value::from).boxed()),
                    ("openSeconds", 0.5, (1..60).prop_map(Value::from).boxed()),
                ]),
            ),
        ]
    };
    prop_oneof![
        4 => (object(observing()), object(proxying())).prop_map(|(one, other)| joined([Some(one), Some(other)])),
        1 => object(observing()).prop_map(|said| joined([Some(said), Some(json!({ "mode": "Observe" }))])),
        1 => Just(json!({ "mode": "Off" })),
    ]
    .boxed()
}

fn sidecar_resources() -> Values {
    object(vec![
        (
            "requests",
            0.5,
            object(vec![
                ("cpu", 0.5, quantity(&["0.02", "5m"])),
                ("memory", 0.5, quantity(&["16Mi", "32768Ki"])),
            ]),
        ),
        (
            "limits",
            0.5,
            object(vec![
                ("cpu", 0.5, quantity(&["0.5", "1000m"])),
                ("memory", 0.5, quantity(&["0.25Gi", "128Mi"])),
            ]),
        ),
    ])
}

fn monitoring() -> Values {
    let numbers = |numbers: std::ops::Range<u32>| numbers.prop_map(Value::from).boxed();
    let objectives = object(vec![
        (
            "availabilityPercent",
            0.5,
            proptest::sample::select(vec![json!(99), json!(99.95), json!(95.5)]).boxed(),
        ),
        ("maxErrorPercent", 0.3, proptest::sample::select(vec![json!(1), json!(0.5)]).boxed()),
        ("latencyMilliseconds", 0.3, numbers(1..1000)),
        ("maxLatencyMilliseconds", 0.3, numbers(1000..4999)),
        ("maxMemoryPercent", 0.3, numbers(1..99)),
    ]);
    let alert_labels =
        btree_map("[a-z_][a-z0-9]{3,9}", text().prop_map(word), 0..3).prop_map(|mut labels| {
            labels.retain(|name, value| {
                !["severity", "namespace", "service"].contains(&name.as_str()) && !value.contains("{{")
            });
            json!(labels)
        });
    object(vec![
        ("enabled", 0.3, flag()),
        ("interval", 0.5, one_of(&["5s", "30s", "1m", "2m"])),
        ("labels", 0.5, labels()),
        ("alertLabels", 0.5, alert_labels.boxed()),
        ("objectives", 0.5, objectives),
        ("disabledAlerts", 0.3, Just(json!(["DiskSpaceLow", "HighLatency"])).boxed()),
        ("dashboard", 0.3, flag()),
        ("runbookUrl", 0.3, one_of(&["https://wiki.example/runbooks"])),
    ])
}

fn environment_sidecar() -> Values {
    object(vec![
        ("image", 0.3, one_of(&["registry.local:5000/visiobook:v1"])),
        ("corsOrigins", 0.3, set("https://[a-z]{1,8}\\.example")),
        ("trustedProxies", 0.9, Just(json!(["10.0.0.0/8", "fd00::/8"])).boxed()),
        ("compression", 0.3, flag()),
        ("resources", 0.3, sidecar_resources()),
        ("logSampleRate", 0.3, Just(json!(0.25)).boxed()),
    ])
}

fn environment_ingress() -> Values {
    let gateway = object(vec![
        ("name", 1.0, one_of(&["public"])),
        ("namespace", 1.0, one_of(&["edge"])),
        ("sectionName", 0.3, one_of(&["https"])),
    ]);
    object(vec![
        ("enabled", 0.5, flag()),
        ("preview", 0.3, flag()),
        ("domain", 1.0, one_of(&["visiobook.com"])),
        ("className", 0.3, one_of(&["nginx", "nginx-internal", "traefik", "other"])),
        ("clusterIssuer", 0.5, one_of(&["letsencrypt-prod"])),
        ("tlsSecretName", 0.3, one_of(&["wildcard"])),
        ("gateway", 0.4, gateway),
        ("controllerNamespace", 0.3, one_of(&["front"])),
        ("annotations", 0.3, annotations()),
    ])
}

fn environment_secrets() -> Values {
    let store = object(vec![
        ("name", 1.0, one_of(&["vault"])),
        ("kind", 0.5, one_of(&["ClusterSecretStore", "SecretStore"])),
    ]);
    object(vec![("store", 1.0, store), ("refreshInterval", 0.4, one_of(&["24h", "30m"]))])
}

fn environment_network_policy() -> Values {
    object(vec![
        ("enabled", 0.3, flag()),
        ("metricsFrom", 0.4, set("[a-z]{1,8}")),
        ("egress", 0.5, object(vec![("ranges", 0.7, Just(json!(["10.20.0.0/16", "fd00::/8"])).boxed())])),
    ])
}

fn ingress() -> Values {
    let said = object(vec![
        ("enabled", 0.3, flag()),
        ("preview", 0.3, flag()),
        ("hosts", 0.8, set("([a-z]{1,8}\\.|\\*\\.)?visiobook\\.com")),
        ("path", 0.5, one_of(&["/", "/shop", "/api/v2/users.all"])),
        (
            "tls",
            0.4,
            object(vec![
                ("enabled", 0.2, Just(json!(true)).boxed()),
                ("secretName", 0.4, one_of(&["shop-tls"])),
            ]),
        ),
        ("annotations", 0.3, annotations()),
    ]);
    said.prop_map(|mut ingress| {
        let hosts = ingress["hosts"].as_array().into_iter().flatten().filter_map(Value::as_str);
        // Those that have no preview host.
        if hosts.into_iter().any(|host| host.starts_with('*') || host == "visiobook.com") {
            ingress["preview"] = false.into();
        }
        ingress
    })
    .boxed()
}

fn network_policy() -> Values {
    let anybody = prop_oneof![
        Just(json!({ "namespace": "shop" })),
        Just(json!({ "service": "cart" })),
        Just(json!({ "namespace": "shop", "service": "cart" })),
    ];
    object(vec![
        ("enabled", 0.3, flag()),
        ("allowFrom", 0.5, vec(anybody, 1..3).prop_map(Value::from).boxed()),
    ])
}

/// Different texts, at least one.
fn set(pattern: &'static str) -> Values {
    btree_set(pattern, 1..4).prop_map(|texts| json!(texts)).boxed()
}

fn autoscaling() -> Values {
    let policy = object(vec![
        ("type", 1.0, one_of(&["Pods", "Percent"])),
        ("value", 1.0, (1..100).prop_map(Value::from).boxed()),
        ("periodSeconds", 1.0, (1..1800).prop_map(Value::from).boxed()),
    ]);
    let rules = || {
        object(vec![
            ("stabilizationWindowSeconds", 0.5, (0..3600).prop_map(Value::from).boxed()),
            ("selectPolicy", 0.3, one_of(&["Max", "Min", "Disabled"])),
            ("policies", 0.5, vec(policy.clone(), 1..3).prop_map(Value::from).boxed()),
            ("tolerance", 0.3, quantity(&["0.05", "100m", "0.2"])),
        ])
    };
    let bounds = option::of((1..5, 5..50)).prop_map(|bounds| {
        bounds.map_or(json!({}), |(min, max)| json!({ "minReplicas": min, "maxReplicas": max }))
    });
    let rest = object(vec![
        ("enabled", 0.7, flag()),
        ("targetCPUUtilizationPercentage", 0.4, (1..100).prop_map(Value::from).boxed()),
        ("targetMemoryUtilizationPercentage", 0.4, (1..100).prop_map(Value::from).boxed()),
        ("behavior", 0.4, object(vec![("scaleUp", 0.5, rules()), ("scaleDown", 0.5, rules())])),
    ]);
    (bounds, rest).prop_map(|(bounds, rest)| joined([Some(bounds), Some(rest)])).boxed()
}

fn disruption_budget() -> Values {
    let bound = option::of((prop_oneof![Just("minAvailable"), Just("maxUnavailable")], share()));
    (option::weighted(0.3, any::<bool>()), bound)
        .prop_map(|(enabled, bound)| {
            let mut budget = json!({});
            if let Some(enabled) = enabled {
                budget["enabled"] = enabled.into();
            }
            if let Some((field, share)) = bound {
                budget[field] = share;
            }
            budget
        })
        .boxed()
}

fn service_account() -> Values {
    let named = object(vec![
        ("name", 1.0, subdomain()),
        ("create", 0.5, flag()),
        ("annotations", 0.3, annotations()),
        ("automountToken", 0.3, flag()),
    ]);
    let own = object(vec![("annotations", 0.5, annotations()), ("automountToken", 0.5, flag())]);
    prop_oneof![named, own].boxed()
}

fn pods() -> Values {
    let fields = object(vec![
        ("labels", 0.3, labels()),
        ("annotations", 0.3, annotations()),
        ("nodeSelector", 0.3, labels()),
        ("tolerations", 0.3, vec(toleration(), 0..3).prop_map(Value::from).boxed()),
        ("affinity", 0.3, affinity()),
        ("topologySpreadConstraints", 0.3, spread()),
        ("priorityClassName", 0.1, one_of(&["", "system-cluster-critical"])),
        ("runtimeClassName", 0.1, one_of(&["gvisor"])),
        ("terminationGracePeriodSeconds", 0.3, (1..600).prop_map(Value::from).boxed()),
        ("preStop", 0.2, pre_stop()),
        ("hostAliases", 0.2, aliases()),
        ("dnsConfig", 0.2, dns()),
        ("securityContext", 0.3, pod_security()),
        ("containerSecurityContext", 0.3, container_security()),
    ]);
    (fields, volumes()).prop_map(|(pod, volumes)| joined([Some(pod), Some(volumes)])).boxed()
}

fn pre_stop() -> Values {
    prop_oneof![
        Just(json!({ "sleep": { "seconds": 1 } })),
        Just(json!({ "exec": { "command": ["/bin/wait", "", "3"] } })),
        Just(json!({ "httpGet": { "port": "http" } })),
        Just(json!({ "httpGet": { "port": 8081, "path": "/stop", "scheme": "HTTPS", "host": "" } })),
    ]
    .boxed()
}

fn toleration() -> Values {
    let effect = || one_of(&["NoSchedule", "PreferNoSchedule", "NoExecute", ""]);
    prop_oneof![
        (label_key(), effect()).prop_map(|(key, effect)| json!({ "key": key, "operator": "Exists", "effect": effect })),
        (label_key(), "[a-z]{0,8}", effect()).prop_map(|(key, value, effect)| json!({ "key": key, "operator": "Equal", "value": value, "effect": effect })),
        (label_key(), 0..600).prop_map(|(key, seconds)| json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds })),
        Just(json!({ "operator": "Exists" })),
    ]
    .boxed()
}

fn selector() -> Values {
    let expression = prop_oneof![
        (label_key(), one_of(&["In", "NotIn"]), vec("[a-z]{1,8}", 1..3)).prop_map(
            |(key, operator, values)| json!({ "key": key, "operator": operator, "values": values })
        ),
        (label_key(), one_of(&["Exists", "DoesNotExist"]))
            .prop_map(|(key, operator)| json!({ "key": key, "operator": operator })),
    ];
    object(vec![
        ("matchLabels", 0.5, labels()),
        ("matchExpressions", 0.5, vec(expression, 0..3).prop_map(Value::from).boxed()),
    ])
}

fn affinity() -> Values {
    let requirement = (label_key(), one_of(&["In", "NotIn"]), vec("[a-z]{1,8}", 1..3))
        .prop_map(|(key, operator, values)| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }));
    let weighted = (1..100, requirement.clone())
        .prop_map(|(weight, preference)| json!({ "weight": weight, "preference": preference }));
    let node = object(vec![
        (
            "requiredDuringSchedulingIgnoredDuringExecution",
            0.5,
            vec(requirement, 1..3).prop_map(|terms| json!({ "nodeSelectorTerms": terms })).boxed(),
        ),
        (
            "preferredDuringSchedulingIgnoredDuringExecution",
            0.5,
            vec(weighted, 0..3).prop_map(Value::from).boxed(),
        ),
    ]);
    let term = || {
        object(vec![
            ("topologyKey", 1.0, one_of(&["kubernetes.io/hostname", "topology.kubernetes.io/zone"])),
            ("labelSelector", 0.8, selector()),
            ("namespaces", 0.2, vec("[a-z]{1,8}", 0..2).prop_map(Value::from).boxed()),
            ("namespaceSelector", 0.2, selector()),
        ])
    };
    let pods = || {
        let weighted =
            (1..100, term()).prop_map(|(weight, term)| json!({ "weight": weight, "podAffinityTerm": term }));
        object(vec![
            (
                "requiredDuringSchedulingIgnoredDuringExecution",
                0.5,
                vec(term(), 0..2).prop_map(Value::from).boxed(),
            ),
            (
                "preferredDuringSchedulingIgnoredDuringExecution",
                0.5,
                vec(weighted, 0..2).prop_map(Value::from).boxed(),
            ),
        ])
    };
    object(vec![("nodeAffinity", 0.5, node), ("podAffinity", 0.4, pods()), ("podAntiAffinity", 0.4, pods())])
}

fn spread() -> Values {
    let rest = object(vec![
        ("maxSkew", 1.0, (1..5).prop_map(Value::from).boxed()),
        ("labelSelector", 0.7, selector()),
        ("nodeAffinityPolicy", 0.3, one_of(&["Honor", "Ignore"])),
        ("nodeTaintsPolicy", 0.3, one_of(&["Honor", "Ignore"])),
    ]);
    let keys = btree_set(
        (
            prop_oneof!["kubernetes.io/hostname", "topology.kubernetes.io/zone"],
            prop_oneof!["DoNotSchedule", "ScheduleAnyway"],
        ),
        0..3,
    );
    (keys, rest)
        .prop_map(|(keys, rest)| {
            let constraints = keys.into_iter().map(|(key, when)| {
                joined([Some(rest.clone()), Some(json!({ "topologyKey": key, "whenUnsatisfiable": when }))])
            });
            Value::Array(constraints.collect())
        })
        .boxed()
}

fn aliases() -> Values {
    btree_map("10\\.0\\.[0-9]\\.[1-9]", vec("[a-z]{1,8}\\.local", 0..3), 0..3)
        .prop_map(|aliases| {
            aliases.into_iter().map(|(ip, hostnames)| json!({ "ip": ip, "hostnames": hostnames })).collect()
        })
        .boxed()
}

fn dns() -> Values {
    let option = object(vec![
        ("name", 1.0, one_of(&["ndots", "timeout", "edns0"])),
        ("value", 0.7, one_of(&["2", ""])),
    ]);
    object(vec![
        ("nameservers", 0.5, vec("10\\.1\\.[0-9]\\.[1-9]", 0..3).prop_map(Value::from).boxed()),
        ("searches", 0.5, vec("[a-z]{1,8}\\.local", 0..3).prop_map(Value::from).boxed()),
        ("options", 0.5, vec(option, 0..3).prop_map(Value::from).boxed()),
    ])
}

fn pod_security() -> Values {
    object(vec![
        ("runAsUser", 0.3, (0..3000).prop_map(Value::from).boxed()),
        ("runAsGroup", 0.3, (0..3000).prop_map(Value::from).boxed()),
        ("runAsNonRoot", 0.2, flag()),
        ("fsGroup", 0.3, (0..3000).prop_map(Value::from).boxed()),
        ("fsGroupChangePolicy", 0.3, one_of(&["Always", "OnRootMismatch"])),
        ("supplementalGroups", 0.3, vec(0..3000, 0..3).prop_map(Value::from).boxed()),
        ("supplementalGroupsPolicy", 0.2, one_of(&["Merge", "Strict"])),
        ("seccompProfile", 0.3, profile()),
        (
            "sysctls",
            0.2,
            vec(Just(json!({ "name": "net.ipv4.ip_local_port_range", "value": "1024 65535" })), 0..2)
                .prop_map(Value::from)
                .boxed(),
        ),
    ])
}

fn container_security() -> Values {
    let capabilities = object(vec![
        ("add", 0.5, vec(one_of(&["NET_BIND_SERVICE", "CHOWN"]), 0..2).prop_map(Value::from).boxed()),
        ("drop", 0.5, vec(one_of(&["ALL", "KILL"]), 0..2).prop_map(Value::from).boxed()),
    ]);
    object(vec![
        ("runAsUser", 0.3, (0..3000).prop_map(Value::from).boxed()),
        ("runAsNonRoot", 0.2, flag()),
        ("allowPrivilegeEscalation", 0.3, flag()),
        ("readOnlyRootFilesystem", 0.3, flag()),
        ("privileged", 0.2, Just(json!(false)).boxed()),
        ("capabilities", 0.3, capabilities),
        ("seccompProfile", 0.3, profile()),
    ])
}

fn profile() -> Values {
    prop_oneof![
        one_of(&["RuntimeDefault", "Unconfined"]).prop_map(|type_| json!({ "type": type_ })),
        Just(json!({ "type": "Localhost", "localhostProfile": "profiles/own.json" }))
    ]
    .boxed()
}

/// Volumes, and mounts of some of them.
fn volumes() -> Values {
    let item = object(vec![
        ("key", 1.0, config_key()),
        ("path", 1.0, "[a-z]{1,8}".prop_map(Value::from).boxed()),
        ("mode", 0.3, Just(json!(0o400)).boxed()),
    ]);
    let files = move |name: &'static str| {
        object(vec![
            (name, 1.0, subdomain()),
            ("items", 0.4, vec(item.clone(), 0..3).prop_map(Value::from).boxed()),
            ("defaultMode", 0.4, Just(json!(0o440)).boxed()),
            ("optional", 0.4, flag()),
        ])
    };
    let source = prop_oneof![
        files("name").prop_map(|source| json!({ "configMap": source })),
        files("secretName").prop_map(|source| json!({ "secret": source })),
        object(vec![
            ("medium", 0.4, one_of(&["", "Memory"])),
            ("sizeLimit", 0.5, quantity(&["1Gi", "1024Mi", "0.5Gi", "1e9", "1500M"]))
        ])
        .prop_map(|source| json!({ "emptyDir": source })),
        object(vec![("claimName", 1.0, subdomain()), ("readOnly", 0.4, flag())])
            .prop_map(|source| json!({ "persistentVolumeClaim": source })),
    ];
    let mount = object(vec![
        ("readOnly", 0.4, flag()),
        ("subPath", 0.3, one_of(&["", "inner"])),
        ("mountPropagation", 0.2, one_of(&["None", "HostToContainer"])),
    ]);
    // Some are taken, and refused.
    let path = option::weighted(0.1, proptest::sample::select(&["/tmp", "/app/config", "/data/0"][..]));
    vec((source, path, option::of(mount)), 0..4)
        .prop_map(|volumes| {
            let mut pod = json!({ "volumes": [], "volumeMounts": [] });
            for (index, (source, path, mount)) in volumes.into_iter().enumerate() {
                let path = path.map_or_else(|| format!("/data/{index}"), str::to_string);
                let name = format!("volume-{index}");
                let list =
                    |pod: &mut Value, field: &str, item| pod[field].as_array_mut().expect("list").push(item);
                list(&mut pod, "volumes", joined([Some(source), Some(json!({ "name": name }))]));
                if let Some(mount) = mount {
                    list(
                        &mut pod,
                        "volumeMounts",
                        joined([Some(mount), Some(json!({ "name": name, "mountPath": path }))]),
                    );
                }
            }
            pod
        })
        .boxed()
}

// --- words ----------------------------------------------------------------------

/// Members with their chance to be there; 1 is always.
fn object(members: Vec<(&'static str, f64, Values)>) -> Values {
    let names: Vec<&'static str> = members.iter().map(|(name, ..)| *name).collect();
    let values: Vec<BoxedStrategy<Option<Value>>> = members
        .into_iter()
        .map(|(_, chance, value)| {
            if chance < 1.0 { option::weighted(chance, value).boxed() } else { value.prop_map(Some).boxed() }
        })
        .collect();
    values
        .prop_map(move |values| {
            let members =
                names.iter().zip(values).filter_map(|(name, value)| Some((name.to_string(), value?)));
            Value::Object(members.collect())
        })
        .boxed()
}

fn joined(parts: impl IntoIterator<Item = Option<Value>>) -> Value {
    let members = parts.into_iter().flatten().filter_map(|part| match part {
        Value::Object(members) => Some(members),
        _ => None,
    });
    Value::Object(members.flatten().collect())
}

fn one_of(words: &'static [&'static str]) -> Values {
    proptest::sample::select(words).prop_map(Value::from).boxed()
}

fn quantity(spellings: &'static [&'static str]) -> Values {
    one_of(spellings)
}

fn flag() -> Values {
    any::<bool>().prop_map(Value::from).boxed()
}

fn text() -> Values {
    prop_oneof!["[ -~]{0,30}", "\\PC{0,10}", Just(String::new()), Just("two\nlines\t$(PORT) é".to_string())]
        .prop_map(Value::from)
        .boxed()
}

fn texts(count: std::ops::Range<usize>) -> Values {
    vec(text(), count).prop_map(Value::from).boxed()
}

fn ports() -> Values {
    prop_oneof![Just(1), Just(80), Just(8080), Just(65_535), 1..65_535]
        .prop_filter("the sidecar's ports", |port| ![9090, 15_080].contains(port))
        .prop_map(Value::from)
        .boxed()
}

/// A number or a percentage.
fn share() -> Values {
    prop_oneof![
        (0..10).prop_map(Value::from),
        (0..=100).prop_map(|percent| Value::from(format!("{percent}%")))
    ]
    .boxed()
}

fn subdomain() -> Values {
    "[a-z][-a-z0-9]{0,20}[a-z0-9](\\.[a-z0-9]{1,8})?".prop_map(Value::from).boxed()
}

fn named_list() -> Values {
    btree_set("[a-z][-a-z0-9]{0,10}[a-z0-9]", 0..3)
        .prop_map(|names| names.into_iter().map(|name| json!({ "name": name })).collect())
        .boxed()
}

fn label_key() -> Values {
    prop_oneof!["[a-z]{1,10}", "[a-z]{1,8}\\.example\\.com/[a-z]{1,8}"].prop_map(Value::from).boxed()
}

fn labels() -> Values {
    btree_map(label_key().prop_map(word), "([A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?)?", 0..3)
        .prop_map(|labels| json!(labels))
        .boxed()
}

fn annotations() -> Values {
    btree_map(label_key().prop_map(word), text().prop_map(word), 0..3)
        .prop_map(|annotations| json!(annotations))
        .boxed()
}

fn word(value: Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}
