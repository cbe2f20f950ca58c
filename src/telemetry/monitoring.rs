//! What watches the operator itself: its alerts and its dashboard, which `config/monitoring` and the chart install.

use serde_json::{Value, json};

use super::metrics::names::{
    BUILD_INFO, DRIFT_REPAIRS, KUBE_REQUEST_DURATION, KUBE_REQUESTS, LEADER, NOTIFICATIONS, QUEUE_DEPTH,
    RECONCILE_DURATION, RECONCILES, RELEASE_DEPLOY, RELEASE_DURATION, RELEASE_LEAD_TIME, RELEASE_RESTORE,
    RELEASE_STATE, RELEASE_SWITCHED, RELEASES, SERVICE_CONDITION, SERVICES_DROPPED,
};
use crate::check::RUNBOOKS;
use crate::plan::monitoring::grafana::{self, Panel, dashboard};
use crate::plan::monitoring::rules::{AlertRule, Severity};

/// Name of both objects.
const NAME: &str = "visiobook-operator";
/// Name of the dashboard of releases.
const RELEASES_BOARD: &str = "visiobook-releases";
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

/// The ConfigMap with the dashboards of the operator, and of the releases that it makes.
pub fn board() -> Value {
    let board = dashboard(NAME, "Visiobook operator", panels());
    let mut releases = dashboard(RELEASES_BOARD, "Visiobook releases", releases());
    releases["time"]["from"] = "now-7d".into();
    releases["annotations"] = json!({ "list": [switches()] });
    let data = json!({
        format!("{NAME}.json"): format!("{board:#}"),
        format!("{RELEASES_BOARD}.json"): format!("{releases:#}"),
    });
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
            "ReleasesSlow",
            Severity::Warning,
            "5m",
            // A bucket ends at 300 s, so what is above it is exact (C35, X02).
            format!(
                "histogram_quantile(0.5, sum by (namespace, environment, le) (increase({RELEASE_DEPLOY}_bucket[6h]))) > 300"
            ),
            "Releases in {{ $labels.namespace }} take more than five minutes to be ready",
            "Half of the releases of the last six hours were ready later than 300 s after their start; waiting for an approval does not count.",
        ),
        alert(
            "ReleasesFail",
            Severity::Warning,
            "5m",
            format!(
                "{} / {all} > 0.5 and {all} > 2.5",
                ended(r#"{outcome=~"RolledBack|DeadlineExceeded|Failed"}"#, "6h"),
                all = ended(r#"{outcome!="Superseded"}"#, "6h")
            ),
            "{{ $value | humanizePercentage }} of the releases in {{ $labels.namespace }} fail",
            "More than half of at least three within six hours were returned, or not ready in time.",
        ),
        alert(
            "NotificationsFail",
            Severity::Warning,
            "5m",
            format!(
                r#"sum by (namespace, job, kind) (increase({NOTIFICATIONS}{{outcome!="delivered"}}[1h])) > 0.5"#
            ),
            "People are not told of releases by {{ $labels.kind }}",
            "Within an hour a message was not delivered, or may not have been. Releases go on.",
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

/// Releases that ended within a time, by namespace and environment.
fn ended(matchers: &str, window: &str) -> String {
    format!("sum by (namespace, environment) (increase({RELEASES}{matchers}[{window}]))")
}

/// A mark at each switch. The series tells when it was, so that none is lost between two looks of Prometheus.
fn switches() -> Value {
    json!({
        "name": "Switches",
        "datasource": { "type": "prometheus", "uid": "${datasource}" },
        "enable": true,
        "iconColor": "green",
        "expr": format!("1000 * max by (namespace, name, environment) ({RELEASE_SWITCHED})"),
        "useValueForTime": true,
        "step": "60s",
        "titleFormat": "{{namespace}}/{{name}}",
        "textFormat": "traffic moved, in {{environment}}",
        "tagKeys": "environment",
    })
}

/// The four measures of DORA, and where the releases of a fleet stand.
fn releases() -> Vec<Panel> {
    let quantile = |histogram: &str, quantile: f64, window: &str| {
        format!(
            "histogram_quantile({quantile}, sum by (environment, le) (increase({histogram}_bucket[{window}])))"
        )
    };
    let spans = |title, histogram: &str| {
        Panel::graph(
            title,
            "s",
            [
                (quantile(histogram, 0.5, "1d"), "{{environment}} median"),
                (quantile(histogram, 0.9, "1d"), "{{environment}} 90th percentile"),
            ],
        )
    };
    // None is zero, as long as there is a service at all.
    let count =
        |matchers: &str| format!("count({RELEASE_STATE}{{{matchers}}}) or 0 * count({RELEASE_STATE})");
    let switched = format!("sum by (environment) (increase({RELEASE_LEAD_TIME}_count[1d]))");
    let returned = format!("sum by (environment) (increase({RELEASE_RESTORE}_count[7d]))");
    let moved = format!("sum by (environment) (increase({RELEASE_LEAD_TIME}_count[7d]))");
    vec![
        Panel::number("Under way", "short", count(r#"state!~"Stable|Retiring""#)),
        Panel::number("Waiting for somebody", "short", count(r#"state="AwaitingApproval""#)),
        Panel::graph("Switches a day", "short", [(switched, "{{environment}}")]),
        Panel::graph(
            "Changes that were taken back, of a week",
            "percentunit",
            [(format!("{returned} / ({moved} > 0)"), "{{environment}}")],
        )
        .up_to(1.0),
        spans("Lead time from change to switch", RELEASE_LEAD_TIME),
        spans("Time to restore", RELEASE_RESTORE),
        spans("Time until ready", RELEASE_DEPLOY),
        spans("Whole releases", RELEASE_DURATION),
        Panel::graph(
            "Releases a day, by how they end",
            "short",
            [(format!("sum by (outcome) (increase({RELEASES}[1d]))"), "{{outcome}}")],
        ),
        Panel::graph(
            "Releases by state",
            "short",
            [(format!("count by (state) ({RELEASE_STATE})"), "{{state}}")],
        ),
    ]
}
