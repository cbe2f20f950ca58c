//! `/metrics`: the sidecar's own and the application's as one text, and what both tell of resources (D05, G01, E09,
//! E15).

mod usage;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{HeaderMap, StatusCode};
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{Gauge, GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};

use super::exposition::Kind;
use super::merge::{self, Dropped};
use crate::contract::METRICS_TYPE;
use crate::contract::settings::{Mode, Settings};
use crate::sidecar::fetch::{Error, Fetch};
use usage::{Observed, Usage};

/// Bytes of the application's text at most.
const MOST_BYTES: usize = 4 << 20;
/// What the application has to answer in.
const WITHIN: Duration = Duration::from_secs(2);
/// Between two looks at the application's metrics, if nobody scrapes (E09).
const INTERVAL: Duration = Duration::from_secs(30);
/// The same after one without any.
const FAILING: Duration = Duration::from_secs(60);
/// The volume whose room is told (E15).
const VOLUME: &str = "/tmp";
/// Families that only a proxy fills, from its first request on: an application's of these names is dropped before that
/// too, or its series would break off there.
const PROXY_FAMILIES: [(&str, Kind); 4] = [
    ("http_request_duration_seconds", Kind::Histogram),
    ("http_requests_total", Kind::Counter),
    ("http_request_errors_total", Kind::Counter),
    ("http_requests_in_flight", Kind::Gauge),
];

/// Writes `/metrics`.
pub struct Metrics {
    registry: Registry,
    fetch: Fetch,
    /// Where the application shows its own.
    url: Option<String>,
    reserved: HashSet<String>,
    dropped: IntCounterVec,
    cpu: GaugeVec,
    memory: GaugeVec,
    alive: GaugeVec,
    disk_free: Gauge,
    disk_total: Gauge,
    /// Business KPIs: name to metric.
    kpis: BTreeMap<String, String>,
    usage: Mutex<Usage>,
    /// The last answer, with the time it was asked for: those who waited meanwhile share it.
    last: tokio::sync::Mutex<Option<(Instant, Option<Bytes>)>>,
}

