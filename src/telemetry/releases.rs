//! What is counted and measured of releases, in the manner of DORA: how often traffic moves, how long a change takes
//! to get there, how many fail, and how long it takes to be back.
//!
//! Counters are told per service. Histograms are told per namespace and environment: their buckets for every service
//! would be more series than all others together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::{Error, HistogramOpts, HistogramVec, Registry};

use super::metrics::{names, register};
use crate::api::{Outcome, RolloutStatus};
use crate::status::News;

/// From half a minute to the longest deadline, with the five minutes of C35 (X02).
const DEPLOY_BUCKETS: [f64; 10] = [10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 450.0, 600.0, 900.0, 1800.0];
/// From a minute to a month: people approve, and freezes are waited for.
const LONG_BUCKETS: [f64; 12] = [
    60.0,
    120.0,
    300.0,
    600.0,
    1800.0,
    3600.0,
    14_400.0,
    43_200.0,
    86_400.0,
    259_200.0,
    604_800.0,
    2_592_000.0,
];
/// From seconds, which a return by itself takes, to a week.
const RESTORE_BUCKETS: [f64; 11] =
    [5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 604_800.0];

/// A service and what governs it.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Name of its environment.
    pub environment: &'a str,
}

/// Where the releases of a service stand, and how many ended in which way since this process leads.
struct Shown {
    environment: Box<str>,
    state: &'static str,
    switched: Option<i64>,
    ended: [u64; Outcome::ALL.len()],
}

/// Everything that is told of releases.
pub(super) struct Releases {
    shown: Mutex<BTreeMap<(String, String), Shown>>,
    duration: HistogramVec,
    deploy: HistogramVec,
    lead_time: HistogramVec,
    restore: HistogramVec,
}

