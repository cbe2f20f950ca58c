//! What the application's metrics tell of its resources and of the business.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::contract::settings::Settings;
use crate::sidecar::report::exposition::{Line, read};

/// The guidelines' own name for CPU (E09).
pub const SYSTEM_CPU: &str = "system_cpu_usage_percent";
/// The guidelines' own name for memory (E09).
pub const SYSTEM_MEMORY: &str = "system_memory_usage_bytes";
const PROCESS_CPU: &str = "process_cpu_seconds_total";
const PROCESS_MEMORY: &str = "process_resident_memory_bytes";
/// CPU is measured over this at least: two scrapers that follow each other closely would see noise.
const APART: Duration = Duration::from_secs(5);

/// Per cent of its limit from which an application is warned of (X51, H05).
const MUCH_MEMORY: f64 = 80.0;
/// Per cent below which it may be warned of again, so that one that stands at the line is told of once.
const ENOUGH_MEMORY: f64 = 75.0;

/// Metrics by name, each summed over its series.
#[derive(Debug, Default, PartialEq)]
pub struct Observed(HashMap<String, f64>);

impl Observed {
    /// The metrics of `text` whose names are `wanted`.
    pub fn read(text: &[u8], wanted: &HashSet<String>) -> Observed {
        let mut found = HashMap::new();
        for line in text.split(|byte| *byte == b'\n') {
            let name = line.split(|byte| matches!(byte, b'{' | b' ' | b'\t')).next().unwrap_or_default();
            if !std::str::from_utf8(name).is_ok_and(|name| wanted.contains(name)) {
                continue;
            }
            if let Line::Sample(sample) = read(line) {
                *found.entry(sample.name.to_owned()).or_insert(0.0) += sample.value;
            }
        }
        Observed(found)
    }

    /// Whether the application shows `name`.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The value of `metric`, as a gauge or a counter, or as the mean of a histogram or summary; a number, or none.
    pub fn value(&self, metric: &str) -> Option<f64> {
        let [total, sum, count] = parts(metric).map(|part| self.0.get(&part).copied());
        let plain = self.0.get(metric).copied().or(total);
        let mean = sum.zip(count).map(|(sum, count)| sum / count);
        plain.or(mean).filter(|value| value.is_finite())
    }
}

/// Names that a metric may have its samples under, beside its own.
fn parts(metric: &str) -> [String; 3] {
    ["_total", "_sum", "_count"].map(|suffix| format!("{metric}{suffix}"))
}

/// What the application uses.
pub struct Usage {
    wanted: HashSet<String>,
    memory_limit: Option<u64>,
    /// As it was shown last.
    pub observed: Observed,
    /// Per cent of a core.
    pub cpu: Option<f64>,
    /// Bytes.
    pub memory: Option<f64>,
    /// CPU seconds, and when they were that many.
    measured: Option<(f64, Instant)>,
    /// Whether its memory has been warned of.
    warned: bool,
}

impl Usage {
    /// Nothing is known yet.
    pub fn new(settings: &Settings) -> Usage {
        let own = [SYSTEM_CPU, SYSTEM_MEMORY, PROCESS_CPU, PROCESS_MEMORY].map(String::from);
        let business =
            settings.kpis.values().flat_map(|metric| parts(metric).into_iter().chain([metric.clone()]));
        Usage {
            wanted: own.into_iter().chain(business).collect(),
            memory_limit: settings.application.memory_bytes,
            observed: Observed::default(),
            cpu: None,
            memory: None,
            measured: None,
            warned: false,
        }
    }

    /// The names that it wants to see.
    pub fn wanted(&self) -> &HashSet<String> {
        &self.wanted
    }

    /// Take in what was shown at `now`.
    pub fn observe(&mut self, observed: Observed, now: Instant) {
        self.memory = observed.value(SYSTEM_MEMORY).or_else(|| observed.value(PROCESS_MEMORY));
        match observed.value(PROCESS_CPU) {
            Some(seconds) => self.measure(seconds, now),
            None => (self.cpu, self.measured) = (None, None),
        }
        if let Some(percent) = observed.value(SYSTEM_CPU) {
            self.cpu = Some(percent);
        }
        self.observed = observed;
    }

