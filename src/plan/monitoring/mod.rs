//! What watches a service: what Prometheus scrapes, when it alerts, what Grafana shows.

mod alerts;
mod dashboard;
pub mod grafana;
pub mod rules;
mod scrape;

use super::{Owner, Planned, Site, variables};
use crate::api::SidecarMode;
use crate::check::{Exposure, Monitoring, Serving, Shape};

pub(super) use dashboard::name as dashboard_name;

/// Metrics that only services with a database of their own tell; the queries of their dashboard that return nothing
/// until they do.
pub const OF_DATABASES: [&str; 4] = [
    "db_connections_active",
    "db_query_duration_seconds_bucket",
    "go_sql_open_connections",
    "go_sql_in_use_connections",
];

/// The service that is watched.
struct Watched<'a> {
    name: &'a str,
    namespace: &'a str,
    shape: &'a Shape,
    monitoring: &'a Monitoring,
    exposure: Option<&'a Exposure>,
}

pub(super) fn build(
    site: &Site<'_>,
    monitoring: &Monitoring,
    serving: &Serving,
    shape: &Shape,
) -> Vec<Planned> {
    let (name, namespace) = (site.owner.name.as_str(), site.owner.namespace.as_str());
    let watched = Watched { name, namespace, shape, monitoring, exposure: serving.exposure.as_ref() };
    let mut planned = vec![scrape::build(site, &watched), alerts::build(site, &watched)];
    if monitoring.dashboard {
        planned.push(dashboard::build(site, &watched));
    }
    planned
}

/// What a release is held against, by name: per cent of errors, and milliseconds of the 95th percentile, of pods whose
/// names match, since traffic moved. Pods that nobody has called keep both, and pods that nobody scrapes keep neither.
pub(super) fn objectives(owner: &Owner, pods: &str) -> [(&'static str, String); 2] {
    let of = |metric: &str, more: &str| {
        let (namespace, name) = (&owner.namespace, &owner.name);
        format!(r#"{metric}{{namespace="{namespace}",job="{name}",pod=~"{pods}"{more}}}"#)
    };
    let rate = |metric: &str, more: &str| format!("rate({}[$window])", of(metric, more));
    let (requests, failed) =
        (rate("http_requests_total", ""), rate("http_requests_total", r#",status_code=~"5..""#));
    let (up, buckets) = (of("up", ""), rate("http_request_duration_seconds_bucket", ""));
    let errors = format!("100 * (sum({failed}) or sum({up}) * 0) / ((sum({requests}) > 0) or sum({up}))");
    let latency = format!(
        "1000 * ((histogram_quantile(0.95, sum by (le) ({buckets})) >= 0) or sum({up}) * 0 / sum({up}))"
    );
    [("errorPercent", errors), ("latencyMilliseconds", latency)]
}

impl Watched<'_> {
    /// A metric of the service's pods, with further matchers.
    fn metric(&self, metric: &str, matchers: &str) -> String {
        let comma = if matchers.is_empty() { "" } else { "," };
        format!(r#"{metric}{{namespace="{}",job="{}"{comma}{matchers}}}"#, self.namespace, self.name)
    }

    /// A metric that the kubelet tells of the application's containers.
    fn container(&self, metric: &str) -> String {
        let (namespace, name) = (self.namespace, self.name);
        // As a Deployment names its pods: those of `<name>-blue-more` are another service's.
        format!(
            r#"{metric}{{namespace="{namespace}",pod=~"{name}-(blue|green)-[a-z0-9]+-[a-z0-9]+",container="app"}}"#
        )
    }

    /// A condition of the service, as the operator tells it.
    fn condition(&self, condition: &str) -> String {
        let (namespace, name) = (self.namespace, self.name);
        format!(
            r#"max by (namespace, name) (visiobook_service_condition{{condition="{condition}",namespace="{namespace}",name="{name}"}})"#
        )
    }

    /// Requests a second.
    fn requests(&self, matchers: &str) -> String {
        format!("sum by (namespace, job) (rate({}[5m]))", self.metric("http_requests_total", matchers))
    }

    /// Seconds in which a part of the observations of a histogram is done.
    fn quantile(&self, quantile: f64, histogram: &str) -> String {
        let buckets = self.metric(&format!("{histogram}_bucket"), "");
        format!("histogram_quantile({quantile}, sum by (namespace, job, le) (rate({buckets}[5m])))")
    }

    /// Pods whose application answers: as its sidecar says, or without one, as its metrics do.
    fn answering(&self) -> String {
        let (alive, up) = (self.metric("visiobook_application_up", ""), self.metric("up", ""));
        format!("sum by (namespace, job) ({alive} or on (instance) {up})")
    }

    /// Bytes that each application uses: as the kubelet says, else as its own metrics do.
    fn memory(&self) -> String {
        format!(
            "max by (namespace, pod) ({}) or max by (namespace, pod) ({})",
            self.container("container_memory_working_set_bytes"),
            self.metric("system_memory_usage_bytes", "")
        )
    }

    /// Whether it says where its database is.
    fn has_database(&self) -> bool {
        ["DATABASE_URL", "DB_HOST"].iter().any(|variable| variables::says(self.shape, variable))
    }

    /// Name of the Certificate that cert-manager keeps for its Ingress: that of its Secret.
    fn certificate(&self) -> Option<&str> {
        let exposure = self.exposure.filter(|exposure| exposure.class.is_some())?;
        let issued = |annotation: &String| annotation.starts_with("cert-manager.io/");
        exposure.annotations.keys().any(issued).then_some(exposure.tls_secret.as_deref()).flatten()
    }

    fn has_sidecar(&self) -> bool {
        self.shape.mode() != SidecarMode::Off
    }
}
