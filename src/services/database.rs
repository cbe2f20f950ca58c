//! A service's database: connections (DL14), what is worth another try (DL26), how long it took (E05).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Postgres, Transaction};

use super::configuration::Configuration;
use super::measures::Measures;

/// Tries of one piece of work (DL26).
const TRIES: u32 = 3;
/// What is waited before the second try, and twice that before the third (DL26).
const PAUSE: Duration = Duration::from_millis(100);
/// How long a request waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How long one try may take: a frozen server must not hold requests for ever (H12).
const PATIENCE: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is asked whether it still leads to the primary.
const DOUBTFUL: Duration = Duration::from_secs(1);
/// Connections of which none has answered for so long are given up. A network that loses what is sent tells nobody: each
/// that was in use would keep its place until TCP gives up, a quarter of an hour later.
const GIVEN_UP: Duration = Duration::from_secs(10);
/// Seconds of waiting for connections, in one such time, that deserve a warning (E19).
const NOTICED: f64 = 1.0;
/// Between two looks at the pool (E19).
const LOOK: Duration = Duration::from_secs(30);

/// Why work with the database came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused, or cannot be reached; nothing was changed.
    #[error("{0}")]
    Sql(#[from] sqlx::Error),
    /// The connection broke while a change was being confirmed: it may have happened.
    #[error("the outcome is unknown: {0}")]
    Commit(sqlx::Error),
    /// It may not be done, as the work itself has found.
    #[error("{0}")]
    Forbidden(&'static str),
    /// No answer in time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
}

impl Error {
    /// The index that a row would have been in twice (DL06).
    pub fn duplicate(&self) -> Option<&str> {
        match self {
            Error::Sql(sqlx::Error::Database(error)) if error.is_unique_violation() => error.constraint(),
            _ => None,
        }
    }

    /// Whether it is what is answered, and no failure.
    fn is_answer(&self) -> bool {
        self.duplicate().is_some() || matches!(self, Error::Forbidden(_))
    }

    /// Whether the same work may succeed a moment later, and has certainly not been done (DL26).
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Sql(error) => is_transient(error),
            // Answered by the server: rolled back for certain.
            Error::Commit(sqlx::Error::Database(error)) => is_conflict(error.code().as_deref()),
            Error::Commit(_) | Error::Silent | Error::Forbidden(_) => false,
        }
    }

    /// Whether the database is at fault rather than the request.
    pub fn is_outage(&self) -> bool {
        match self {
            Error::Sql(sqlx::Error::Database(error)) => is_of_the_server(error.code().as_deref()),
            Error::Sql(error) => is_broken(error),
            Error::Commit(_) | Error::Silent => true,
            Error::Forbidden(_) => false,
        }
    }

    /// The type of it, for metrics (E06).
    fn kind(&self) -> &'static str {
        match self {
            Error::Sql(sqlx::Error::Database(error)) if error.is_unique_violation() => "UniqueViolation",
            Error::Sql(sqlx::Error::Database(error)) if is_conflict(error.code().as_deref()) => "Conflict",
            Error::Sql(sqlx::Error::Database(_)) => "Database",
            Error::Sql(sqlx::Error::PoolTimedOut) => "PoolTimedOut",
            Error::Sql(_) => "Connection",
            Error::Commit(_) => "Commit",
            Error::Silent => "Timeout",
            Error::Forbidden(_) => "Forbidden",
        }
    }
}

/// Two transactions that were in each other's way.
fn is_conflict(code: Option<&str>) -> bool {
    matches!(code, Some("40001" | "40P01" | "55P03"))
}

/// Starting, stopping, out of connections or space, a standby: nothing that a request did.
fn is_of_the_server(code: Option<&str>) -> bool {
    let Some(code) = code else { return false };
    matches!(code, "25006" | "57P01" | "57P02" | "57P03" | "57P05" | "57014" | "28000" | "28P01" | "3D000")
        || ["53", "08", "58", "XX"].iter().any(|class| code.starts_with(class))
        || is_conflict(Some(code))
}

fn is_broken(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_)
    )
}

fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        // A full pool is no reason to ask for more; where one was given up there is another.
        sqlx::Error::PoolTimedOut => false,
        sqlx::Error::Database(error) => {
            let code = error.code();
            is_conflict(code.as_deref())
                || matches!(code.as_deref(), Some("25006" | "57P01" | "57P02" | "57P03" | "53300"))
        }
        error => is_broken(error),
    }
}