    fn measure(&mut self, seconds: f64, now: Instant) {
        match self.measured {
            Some((before, at)) if seconds >= before => {
                let passed = now.saturating_duration_since(at);
                if passed < APART {
                    return;
                }
                self.cpu = Some((seconds - before) / passed.as_secs_f64() * 100.0);
            }
            // The first look, or the application has started again.
            _ => self.cpu = None,
        }
        self.measured = Some((seconds, now));
    }

    /// Per cent of the memory limit, when it has just become much.
    pub fn warn_of_memory(&mut self) -> Option<f64> {
        let percent = self.memory_percent().unwrap_or_default();
        let was_warned = self.warned;
        self.warned = percent >= if was_warned { ENOUGH_MEMORY } else { MUCH_MEMORY };
        (self.warned && !was_warned).then_some(percent)
    }

    /// Per cent of the memory limit.
    pub fn memory_percent(&self) -> Option<f64> {
        let limit = self.memory_limit.filter(|limit| *limit > 0)?;
        self.memory.map(|bytes| bytes / limit as f64 * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Usage {
        let settings = serde_json::json!({
            "service": "users",
            "application": { "memoryBytes": 1000 },
            "kpis": { "activeUsers": "active_users", "averageTime": "seconds", "logins": "logins" },
        });
        Usage::new(&serde_json::from_value(settings).unwrap())
    }

    fn shown(usage: &mut Usage, text: &str, now: Instant) {
        let observed = Observed::read(text.as_bytes(), usage.wanted());
        usage.observe(observed, now);
    }

    #[test]
    fn business_is_summed_over_series_and_the_mean_of_a_histogram() {
        let mut usage = usage();
        shown(
            &mut usage,
            "active_users{country=\"fr\"} 3\nactive_users{country=\"be\"} 4\nlogins_total 9\nother 1\n\
             seconds_bucket{le=\"+Inf\"} 4\nseconds_sum 10\nseconds_count 4\n",
            Instant::now(),
        );
        let values =
            ["active_users", "logins", "seconds", "other"].map(|metric| usage.observed.value(metric));
        assert_eq!(values, [Some(7.0), Some(9.0), Some(2.5), None]);
        shown(&mut usage, "active_users NaN\n", Instant::now());
        assert_eq!(usage.observed.value("active_users"), None);
    }

    #[test]
    fn cpu_is_the_growth_of_its_seconds() {
        let mut usage = usage();
        let start = Instant::now();
        let text = |seconds: f64| format!("{PROCESS_CPU} {seconds}\n{PROCESS_MEMORY} 250\n");
        shown(&mut usage, &text(1.0), start);
        assert_eq!((usage.cpu, usage.memory, usage.memory_percent()), (None, Some(250.0), Some(25.0)));
        shown(&mut usage, &text(6.0), start + Duration::from_secs(10));
        assert_eq!(usage.cpu, Some(50.0));
        // Too soon to tell.
        shown(&mut usage, &text(7.0), start + Duration::from_secs(11));
        assert_eq!(usage.cpu, Some(50.0));
        // It started again.
        shown(&mut usage, &text(0.5), start + Duration::from_secs(30));
        assert_eq!(usage.cpu, None);
        shown(&mut usage, &text(2.5), start + Duration::from_secs(40));
        assert_eq!(usage.cpu, Some(20.0));
        shown(&mut usage, "", start + Duration::from_secs(50));
        assert_eq!((usage.cpu, usage.memory), (None, None));
    }

    #[test]
    fn memory_is_warned_of_once_until_there_is_enough_again() {
        let mut usage = usage();
        let mut warnings = Vec::new();
        for bytes in [100, 799, 800, 900, 790, 810, 749, 700, 850] {
            shown(&mut usage, &format!("{PROCESS_MEMORY} {bytes}\n"), Instant::now());
            warnings.push(usage.warn_of_memory());
        }
        let none = None;
        assert_eq!(warnings, [none, none, Some(80.0), none, none, none, none, none, Some(85.0)]);
        shown(&mut usage, "", Instant::now());
        assert_eq!(usage.warn_of_memory(), None, "who does not tell is not warned of");
    }

    #[test]
    fn what_the_application_says_of_itself_counts() {
        let mut usage = usage();
        let text = format!("{SYSTEM_CPU} 12\n{SYSTEM_MEMORY} 100\n{PROCESS_MEMORY} 250\n");
        shown(&mut usage, &text, Instant::now());
        assert_eq!((usage.cpu, usage.memory), (Some(12.0), Some(100.0)));
        assert!(usage.observed.has(SYSTEM_CPU));
    }
}
