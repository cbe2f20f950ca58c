//! Resources, probes, security and scheduling: what differs from what the operator does anyway.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{HTTPGetAction, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::values::{Values, text};
use super::{Error, Fate, gpus};
use crate::api::{Gpu, Pod, ProbeSpec, Probes, VisiobookServiceSpec};

/// Requests and limits, and the GPUs among them, which stand for themselves (B07).
pub(super) fn resources(
    values: &mut Values<'_>,
) -> Result<(Option<ResourceRequirements>, Option<Gpu>), Error> {
    let field = if values.is_older() { "resources" } else { "deployment.resources" };
    let mut gpu: Option<Gpu> = None;
    let mut lists = [None, None];
    for (place, list) in ["requests", "limits"].into_iter().enumerate() {
        let path = format!("{field}.{list}");
        let Some(said) = values.parse::<BTreeMap<String, Value>>(&path)? else { continue };
        let mut quantities = BTreeMap::new();
        for (name, amount) in said {
            let at = format!("{path}.{name}");
            let amount = text(&amount).ok_or_else(|| values.unreadable(&at, "write a quantity"))?;
            if name.ends_with("/gpu") {
                let count = amount
                    .parse()
                    .map_err(|_| values.unreadable(&at, "GPUs are counted in whole numbers"))?;
                if gpu.as_ref().is_some_and(|gpu| gpu.count != count) {
                    values.note(&at, Fate::Changed, "the request of a GPU equals its limit, which is kept");
                }
                gpu = (count > 0).then(|| gpus(&name, count));
            } else {
                quantities.insert(name, Quantity(amount));
            }
        }
        lists[place] = (!quantities.is_empty()).then_some(quantities);
    }
    let [requests, limits] = lists;
    let said = requests.is_some() || limits.is_some();
    Ok((said.then_some(ResourceRequirements { requests, limits, claims: None }), gpu))
}

/// A07 and A08. Beside the sidecar the kubelet asks the sidecar, so that a probe with the chart's path is left to it.
pub(super) fn probes(values: &mut Values<'_>, spec: &mut VisiobookServiceSpec) -> Result<(), Error> {
    let older = values.is_older();
    let [live, ready] = if older {
        ["healthCheck", "readinessProbe"]
    } else {
        ["deployment.livenessProbe", "deployment.readinessProbe"]
    };
    let probes = Probes {
        liveness: probe(values, live, "/health", [30, 10, 5, 3])?,
        readiness: probe(values, ready, "/ready", [5, 5, 3, 3])?,
        startup: if older { None } else { values.parse("deployment.startupProbe")? },
        deep: None,
    };
    spec.probes = (probes != Probes::default()).then(|| Box::new(probes));
    Ok(())
}

fn probe(
    values: &mut Values<'_>,
    field: &str,
    path: &str,
    defaults: [i32; 4],
) -> Result<Option<ProbeSpec>, Error> {
    let at = |name: &str| format!("{field}.{name}");
    let enabled: Option<bool> = values.parse(&at("enabled"))?;
    if enabled == Some(false) {
        values.take(field);
        return Ok(Some(ProbeSpec { enabled: Some(false), ..ProbeSpec::default() }));
    }
    let plain = values.text(&at("path"))?.map(|path| HTTPGetAction {
        path: Some(path),
        port: IntOrString::String("http".into()),
        ..HTTPGetAction::default()
    });
    let http: Option<HTTPGetAction> = values.parse(&at("httpGet"))?.or(plain);
    let mut number = |name: &str, default: i32| -> Result<Option<i32>, Error> {
        Ok(values.parse(&at(name))?.filter(|said: &i32| *said != default))
    };
    let probe = ProbeSpec {
        enabled: None,
        http_get: http.clone().filter(|http| http.path.as_deref() != Some(path)),
        initial_delay_seconds: number("initialDelaySeconds", defaults[0])?,
        period_seconds: number("periodSeconds", defaults[1])?,
        timeout_seconds: number("timeoutSeconds", defaults[2])?,
        failure_threshold: number("failureThreshold", defaults[3])?,
        success_threshold: number("successThreshold", 1)?,
        tcp_socket: values.parse(&at("tcpSocket"))?,
        exec: values.parse(&at("exec"))?,
        grpc: values.parse(&at("grpc"))?,
    };
    if http.is_some() && probe.http_get.is_none() {
        let message = format!(
            "the kubelet asks the sidecar, which answers {path} too, whether the application answers"
        );
        values.note(field, Fate::Given, message);
    }
    Ok((probe != ProbeSpec::default()).then_some(probe))
}

/// A16 to A19.
pub(super) fn scheduling(values: &mut Values<'_>, spec: &mut VisiobookServiceSpec) -> Result<(), Error> {
    let same = |said: &Option<Value>, default: Value| said.as_ref().is_some_and(|said| *said == default);
    let mut security = values.take("podSecurityContext");
    if same(&security, json!({ "fsGroup": 1001, "runAsNonRoot": true, "runAsUser": 1001 })) {
        security = None;
    }
    let mut container = values.take("securityContext");
    let strict = json!({
        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
        "readOnlyRootFilesystem": true, "runAsNonRoot": true, "runAsUser": 1001,
    });
    if same(&container, strict) {
        container = None;
    }
    let mut affinity =
        values.take("affinity").filter(|affinity| affinity.as_object().is_none_or(|a| !a.is_empty()));
    if affinity.as_ref().is_some_and(spreads_over_hosts) {
        affinity = None;
        values.note(
            "affinity",
            Fate::Given,
            "pods of one service keep away from each other, by the name of the service",
        );
    }
    let mut annotations: BTreeMap<String, String> = values.parse("podAnnotations")?.unwrap_or_default();
    annotations.retain(|name, _| !name.starts_with("prometheus.io/") && !name.starts_with("checksum/"));
    let typed = |field: &str, part: Option<Value>| part.map(|part| (field.to_string(), part));
    let parts = [
        typed("securityContext", security),
        typed("containerSecurityContext", container),
        typed("affinity", affinity),
        typed("nodeSelector", values.take("nodeSelector")),
        typed("tolerations", values.take("tolerations")),
        typed("annotations", Some(json!(annotations))),
    ];
    let pod: Value = Value::Object(parts.into_iter().flatten().collect());
    let pod: Pod =
        serde_json::from_value(pod).map_err(|error| values.unreadable("securityContext", error))?;
    spec.pod = (pod != Pod::default()).then(|| Box::new(pod));
    Ok(())
}

/// The chart's own affinity (A19): the operator words it with the right name (G04).
fn spreads_over_hosts(affinity: &Value) -> bool {
    let terms = affinity.pointer("/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution");
    let Some([term]) = terms.and_then(Value::as_array).map(Vec::as_slice) else { return false };
    let selector = term.pointer("/podAffinityTerm/labelSelector/matchExpressions");
    let Some([expression]) = selector.and_then(Value::as_array).map(Vec::as_slice) else { return false };
    let alone = affinity.as_object().is_some_and(|parts| parts.len() == 1)
        && affinity["podAntiAffinity"].as_object().is_some_and(|parts| parts.len() == 1);
    alone
        && term.pointer("/podAffinityTerm/topologyKey") == Some(&json!("kubernetes.io/hostname"))
        && ["app", "app.kubernetes.io/name"].contains(&expression["key"].as_str().unwrap_or_default())
        && expression["operator"] == "In"
}