/// The database of a service.
pub struct Database {
    options: PgPoolOptions,
    client: PgConnectOptions,
    /// How many stay open unused.
    kept: u32,
    pool: Arc<Mutex<PgPool>>,
    /// Since when nothing has been answered, and when that was seen last.
    silent: Mutex<Option<(Instant, Instant)>>,
    measures: Arc<Measures>,
}

impl Database {
    /// A database that is connected to once it is needed: a service starts without it, and says so.
    pub fn new(configuration: &Configuration, measures: Arc<Measures>) -> Database {
        let limits = &configuration.pool;
        let client = configuration.database.client.clone();
        let client = client.application_name(&configuration.service).options([
            ("statement_timeout", "5s"),
            ("lock_timeout", "2s"),
            ("idle_in_transaction_session_timeout", "10s"),
        ]);
        let mut options = PgPoolOptions::new()
            .max_connections(limits.most)
            .min_connections(0)
            .max_lifetime(limits.lifetime)
            .idle_timeout(limits.idle)
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .before_acquire(|connection, seen| {
                Box::pin(async move {
                    // One that is in use is known to work; another may lead to a server that is no primary any more.
                    Ok(seen.idle_for < DOUBTFUL || is_primary(connection).await)
                })
            })
            .after_connect(|connection, _| {
                Box::pin(async move {
                    match is_primary(connection).await {
                        true => Ok(()),
                        false => Err(sqlx::Error::Protocol("the server is no primary".into())),
                    }
                })
            });
        measures.connections_most.set(i64::from(limits.most));
        let pool = Arc::new_cyclic(|pool| {
            options = keeping(options.clone(), limits.kept, pool.clone());
            Mutex::new(options.clone().connect_lazy_with(client.clone()))
        });
        Database { options, client, kept: limits.kept, pool, silent: Mutex::default(), measures }
    }

