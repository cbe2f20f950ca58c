//! What the sidecar answers about the service: `/health`, `/ready`, `/alive`, `/metrics` and `/kpis` (D01-D05, D16,
//! E30). What they tell is gathered in the background: no answer waits for a dependency.

pub mod configuration;
pub mod exposition;
pub mod kpis;
pub mod liveness;
pub mod merge;
pub mod metrics;

mod body;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use jiff::Timestamp;
use prometheus::Registry;
use serde::Serialize;

use super::answer::{Answer, unix_seconds};
use super::dependencies::Dependencies;
use crate::contract::settings::{DependencyKind, Settings};
use crate::contract::{ALIVE_PATH, HEALTH_PATH, KPIS_PATH, METRICS_PATH, READY_PATH};
use body::{Alive, Checks, Found, Health, Ready};
use configuration::Configuration;
use kpis::{Collector, Kpis};
use liveness::Liveness;
use metrics::Metrics;

/// Between two looks at what is missing of the configuration.
const CONFIGURATION: Duration = Duration::from_secs(5);

/// Answers about the service. Share it in an `Arc`.
pub struct Report {
    service: String,
    version: String,
    started: Instant,
    draining: Arc<AtomicBool>,
    configuration: Configuration,
    dependencies: Dependencies,
    liveness: Liveness,
    metrics: Metrics,
    kpis: Arc<Collector>,
}

