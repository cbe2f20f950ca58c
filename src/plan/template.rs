//! The pod template of a revision, without what depends on the colour it runs in.

use serde_json::{Map, Value, json};

use super::{Owner, config, isolation, merge, pull_secret, service_token, sidecar, variables};
use crate::api::quantity::Quantity;
use crate::api::{PullPolicy, SidecarMode, names};
use crate::check::{Shape, built_in_resources};
use crate::contract;
use crate::facts::Facts;

/// Resource that GPUs are offered as, unless the service names another (B07).
const GPU: &str = "nvidia.com/gpu";

/// Renders it. `hears_operator`: its sidecar is told by the operator when its clients are to leave.
pub(super) fn render(
    owner: &Owner,
    shape: &Shape,
    revision: &str,
    config: &Value,
    hears_operator: bool,
    facts: &Facts,
) -> Value {
    let service = owner.name.as_str();
    let config_name = config::name(service, config);
    let pod = &shape.pod;
    let environment = variables::environment(service, shape, &config_name);
    let mut spec = json!({
        "serviceAccountName": shape.service_account.as_deref().unwrap_or(service),
        "automountServiceAccountToken": shape.automount_token,
        // Kubernetes would add a variable for every Service of the namespace.
        "enableServiceLinks": false,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": sidecar::grace_seconds(shape),
        "securityContext": {
            "fsGroup": contract::UID,
            "runAsNonRoot": true,
            "runAsUser": contract::UID,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "affinity": apart(service),
        "containers": [container(shape, &environment)],
        "volumes": volumes(service, shape, &config_name, hears_operator),
    });
    if shape.is_gated() {
        spec["readinessGates"] = json!([{ "conditionType": names::CONTRACT }]);
    }
    if shape.mode() != SidecarMode::Off {
        spec["initContainers"] =
            json!([sidecar::container(owner, shape, hears_operator, facts, &environment)]);
    }
    let copies = shape.copied_pull_secrets.iter().map(|from| pull_secret::name(service, from));
    let pulls: Vec<Value> =
        shape.image_pull_secrets.iter().cloned().chain(copies).map(|name| json!({ "name": name })).collect();
    if !pulls.is_empty() {
        spec["imagePullSecrets"] = pulls.into();
    }
    for field in [
        "affinity",
        "tolerations",
        "topologySpreadConstraints",
        "priorityClassName",
        "runtimeClassName",
        "hostAliases",
        "dnsConfig",
    ] {
        if let Some(value) = pod.get(field) {
            spec[field] = value.clone();
        }
    }
    if !shape.gpu_tolerations.is_empty() {
        let mut tolerations = shape.gpu_tolerations.clone();
        tolerations.extend(pod.get("tolerations").and_then(Value::as_array).cloned().unwrap_or_default());
        spec["tolerations"] = tolerations.into();
    }
    if let Some(context) = pod.get("securityContext") {
        merge(&mut spec["securityContext"], context.clone());
    }
    let mut nodes: Map<String, Value> = shape
        .gpu_node_selector
        .iter()
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
        .collect();
    nodes.extend(pod.get("nodeSelector").and_then(Value::as_object).cloned().unwrap_or_default());
    if !nodes.is_empty() {
        spec["nodeSelector"] = Value::Object(nodes);
    }
    json!({ "metadata": metadata(service, shape, revision), "spec": spec })
}

fn metadata(service: &str, shape: &Shape, revision: &str) -> Value {
    let mut metadata = json!({
        "labels": {},
        "annotations": {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": contract::METRICS_PORT.to_string(),
            "prometheus.io/path": contract::METRICS_PATH,
        },
    });
    for part in ["labels", "annotations"] {
        if let Some(said) = shape.pod.get(part) {
            merge(&mut metadata[part], said.clone());
        }
    }
    let ours = json!({
        names::APP: service,
        names::NAME: service,
        names::MANAGED_BY: names::MANAGED_BY_VALUE,
        names::REVISION: revision,
    });
    merge(&mut metadata["labels"], ours);
    merge(&mut metadata["labels"], isolation::labels(shape).into());
    if shape.is_gated() {
        metadata["labels"][names::GATE] = "contract".into();
    }
    metadata
}

/// Away from pods of the same service, where there is a choice (A19, G04).
fn apart(service: &str) -> Value {
    json!({ "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 100,
        "podAffinityTerm": {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": { "matchExpressions": [{ "key": names::NAME, "operator": "In", "values": [service] }] },
        },
    }] } })
}