impl Metrics {
    /// Adds what it counts itself to `registry`.
    pub fn new(settings: &Settings, registry: Registry) -> Result<Metrics, prometheus::Error> {
        let application = &settings.application;
        let port = application.metrics_port.unwrap_or(application.port);
        let shows = application.metrics_port.is_some() || !application.worker;
        let path = application.metrics_path.as_ref().filter(|_| port != settings.contract_port && shows);
        let protocol = if port == application.port { application.protocol } else { Default::default() };
        let of_proxy = PROXY_FAMILIES.iter().filter(|_| settings.mode == Mode::Proxy);
        registry.register(Box::new(ProcessCollector::new(own_pid(), "visiobook_sidecar")))?;
        Ok(Metrics {
            fetch: Fetch::speaking(protocol).at_most(MOST_BYTES),
            url: path.map(|path| format!("http://127.0.0.1:{port}/{}", path.trim_start_matches('/'))),
            reserved: of_proxy.flat_map(|(name, kind)| merge::names(name, *kind)).collect(),
            dropped: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "visiobook_sidecar_metrics_dropped_total",
                        "What of the application's metrics was left out, by reason: collision (a family), malformed and \
                         duplicate (a line), too_large and unanswered (all of them).",
                    ),
                    &["reason"],
                )?,
            )?,
            cpu: unset(
                &registry,
                "system_cpu_usage_percent",
                "CPU that the application uses, in per cent of a core.",
            )?,
            memory: unset(&registry, "system_memory_usage_bytes", "Memory that the application uses.")?,
            alive: unset(
                &registry,
                "visiobook_application_up",
                "Whether the application answers, as /alive says it: 1 or 0.",
            )?,
            disk_free: register(&registry, Gauge::new("disk_free_bytes", "Bytes left in /tmp.")?)?,
            disk_total: register(&registry, Gauge::new("disk_total_bytes", "Bytes that /tmp can hold.")?)?,
            kpis: settings.kpis.clone(),
            usage: Mutex::new(Usage::new(settings)),
            last: tokio::sync::Mutex::default(),
            registry,
        })
    }

    /// The content type of the text.
    pub fn content_type() -> HeaderValue {
        HeaderValue::from_static(METRICS_TYPE)
    }

    /// All metrics, as every scraper reads them. Waits for the application's: 2 s, and those of one scrape before.
    pub async fn text(&self) -> String {
        let theirs = self.scrape().await;
        self.measure_disk();
        let families = self.registry.gather();
        let mut text = TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
            tracing::error!(%error, "the sidecar's metrics cannot be written");
            String::new()
        });
        if let Some(theirs) = theirs {
            let merged = merge::fit(&theirs, &self.taken(&families));
            // The next scrape tells.
            self.count(merged.dropped);
            text.push_str(&merged.text);
        }
        text
    }

    /// Look at the application's metrics for ever, for KPIs are asked for even where nobody scrapes.
    pub async fn run(&self) {
        if self.url.is_none() {
            return;
        }
        loop {
            let pause = if self.scrape().await.is_some() { INTERVAL } else { FAILING };
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether the application answers.
    pub fn set_alive(&self, alive: bool) {
        self.alive.with_label_values::<&str>(&[]).set(f64::from(u8::from(alive)));
    }

    /// Per cent of a core that the application used last, if it tells.
    pub fn cpu_usage(&self) -> Option<f64> {
        self.usage().cpu
    }

    /// Per cent of its memory limit that the application uses, if both are known.
    pub fn memory_usage(&self) -> Option<f64> {
        self.usage().memory_percent()
    }

    /// Per cent of the volume that is used.
    pub fn disk_usage(&self) -> Option<f64> {
        let (free, total) = disk()?;
        (total > 0.0).then(|| (1.0 - free / total) * 100.0)
    }

    /// The business KPIs as the application showed them last.
    pub fn business(&self) -> BTreeMap<String, Option<f64>> {
        let usage = self.usage();
        self.kpis.iter().map(|(name, metric)| (name.clone(), usage.observed.value(metric))).collect()
    }

    /// The application's text. Of those who ask at a time one fetches it, so that they cost no more than one.
    async fn scrape(&self) -> Option<Bytes> {
        let url = self.url.as_ref()?;
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((since, answer)) = last.as_ref().filter(|(since, _)| *since >= asked) {
            tracing::trace!(?since, "shared a scrape");
            return answer.clone();
        }
        let started = Instant::now();
        let answer = self.fetch(url).await;
        self.observe(answer.as_deref());
        *last = Some((started, answer.clone()));
        answer
    }

    async fn fetch(&self, url: &str) -> Option<Bytes> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/plain;version=0.0.4;q=1,*/*;q=0.1"));
        match self.fetch.get(url, headers, WITHIN).await {
            Ok((StatusCode::OK, body)) => Some(body),
            // It has none, or none of this path.
            Ok(_) => None,
            Err(error) => {
                let reason = if matches!(error, Error::TooLarge(_)) { "too_large" } else { "unanswered" };
                self.dropped.with_label_values(&[reason]).inc();
                tracing::debug!(url, %error, "the application's metrics are left out");
                None
            }
        }
    }

    /// Keep what KPIs and E09 need. What the application no longer tells is no longer told.
    fn observe(&self, text: Option<&[u8]>) {
        let mut usage = self.usage();
        let observed = text.map(|text| Observed::read(text, usage.wanted())).unwrap_or_default();
        usage.observe(observed, Instant::now());
        if let Some(percent) = usage.warn_of_memory() {
            tracing::warn!(memory_percent = percent.round(), "the application uses much of its memory limit");
        }
        for (gauge, value, own) in
            [(&self.cpu, usage.cpu, usage::SYSTEM_CPU), (&self.memory, usage.memory, usage::SYSTEM_MEMORY)]
        {
            match value {
                // An application that follows the guidelines tells it itself.
                Some(value) if !usage.observed.has(own) => gauge.with_label_values::<&str>(&[]).set(value),
                _ => gauge.reset(),
            }
        }
    }

    fn measure_disk(&self) {
        if let Some((free, total)) = disk() {
            self.disk_free.set(free);
            self.disk_total.set(total);
        }
    }

    fn taken(&self, families: &[MetricFamily]) -> HashSet<String> {
        let ours =
            families.iter().flat_map(|family| merge::names(family.name(), kind(family.get_field_type())));
        // Counted from the first drop on: its name is taken from the start.
        let dropped = self.dropped.desc().into_iter().map(|desc| desc.fq_name.clone());
        self.reserved.iter().cloned().chain(ours).chain(dropped).collect()
    }

    fn count(&self, dropped: Dropped) {
        for (reason, count) in [
            ("collision", dropped.collisions),
            ("malformed", dropped.malformed),
            ("duplicate", dropped.duplicates),
        ] {
            if count > 0 {
                self.dropped.with_label_values(&[reason]).inc_by(count);
            }
        }
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kind(of: MetricType) -> Kind {
    match of {
        MetricType::COUNTER => Kind::Counter,
        MetricType::GAUGE => Kind::Gauge,
        MetricType::HISTOGRAM => Kind::Histogram,
        MetricType::SUMMARY => Kind::Summary,
        MetricType::UNTYPED => Kind::Untyped,
    }
}

/// Free and total bytes of the volume, as an application without privileges has them.
fn disk() -> Option<(f64, f64)> {
    let volume = rustix::fs::statvfs(VOLUME).ok()?;
    let bytes = |blocks: u64| blocks as f64 * volume.f_frsize as f64;
    Some((bytes(volume.f_bavail), bytes(volume.f_blocks)))
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or_default()
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// A gauge that is not shown until it has a value.
fn unset(registry: &Registry, name: &str, help: &str) -> Result<GaugeVec, prometheus::Error> {
    register(registry, GaugeVec::new(Opts::new(name, help), &[])?)
}

#[cfg(test)]
mod tests;
