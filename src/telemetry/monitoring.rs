//! What watches the operator itself: its alerts and its dashboard, which `config/monitoring` and the chart install.

use serde_json::{Value, json};

use super::metrics::names::{
    BUILD_INFO, DRIFT_REPAIRS, KUBE_REQUEST_DURATION, KUBE_REQUESTS, LEADER, QUEUE_DEPTH, RECONCILE_DURATION,
    RECONCILES, SERVICE_CONDITION, SERVICES_DROPPED,
};
use crate::check::RUNBOOKS;
use crate::plan::monitoring::grafana::{self, Panel, dashboard};
use crate::plan::monitoring::rules::{AlertRule, Severity};

/// Name of both objects.
const NAME: &str = "visiobook-operator";
/// Where the operator is installed.
const NAMESPACE: &str = "visiobook-system";

/// The PrometheusRule of the operator.
pub fn rules() -> Value {
    let rules: Vec<Value> = alerts().into_iter().map(|alert| alert.render(RUNBOOKS)).collect();
    object(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        json!({}),
        json!({ "spec": { "groups": [{ "name": NAME, "rules": rules }] } }),
    )
}

/// The ConfigMap with the dashboard of the operator.
pub fn board() -> Value {
    let board = dashboard(NAME, "Visiobook operator", panels());
    let data = json!({ format!("{NAME}.json"): format!("{board:#}") });
    object("v1", "ConfigMap", json!({ grafana::LABEL: "1" }), json!({ "data": data }))
}

fn object(version: &str, kind: &str, labels: Value, body: Value) -> Value {
    let mut object = json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": {
            "name": if kind == "ConfigMap" { format!("{NAME}-dashboard") } else { NAME.to_string() },
            "namespace": NAMESPACE,
            "labels": { "app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "visiobook" },
        },
    });
    crate::plan::merge(&mut object["metadata"]["labels"], labels);
    crate::plan::merge(&mut object, body);
    object
}

