//! Users: who they are, what they may, and that they are logged in (F01-F07).

mod kpis;
mod password;
mod routes;
mod session_routes;
mod sessions;
pub mod statements;
mod store;
mod types;
mod validation;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::HeaderMap;
use uuid::Uuid;

use super::cache::Cache;
use super::configuration::Configuration;
use super::database::Database;
use super::failure::Failure;
use super::measures::Measures;
use super::migrations::Step;
use super::outbox::Outbox;
use super::tokens::Tokens;
use super::{Parts, Running, Service};
use crate::sidecar::auth::INVALID;
use kpis::Kpis;
use password::Passwords;
use sessions::{Caller, RefreshKeys};
use store::{Actor, Edition, Store};
use types::Role;

/// The service of users.
pub const SERVICE: Service = Service {
    name: "users",
    about: "Users: registration, sessions, profiles, rights.",
    migrations: &[Step {
        version: 1,
        about: "users, profiles, sessions, changes, events",
        sql: include_str!("migrations/0001_users.sql"),
    }],
    migration_table: "_users_migrations",
    start,
};

/// What is told who is no admin.
const ADMINS_ONLY: &str = "Only an admin may do this";
/// Between two looks for what has ended.
const SWEEP: Duration = Duration::from_secs(600);
/// Between two counts of active users.
const COUNT: Duration = Duration::from_secs(30);

/// The service, put together.
pub struct Users {
    store: Store,
    tokens: Tokens,
    refresh_keys: RefreshKeys,
    passwords: Passwords,
    kpis: Kpis,
    measures: Arc<Measures>,
    /// Failed logins of an account in a quarter of an hour; 0: any number.
    login_attempts: u32,
}

fn start(parts: &Parts) -> Result<Running, String> {
    let told = |error: prometheus::Error| error.to_string();
    let configuration = &parts.configuration;
    let cache = Arc::new(Cache::new(configuration.redis.as_ref(), parts.measures.registry())?);
    let outbox = Arc::new(Outbox::new(&configuration.service, cache.clone(), &parts.measures).map_err(told)?);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let users = Arc::new(Users {
        store: Store::new(parts.database.clone(), outbox.clone(), cache),
        tokens: Tokens::new(&configuration.jwt_secrets),
        refresh_keys: RefreshKeys::new(&configuration.jwt_secrets),
        passwords: Passwords::new(configuration.bcrypt_rounds, cores)?,
        kpis: Kpis::new(parts.measures.registry()).map_err(told)?,
        measures: parts.measures.clone(),
        login_attempts: configuration.login_attempts,
    });
    let (of_kpis, of_background, database) = (users.clone(), users.clone(), parts.database.clone());
    Ok(Running {
        routes: routes::routes().merge(session_routes::routes()).with_state(users),
        background: async move {
            tokio::join!(outbox.run(&database), of_background.count(), of_background.sweep());
        }
        .boxed(),
        kpis: Box::new(move || of_kpis.kpis.values()),
    })
}

impl Users {
    /// Who calls, and the state of the user that the request is `about`; else 401.
    async fn admit(
        &self,
        headers: &HeaderMap,
        about: Option<Uuid>,
    ) -> Result<(Caller, Option<Edition>), Failure> {
        let claims = self.tokens.verify(headers)?;
        let about = about.unwrap_or(claims.user_id);
        let admitted = self.store.admit(claims.user_id, claims.sid, Some(about)).await;
        admitted
            .map_err(|error| Failure::of_database("Failed to check the session", error))?
            .ok_or_else(|| Failure::unauthorized(INVALID))
    }

    async fn count(&self) {
        loop {
            if let Ok(active) = self.store.active_users().await {
                self.kpis.set_active(active);
            }
            tokio::time::sleep(COUNT).await;
        }
    }

    async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            // What is left is found the next time.
            let _ = self.store.sweep().await;
        }
    }
}

impl Caller {
    /// Whether it may see everybody.
    fn sees_all(&self) -> bool {
        matches!(self.role, Role::Moderator | Role::Admin)
    }

    /// Whether it may change everybody.
    fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    fn as_actor(&self, correlation_id: &str) -> Actor {
        Actor { id: Some(self.id), correlation_id: correlation_id.to_owned() }
    }
}

/// Make the user of an address an admin, a moderator or a user again: how the first admin comes to be. Whoever runs the
/// service sends the event of it.
pub async fn grant(configuration: &Configuration, email: &str, role: &str) -> Result<bool, String> {
    let told = |error: prometheus::Error| error.to_string();
    let measures = Arc::new(Measures::new().map_err(told)?);
    let cache = Arc::new(Cache::new(configuration.redis.as_ref(), measures.registry())?);
    let outbox = Outbox::new(&configuration.service, cache.clone(), &measures).map_err(told)?;
    let database = Database::new(configuration, measures);
    let store = Store::new(database.into(), outbox.into(), cache);
    store.grant(email, role).await.map_err(|error| error.to_string())
}
