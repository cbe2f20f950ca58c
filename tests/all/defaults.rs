//! What a resource that says nothing gets, and what it gets for what it says: the numbers of the guidelines.

use serde_json::{Value, json};
use visiobook::facts::EnvironmentFact;

use crate::cases::Case;

/// Everything planned for a service called `users`, by kind.
pub struct Planned(Vec<Value>);

fn plan(spec: Value, type_: &str) -> Planned {
    plan_under(spec, json!({ "type": type_ }))
}

pub fn case(spec: Value, environment: Value) -> Case {
    let mut said = json!({ "image": "ghcr.io/visiobook/users:1.0" });
    visiobook::plan::merge(&mut said, spec);
    let service = json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
        "metadata": { "name": "users", "namespace": "test" }, "spec": said,
    });
    Case {
        service: serde_json::from_value(service).unwrap(),
        environment: EnvironmentFact::Governed {
            name: "any".into(),
            spec: serde_json::from_value(environment).unwrap(),
        },
    }
}

pub fn plan_under(spec: Value, environment: Value) -> Planned {
    let case = case(spec, environment);
    assert_eq!(case.verdict().err(), None);
    Planned(case.plan().objects.into_iter().map(|planned| planned.object).collect())
}

impl Planned {
    /// The parts of a kind, which two field managers may write, laid over each other.
    pub fn find(&self, kind: &str) -> Option<Value> {
        let mut found = None;
        // The dashboard is a ConfigMap too, and not that of the pods.
        let is_board = |object: &Value| !object["metadata"]["labels"]["grafana_dashboard"].is_null();
        for object in self.0.iter().filter(|object| object["kind"] == kind && !is_board(object)) {
            visiobook::plan::merge(found.get_or_insert(json!({})), object.clone());
        }
        found
    }

    pub fn get(&self, kind: &str, path: &str) -> Value {
        self.find(kind).unwrap_or_else(|| panic!("no {kind}")).pointer(path).cloned().unwrap_or_default()
    }

    fn pod(&self, path: &str) -> Value {
        self.get("Deployment", &format!("/spec/template/spec{path}"))
    }

    fn sidecar(&self, path: &str) -> Value {
        self.pod(&format!("/initContainers/0{path}"))
    }

    /// What the sidecar is told.
    fn settings(&self) -> Value {
        let written = self.sidecar("/env/0/value");
        serde_json::from_str(written.as_str().expect("settings")).expect("JSON")
    }

    fn app(&self, path: &str) -> Value {
        self.pod(&format!("/containers/0{path}"))
    }
}

#[test]
fn resources_follow_the_environment_and_a_part_left_out_keeps_its_default() {
    for (type_, requests, limits) in [
        ("development", ("50m", "64Mi"), ("200m", "256Mi")),
        ("staging", ("100m", "128Mi"), ("500m", "512Mi")),
        ("production", ("100m", "128Mi"), ("500m", "512Mi")),
    ] {
        let expected = json!({
            "requests": { "cpu": requests.0, "memory": requests.1 },
            "limits": { "cpu": limits.0, "memory": limits.1 },
        });
        assert_eq!(plan(json!({}), type_).app("/resources"), expected, "{type_}");
    }
    let half = plan(json!({ "resources": { "limits": { "memory": "1024Mi" } } }), "production");
    assert_eq!(half.app("/resources/limits"), json!({ "cpu": "500m", "memory": "1Gi" }));
}