impl Releases {
    pub(super) fn new(registry: &Registry) -> Result<Releases, Error> {
        let place = ["namespace", "environment"];
        let histogram = |name: &str, help: &str, buckets: &[f64], labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.into());
            register(registry, HistogramVec::new(options, labels)?)
        };
        Ok(Releases {
            shown: Mutex::default(),
            duration: histogram(
                names::RELEASE_DURATION,
                "How long releases took, from start to end.",
                &LONG_BUCKETS,
                &["namespace", "environment", "outcome"],
            )?,
            deploy: histogram(
                names::RELEASE_DEPLOY,
                "How long releases took from their start until all their pods were ready and verified.",
                &DEPLOY_BUCKETS,
                &place,
            )?,
            lead_time: histogram(
                names::RELEASE_LEAD_TIME,
                "How long changes took from being asked for until traffic moved to them.",
                &LONG_BUCKETS,
                &place,
            )?,
            restore: histogram(
                names::RELEASE_RESTORE,
                "How long traffic took to return from what was aborted, returned or undone.",
                &RESTORE_BUCKETS,
                &place,
            )?,
        })
    }

    /// Show a service, and count what is new.
    pub(super) fn show(&self, service: &Service<'_>, release: &RolloutStatus, news: &News) {
        let key = (service.namespace.to_owned(), service.name.to_owned());
        let mut shown = self.shown();
        let before = shown.get(&key).filter(|before| *before.environment == *service.environment);
        let mut ended = before.map(|before| before.ended).unwrap_or_default();
        for past in &news.ended {
            let index = Outcome::ALL.iter().position(|outcome| *outcome == past.outcome);
            index.and_then(|index| ended.get_mut(index)).into_iter().for_each(|count| *count += 1);
        }
        let now = Shown {
            environment: service.environment.into(),
            state: release.state.as_str(),
            switched: release.switched.as_ref().map(|at| at.0.as_second()),
            ended,
        };
        shown.insert(key, now);
        drop(shown);
        let place = [service.namespace, service.environment];
        // From zero on: what appears with its first value is no increase to Prometheus.
        let observe = |histogram: &HistogramVec, spans: &mut dyn Iterator<Item = i64>| {
            let histogram = histogram.with_label_values(&place);
            spans.for_each(|span| histogram.observe(span as f64));
        };
        observe(&self.deploy, &mut news.deployed.into_iter());
        observe(&self.lead_time, &mut news.lead.into_iter());
        observe(&self.restore, &mut news.restored.iter().copied());
        for outcome in Outcome::ALL {
            let histogram = self.duration.with_label_values(&[place[0], place[1], outcome.as_str()]);
            let spans = news.took.iter().filter(|(how, _)| *how == outcome);
            spans.for_each(|(_, span)| histogram.observe(*span as f64));
        }
    }

    /// Remove the series of a service, and those of its namespace with the last one in it.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        let mut shown = self.shown();
        let Some(gone) = shown.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        let in_use: BTreeSet<&str> = shown
            .iter()
            .filter(|((of, _), _)| of == namespace)
            .map(|(_, shown)| &*shown.environment)
            .collect();
        if in_use.contains(&*gone.environment) {
            return;
        }
        let place = [namespace, &*gone.environment];
        for histogram in [&self.deploy, &self.lead_time, &self.restore] {
            // An error says that it is not there.
            let _ = histogram.remove_label_values(&place);
        }
        for outcome in Outcome::ALL {
            let _ = self.duration.remove_label_values(&[place[0], place[1], outcome.as_str()]);
        }
    }

    /// The series of services. Names and environments hold nothing that would need escaping.
    pub(super) fn encode(&self, text: &mut String) -> std::fmt::Result {
        let shown = self.shown();
        if shown.is_empty() {
            return Ok(());
        }
        let head = |text: &mut String, metric: &str, type_: &str, help: &str| {
            writeln!(text, "# HELP {metric} {help}\n# TYPE {metric} {type_}")
        };
        let labels = |(namespace, name): &(String, String), of: &Shown, more: &str| {
            let environment = &of.environment;
            format!(r#"environment="{environment}",name="{name}",namespace="{namespace}"{more}"#)
        };
        let metric = names::RELEASES;
        head(text, metric, "counter", "Releases that ended, by how; one that is undone later ends twice.")?;
        for (service, of) in shown.iter() {
            for (outcome, count) in Outcome::ALL.iter().zip(of.ended) {
                let outcome = format!(r#",outcome="{}""#, outcome.as_str());
                writeln!(text, "{metric}{{{}}} {count}", labels(service, of, &outcome))?;
            }
        }
        let metric = names::RELEASE_STATE;
        head(text, metric, "gauge", "Where the releases of services stand: 1 for the state that it is.")?;
        for (service, of) in shown.iter() {
            let state = format!(r#",state="{}""#, of.state);
            writeln!(text, "{metric}{{{}}} 1", labels(service, of, &state))?;
        }
        let metric = names::RELEASE_SWITCHED;
        head(text, metric, "gauge", "When traffic moved to the last release, in Unix seconds.")?;
        for (service, of) in shown.iter() {
            if let Some(switched) = of.switched {
                writeln!(text, "{metric}{{{}}} {switched}", labels(service, of, ""))?;
            }
        }
        Ok(())
    }

    fn shown(&self) -> MutexGuard<'_, BTreeMap<(String, String), Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::metrics::{Metrics, SERVICE_CAP};
    use super::*;

    const CART: Service<'_> = Service { namespace: "shop", name: "cart", environment: "production" };

    fn release(state: &str, history: serde_json::Value) -> RolloutStatus {
        serde_json::from_value(json!({
            "state": state, "colour": "blue", "revision": "aaaaaaaaaa", "attempt": "aaaaaaaaaa-1", "number": 1,
            "started": "2026-11-21T10:00:00Z", "switched": "2026-11-21T10:02:00Z", "history": history,
        }))
        .unwrap()
    }

    fn lines(metrics: &Metrics, start: &str) -> Vec<String> {
        let text = metrics.encode().unwrap();
        text.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
    }

    #[test]
    fn a_release_is_counted_once_under_its_outcome_and_starts_from_zero() {
        let metrics = Metrics::new(SERVICE_CAP).unwrap();
        metrics.show_service("shop", "cart", [("Ready", Some(true))]);
        let soaking = release("Soaking", json!([]));
        metrics.show_release(&CART, &soaking, &News::default());
        assert_eq!(lines(&metrics, "visiobook_releases_total").len(), Outcome::ALL.len());
        let zero = r#"visiobook_release_restore_seconds_count{environment="production",namespace="shop"} 0"#;
        assert_eq!(lines(&metrics, "visiobook_release_restore_seconds_count"), [zero]);
        let back = json!([{ "attempt": "aaaaaaaaaa-1", "outcome": "RolledBack", "started": "2026-11-21T10:00:00Z",
            "switched": "2026-11-21T10:02:00Z", "ended": "2026-11-21T10:03:00Z" }]);
        let back = release("Stable", back);
        let news = crate::status::news(Some(&soaking), Some(&back));
        metrics.show_release(&CART, &back, &news);
        metrics.show_release(&CART, &back, &crate::status::news(Some(&back), Some(&back)));
        let text = metrics.encode().unwrap();
        let place = r#"environment="production",name="cart",namespace="shop""#;
        for line in [
            format!(r#"visiobook_releases_total{{{place},outcome="RolledBack"}} 1"#),
            format!(r#"visiobook_releases_total{{{place},outcome="Promoted"}} 0"#),
            format!(r#"visiobook_release_state{{{place},state="Stable"}} 1"#),
            format!("visiobook_release_switched_timestamp_seconds{{{place}}} 1795255320"),
            r#"visiobook_release_restore_seconds_sum{environment="production",namespace="shop"} 60"#.into(),
            r#"visiobook_release_duration_seconds_sum{environment="production",namespace="shop",outcome="RolledBack"} 180"#.into(),
            r#"visiobook_release_lead_time_seconds_count{environment="production",namespace="shop"} 0"#.into(),
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
        }
    }

    #[test]
    fn a_service_beyond_the_cap_or_deleted_leaves_no_series() {
        let metrics = Metrics::new(1).unwrap();
        let empty = metrics.encode().unwrap().lines().count();
        for name in ["cart", "books"] {
            metrics.show_service("shop", name, []);
            metrics.show_release(&Service { name, ..CART }, &release("Stable", json!([])), &News::default());
        }
        assert_eq!(lines(&metrics, "visiobook_release_state").len(), 1);
        metrics.forget_service("shop", "books");
        assert_eq!(lines(&metrics, "visiobook_release_deploy_seconds_count").len(), 1);
        metrics.forget_service("shop", "cart");
        assert_eq!(lines(&metrics, "visiobook_release"), [""; 0]);
        assert_eq!(metrics.encode().unwrap().lines().count(), empty);
    }
}
