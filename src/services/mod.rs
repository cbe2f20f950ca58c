//! The embedded domain services. They know no Kubernetes: `visiobook service NAME` runs one on any machine.
//!
//! | file | idea |
//! |---|---|
//! | `configuration` | the environment's variables, all that is wrong with them at once |
//! | `migrations` | a service's schema, brought up by ten at once |
//! | `database` | connections, transactions, what is worth another try |
//! | `cache` | entities in Redis, which may be away |
//! | `outbox` | events that are told after the change they are of, never without it |
//! | `tokens` | who calls |
//! | `failure`, `body`, `parameters` | what is wrong with a request, and how that is told |
//! | `page` | lists: pages, sort, filter, cursors |
//! | `openapi` | the document and the page of documentation |
//! | `schema`, `registration` | what a service tells the registry of its database |
//! | `report` | health, readiness, metrics, KPIs |
//! | `process` | the HTTP server around it all |
//!
//! A service itself is a folder: `users`, `registry`. How to add one: `docs/adding-a-service.md`.

pub mod body;
pub mod cache;
pub mod configuration;
pub mod database;
pub mod failure;
pub mod measures;
pub mod migrations;
pub mod openapi;
pub mod outbox;
pub mod page;
pub mod parameters;
pub mod process;
pub mod registration;
pub mod registry;
pub mod report;
pub mod schema;
pub mod tokens;
pub mod users;

use std::sync::Arc;

use futures::future::BoxFuture;
use utoipa_axum::router::OpenApiRouter;

use configuration::Configuration;
use database::Database;
use measures::Measures;
use migrations::Step;

/// What a service is made of.
pub struct Service {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Its schema, step by step.
    pub migrations: &'static [Step],
    /// Where is recorded which of them are applied.
    pub migration_table: &'static str,
    /// Puts it together.
    pub start: fn(&Parts) -> Result<Running, String>,
}

/// What every service is given.
pub struct Parts {
    /// From the environment.
    pub configuration: Arc<Configuration>,
    /// Its database.
    pub database: Arc<Database>,
    /// Its metrics.
    pub measures: Arc<Measures>,
}

/// A service that is put together.
pub struct Running {
    /// Its routes, with their documentation.
    pub routes: OpenApiRouter,
    /// What it does beside answering, for ever.
    pub background: BoxFuture<'static, ()>,
    /// Its KPIs now: name in `/kpis` and value (E36).
    pub kpis: Box<dyn Fn() -> Vec<(&'static str, f64)> + Send + Sync>,
}

/// Every service there is.
pub const SERVICES: [&Service; 2] = [&users::SERVICE, &registry::SERVICE];

/// The service of a name.
pub fn find(name: &str) -> Option<&'static Service> {
    SERVICES.into_iter().find(|service| service.name == name)
}