#[test]
fn probes_ask_the_sidecar_for_the_application_alone_at_the_pace_of_the_chart() {
    let python = json!({ "stack": "python" });
    let deep = json!({ "probes": { "deep": true } });
    let off = json!({ "sidecar": { "mode": "Off" }, "port": 3000 });
    let observe = json!({ "sidecar": { "mode": "Observe" } });
    for (spec, live, ready, port) in [
        (json!({}), "/alive", "/alive", 9090),
        (python, "/alive", "/alive", 9090),
        (observe, "/alive", "/alive", 9090),
        (deep, "/health", "/ready", 9090),
        (off, "/health", "/ready", 3000),
    ] {
        let planned = plan(spec, "production");
        let get = |path: &str| json!({ "path": path, "port": port, "scheme": "HTTP" });
        let liveness = json!({
            "httpGet": get(live), "initialDelaySeconds": 30, "periodSeconds": 10, "timeoutSeconds": 5,
            "failureThreshold": 3, "successThreshold": 1,
        });
        let readiness = json!({
            "httpGet": get(ready), "initialDelaySeconds": 5, "periodSeconds": 5, "timeoutSeconds": 3,
            "failureThreshold": 3, "successThreshold": 1,
        });
        assert_eq!(planned.app("/livenessProbe"), liveness);
        assert_eq!(planned.app("/readinessProbe"), readiness);
        assert_eq!(planned.app("/startupProbe"), Value::Null);
    }
}

#[test]
fn a_probe_that_is_worded_asks_the_application_itself() {
    let get = |port: Value| json!({ "httpGet": { "path": "/healthz", "port": port } });
    let planned = plan(
        json!({ "probes": { "liveness": get(json!("http")), "readiness": get(json!(8081)) } }),
        "production",
    );
    assert_eq!(
        planned.app("/livenessProbe/httpGet"),
        json!({ "path": "/healthz", "port": 8080, "scheme": "HTTP" })
    );
    assert_eq!(planned.app("/readinessProbe/httpGet/port"), 8081);
    let off = plan(
        json!({ "sidecar": { "mode": "Off" }, "probes": { "liveness": get(json!("http")) } }),
        "production",
    );
    assert_eq!(off.app("/livenessProbe/httpGet/port"), "http");
}

#[test]
fn a_probe_can_be_worded_in_part_or_turned_off() {
    let said = json!({ "probes": { "liveness": { "enabled": false }, "readiness": { "periodSeconds": 7 } } });
    let planned = plan(said, "production");
    assert_eq!(planned.app("/livenessProbe"), Value::Null);
    assert_eq!(planned.app("/readinessProbe/periodSeconds"), 7);
    assert_eq!(planned.app("/readinessProbe/timeoutSeconds"), 3);
}

#[test]
fn production_scales_by_load_through_the_resource_and_development_does_not() {
    let metric = |name: &str, percent: i32| json!({ "type": "Resource", "resource": { "name": name, "target": { "type": "Utilization", "averageUtilization": percent } } });
    let expected = json!({
        "scaleTargetRef": { "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService", "name": "users" },
        "minReplicas": 2, "maxReplicas": 10, "metrics": [metric("cpu", 70), metric("memory", 80)],
    });
    assert_eq!(plan(json!({}), "production").get("HorizontalPodAutoscaler", "/spec"), expected);
    assert_eq!(plan(json!({}), "development").find("HorizontalPodAutoscaler"), None);
    let off = plan(json!({ "autoscaling": { "enabled": false } }), "production");
    assert_eq!(off.find("HorizontalPodAutoscaler"), None);
    let on = plan(json!({ "autoscaling": { "enabled": true, "maxReplicas": 4 } }), "development");
    assert_eq!(on.get("HorizontalPodAutoscaler", "/spec/maxReplicas"), 4);
}

#[test]
fn sizes_and_pace_are_those_of_the_chart() {
    for (type_, replicas, missing) in [("development", 1, 0), ("staging", 3, 1), ("production", 3, 1)] {
        let planned = plan(json!({}), type_);
        assert_eq!(planned.get("Deployment", "/spec/replicas"), replicas, "{type_}");
        let strategy =
            json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": missing } });
        assert_eq!(planned.get("Deployment", "/spec/strategy"), strategy, "{type_}");
    }
    let said =
        plan(json!({ "replicas": 5, "rollout": { "maxSurge": "50%", "maxUnavailable": 0 } }), "production");
    assert_eq!(said.get("Deployment", "/spec/replicas"), 5);
    assert_eq!(
        said.get("Deployment", "/spec/strategy/rollingUpdate"),
        json!({ "maxSurge": "50%", "maxUnavailable": 0 })
    );
}

