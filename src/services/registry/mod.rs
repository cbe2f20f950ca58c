//! The registry of schemas (F09): what every service's database looks like, since when, and whether it is as the
//! guidelines want it. It is told by services, and asked by nobody on the way to ready (X43).

mod callers;
mod difference;
mod kpis;
mod lint;
mod routes;
pub mod statements;
mod store;
mod types;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use super::cache::Cache;
use super::measures::Measures;
use super::migrations::Step;
use super::outbox::Outbox;
use super::{Parts, Running, Service};
use callers::Callers;
use kpis::Kpis;
use store::Store;

/// The registry of schemas.
pub const SERVICE: Service = Service {
    name: "database",
    about: "Database: the registry of every service's schema.",
    migrations: &[Step {
        version: 1,
        about: "services, schemas, events",
        sql: include_str!("migrations/0001_registry.sql"),
    }],
    migration_table: "_database_migrations",
    start,
};

/// Between two counts of services.
const COUNT: Duration = Duration::from_secs(30);

/// The registry, put together.
pub struct Registry {
    store: Store,
    callers: Callers,
    kpis: Kpis,
    measures: Arc<Measures>,
    /// Services that may tell, as `name` or `namespace/name`; none: all that have a token.
    known: Vec<String>,
}

fn start(parts: &Parts) -> Result<Running, String> {
    let told = |error: prometheus::Error| error.to_string();
    let configuration = &parts.configuration;
    let cache = Arc::new(Cache::new(configuration.redis.as_ref(), parts.measures.registry())?);
    let outbox = Arc::new(Outbox::new(&configuration.service, cache, &parts.measures).map_err(told)?);
    let registry = Arc::new(Registry {
        store: Store::new(parts.database.clone(), outbox.clone()),
        callers: Callers::new(configuration)?,
        kpis: Kpis::new(parts.measures.registry()).map_err(told)?,
        measures: parts.measures.clone(),
        known: configuration.registry_services.clone(),
    });
    let (of_kpis, of_background, database) = (registry.clone(), registry.clone(), parts.database.clone());
    Ok(Running {
        routes: routes::routes().with_state(registry),
        background: async move {
            tokio::join!(outbox.run(&database), of_background.callers.follow(), of_background.count());
        }
        .boxed(),
        kpis: Box::new(move || of_kpis.kpis.values()),
    })
}

impl Registry {
    /// Whether a service may tell its schema.
    fn knows(&self, namespace: &str, name: &str) -> bool {
        self.known.is_empty()
            || self.known.iter().any(|known| match known.split_once('/') {
                Some(known) => known == (namespace, name),
                None => known == name,
            })
    }

    async fn count(&self) {
        loop {
            if let Ok(services) = self.store.count().await {
                self.kpis.set_services(services);
            }
            tokio::time::sleep(COUNT).await;
        }
    }
}
