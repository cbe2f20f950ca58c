//! What a service says of itself (D01-D05, E30), beside a sidecar or without one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::configuration::Configuration;
use super::measures::Measures;
use super::{Parts, Running, Service, migrations};
use crate::sidecar::dependencies::Dependencies;
use crate::sidecar::report::kpis::Collector;

/// How long the database has to tell what is applied: one that froze must not hold readiness once it is back.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a service is.
pub struct Report {
    started: Instant,
    configuration: Arc<Configuration>,
    dependencies: Dependencies,
    measures: Arc<Measures>,
    requests: Collector,
    /// Why the schema is not there yet; none: it is.
    unmigrated: arc_swap::ArcSwap<Option<String>>,
    kpis: Box<dyn Fn() -> Vec<(&'static str, f64)> + Send + Sync>,
}

impl Report {
    /// A report on a service that is put together. `lookup` is the environment.
    pub fn new(parts: &Parts, running: &mut Running, lookup: &dyn Fn(&str) -> Option<String>) -> Report {
        let kpis = std::mem::replace(&mut running.kpis, Box::new(Vec::new));
        Report {
            started: Instant::now(),
            configuration: parts.configuration.clone(),
            dependencies: Dependencies::new(&parts.configuration.settings, lookup),
            measures: parts.measures.clone(),
            requests: Collector::default(),
            unmigrated: arc_swap::ArcSwap::from_pointee(Some("not looked at yet".into())),
            kpis,
        }
    }

    /// Look at what it depends on, for ever.
    pub async fn run(&self, parts: &Parts, service: &Service) {
        let migrations = async {
            // Once it is there it stays: what is applied later is the next release's.
            while self.unmigrated.load().is_some() {
                let missing = async {
                    let mut connection = parts.database.pool().acquire().await?;
                    migrations::missing(&mut connection, service.migration_table, service.migrations).await
                };
                let missing = look(missing, PATIENCE).await.map(|error| self.configuration.redact(&error));
                if let Some(missing) = &missing
                    && self.unmigrated.load().as_deref() != Some(missing)
                {
                    tracing::warn!(missing, "The schema is not there yet");
                }
                let settled = missing.is_none();
                self.unmigrated.store(Arc::new(missing));
                if !settled {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        };
        tokio::join!(self.dependencies.run(), migrations);
    }

    /// Count a request.
    pub fn record(&self, milliseconds: f64, status: u16) {
        self.requests.record(milliseconds, status);
    }

    /// `/health` (D01, D08): whether its stores answer.
    pub fn health(&self) -> (bool, Value) {
        let mut found = Map::new();
        let mut errors = Vec::new();
        for one in self.dependencies.iter() {
            let state = one.state();
            found.insert(one.name().into(), if state.healthy { "healthy" } else { "unhealthy" }.into());
            errors.extend(state.error.as_ref().map(|error| format!("{}: {error}", one.name())));
        }
        found.insert("external_services".into(), json!({}));
        let mut body = json!({
            "status": if errors.is_empty() { "healthy" } else { "unhealthy" },
            "timestamp": now(),
            "service": self.configuration.service,
            "version": self.configuration.version,
            "uptime": self.started.elapsed().as_secs_f64(),
            "dependencies": found,
        });
        if !errors.is_empty() {
            body["error"] = errors.join("; ").into();
        }
        (errors.is_empty(), body)
    }

    /// `/ready` (D03, D11): whether it can work.
    pub fn ready(&self) -> (bool, Value) {
        let unmigrated = self.unmigrated.load();
        let failing: Vec<String> = self
            .dependencies
            .iter()
            .filter(|one| one.critical())
            .filter_map(|one| Some(format!("{}: {}", one.name(), one.state().error.as_ref()?)))
            .collect();
        let is_ready = unmigrated.is_none() && failing.is_empty();
        let mut body = json!({
            "status": if is_ready { "ready" } else { "not_ready" },
            "timestamp": now(),
            "checks": {
                "database_migrations": unmigrated.is_none(),
                "external_dependencies": failing.is_empty(),
                "configuration": true,
            },
        });
        if !is_ready {
            let errors: Vec<String> = unmigrated
                .as_ref()
                .iter()
                .map(|reason| format!("migrations: {reason}"))
                .chain(failing)
                .collect();
            body["error"] = errors.join("; ").into();
        }
        (is_ready, body)
    }

    /// `/metrics` (D05).
    pub fn metrics(&self) -> String {
        self.measures.text()
    }

    /// `/kpis` (E30, E36).
    pub fn kpis(&self) -> Value {
        let mut kpis = self.requests.kpis();
        kpis.business_metrics =
            (self.kpis)().into_iter().map(|(name, value)| (name.to_owned(), Some(value))).collect();
        serde_json::to_value(kpis).unwrap_or_default()
    }
}

/// Why the schema is not there, as far as can be told in time.
async fn look(
    missing: impl Future<Output = Result<Option<String>, sqlx::Error>>,
    patience: Duration,
) -> Option<String> {
    match tokio::time::timeout(patience, missing).await {
        Ok(found) => found.unwrap_or_else(|error| Some(error.to_string())),
        Err(_) => Some(format!("no answer within {} s", patience.as_secs())),
    }
}

fn now() -> String {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_that_says_nothing_holds_no_look_for_ever() {
        let silent = look(std::future::pending(), Duration::from_millis(1)).await;
        assert!(silent.is_some_and(|told| told.starts_with("no answer within")));
        assert_eq!(look(async { Ok(None) }, PATIENCE).await, None);
        let failed = look(async { Err(sqlx::Error::PoolTimedOut) }, PATIENCE).await;
        assert_eq!(failed, Some(sqlx::Error::PoolTimedOut.to_string()));
    }
}
