//! The metrics of the operator, on a registry of their own.
//!
//! Every label value comes from a closed set, except the names of services, whose number is capped.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus::{
    Error, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector,
};

use super::releases::{Releases, Service};
use crate::api::{RolloutStatus, WaveStatus};
use crate::status::News;

/// The names, in one table.
pub mod names {
    /// How long a reconcile took.
    pub const RECONCILE_DURATION: &str = "visiobook_reconcile_duration_seconds";
    /// Reconciles by outcome and reason.
    pub const RECONCILES: &str = "visiobook_reconcile_total";
    /// Objects that wait to be reconciled.
    pub const QUEUE_DEPTH: &str = "visiobook_queue_depth";
    /// Conditions of services: 1 true, 0 false, -1 unknown.
    pub const SERVICE_CONDITION: &str = "visiobook_service_condition";
    /// Services beyond the cap on series.
    pub const SERVICES_DROPPED: &str = "visiobook_service_series_dropped";
    /// Whether this replica leads.
    pub const LEADER: &str = "visiobook_leader";
    /// Changes by others that were put back.
    pub const DRIFT_REPAIRS: &str = "visiobook_drift_repairs_total";
    /// Calls to the Kubernetes API.
    pub const KUBE_REQUESTS: &str = "visiobook_kube_requests_total";
    /// How long calls took until the head of the answer.
    pub const KUBE_REQUEST_DURATION: &str = "visiobook_kube_request_duration_seconds";
    /// Messages about releases, by what became of them.
    pub const NOTIFICATIONS: &str = "visiobook_notifications_total";
    /// Pods that were told that their clients are to leave, by what became of it.
    pub const PODS_TOLD_TO_LEAVE: &str = "visiobook_pods_told_to_leave_total";
    /// Releases that ended, by how.
    pub const RELEASES: &str = "visiobook_releases_total";
    /// Where the releases of services stand.
    pub const RELEASE_STATE: &str = "visiobook_release_state";
    /// When traffic moved last.
    pub const RELEASE_SWITCHED: &str = "visiobook_release_switched_timestamp_seconds";
    /// How long releases took, from start to end.
    pub const RELEASE_DURATION: &str = "visiobook_release_duration_seconds";
    /// How long releases took to be ready for traffic.
    pub const RELEASE_DEPLOY: &str = "visiobook_release_deploy_seconds";
    /// How long changes took to get traffic.
    pub const RELEASE_LEAD_TIME: &str = "visiobook_release_lead_time_seconds";
    /// How long what was bad had traffic.
    pub const RELEASE_RESTORE: &str = "visiobook_release_restore_seconds";
    /// Services of environments, by how they stand in its waves.
    pub const WAVE_SERVICES: &str = "visiobook_environment_wave_services";
    /// The version that runs.
    pub const BUILD_INFO: &str = "visiobook_build_info";
}

/// Services whose conditions are shown, unless told otherwise.
pub const SERVICE_CAP: usize = 2000;

/// From a pass that calls nobody to one that waits for a slow API server.
const RECONCILE_BUCKETS: [f64; 10] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0];
const KUBE_BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cluster is as wanted, or on its way.
    Success,
    /// Something failed and is tried again.
    Error,
    /// The spec may not run.
    Refused,
    /// The service is paused.
    Paused,
}

impl Outcome {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Refused => "refused",
            Self::Paused => "paused",
        }
    }
}

/// All metrics of the operator. Share it in an `Arc`.
pub struct Metrics {
    registry: Registry,
    reconcile_duration: Histogram,
    reconciles: IntCounterVec,
    queue_depth: IntGauge,
    services_dropped: IntGauge,
    leader: IntGauge,
    drift_repairs: IntCounterVec,
    kube_requests: IntCounterVec,
    kube_request_duration: HistogramVec,
    service_cap: usize,
    services: Mutex<Services>,
    releases: Releases,
    notifications: IntCounterVec,
    told_to_leave: IntCounterVec,
    wave_services: IntGaugeVec,
}

type ServiceName = (String, String);
type Conditions = Box<[(Box<str>, i8)]>;

/// The conditions of services. Not in the registry, which spends a kilobyte on each series.
#[derive(Default)]
struct Services {
    shown: BTreeMap<ServiceName, Conditions>,
    dropped: BTreeSet<ServiceName>,
}