#[test]
fn the_service_has_http_and_metrics_and_targets_numbers() {
    let http = |port: u16| json!({ "name": "http", "containerPort": port, "protocol": "TCP" });
    let metrics = json!({ "name": "metrics", "containerPort": 9090, "protocol": "TCP" });
    for (mode, target, of_sidecar, of_application) in [
        ("Proxy", 15080, json!([http(15080), metrics]), Value::Null),
        ("Observe", 8000, json!([metrics]), json!([http(8000)])),
        ("Off", 8000, Value::Null, json!([http(8000), metrics])),
    ] {
        let said = json!({ "stack": "python", "service": { "annotations": { "a": "b" } }, "sidecar": { "mode": mode } });
        let planned = plan(said, "production");
        let ports = json!([
            { "name": "http", "port": 80, "targetPort": target, "protocol": "TCP" },
            { "name": "metrics", "port": 9090, "targetPort": 9090, "protocol": "TCP" },
        ]);
        assert_eq!(planned.get("Service", "/spec/ports"), ports, "{mode}");
        assert_eq!(planned.get("Service", "/spec/type"), "ClusterIP");
        assert_eq!(planned.get("Service", "/metadata/annotations"), json!({ "a": "b" }));
        assert_eq!(planned.sidecar("/ports"), of_sidecar, "{mode}");
        assert_eq!(planned.app("/ports"), of_application, "{mode}");
    }
    assert_eq!(plan(json!({}), "production").get("Service", "/spec/ports/0/targetPort"), 15080);
    // The gateway is called on 8080 (X12).
    let gateway = plan(json!({ "service": { "port": 8080 } }), "production");
    assert_eq!(gateway.get("Service", "/spec/ports/0/port"), 8080);
    let grpc = plan(json!({ "sidecar": { "protocol": "HTTP2" } }), "production");
    assert_eq!(grpc.get("Service", "/spec/ports/0/appProtocol"), "kubernetes.io/h2c");
}

#[test]
fn pods_are_locked_down_and_a_part_can_be_worded() {
    let planned = plan(json!({ "pod": { "securityContext": { "runAsUser": 2000 } } }), "production");
    let pod = json!({ "fsGroup": 1001, "runAsNonRoot": true, "runAsUser": 2000, "seccompProfile": { "type": "RuntimeDefault" } });
    assert_eq!(planned.pod("/securityContext"), pod);
    let container = json!({
        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "readOnlyRootFilesystem": true,
        "runAsNonRoot": true, "runAsUser": 1001,
    });
    assert_eq!(planned.app("/securityContext"), container);
}

#[test]
fn pods_keep_apart_from_pods_of_their_own_service() {
    let terms = plan(json!({}), "production")
        .pod("/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution");
    let expected = json!([{ "weight": 100, "podAffinityTerm": {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": { "matchExpressions": [{ "key": "app.kubernetes.io/name", "operator": "In", "values": ["users"] }] },
    } }]);
    assert_eq!(terms, expected);
}

#[test]
fn pods_carry_the_three_labels_and_say_where_their_metrics_are() {
    let said = json!({ "pod": { "labels": { "team": "a" }, "annotations": { "note": "b" } } });
    let planned = plan(said, "production");
    let labels = planned.get("Deployment", "/spec/template/metadata/labels");
    for (label, value) in
        [("app", "users"), ("app.kubernetes.io/name", "users"), ("version", "blue"), ("team", "a")]
    {
        assert_eq!(labels[label], value);
    }
    assert!(labels["platform.visiobook.com/revision"].is_string());
    let annotations = planned.get("Deployment", "/spec/template/metadata/annotations");
    let expected = json!({
        "prometheus.io/scrape": "true", "prometheus.io/port": "9090", "prometheus.io/path": "/metrics", "note": "b",
    });
    assert_eq!(annotations, expected);
}

