//! How a service is watched, the resource before its environment, with the guidelines' numbers under both.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::api::{self, Alert, Objectives};

/// Where the runbooks of the alerts are.
pub const RUNBOOKS: &str = "https://github.com/visiobook/visiobook-operator/blob/main/docs/monitoring.md";

/// How a service is watched, with defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Monitoring {
    /// Between two scrapes, as Prometheus writes it (A20).
    pub interval: String,
    /// Labels that a Prometheus selects by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Labels of alerts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alert_labels: BTreeMap<String, String>,
    /// Per cent of the requests that are not answered with 5xx (I01, X38).
    pub availability_percent: f64,
    /// Per cent of errors that calls somebody (E51).
    pub max_error_percent: f64,
    /// Milliseconds of the 95th percentile that are promised (I02).
    pub latency_milliseconds: u32,
    /// Those that call somebody (E52).
    pub max_latency_milliseconds: u32,
    /// Per cent of the memory limit (X51).
    pub max_memory_percent: u32,
    /// Alerts that are left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub disabled_alerts: BTreeSet<Alert>,
    /// Whether there is a dashboard (E78).
    pub dashboard: bool,
    /// Page of the runbooks.
    pub runbook_url: String,
}

/// How a service is watched; `None` where it is not.
pub(super) fn resolve(
    service: Option<&api::Monitoring>,
    environment: Option<&api::Monitoring>,
) -> Option<Monitoring> {
    let empty = api::Monitoring::default();
    let (said, under) = (service.unwrap_or(&empty), environment.unwrap_or(&empty));
    if !said.enabled.or(under.enabled).unwrap_or(true) {
        return None;
    }
    let none = Objectives::default();
    let (promised, before) =
        (said.objectives.as_ref().unwrap_or(&none), under.objectives.as_ref().unwrap_or(&none));
    let both = |said: &BTreeMap<String, String>, under: &BTreeMap<String, String>| {
        under.iter().chain(said).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let text = |said: &Option<String>, under: &Option<String>, default: &str| {
        said.as_deref().or(under.as_deref()).unwrap_or(default).to_string()
    };
    let max_latency = promised.max_latency_milliseconds.or(before.max_latency_milliseconds).unwrap_or(1000);
    Some(Monitoring {
        interval: text(&said.interval, &under.interval, "30s"),
        labels: both(&said.labels, &under.labels),
        alert_labels: both(&said.alert_labels, &under.alert_labels),
        availability_percent: promised.availability_percent.or(before.availability_percent).unwrap_or(99.9),
        max_error_percent: promised.max_error_percent.or(before.max_error_percent).unwrap_or(5.0),
        latency_milliseconds: promised
            .latency_milliseconds
            .or(before.latency_milliseconds)
            .unwrap_or(500)
            // Of two numbers that come from two objects: what is promised is no more than what calls somebody.
            .min(max_latency),
        max_latency_milliseconds: max_latency,
        max_memory_percent: promised.max_memory_percent.or(before.max_memory_percent).unwrap_or(80),
        disabled_alerts: said.disabled_alerts.iter().chain(&under.disabled_alerts).copied().collect(),
        dashboard: said.dashboard.or(under.dashboard).unwrap_or(true),
        runbook_url: text(&said.runbook_url, &under.runbook_url, RUNBOOKS),
    })
}

/// Seconds of `30s` or `2m`.
pub(super) fn seconds(interval: &str) -> Option<u32> {
    let (number, unit) = match interval.strip_suffix('s') {
        Some(number) => (number, 1),
        None => (interval.strip_suffix('m')?, 60),
    };
    let digits =
        number.len() <= 3 && !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse::<u32>().ok()).flatten()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_comes_before_its_environment_part_by_part() {
        let environment: api::Monitoring = serde_json::from_value(json!({
            "interval": "1m", "labels": { "release": "prometheus", "tier": "all" },
            "alertLabels": { "team": "platform" }, "dashboard": false, "disabledAlerts": ["DiskSpaceLow"],
            "objectives": { "availabilityPercent": 99.5, "maxLatencyMilliseconds": 400 },
            "runbookUrl": "https://wiki.example/runbooks",
        }))
        .unwrap();
        let service: api::Monitoring = serde_json::from_value(json!({
            "interval": "15s", "labels": { "tier": "one" }, "alertLabels": { "team": "backend" },
            "disabledAlerts": ["ModerateTrafficIncrease"], "objectives": { "maxErrorPercent": 2 },
        }))
        .unwrap();
        let resolved = resolve(Some(&service), Some(&environment)).unwrap();
        assert_eq!(
            serde_json::to_value(resolved).unwrap(),
            json!({
                "interval": "15s", "labels": { "release": "prometheus", "tier": "one" },
                "alertLabels": { "team": "backend" }, "dashboard": false,
                "disabledAlerts": ["ModerateTrafficIncrease", "DiskSpaceLow"],
                "availabilityPercent": 99.5, "maxErrorPercent": 2.0, "latencyMilliseconds": 400,
                "maxLatencyMilliseconds": 400, "maxMemoryPercent": 80,
                "runbookUrl": "https://wiki.example/runbooks",
            })
        );
    }

    #[test]
    fn without_a_word_the_numbers_are_those_of_the_guidelines() {
        let resolved = resolve(None, None).unwrap();
        assert_eq!(
            serde_json::to_value(resolved).unwrap(),
            json!({
                "interval": "30s", "availabilityPercent": 99.9, "maxErrorPercent": 5.0, "latencyMilliseconds": 500,
                "maxLatencyMilliseconds": 1000, "maxMemoryPercent": 80, "dashboard": true, "runbookUrl": RUNBOOKS,
            })
        );
        let off = api::Monitoring { enabled: Some(false), ..Default::default() };
        assert_eq!(resolve(None, Some(&off)), None);
        let on = api::Monitoring { enabled: Some(true), ..Default::default() };
        assert!(resolve(Some(&on), Some(&off)).is_some());
    }
}
