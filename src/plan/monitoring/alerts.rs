//! PrometheusRule: the alerts of a service (E50-E60), each with a threshold from its spec and a runbook.

use serde_json::{Value, json};

use super::rules::{AlertRule, Severity, record};
use super::{Planned, Site, Watched, variables};
use crate::api::kinds::Kind;
use crate::api::{Alert, Stack};
use crate::plan::template;

/// Requests a second, all and those answered with 5xx. Kept, for ratios over days are taken from them.
const REQUESTS: [(&str, &str); 2] =
    [("service:http_requests:rate5m", ""), ("service:http_requests_5xx:rate5m", r#"status_code=~"5..""#)];

/// Goroutines that are too many (E54).
const GOROUTINES: u32 = 1000;
/// Part of the pool that is too much (E55), and seconds of a query that are (E56).
const CONNECTIONS: f64 = 0.8;
const QUERY_SECONDS: f64 = 0.5;
/// Part of the disk that is too little (E58).
const DISK: f64 = 0.1;
/// Days before its end at which a certificate should long have been renewed (E60).
const CERTIFICATE_DAYS: u32 = 14;

pub(super) fn build(site: &Site<'_>, watched: &Watched<'_>) -> Planned {
    let runbooks = &watched.monitoring.runbook_url;
    let alerts: Vec<Value> = Alert::ALL
        .into_iter()
        .filter(|alert| !watched.monitoring.disabled_alerts.contains(alert))
        .filter_map(|alert| Some(rule(watched, alert, told(watched, alert)?).render(runbooks)))
        .collect();
    let recorded: Vec<Value> =
        REQUESTS.iter().map(|(name, matchers)| record(name, watched.requests(matchers))).collect();
    let mut groups = vec![json!({ "name": format!("{}.alerts", watched.name), "rules": alerts })];
    if !watched.shape.worker {
        groups.insert(0, json!({ "name": format!("{}.requests", watched.name), "rules": recorded }));
    }
    let body = json!({
        "metadata": { "labels": Value::from_iter(watched.monitoring.labels.clone()) },
        "spec": { "groups": groups },
    });
    Planned::new(site, Kind::PrometheusRule, watched.name.to_string(), body)
}

/// What an alert is, of this service.
struct Told {
    expr: String,
    lasts: &'static str,
    severity: Severity,
    summary: String,
    description: String,
}

fn rule(watched: &Watched<'_>, alert: Alert, told: Told) -> AlertRule {
    // Room on nodes is not a matter of the team whose service meets its end.
    let team = if alert == Alert::DiskSpaceLow { "ops" } else { "backend" };
    let mut labels = [("namespace", watched.namespace), ("service", watched.name), ("team", team)]
        .map(|(label, value)| (label.to_string(), value.to_string()))
        .into_iter()
        .collect::<std::collections::BTreeMap<_, _>>();
    labels.extend(watched.monitoring.alert_labels.clone());
    let Told { expr, lasts, severity, summary, description } = told;
    AlertRule { name: alert.to_string(), expr, lasts, severity, labels, summary, description }
}

/// What an alert is, of this service; `None` where it does not fit it.
fn told(watched: &Watched<'_>, alert: Alert) -> Option<Told> {
    let who = format!("{}/{}", watched.namespace, watched.name);
    let promised = watched.monitoring;
    let of_requests = matches!(
        alert,
        Alert::ApplicationDown
            | Alert::HighErrorRate
            | Alert::HighLatency
            | Alert::LatencyObjectiveMissed
            | Alert::ErrorBudgetBurnFast
            | Alert::ErrorBudgetBurnSlow
            | Alert::ModerateTrafficIncrease
    );
    if of_requests && watched.shape.worker {
        return None;
    }
    let told = |severity, lasts, expr: String, summary: String, description: String| {
        Some(Told { expr, lasts, severity, summary, description })
    };
    let latency = |milliseconds: u32| {
        let seconds = f64::from(milliseconds) / 1000.0;
        (seconds, format!("{} > {seconds}", watched.quantile(0.95, "http_request_duration_seconds")))
    };
    match alert {
        Alert::ApplicationDown => told(
            Severity::Critical,
            "1m",
            format!("{} == 0", watched.answering()),
            format!("{who} is down"),
            "No pod's application has answered for a minute.".into(),
        ),
        Alert::ServiceNotReady => told(
            Severity::Critical,
            "10m",
            format!("{} == 0", watched.condition("Ready")),
            format!("{who} is not ready"),
            format!(
                "Its condition Ready has been False for ten minutes; `kubectl describe vbs -n {} {}` says why.",
                watched.namespace, watched.name
            ),
        ),
        Alert::HighErrorRate => {
            let percent = promised.max_error_percent;
            told(
                Severity::Critical,
                "2m",
                format!("{} / {} > {}", watched.requests(REQUESTS[1].1), watched.requests(""), part(percent)),
                format!("{who} fails {{{{ $value | humanizePercentage }}}} of its requests"),
                format!("More than {percent} % of the answers have been 5xx for two minutes."),
            )
        }
        Alert::HighLatency => {
            let (seconds, expr) = latency(promised.max_latency_milliseconds);
            told(
                Severity::Critical,
                "3m",
                expr,
                format!("{who} answers in {{{{ $value | humanizeDuration }}}}"),
                format!("5 % of the requests have taken more than {seconds} s for three minutes."),
            )
        }
        Alert::LatencyObjectiveMissed => {
            let (seconds, expr) = latency(promised.latency_milliseconds);
            told(
                Severity::Warning,
                "30m",
                expr,
                format!("{who} answers slower than promised: in {{{{ $value | humanizeDuration }}}}"),
                format!(
                    "5 % of the requests have taken more than {seconds} s, which is the objective, for half an hour."
                ),
            )
        }
        Alert::ErrorBudgetBurnFast => told(
            Severity::Critical,
            "2m",
            burn(watched, [(14.4, "1h", "5m"), (6.0, "6h", "30m")]),
            format!("{who} spends its error budget within days"),
            format!(
                "{} A fiftieth of a month's errors went in an hour, or a twentieth in six.",
                budget(promised.availability_percent)
            ),
        ),
        Alert::ErrorBudgetBurnSlow => told(
            Severity::Warning,
            "15m",
            burn(watched, [(3.0, "1d", "2h"), (1.0, "3d", "6h")]),
            format!("{who} spends its error budget too fast"),
            format!(
                "{} A tenth of a month's errors went in a day, or in three.",
                budget(promised.availability_percent)
            ),
        ),
        Alert::HighMemoryUsage => {
            let limit = template::memory_bytes(watched.shape)?;
            let most = limit * u64::from(promised.max_memory_percent) / 100;
            told(
                Severity::Warning,
                "5m",
                format!("({}) > {most}", watched.memory()),
                format!("{who}: {{{{ $labels.pod }}}} uses {{{{ $value | humanize1024 }}}}B of memory"),
                format!(
                    "It has used more than {} % of its limit for five minutes. At the limit it is killed.",
                    promised.max_memory_percent
                ),
            )
        }
        Alert::HighGoroutineCount => {
            (watched.shape.stack == Some(Stack::Go)).then_some(())?;
            told(
                Severity::Warning,
                "5m",
                format!("max by (namespace, pod) ({}) > {GOROUTINES}", watched.metric("go_goroutines", "")),
                format!("{who}: {{{{ $labels.pod }}}} has {{{{ $value }}}} goroutines"),
                format!("There have been more than {GOROUTINES} for five minutes."),
            )
        }
        Alert::DatabaseConnectionsHigh => told(
            Severity::Warning,
            "3m",
            format!("({}) > {CONNECTIONS}", connections(watched)?),
            format!(
                "{who}: {{{{ $labels.pod }}}} uses {{{{ $value | humanizePercentage }}}} of its database connections"
            ),
            "More than 80 % of the connections that the pool may have are open, for three minutes.".into(),
        ),
        Alert::SlowDatabaseQueries => {
            watched.has_database().then_some(())?;
            told(
                Severity::Warning,
                "5m",
                format!("{} > {QUERY_SECONDS}", watched.quantile(0.95, "db_query_duration_seconds")),
                format!("{who} waits {{{{ $value | humanizeDuration }}}} for its database"),
                format!("5 % of the queries have taken more than {QUERY_SECONDS} s for five minutes."),
            )
        }
        Alert::ModerateTrafficIncrease => {
            let before = watched.metric("http_requests_total", "");
            told(
                Severity::Info,
                "10m",
                format!(
                    // Nobody plans for less than a request a second.
                    "({} > 2 * sum by (namespace, job) (rate({before}[1h] offset 24h))) > 1",
                    watched.requests("")
                ),
                format!("{who} has {{{{ $value | humanize }}}} requests a second"),
                "That is more than twice as many as at this time yesterday, for ten minutes.".into(),
            )
        }
        Alert::DiskSpaceLow => {
            watched.has_sidecar().then_some(())?;
            let (free, total) =
                (watched.metric("disk_free_bytes", ""), watched.metric("disk_total_bytes", ""));
            told(
                Severity::Warning,
                "15m",
                format!("min by (namespace, pod) ({free} / ({total} > 0)) < {DISK}"),
                format!(
                    "{who}: {{{{ $labels.pod }}}} has {{{{ $value | humanizePercentage }}}} of /tmp left"
                ),
                "Less than 10 % of the disk that holds /tmp has been free for a quarter of an hour.".into(),
            )
        }
        Alert::SlowDeployment => told(
            Severity::Warning,
            "5m",
            format!("{} == 1", watched.condition("Progressing")),
            format!("{who} is still being deployed"),
            "Its condition Progressing has been True for five minutes.".into(),
        ),
        Alert::CertificateExpiresSoon => {
            let (certificate, namespace) = (watched.certificate()?, watched.namespace);
            let metric = "certmanager_certificate_expiration_timestamp_seconds";
            told(
                Severity::Warning,
                "1h",
                format!(
                    // Which of the two it is, is a choice of whoever scrapes cert-manager.
                    r#"min by (name) ({metric}{{namespace="{namespace}",name="{certificate}"}} or {metric}{{exported_namespace="{namespace}",name="{certificate}"}}) - time() < {CERTIFICATE_DAYS} * 86400"#
                ),
                format!("{who}: certificate {certificate} ends in {{{{ $value | humanizeDuration }}}}"),
                format!("It has not been renewed {CERTIFICATE_DAYS} days before its end."),
            )
        }
    }
}

/// Per cent as a part of one, without the noise of floating point.
fn part(percent: f64) -> f64 {
    (percent * 1e6).round() / 1e8
}

fn budget(availability: f64) -> String {
    format!("The objective is {availability} % of the requests over 30 days.")
}

/// Errors over two pairs of windows, as many times the budget: the long one tells that it matters, the short one that it
/// goes on.
fn burn(watched: &Watched<'_>, pairs: [(f64, &str, &str); 2]) -> String {
    let budget = part(100.0 - watched.monitoring.availability_percent);
    let ratio = |window: &str| {
        let [all, failed] = REQUESTS.map(|(name, _)| watched.metric(name, ""));
        match window {
            "5m" => format!("{failed} / {all}"),
            _ => format!("sum_over_time({failed}[{window}]) / sum_over_time({all}[{window}])"),
        }
    };
    pairs
        .map(|(times, long, short)| {
            format!("({} > {times} * {budget} and {} > {times} * {budget})", ratio(long), ratio(short))
        })
        .join(" or ")
}

/// Part of its pool that each pod uses: what it may open is known from its variable, or from the pool itself.
fn connections(watched: &Watched<'_>) -> Option<String> {
    watched.has_database().then_some(())?;
    let by_pod = |metric: &str| format!("sum by (namespace, pod) ({})", watched.metric(metric, ""));
    // Zero is a pool without a limit.
    let of_pool =
        format!("{} / ({} > 0)", by_pod("go_sql_open_connections"), by_pod("go_sql_max_open_connections"));
    let most = variables::plain(watched.name, watched.shape, "DB_MAX_OPEN_CONNS");
    Some(match most.and_then(|most| most.parse::<u32>().ok()).filter(|most| *most > 0) {
        Some(most) => format!("{} / {most} or {of_pool}", by_pod("db_connections_active")),
        None => of_pool,
    })
}