#[test]
fn pods_can_write_to_tmp_and_cache_and_read_their_config_files() {
    let planned = plan(json!({ "configFiles": { "files": { "app.yaml": "a: 1" } } }), "production");
    let mounts = json!([
        { "name": "tmp", "mountPath": "/tmp" },
        { "name": "var-cache", "mountPath": "/var/cache" },
        { "name": "config", "mountPath": "/app/config", "readOnly": true },
    ]);
    assert_eq!(planned.app("/volumeMounts"), mounts);
    assert_eq!(planned.pod("/volumes/0"), json!({ "name": "tmp", "emptyDir": {} }));
    assert_eq!(planned.pod("/volumes/1"), json!({ "name": "var-cache", "emptyDir": {} }));
    assert_eq!(planned.pod("/volumes/2/configMap/items"), json!([{ "key": "app.yaml", "path": "app.yaml" }]));
    assert_eq!(planned.get("ConfigMap", "/data/app.yaml"), "a: 1");
    assert_eq!(planned.get("ConfigMap", "/immutable"), true);
    // Other content has another name, so its pods are other pods.
    let changed = plan(json!({ "configFiles": { "files": { "app.yaml": "a: 2" } } }), "production");
    assert_ne!(changed.pod("/volumes/2/configMap/name"), planned.pod("/volumes/2/configMap/name"));
    assert_eq!(changed.get("ConfigMap", "/metadata/name"), changed.pod("/volumes/2/configMap/name"));
}

#[test]
fn a_service_has_an_identity_of_its_own_without_a_token() {
    let planned = plan(json!({}), "production");
    assert_eq!(planned.get("ServiceAccount", "/metadata/name"), "users");
    assert_eq!(planned.get("ServiceAccount", "/automountServiceAccountToken"), false);
    assert_eq!(planned.pod("/serviceAccountName"), "users");
    assert_eq!(planned.pod("/automountServiceAccountToken"), false);
    let foreign = plan(json!({ "serviceAccount": { "create": false, "name": "shared" } }), "production");
    assert_eq!(foreign.find("ServiceAccount"), None);
    assert_eq!(foreign.pod("/serviceAccountName"), "shared");
}

#[test]
fn scheduling_and_pull_secrets_are_passed_through() {
    let toleration = json!({ "key": "a", "operator": "Exists" });
    let said = json!({
        "imagePullPolicy": "Always", "imagePullSecrets": [{ "name": "registry" }],
        "pod": { "nodeSelector": { "disk": "ssd" }, "tolerations": [toleration] },
    });
    let planned = plan(said, "production");
    assert_eq!(planned.app("/imagePullPolicy"), "Always");
    assert_eq!(planned.pod("/imagePullSecrets"), json!([{ "name": "registry" }]));
    assert_eq!(planned.pod("/nodeSelector"), json!({ "disk": "ssd" }));
    assert_eq!(planned.pod("/tolerations"), json!([toleration]));
    assert_eq!(plan(json!({}), "production").app("/imagePullPolicy"), "IfNotPresent");
}