impl Report {
    /// A report on the service of `settings`. It counts into `registry` and shows it, takes requests from `kpis`, and
    /// is no longer ready once `draining` is set. `lookup` is the environment.
    pub fn new(
        settings: &Settings,
        registry: Registry,
        kpis: Arc<Collector>,
        draining: Arc<AtomicBool>,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Report, prometheus::Error> {
        Ok(Report {
            service: settings.service.clone(),
            version: settings.service_version.clone(),
            started: Instant::now(),
            draining,
            configuration: Configuration::new(settings, lookup),
            dependencies: Dependencies::new(settings, lookup),
            liveness: Liveness::new(&settings.application),
            metrics: Metrics::new(settings, registry)?,
            kpis,
        })
    }

    /// Look at application, dependencies and configuration for ever.
    pub async fn run(&self) {
        let liveness = self.liveness.run(|alive, stands_for| {
            self.kpis.record_liveness(alive, stands_for);
            self.metrics.set_alive(alive);
        });
        tokio::join!(liveness, self.dependencies.run(), self.metrics.run(), self.look_at_configuration());
    }

    /// The answer on the contract's own port. Only `/metrics` waits: for the application's, 2 s at most.
    pub async fn answer(&self, method: &Method, path: &str, correlation_id: &str) -> Response<Bytes> {
        if path == METRICS_PATH && is_read(method) {
            let text = self.metrics.text().await;
            return respond(method, StatusCode::OK, Metrics::content_type(), Bytes::from(text));
        }
        self.answer_at_once(method, path).unwrap_or_else(|| refuse(path, correlation_id))
    }

    /// The answer to what is the sidecar's on the port of traffic as well, where peers ask for health (D07, C31);
    /// `None`: it is the application's.
    pub fn answer_peer(&self, method: &Method, path: &str, correlation_id: &str) -> Option<Response<Bytes>> {
        match path {
            HEALTH_PATH | READY_PATH => {
                Some(self.answer_at_once(method, path).unwrap_or_else(|| refuse(path, correlation_id)))
            }
            // Figures are for those inside.
            METRICS_PATH | KPIS_PATH => Some(not_found(correlation_id)),
            _ => None,
        }
    }

    /// Whether the application answers.
    pub fn is_alive(&self) -> bool {
        self.liveness.state().error.is_none()
    }

    fn answer_at_once(&self, method: &Method, path: &str) -> Option<Response<Bytes>> {
        if !is_read(method) {
            return None;
        }
        match path {
            ALIVE_PATH => Some(self.alive(method)),
            HEALTH_PATH => Some(self.health(method)),
            READY_PATH => Some(self.ready(method)),
            KPIS_PATH => Some(respond_json(method, true, &self.kpis())),
            _ => None,
        }
    }

    /// What the kubelet asks: no dependency is looked at (L09).
    fn alive(&self, method: &Method) -> Response<Bytes> {
        let state = self.liveness.state();
        let status = if state.error.is_none() { "alive" } else { "not_alive" };
        let body =
            Alive { status, timestamp: now(), since: written(state.since), error: state.error.as_deref() };
        respond_json(method, state.error.is_none(), &body)
    }

    /// D01, D02, D08: databases and the application decide, other services are shown.
    fn health(&self, method: &Method) -> Response<Bytes> {
        let liveness = self.liveness.state();
        let mut errors: Vec<String> = liveness.error.iter().cloned().collect();
        let mut dependencies = body::Dependencies::default();
        for one in self.dependencies.iter() {
            let state = one.state();
            let found = if state.healthy { Found::Healthy } else { Found::Unhealthy };
            if one.kind() == DependencyKind::Service {
                dependencies.external_services.insert(one.name(), found);
                continue;
            }
            dependencies.stores.insert(one.name(), found);
            errors.extend(state.error.as_ref().map(|error| format!("{}: {error}", one.name())));
        }
        let is_healthy = errors.is_empty();
        let body = Health {
            status: if is_healthy { Found::Healthy } else { Found::Unhealthy },
            timestamp: now(),
            service: &self.service,
            version: &self.version,
            uptime: self.started.elapsed().as_secs_f64(),
            dependencies,
            error: (!is_healthy).then(|| errors.join("; ")),
        };
        respond_json(method, is_healthy, &body)
    }

    /// D03, D04, and 503 as soon as the pod is leaving (H03).
    fn ready(&self, method: &Method) -> Response<Bytes> {
        let not_ready =
            |checks, error| Ready { status: "not_ready", timestamp: now(), checks, error: Some(error) };
        if self.draining.load(Ordering::Relaxed) {
            return respond_json(method, false, &not_ready(None, "draining".to_owned()));
        }
        let migrations = self.dependencies.migrated();
        let configuration = self.configuration.complete();
        let failing: Vec<String> = self
            .dependencies
            .iter()
            .filter(|one| one.critical())
            .filter_map(|one| Some(format!("{}: {}", one.name(), one.state().error.as_ref()?)))
            .collect();
        let checks = Checks {
            database_migrations: migrations.is_ok(),
            external_dependencies: failing.is_empty(),
            configuration: configuration.is_ok(),
        };
        let errors: Vec<String> =
            [self.liveness.state().error.clone(), migrations.err(), configuration.err()]
                .into_iter()
                .flatten()
                .chain(failing)
                .collect();
        if !errors.is_empty() {
            return respond_json(method, false, &not_ready(Some(checks), errors.join("; ")));
        }
        respond_json(
            method,
            true,
            &Ready { status: "ready", timestamp: now(), checks: Some(checks), error: None },
        )
    }

    fn kpis(&self) -> Kpis {
        Kpis {
            cpu_usage: self.metrics.cpu_usage(),
            memory_usage: self.metrics.memory_usage(),
            disk_usage: self.metrics.disk_usage(),
            business_metrics: self.metrics.business(),
            ..self.kpis.kpis()
        }
    }

    async fn look_at_configuration(&self) {
        while self.configuration.complete().is_err() {
            tokio::time::sleep(CONFIGURATION).await;
            self.configuration.look();
        }
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// RFC 3339 in UTC (D14, X56).
fn now() -> String {
    written(Timestamp::now())
}

fn written(time: Timestamp) -> String {
    format!("{time:.3}")
}

fn respond_json(method: &Method, is_well: bool, body: &impl Serialize) -> Response<Bytes> {
    let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_vec(body).unwrap_or_default();
    respond(method, status, HeaderValue::from_static("application/json"), Bytes::from(body))
}

fn respond(method: &Method, status: StatusCode, kind: HeaderValue, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if method != Method::HEAD {
        *response.body_mut() = body;
    }
    response
}

fn refuse(path: &str, correlation_id: &str) -> Response<Bytes> {
    if !matches!(path, HEALTH_PATH | READY_PATH | ALIVE_PATH | METRICS_PATH | KPIS_PATH) {
        return not_found(correlation_id);
    }
    Answer::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "Only GET and HEAD are answered here")
        .with(ALLOW, HeaderValue::from_static("GET, HEAD"))
        .into_response(correlation_id, unix_seconds(), false)
}

fn not_found(correlation_id: &str) -> Response<Bytes> {
    Answer::new(StatusCode::NOT_FOUND, "RESOURCE_NOT_FOUND", "Not found").into_response(
        correlation_id,
        unix_seconds(),
        false,
    )
}

#[cfg(test)]
mod tests;
