//! ServiceMonitor: Prometheus scrapes the metrics port of every pod (A20, E17).

use serde_json::{Value, json};

use super::{Planned, Site, Watched};
use crate::api::kinds::Kind;
use crate::api::names;
use crate::contract;

/// Seconds that a scrape may take, where there are as many between two.
const TIMEOUT_SECONDS: u32 = 10;

pub(super) fn build(site: &Site<'_>, watched: &Watched<'_>) -> Planned {
    let interval = watched.monitoring.interval.as_str();
    // Prometheus refuses a timeout above the interval.
    let seconds =
        interval.strip_suffix('s').and_then(|seconds| seconds.parse().ok()).unwrap_or(TIMEOUT_SECONDS);
    let mut selector =
        json!({ "matchLabels": { names::NAME: watched.name, names::MANAGED_BY: names::MANAGED_BY_VALUE } });
    if site.decision.release.is_some() {
        // What does not serve yet, or no longer, says nothing of the service.
        selector["matchExpressions"] = json!([{ "key": names::PREVIEW, "operator": "DoesNotExist" }]);
    }
    let body = json!({
        "metadata": { "labels": Value::from_iter(watched.monitoring.labels.clone()) },
        "spec": {
            // The job of the series is the name of the service.
            "jobLabel": names::NAME,
            "selector": selector,
            "endpoints": [{
                "port": "metrics",
                "path": contract::METRICS_PATH,
                "interval": interval,
                "scrapeTimeout": format!("{}s", seconds.min(TIMEOUT_SECONDS)),
            }],
        },
    });
    Planned::new(site, Kind::ServiceMonitor, watched.name.to_string(), body)
}