fn alerts() -> Vec<AlertRule> {
    let alert = |name: &str, severity, lasts, expr: String, summary: &str, description: &str| AlertRule {
        name: name.into(),
        expr,
        lasts,
        severity,
        labels: [("team".to_string(), "ops".to_string())].into(),
        summary: summary.into(),
        description: description.into(),
    };
    let part = |counter: &str, matchers: &str| {
        let rate = |matchers: &str| format!("sum by (namespace, job) (rate({counter}{matchers}[10m]))");
        format!("{} / {}", rate(matchers), rate(""))
    };
    vec![
        alert(
            "OperatorDown",
            Severity::Critical,
            "5m",
            format!("absent({LEADER})"),
            "No operator tells its metrics",
            "What runs goes on; nothing is deployed, repaired or removed, and no alert that is based on a condition of a service fires.",
        ),
        alert(
            "OperatorWithoutLeader",
            Severity::Critical,
            "5m",
            format!("max by (namespace, job) ({LEADER}) == 0"),
            "No operator in {{ $labels.namespace }} leads",
            "Its pods run, and none holds the lease: nothing is deployed, repaired or removed.",
        ),
        alert(
            "ReconcileErrors",
            Severity::Warning,
            "15m",
            format!("{} > 0.1", part(RECONCILES, r#"{outcome="error"}"#)),
            "{{ $value | humanizePercentage }} of the operator's reconciles fail",
            "More than a tenth have failed for a quarter of an hour; each is tried again.",
        ),
        alert(
            "QueueGrows",
            Severity::Warning,
            "15m",
            format!("max by (namespace, job) ({QUEUE_DEPTH}) > 100"),
            "{{ $value }} services wait to be reconciled",
            "More than 100 have waited for a quarter of an hour.",
        ),
        alert(
            "KubernetesApiErrors",
            Severity::Warning,
            "10m",
            format!("{} > 0.05", part(KUBE_REQUESTS, r#"{code=~"5..|429|error"}"#)),
            "The Kubernetes API refuses {{ $value | humanizePercentage }} of the operator's calls",
            "More than a twentieth have failed for ten minutes: with 5xx, with 429, or without an answer.",
        ),
        alert(
            "DriftRepairedOften",
            Severity::Warning,
            "15m",
            format!("sum by (namespace, job, kind) (increase({DRIFT_REPAIRS}[30m])) > 10"),
            "Somebody changes a {{ $labels.kind }} again and again",
            "The operator has put back more than ten changes by others within half an hour.",
        ),
        alert(
            "ServiceRefused",
            Severity::Info,
            "15m",
            format!(r#"max by (namespace, name) ({SERVICE_CONDITION}{{condition="Accepted"}}) == 0"#),
            "The spec of {{ $labels.namespace }}/{{ $labels.name }} is refused",
            "What ran before it goes on running.",
        ),
        alert(
            "ServiceStalled",
            Severity::Warning,
            "15m",
            format!(r#"max by (namespace, name) ({SERVICE_CONDITION}{{condition="Stalled"}}) == 1"#),
            "{{ $labels.namespace }}/{{ $labels.name }} is stuck",
            "Its condition Stalled says why: nothing happens until somebody does something.",
        ),
        alert(
            "ServicesNotShown",
            Severity::Info,
            "15m",
            format!("max by (namespace, job) ({SERVICES_DROPPED}) > 0"),
            "The conditions of {{ $value }} services are not in the operator's metrics",
            "Alerts that are based on them cannot fire for these.",
        ),
    ]
}

fn panels() -> Vec<Panel> {
    let quantile = |histogram: &str, by: &str| {
        format!("histogram_quantile(0.99, sum by ({by}le) (rate({histogram}_bucket[5m])))")
    };
    let rate = |counter: &str, by: &str| format!("sum by ({by}) (rate({counter}[5m]))");
    let conditions = |condition: &str, value: i8| {
        let series = format!(r#"{SERVICE_CONDITION}{{condition="{condition}"}}"#);
        // None is zero, as long as there is a service at all.
        format!("sum({series} == bool {value})")
    };
    // Metrics that every process has are those of the operator where it also tells its version.
    let own = |metric: &str| format!("{metric} and on (namespace, job, instance) {BUILD_INFO}");
    vec![
        Panel::number("Services", "short", format!(r#"count({SERVICE_CONDITION}{{condition="Ready"}})"#)),
        Panel::number("Not ready", "short", conditions("Ready", 0)),
        Panel::number("Refused", "short", conditions("Accepted", 0)),
        Panel::number("Stalled", "short", conditions("Stalled", 1)),
        Panel::graph("Reconciles", "ops", [(rate(RECONCILES, "outcome, reason"), "{{outcome}}: {{reason}}")]),
        Panel::graph("Reconcile time P99", "s", [(quantile(RECONCILE_DURATION, ""), "99th percentile")]),
        Panel::graph("Waiting", "short", [(QUEUE_DEPTH.to_string(), "{{pod}}")]),
        Panel::graph("Leader", "short", [(LEADER.to_string(), "{{pod}}")]),
        Panel::graph(
            "Calls to Kubernetes",
            "reqps",
            [(rate(KUBE_REQUESTS, "verb, kind, code"), "{{verb}} {{kind}} {{code}}")],
        ),
        Panel::graph(
            "Calls to Kubernetes P99",
            "s",
            [(quantile(KUBE_REQUEST_DURATION, "verb, kind, "), "{{verb}} {{kind}}")],
        ),
        Panel::graph("Drift put back", "ops", [(rate(DRIFT_REPAIRS, "kind"), "{{kind}}")]),
        Panel::graph("Memory", "bytes", [(own("process_resident_memory_bytes"), "{{pod}}")]),
        Panel::graph("CPU", "none", [(own("rate(process_cpu_seconds_total[5m])"), "{{pod}}")]),
    ]
}