#[test]
fn a_gpu_is_requested_and_limited_alike() {
    let planned = plan(json!({ "profile": "ai", "gpu": { "count": 2 } }), "production");
    assert_eq!(planned.app("/resources/requests/nvidia.com~1gpu"), "2");
    assert_eq!(planned.app("/resources/limits/nvidia.com~1gpu"), "2");
    let fraction = planned
        .app("/env")
        .as_array()
        .unwrap()
        .iter()
        .find(|variable| variable["name"] == "GPU_MEMORY_FRACTION")
        .cloned();
    assert_eq!(fraction.unwrap_or_default()["value"], "0.9");
    // Nodes with GPUs are the environment's, beside what the service says itself (B07).
    let toleration = |key: &str| json!({ "key": key, "operator": "Exists", "effect": "NoSchedule" });
    let environment = json!({ "type": "production", "defaults": {
        "gpuNodeSelector": { "accelerator": "nvidia" }, "gpuTolerations": [toleration("nvidia.com/gpu")],
    } });
    let pod = json!({ "tolerations": [toleration("busy")] });
    let with = plan_under(json!({ "gpu": { "count": 1 }, "pod": pod }), environment.clone());
    assert_eq!(with.pod("/tolerations"), json!([toleration("nvidia.com/gpu"), toleration("busy")]));
    assert_eq!(with.pod("/nodeSelector"), json!({ "accelerator": "nvidia" }));
    assert_eq!(plan_under(json!({}), environment).pod("/tolerations"), Value::Null);
    // Staging has one GPU a pod (X07).
    assert_eq!(
        plan(json!({ "gpu": { "count": 1 } }), "staging").app("/resources/limits/nvidia.com~1gpu"),
        "1"
    );
}

#[test]
fn a_pod_has_time_to_stop() {
    let planned = plan(json!({}), "production");
    assert_eq!(planned.pod("/terminationGracePeriodSeconds"), 45);
    let variables = planned.app("/env");
    let timeout =
        variables.as_array().unwrap().iter().find(|variable| variable["name"] == "SHUTDOWN_TIMEOUT");
    assert_eq!(timeout.unwrap()["value"], "30s");
    let drained = json!({ "httpGet": { "path": "/drained", "port": 9090, "scheme": "HTTP" } });
    assert_eq!(planned.app("/lifecycle/preStop"), drained, "the application ends once its requests have");
    let observe = plan(json!({ "sidecar": { "mode": "Observe" } }), "production");
    assert_eq!(observe.app("/lifecycle/preStop"), json!({ "sleep": { "seconds": 5 } }));
    let drain = json!({ "exec": { "command": ["/visiobook", "sidecar", "drain"] } });
    assert_eq!(planned.sidecar("/lifecycle/preStop"), drain);

    let long = plan(json!({ "sidecar": { "drainSeconds": 120 } }), "production");
    assert_eq!(long.pod("/terminationGracePeriodSeconds"), 135);
    assert_eq!(long.settings()["drain"], json!({ "requestsSeconds": 120.0 }));
    let hook = json!({ "httpGet": { "port": "http" } });
    let own = plan(json!({ "pod": { "terminationGracePeriodSeconds": 6, "preStop": hook } }), "production");
    assert_eq!(own.pod("/terminationGracePeriodSeconds"), 6);
    assert_eq!(
        own.app("/lifecycle/preStop"),
        json!({ "httpGet": { "path": "/", "port": 8080, "scheme": "HTTP" } })
    );
    // The kubelet refuses a sleep that is longer than the grace period.
    assert_eq!(own.settings()["drain"], json!({ "propagationSeconds": 3.0, "requestsSeconds": 1.0 }));
    let off = plan(json!({ "sidecar": { "mode": "Off" } }), "production");
    assert_eq!((off.app("/lifecycle"), off.pod("/terminationGracePeriodSeconds")), (Value::Null, 45.into()));
}

#[test]
fn a_disruption_budget_covers_one_colour_and_lets_broken_pods_go() {
    let expected = json!({
        "maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": { "matchLabels": { "app.kubernetes.io/name": "users", "version": "blue" } },
    });
    assert_eq!(plan(json!({}), "production").get("PodDisruptionBudget", "/spec"), expected);
    let off = plan(json!({ "disruptionBudget": { "enabled": false } }), "production");
    assert_eq!(off.find("PodDisruptionBudget"), None);
}

#[test]
fn production_logs_at_info() {
    for (type_, level) in [("development", "debug"), ("staging", "info"), ("production", "info")] {
        let variables = plan(json!({}), type_).app("/env");
        let found =
            variables.as_array().unwrap().iter().find(|variable| variable["name"] == "LOG_LEVEL").cloned();
        assert_eq!(found.unwrap_or_default()["value"], level, "{type_}");
    }
}
