//! How a service is watched: what Prometheus scrapes, when it alerts, what Grafana shows. An environment says it for
//! all its services, a service for itself.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a service is watched. What a service leaves out, its environment says; labels of both are put together.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Monitoring {
    /// Whether there are a ServiceMonitor, a PrometheusRule and a dashboard. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Time between two scrapes, from 5s to 2m: rates are taken over five minutes. Default: 30s.
    #[schemars(length(min = 2, max = 4))]
    #[x_kube(validation = Rule::new("self.matches('^[1-9][0-9]{0,2}[sm]$') && duration(self) >= duration('5s') && duration(self) <= duration('2m')").message("monitoring.interval is from 5s to 2m, such as 30s"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Labels of ServiceMonitor and PrometheusRule, by which a Prometheus selects them.
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = { "type": "string", "maxLength": 63 }))]
    #[x_kube(validation = Rule::new("self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && self[k].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))").message("monitoring.labels are labels of Kubernetes objects: letters, digits, '-', '_' and '.', with a letter or digit at both ends"))]
    #[x_kube(validation = Rule::new("!self.exists(k, k in ['app.kubernetes.io/name', 'app.kubernetes.io/managed-by'])").message("monitoring.labels: the operator sets app.kubernetes.io/name and app.kubernetes.io/managed-by, choose others"))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Labels of every alert, by which Alertmanager sends it on, such as `team: backend`.
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = { "type": "string", "maxLength": 253 }))]
    #[x_kube(validation = Rule::new("self.all(k, k.matches('^[a-zA-Z_][a-zA-Z0-9_]*$') && !k.startsWith('__') && !self[k].contains('{{'))").message("monitoring.alertLabels are labels of Prometheus: letters, digits and '_', not beginning with a digit or '__', and no templates as values"))]
    #[x_kube(validation = Rule::new("!self.exists(k, k in ['alertname', 'severity', 'namespace', 'service'])").message("monitoring.alertLabels: alertname, severity, namespace and service are set by the alerts themselves, choose others"))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alert_labels: BTreeMap<String, String>,
    /// What is promised, and from where on somebody is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objectives: Option<Objectives>,
    /// Alerts that are left out.
    #[schemars(extend("maxItems" = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disabled_alerts: Vec<Alert>,
    /// Whether there is a ConfigMap with a dashboard for Grafana. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<bool>,
    /// Page that the alerts' runbooks are on; the name of the alert, in lower case, is added as its anchor. Default:
    /// docs/monitoring.md of the operator.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^ {}#]+$')").message("monitoring.runbookUrl is an http or https URL without a fragment: the name of the alert is added as one"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook_url: Option<String>,
}

/// What is promised, and from where on somebody is called (I01, I02, I04, X39).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.latencyMilliseconds) ? self.latencyMilliseconds : 500) <= (has(self.maxLatencyMilliseconds) ? self.maxLatencyMilliseconds : 1000)")
    .message("objectives.latencyMilliseconds (default 500) must not be above objectives.maxLatencyMilliseconds (default 1000)"))]
pub struct Objectives {
    /// Per cent of the requests that are not answered with 5xx. What is left is the error budget. Default: 99.9.
    #[schemars(range(min = 95.0, max = 99.999))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_percent: Option<f64>,
    /// Per cent of the requests answered with 5xx above which HighErrorRate calls somebody. Default: 5.
    #[schemars(range(min = 0.01, max = 99.0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_error_percent: Option<f64>,
    /// Milliseconds in which 95 % of the requests are answered. Default: 500.
    #[schemars(range(min = 1, max = 4999))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_milliseconds: Option<u32>,
    /// The same, above which HighLatency calls somebody. Below 5000, where the largest bucket ends. Default: 1000.
    #[schemars(range(min = 1, max = 4999))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_latency_milliseconds: Option<u32>,
    /// Per cent of its memory limit that a container may use. Default: 80.
    #[schemars(range(min = 1, max = 99))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory_percent: Option<u32>,
}

/// An alert of a service (E50-E60).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Alert {
    /// No pod answers (E50).
    ApplicationDown,
    /// The service is not ready, by the operator's own condition.
    ServiceNotReady,
    /// Too many answers are 5xx (E51).
    HighErrorRate,
    /// Answers take too long (E52).
    HighLatency,
    /// Answers take longer than promised (I02).
    LatencyObjectiveMissed,
    /// The error budget of a month goes within days (E60, I01).
    ErrorBudgetBurnFast,
    /// The error budget goes faster than it should (E60, I01).
    ErrorBudgetBurnSlow,
    /// A container is close to its memory limit (E53).
    HighMemoryUsage,
    /// Goroutines pile up (E54).
    HighGoroutineCount,
    /// The pool of database connections is nearly used up (E55).
    DatabaseConnectionsHigh,
    /// Queries take too long (E56).
    SlowDatabaseQueries,
    /// Twice the traffic of a day ago (E57).
    ModerateTrafficIncrease,
    /// Little room is left in /tmp (E58).
    DiskSpaceLow,
    /// A change of the pods takes longer than five minutes (E60, X02).
    SlowDeployment,
    /// The certificate of its hosts is about to end (E60).
    CertificateExpiresSoon,
}

impl Alert {
    /// Every alert of a service.
    pub const ALL: [Alert; 15] = [
        Alert::ApplicationDown,
        Alert::ServiceNotReady,
        Alert::HighErrorRate,
        Alert::HighLatency,
        Alert::LatencyObjectiveMissed,
        Alert::ErrorBudgetBurnFast,
        Alert::ErrorBudgetBurnSlow,
        Alert::HighMemoryUsage,
        Alert::HighGoroutineCount,
        Alert::DatabaseConnectionsHigh,
        Alert::SlowDatabaseQueries,
        Alert::ModerateTrafficIncrease,
        Alert::DiskSpaceLow,
        Alert::SlowDeployment,
        Alert::CertificateExpiresSoon,
    ];
}

impl std::fmt::Display for Alert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its name is what the derives write.
        std::fmt::Debug::fmt(self, f)
    }
}