impl Services {
    /// Names and conditions hold nothing that would need escaping.
    fn encode(&self, text: &mut String) -> std::fmt::Result {
        let metric = names::SERVICE_CONDITION;
        if !self.shown.is_empty() {
            writeln!(text, "# HELP {metric} Conditions of services: 1 true, 0 false, -1 unknown.")?;
            writeln!(text, "# TYPE {metric} gauge")?;
        }
        for ((namespace, name), conditions) in &self.shown {
            for (condition, value) in conditions {
                let labels = format_args!(r#"condition="{condition}",name="{name}",namespace="{namespace}""#);
                writeln!(text, "{metric}{{{labels}}} {value}")?;
            }
        }
        Ok(())
    }
}

impl Metrics {
    /// A registry that shows the conditions of at most `service_cap` services.
    pub fn new(service_cap: usize) -> Result<Self, Error> {
        let registry = Registry::new();
        let build_info = gauges(&registry, names::BUILD_INFO, "The version that runs.", &["version"])?;
        build_info.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let notifications = counters(
            &registry,
            names::NOTIFICATIONS,
            "Messages about releases, by way and what became of them.",
            &["kind", "outcome"],
        )?;
        for kind in ["slack", "webhook", "email"] {
            for outcome in ["delivered", "failed", "unknown", "dropped"] {
                // From zero on: what appears with its first value is no increase to Prometheus.
                notifications.with_label_values(&[kind, outcome]);
            }
        }
        let told_to_leave = counters(
            &registry,
            names::PODS_TOLD_TO_LEAVE,
            "Pods that were told that their clients are to leave, for traffic has moved, by what became of it.",
            &["outcome"],
        )?;
        for outcome in ["leaving", "refused", "unanswered"] {
            told_to_leave.with_label_values(&[outcome]);
        }
        Ok(Self {
            notifications,
            told_to_leave,
            wave_services: gauges(
                &registry,
                names::WAVE_SERVICES,
                "Services that a change of an environment reaches in waves, by how they stand.",
                &["environment", "state"],
            )?,
            reconcile_duration: register(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::new(names::RECONCILE_DURATION, "How long a reconcile took.")
                        .buckets(RECONCILE_BUCKETS.into()),
                )?,
            )?,
            reconciles: counters(
                &registry,
                names::RECONCILES,
                "Reconciles by outcome and reason.",
                &["outcome", "reason"],
            )?,
            queue_depth: gauge(&registry, names::QUEUE_DEPTH, "Objects that wait to be reconciled.")?,
            services_dropped: gauge(
                &registry,
                names::SERVICES_DROPPED,
                "Services beyond the cap, whose conditions are not shown.",
            )?,
            leader: gauge(&registry, names::LEADER, "Whether this replica leads: 1 or 0.")?,
            drift_repairs: counters(
                &registry,
                names::DRIFT_REPAIRS,
                "Changes by others that were put back, by kind of object.",
                &["kind"],
            )?,
            kube_requests: counters(
                &registry,
                names::KUBE_REQUESTS,
                "Calls to the Kubernetes API; code `error` had no answer.",
                &["verb", "kind", "code"],
            )?,
            kube_request_duration: register(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        names::KUBE_REQUEST_DURATION,
                        "How long calls to the Kubernetes API took until the head of the answer.",
                    )
                    .buckets(KUBE_BUCKETS.into()),
                    &["verb", "kind"],
                )?,
            )?,
            service_cap,
            services: Mutex::default(),
            releases: Releases::new(&registry)?,
            registry,
        })
    }

    /// Counts one reconcile. `reason` is a constant, for the series must stay few.
    pub fn record_reconcile(&self, outcome: Outcome, reason: &'static str, took: Duration) {
        self.reconcile_duration.observe(took.as_secs_f64());
        self.reconciles.with_label_values(&[outcome.as_str(), reason]).inc();
    }

    /// Counts a change by others to an object of `kind` that was put back.
    pub fn record_drift_repair(&self, kind: &'static str) {
        self.drift_repairs.with_label_values(&[kind]).inc();
    }

    /// Counts one call to the Kubernetes API. `code` is a status or `error`.
    pub fn record_kube_request(&self, verb: &str, kind: &str, code: &str, took: Duration) {
        self.kube_requests.with_label_values(&[verb, kind, code]).inc();
        self.kube_request_duration.with_label_values(&[verb, kind]).observe(took.as_secs_f64());
    }

    /// Counts a message about a release: `delivered`, `failed`, `unknown` or `dropped`.
    pub fn record_notification(&self, kind: &'static str, outcome: &'static str) {
        self.notifications.with_label_values(&[kind, outcome]).inc();
    }

    /// Counts a pod that was told that its clients are to leave: `leaving`, `refused` or `unanswered`.
    pub fn record_told_to_leave(&self, outcome: &'static str) {
        self.told_to_leave.with_label_values(&[outcome]).inc();
    }

    /// Shows how far the waves of an environment are: five series for each.
    pub fn show_wave(&self, environment: &str, wave: &WaveStatus) {
        for (state, services) in by_state(wave) {
            self.wave_services.with_label_values(&[environment, state]).set(services.into());
        }
    }

    /// Removes the series of an environment that is gone.
    pub fn forget_wave(&self, environment: &str) {
        for (state, _) in by_state(&WaveStatus::default()) {
            // It may have had none.
            let _ = self.wave_services.remove_label_values(&[environment, state]);
        }
    }

    /// Sets how many objects wait.
    pub fn set_queue_depth(&self, waiting: usize) {
        self.queue_depth.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Sets whether this replica leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Shows the conditions of a service (`None`: unknown), and no others of it; a service beyond the cap is only
    /// counted.
    pub fn show_service<'a>(
        &self,
        namespace: &str,
        name: &str,
        conditions: impl IntoIterator<Item = (&'a str, Option<bool>)>,
    ) {
        let service = (namespace.to_owned(), name.to_owned());
        let mut services = self.services();
        if !services.shown.contains_key(&service) && services.shown.len() >= self.service_cap {
            services.dropped.insert(service);
            self.count_dropped(&services);
            return;
        }
        services.dropped.remove(&service);
        self.count_dropped(&services);
        let shown =
            conditions.into_iter().map(|(condition, value)| (condition.into(), value.map_or(-1, i8::from)));
        services.shown.insert(service, shown.collect());
    }

    /// Shows where the releases of a service stand, and counts what is new of them; nothing of one beyond the cap.
    pub fn show_release(&self, service: &Service<'_>, release: &RolloutStatus, news: &News) {
        let key = (service.namespace.to_owned(), service.name.to_owned());
        if self.services().shown.contains_key(&key) {
            self.releases.show(service, release, news);
        }
    }

    /// Removes the series of a deleted service.
    pub fn forget_service(&self, namespace: &str, name: &str) {
        let service = (namespace.to_owned(), name.to_owned());
        let mut services = self.services();
        services.shown.remove(&service);
        services.dropped.remove(&service);
        self.count_dropped(&services);
        self.releases.forget(namespace, name);
    }

    /// Everything in Prometheus' text format.
    pub fn encode(&self) -> Result<String, Error> {
        let mut text = TextEncoder::new().encode_to_string(&self.registry.gather())?;
        let failed = |error: std::fmt::Error| Error::Msg(error.to_string());
        self.services().encode(&mut text).map_err(failed)?;
        self.releases.encode(&mut text).map_err(failed)?;
        Ok(text)
    }

    fn services(&self) -> MutexGuard<'_, Services> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_dropped(&self, services: &Services) {
        self.services_dropped.set(i64::try_from(services.dropped.len()).unwrap_or(i64::MAX));
    }
}

