//! What a ServiceMonitor and Prometheus' rules take.

use super::{Broken, Subject};
use crate::api::{Objectives, names};
use crate::check::monitoring::seconds;

/// Labels that alerts set themselves.
const OF_ALERTS: [&str; 4] = ["alertname", "severity", "namespace", "service"];
/// Seconds between two scrapes.
const INTERVAL: std::ops::RangeInclusive<u32> = 5..=120;

pub(super) fn monitoring(it: &Subject<'_>, broken: &mut Broken) {
    let Some(monitoring) = &it.spec.monitoring else { return };
    if let Some(interval) = &monitoring.interval
        && !seconds(interval).is_some_and(|seconds| INTERVAL.contains(&seconds))
    {
        let message = format!("\"{interval}\" is not from 5s to 2m: write one such as 30s");
        broken.tell("monitoring-interval", "spec.monitoring.interval", message);
    }
    for (label, value) in &monitoring.labels {
        let field = format!("spec.monitoring.labels.{label}");
        if [names::NAME, names::MANAGED_BY].contains(&label.as_str()) {
            broken.tell("label-reserved", field, "the operator sets this label: choose another");
        } else if !is_label(label.rsplit('/').next().unwrap_or_default())
            || !(value.is_empty() || is_label(value))
        {
            let message = "is no label of a Kubernetes object: use letters, digits, '-', '_' and '.', at most 63, with a letter or digit at both ends";
            broken.tell("monitoring-label", field, message);
        }
    }
    for (label, value) in &monitoring.alert_labels {
        let field = format!("spec.monitoring.alertLabels.{label}");
        let is_name = !label.starts_with(|first: char| first.is_ascii_digit())
            && !label.is_empty()
            && !label.starts_with("__")
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if OF_ALERTS.contains(&label.as_str()) {
            broken.tell("label-reserved", field, "alerts set this label themselves: choose another");
        } else if !is_name || value.contains("{{") {
            let message = "is no label that Prometheus takes as it stands: use letters, digits and '_', not beginning with a digit or '__', and no template as its value";
            broken.tell("alert-label", field, message);
        }
    }
    let none = Objectives::default();
    let objectives = monitoring.objectives.as_ref().unwrap_or(&none);
    let (promised, most) =
        (objectives.latency_milliseconds.unwrap_or(500), objectives.max_latency_milliseconds.unwrap_or(1000));
    if promised > most {
        let message = format!(
            "{promised} is above maxLatencyMilliseconds, {most}: nobody would be told before somebody is called; lower it, or raise the other"
        );
        broken.tell("latency-objective", "spec.monitoring.objectives.latencyMilliseconds", message);
    }
}

fn is_label(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}