    /// A transaction. Dropped, it is as if it had never been.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        let waits = Instant::now();
        let pool = self.pool();
        // Cut off in the middle, the driver would not know that the server has begun one.
        let begun = tokio::spawn(async move { pool.begin().await }).await;
        let connection = begun.unwrap_or(Err(sqlx::Error::WorkerCrashed));
        self.measures.connections_waited.add(waits.elapsed().as_secs_f64());
        Ok(connection?)
    }

    /// A transaction that reads, all of it of one moment: a total and the entries that it counts.
    pub async fn begin_snapshot(&self) -> Result<Transaction<'static, Postgres>, Error> {
        let mut transaction = self.begin().await?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .execute(&mut *transaction)
            .await?;
        Ok(transaction)
    }

    /// The pool, for one statement by itself.
    pub fn pool(&self) -> PgPool {
        lock(&self.pool).clone()
    }

    /// Note what came of a try, and begin with new connections where those there lead nowhere.
    fn note<T>(&self, outcome: &Result<T, Error>) {
        let mut silent = lock(&self.silent);
        if !matches!(outcome, Err(Error::Silent | Error::Sql(sqlx::Error::PoolTimedOut))) {
            *silent = None;
            return;
        }
        let now = Instant::now();
        // One failure now and one long ago are no silence.
        let since = silent.filter(|(_, last)| last.elapsed() < 2 * PATIENCE).map_or(now, |(since, _)| since);
        *silent = Some((since, now));
        if since.elapsed() < GIVEN_UP || self.pool().is_closed() {
            return;
        }
        *silent = None;
        tracing::warn!(
            seconds = since.elapsed().as_secs(),
            "Database connections are given up: none answers"
        );
        let pool = self.options.clone().connect_lazy_with(self.client.clone());
        let lost = std::mem::replace(&mut *lock(&self.pool), pool);
        tokio::spawn(async move { lost.close().await });
    }

    /// Do `work`, again where another try is worth it. It must not do anything twice that it committed: what
    /// [`commit`] says is never tried again unless it is known to have failed.
    pub async fn run<T, F, W>(&self, operation: &str, table: &str, work: W) -> Result<T, Error>
    where
        W: Fn() -> F,
        F: Future<Output = Result<T, Error>>,
    {
        let mut tried = 0;
        loop {
            tried += 1;
            let begun = Instant::now();
            let outcome = tokio::time::timeout(PATIENCE, work()).await.unwrap_or(Err(Error::Silent));
            self.note(&outcome);
            let kind = outcome.as_ref().err().map(Error::kind);
            self.measures.record_query(operation, table, begun.elapsed(), kind);
            match outcome {
                Err(error) if error.is_transient() && tried < TRIES => {
                    tracing::warn!(operation, table, %error, tried, "Database operation is tried again");
                    tokio::time::sleep(PAUSE * tried).await;
                }
                Err(error) if !error.is_answer() => {
                    // D22. What it says goes to the log alone.
                    tracing::error!(operation, context = table, %error, kind, "Database operation failed: {operation}");
                    return Err(error);
                }
                outcome => return outcome,
            }
        }
    }

    /// Look at the pool for ever (E04, E19).
    pub async fn watch(&self) {
        let mut shown = Instant::now();
        let mut waited = 0.0;
        loop {
            let pool = self.pool();
            // Given back at the same moment, each has seen a place.
            while is_surplus(pool.num_idle().saturating_sub(1), self.kept)
                && let Some(connection) = pool.try_acquire()
            {
                let _ = tokio::time::timeout(DOUBTFUL, connection.close()).await;
            }
            let (open, idle) = (pool.size(), pool.num_idle());
            let in_use = i64::from(open) - idle as i64;
            self.measures.connections_open.set(i64::from(open));
            self.measures.connections_active.set(in_use.max(0));
            if shown.elapsed() >= LOOK {
                let wait_seconds = self.measures.connections_waited.get() - waited;
                waited += wait_seconds;
                shown = Instant::now();
                match wait_seconds > NOTICED {
                    true => {
                        tracing::warn!(open_connections = open, in_use, idle, wait_seconds, "Database pool")
                    }
                    false => {
                        tracing::debug!(open_connections = open, in_use, idle, wait_seconds, "Database pool")
                    }
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Close every connection, after the last request.
    pub async fn close(&self) {
        self.pool().close().await;
    }
}

/// `options` by which a connection that is given back is closed where `kept` others are unused already (DL14).
fn keeping(options: PgPoolOptions, kept: u32, pool: Weak<Mutex<PgPool>>) -> PgPoolOptions {
    options.after_release(move |_, _| {
        let idle = pool.upgrade().map_or(0, |pool| lock(&pool).num_idle());
        Box::pin(std::future::ready(Ok(!is_surplus(idle, kept))))
    })
}

/// Whether a connection is one too many beside `idle` others that are unused.
fn is_surplus(idle: usize, kept: u32) -> bool {
    u32::try_from(idle).is_ok_and(|idle| idle >= kept)
}

/// Confirm a transaction. An error of the connection leaves its outcome unknown.
pub async fn commit(transaction: Transaction<'static, Postgres>) -> Result<(), Error> {
    transaction.commit().await.map_err(Error::Commit)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn is_primary(connection: &mut PgConnection) -> bool {
    let asked = sqlx::query_scalar::<_, bool>("SELECT NOT pg_is_in_recovery()").fetch_one(&mut *connection);
    let is_primary = matches!(tokio::time::timeout(Duration::from_secs(1), asked).await, Ok(Ok(true)));
    is_primary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_by_itself_is_tried_again() {
        let broken = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(Error::Sql(broken()).is_transient());
        assert!(!Error::Commit(broken()).is_transient(), "it may have been done");
        assert!(!Error::Silent.is_transient(), "it may still be done");
        assert!(!Error::Sql(sqlx::Error::PoolTimedOut).is_transient(), "more requests help nobody");
        assert!(!Error::Sql(sqlx::Error::RowNotFound).is_transient());
        for outage in [Error::Sql(broken()), Error::Commit(broken()), Error::Silent] {
            assert!(outage.is_outage(), "{outage}");
        }
        assert!(!Error::Sql(sqlx::Error::RowNotFound).is_outage());
    }

    #[test]
    fn no_more_connections_stay_unused_than_are_kept() {
        assert!(is_surplus(0, 0), "none is kept");
        assert!(!is_surplus(1, 2));
        assert!(is_surplus(2, 2) && is_surplus(25, 2));
    }

    #[test]
    fn codes_are_told_apart() {
        for (code, conflict, server) in [
            ("40001", true, true),
            ("40P01", true, true),
            ("53300", false, true),
            ("53100", false, true),
            ("57P01", false, true),
            ("25006", false, true),
            ("23505", false, false),
            ("22021", false, false),
            ("42P01", false, false),
        ] {
            assert_eq!(is_conflict(Some(code)), conflict, "{code}");
            assert_eq!(is_of_the_server(Some(code)), server, "{code}");
        }
    }
}