fn by_state(wave: &WaveStatus) -> [(&'static str, i32); 5] {
    [
        ("done", wave.done),
        ("running", wave.running),
        ("waiting", wave.waiting),
        ("held", wave.held),
        ("failed", wave.failed),
    ]
}

pub(super) fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, Error> {
    register(registry, IntGauge::new(name, help)?)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: [(&str, Option<bool>); 2] = [("Ready", Some(true)), ("Progressing", None)];

    fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
        let text = metrics.encode().unwrap();
        text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
    }

    fn conditions(metrics: &Metrics) -> Vec<String> {
        lines(metrics, names::SERVICE_CONDITION)
    }

    #[test]
    fn a_condition_is_one_zero_or_minus_one() {
        let metrics = Metrics::new(SERVICE_CAP).unwrap();
        metrics.show_service(
            "shop",
            "cart",
            [("Ready", Some(true)), ("Accepted", Some(false)), ("Progressing", None)],
        );
        assert_eq!(
            conditions(&metrics),
            [
                r#"visiobook_service_condition{condition="Ready",name="cart",namespace="shop"} 1"#,
                r#"visiobook_service_condition{condition="Accepted",name="cart",namespace="shop"} 0"#,
                r#"visiobook_service_condition{condition="Progressing",name="cart",namespace="shop"} -1"#,
            ]
        );
    }

    #[test]
    fn a_condition_that_went_away_leaves_no_series() {
        let metrics = Metrics::new(SERVICE_CAP).unwrap();
        metrics.show_service("shop", "cart", READY);
        metrics.show_service("shop", "cart", [("Ready", Some(false))]);
        assert_eq!(
            conditions(&metrics),
            [r#"visiobook_service_condition{condition="Ready",name="cart",namespace="shop"} 0"#]
        );
    }

    #[test]
    fn a_deleted_service_leaves_no_series() {
        let metrics = Metrics::new(SERVICE_CAP).unwrap();
        metrics.show_service("shop", "cart", READY);
        metrics.forget_service("shop", "cart");
        assert_eq!(conditions(&metrics), [""; 0]);
    }

    #[test]
    fn services_beyond_the_cap_are_counted_and_shown_when_there_is_room() {
        let metrics = Metrics::new(2).unwrap();
        for name in ["a", "b", "c", "d", "c"] {
            metrics.show_service("shop", name, READY);
        }
        assert_eq!(conditions(&metrics).len(), 4);
        assert_eq!(lines(&metrics, names::SERVICES_DROPPED), ["visiobook_service_series_dropped 2"]);

        metrics.forget_service("shop", "d");
        metrics.forget_service("shop", "a");
        metrics.show_service("shop", "c", READY);
        assert_eq!(lines(&metrics, names::SERVICES_DROPPED), ["visiobook_service_series_dropped 0"]);
        assert!(conditions(&metrics).iter().any(|line| line.contains(r#"name="c""#)));
    }

    #[test]
    fn the_waves_of_an_environment_are_five_series_and_go_with_it() {
        let metrics = Metrics::new(SERVICE_CAP).unwrap();
        let wave = WaveStatus { done: 3, running: 2, waiting: 9, ..WaveStatus::default() };
        metrics.show_wave("production", &wave);
        metrics.show_wave("production", &wave);
        let shown = lines(&metrics, names::WAVE_SERVICES);
        assert_eq!(shown.len(), 5);
        assert!(shown.iter().any(|line| line.ends_with(r#"{environment="production",state="waiting"} 9"#)));
        metrics.forget_wave("production");
        metrics.forget_wave("production");
        assert_eq!(lines(&metrics, names::WAVE_SERVICES), [""; 0]);
    }

    #[test]
    fn churn_leaves_the_number_of_series_as_it_was() {
        let metrics = Metrics::new(10).unwrap();
        let empty = metrics.encode().unwrap().lines().count();
        for round in 0..1000 {
            metrics.show_service("shop", &format!("service-{round}"), READY);
            assert!(conditions(&metrics).len() <= 20);
            if round >= 5 {
                metrics.forget_service("shop", &format!("service-{}", round - 5));
            }
        }
        for round in 995..1000 {
            metrics.forget_service("shop", &format!("service-{round}"));
        }
        // `# HELP` and `# TYPE` go with the last series.
        assert_eq!(metrics.encode().unwrap().lines().count(), empty);
    }

    #[test]
    fn every_name_of_the_table_is_exported() {
        let metrics = Metrics::new(SERVICE_CAP).unwrap();
        metrics.record_reconcile(Outcome::Success, "Unchanged", Duration::from_millis(1));
        metrics.record_drift_repair("Deployment");
        metrics.record_kube_request("get", "deployments", "200", Duration::from_millis(3));
        metrics.set_queue_depth(3);
        metrics.set_leader(true);
        metrics.show_service("shop", "cart", READY);
        let text = metrics.encode().unwrap();
        for line in [
            "visiobook_reconcile_duration_seconds_count 1",
            r#"visiobook_reconcile_total{outcome="success",reason="Unchanged"} 1"#,
            "visiobook_queue_depth 3",
            "visiobook_leader 1",
            "visiobook_service_series_dropped 0",
            r#"visiobook_drift_repairs_total{kind="Deployment"} 1"#,
            r#"visiobook_kube_requests_total{code="200",kind="deployments",verb="get"} 1"#,
            r#"visiobook_kube_request_duration_seconds_count{kind="deployments",verb="get"} 1"#,
            concat!("visiobook_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
        }
        #[cfg(target_os = "linux")]
        assert!(text.contains("process_resident_memory_bytes"));
    }
}