fn container(shape: &Shape, environment: &[Value]) -> Value {
    let port = variables::port(shape);
    let mode = shape.mode();
    let policy = match shape.image_pull_policy.unwrap_or_default() {
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Always => "Always",
        PullPolicy::Never => "Never",
    };
    let mut container = json!({
        "name": "app",
        "image": shape.image,
        "imagePullPolicy": policy,
        "env": environment,
        "resources": resources(shape),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": contract::UID,
        },
        "volumeMounts": mounts(shape),
        // The end of its log, where it ends and says nothing else (C26).
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    let ports = [
        (mode != SidecarMode::Proxy && !shape.worker).then(|| named_port("http", port)),
        (mode == SidecarMode::Off).then(|| named_port("metrics", contract::METRICS_PORT)),
    ];
    let ports: Vec<Value> = ports.into_iter().flatten().collect();
    if !ports.is_empty() {
        container["ports"] = ports.into();
    }
    if let Some(hook) = pre_stop(shape) {
        container["lifecycle"] = json!({ "preStop": hook });
    }
    if !shape.command.is_empty() {
        container["command"] = json!(shape.command);
    }
    if !shape.args.is_empty() {
        container["args"] = json!(shape.args);
    }
    if let Some(context) = shape.pod.get("containerSecurityContext") {
        merge(&mut container["securityContext"], context.clone());
    }
    // What the kubelet asks looks at no dependency unless it is told to (X11).
    let deep = shape.probes.get("deep") == Some(&Value::Bool(true));
    let (live, ready, asked) = match (mode, deep) {
        (SidecarMode::Off, _) => (contract::HEALTH_PATH, contract::READY_PATH, port),
        (_, true) => (contract::HEALTH_PATH, contract::READY_PATH, contract::METRICS_PORT),
        (_, false) => (contract::ALIVE_PATH, contract::ALIVE_PATH, contract::METRICS_PORT),
    };
    // A07 and A08: first after, every, time to answer.
    for (field, path, timing) in [
        ("liveness", Some(live), (30, 10, 5)),
        ("readiness", Some(ready), (5, 5, 3)),
        ("startup", None, (0, 10, 5)),
    ] {
        // Whether a worker lives is Kubernetes' own question: there is nothing to ask it.
        let path = path.filter(|_| !shape.worker || deep);
        let action = path.map(|path| json!({ "path": path, "port": asked, "scheme": "HTTP" }));
        if let Some(mut probe) = probe(shape.probes.get(field), action, timing) {
            number_ports(&mut probe, shape);
            container[format!("{field}Probe")] = probe;
        }
    }
    container
}

/// A port of a container.
pub(super) fn named_port(name: &str, port: u16) -> Value {
    json!({ "name": name, "containerPort": port, "protocol": "TCP" })
}

/// What the application's container does before it is told to stop: the service's own word, else behind a sidecar it
/// waits until that has drained, and beside one until nobody sends it anything new.
fn pre_stop(shape: &Shape) -> Option<Value> {
    match shape.pod.get("preStop") {
        Some(hook) => {
            let mut hook = hook.clone();
            write_defaults(&mut hook);
            number_ports(&mut hook, shape);
            Some(hook)
        }
        None => match shape.mode() {
            SidecarMode::Proxy => {
                let path = contract::DRAINED_PATH;
                Some(json!({ "httpGet": { "path": path, "port": contract::METRICS_PORT, "scheme": "HTTP" } }))
            }
            SidecarMode::Observe => {
                Some(json!({ "sleep": { "seconds": sidecar::propagation_seconds(shape) } }))
            }
            SidecarMode::Off => None,
        }
        // Nobody sends it anything: all the time it has is for what it is doing.
        .filter(|_| !shape.worker),
    }
}

/// The kubelet knows the names of a container's own ports only, and beside a sidecar those are the sidecar's.
fn number_ports(asked: &mut Value, shape: &Shape) {
    if shape.mode() == SidecarMode::Off {
        return;
    }
    for action in ["httpGet", "tcpSocket"] {
        let Some(port) = asked.get_mut(action).and_then(|action| action.get_mut("port")) else { continue };
        match port.as_str() {
            Some("http") => *port = variables::port(shape).into(),
            Some("metrics") => *port = contract::METRICS_PORT.into(),
            _ => {}
        }
    }
}

/// What the API server writes into an HTTP request that leaves it out.
fn write_defaults(asked: &mut Value) {
    if let Some(get) = asked.get_mut("httpGet").and_then(Value::as_object_mut) {
        get.entry("scheme").or_insert("HTTP".into());
        get.entry("path").or_insert("/".into());
    }
}

fn probe(said: Option<&Value>, default: Option<Value>, timing: (i64, i64, i64)) -> Option<Value> {
    let said = said.and_then(Value::as_object).cloned().unwrap_or_default();
    if said.get("enabled") == Some(&Value::Bool(false)) {
        return None;
    }
    let (delay, period, timeout) = timing;
    let mut probe = json!({ "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": 3, "successThreshold": 1 });
    if delay > 0 {
        probe["initialDelaySeconds"] = delay.into();
    }
    let asks = ["httpGet", "tcpSocket", "exec", "grpc"].iter().any(|action| said.contains_key(*action));
    match (asks, default) {
        (true, _) => {}
        (false, Some(action)) => probe["httpGet"] = action,
        (false, None) => return None,
    }
    merge(&mut probe, said.into_iter().filter(|(key, _)| key != "enabled").collect());
    write_defaults(&mut probe);
    Some(probe)
}

/// Bytes of memory that the application may use.
pub(super) fn memory_bytes(shape: &Shape) -> Option<u64> {
    let memory = resources(shape)["limits"]["memory"].as_str()?.to_string();
    Quantity::parse(&memory).ok()?.whole()
}

fn resources(shape: &Shape) -> Value {
    let (mut requests, mut limits) = built_in_resources(shape.environment);
    requests.extend(shape.requests.clone());
    limits.extend(shape.limits.clone());
    if let Some(gpu) = &shape.gpu {
        let resource = gpu.resource_name.as_deref().unwrap_or(GPU).to_string();
        requests.insert(resource.clone(), gpu.count.to_string());
        limits.insert(resource, gpu.count.to_string());
    }
    json!({ "requests": requests, "limits": limits })
}

fn volumes(service: &str, shape: &Shape, config_name: &str, hears_operator: bool) -> Vec<Value> {
    let mut volumes =
        vec![json!({ "name": "tmp", "emptyDir": {} }), json!({ "name": "var-cache", "emptyDir": {} })];
    if let Some(files) = &shape.config_files {
        let items: Vec<Value> = files.files.keys().map(|file| json!({ "key": file, "path": file })).collect();
        volumes.push(json!({
            "name": "config",
            "configMap": { "name": config_name, "items": items, "defaultMode": 0o644 },
        }));
    }
    volumes.extend(sidecar::volumes(shape));
    volumes.extend(service_token::volumes(service, shape, hears_operator));
    volumes.extend(shape.pod.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default());
    volumes
}

fn mounts(shape: &Shape) -> Vec<Value> {
    let mut mounts = vec![
        json!({ "name": "tmp", "mountPath": "/tmp" }),
        json!({ "name": "var-cache", "mountPath": "/var/cache" }),
    ];
    if let Some(files) = &shape.config_files {
        let path = files.mount_path.as_deref().unwrap_or(contract::CONFIG_PATH);
        mounts.push(json!({ "name": "config", "mountPath": path, "readOnly": true }));
    }
    mounts.extend(service_token::mount(shape));
    mounts.extend(service_token::application_keys_mount(shape));
    mounts.extend(shape.pod.get("volumeMounts").and_then(Value::as_array).cloned().unwrap_or_default());
    mounts
}
