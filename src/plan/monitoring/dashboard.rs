//! The dashboard of a service (E70-E78), in a ConfigMap that Grafana's sidecar finds. Unlike the config of the pods it
//! changes in place: no pod reads it.

use serde_json::json;

use super::grafana::{LABEL, Panel, dashboard};
use super::{Planned, Site, Watched};
use crate::api::Stack;
use crate::api::kinds::Kind;
use crate::api::names;
use crate::check;

/// Name of a service's dashboard.
pub(in crate::plan) fn name(service: &str) -> String {
    format!("{service}{}", names::DASHBOARD)
}

pub(super) fn build(site: &Site<'_>, watched: &Watched<'_>) -> Planned {
    let (name, namespace) = (watched.name, watched.namespace);
    let uid = format!("vbs-{}", check::digest(&json!([namespace, name])));
    let dashboard = dashboard(&uid, &format!("{namespace} / {name}"), panels(watched));
    let body = json!({
        "metadata": { "labels": { LABEL: "1" } },
        // Those of all namespaces become files of one folder.
        "data": { format!("{namespace}_{name}.json"): dashboard.to_string() },
    });
    Planned::new(site, Kind::ConfigMap, self::name(name), body)
}

fn panels(watched: &Watched<'_>) -> Vec<Panel> {
    let metric = |name: &str| watched.metric(name, "");
    let mut panels = if watched.shape.worker { Vec::new() } else { of_requests(watched) };
    panels.extend([
        Panel::graph("Memory Usage", "bytes", [(watched.memory(), "{{pod}}")]),
        Panel::graph(
            "CPU",
            "none",
            [(
                format!(
                    "sum by (namespace, pod) (rate({}[5m])) or max by (namespace, pod) ({}) / 100",
                    watched.container("container_cpu_usage_seconds_total"),
                    metric("system_cpu_usage_percent")
                ),
                "{{pod}}",
            )],
        ),
    ]);
    if watched.has_sidecar() {
        let (free, total) = (metric("disk_free_bytes"), metric("disk_total_bytes"));
        panels.push(
            Panel::graph("Room in /tmp", "percentunit", [(format!("{free} / {total}"), "{{pod}}")])
                .up_to(1.0),
        );
    }
    if watched.shape.stack == Some(Stack::Go) {
        panels.extend([
            Panel::graph("Goroutines", "short", [(metric("go_goroutines"), "{{pod}}")]),
            Panel::graph(
                "Memory of Go",
                "bytes",
                [
                    (metric("go_memstats_alloc_bytes"), "{{pod}} allocated"),
                    (metric("go_memstats_sys_bytes"), "{{pod}} from the system"),
                ],
            ),
            Panel::graph(
                "GC Duration",
                "s",
                [(
                    format!(
                        "rate({}[5m]) / rate({}[5m])",
                        metric("go_gc_duration_seconds_sum"),
                        metric("go_gc_duration_seconds_count")
                    ),
                    "{{pod}}",
                )],
            ),
        ]);
    }
    if watched.has_database() {
        let mut connections = vec![(metric("db_connections_active"), "{{pod}} active")];
        if watched.shape.stack == Some(Stack::Go) {
            connections.extend([
                (metric("go_sql_open_connections"), "{{pod}} open"),
                (metric("go_sql_in_use_connections"), "{{pod}} in use"),
            ]);
        }
        panels.extend([
            Panel::graph("Database Connections", "short", connections),
            Panel::graph(
                "Query Time P95",
                "s",
                [(watched.quantile(0.95, "db_query_duration_seconds"), "95th percentile")],
            ),
        ]);
    }
    panels
}

/// What only a service has that somebody sends requests.
fn of_requests(watched: &Watched<'_>) -> Vec<Panel> {
    let metric = |name: &str| watched.metric(name, "");
    let latency = |quantile| watched.quantile(quantile, "http_request_duration_seconds");
    let failed = watched.requests(r#"status_code=~"5..""#);
    let all = watched.requests("");
    let over_month = |name: &str| format!("sum_over_time({}[30d])", metric(name));
    let (month, failed_month) =
        (over_month("service:http_requests:rate5m"), over_month("service:http_requests_5xx:rate5m"));
    vec![
        Panel::graph(
            "Request Rate",
            "reqps",
            [(
                format!("sum by (method, status_code) (rate({}[5m]))", metric("http_requests_total")),
                "{{method}} {{status_code}}",
            )],
        ),
        Panel::graph(
            "Response Time P95",
            "s",
            [(latency(0.95), "95th percentile"), (latency(0.5), "median")],
        ),
        // Without an error there is no series of errors, and none of them is zero.
        Panel::graph(
            "Error Rate",
            "percentunit",
            [(format!("({failed} or 0 * {all}) / {all}"), "answered with 5xx")],
        )
        .up_to(1.0),
        Panel::number("Active Connections", "short", format!("sum({})", metric("http_requests_in_flight"))),
        Panel::number("Pods that answer", "short", watched.answering()),
        Panel::number(
            "Availability over 30 days",
            "percentunit",
            format!("1 - ({failed_month} or 0 * {month}) / {month}"),
        ),
    ]
}
