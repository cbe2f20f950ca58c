//! A service's schema: steps in SQL, each applied once, whoever begins.

use std::time::{Duration, Instant};

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, SqlSafeStr};

/// How long the lock is waited for: as long as somebody else's migration may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two tries to have it.
const EVERY: Duration = Duration::from_millis(200);
/// How long a database has to start.
const STARTS: Duration = Duration::from_secs(60);
/// How long a step waits for a table that requests use; longer, and they would all wait behind it.
const LOCK_TIMEOUT: &str = "5s";
/// When the server asks whether whoever holds the lock is still there: a node that dies tells nobody, and by itself the
/// server would keep the lock for hours. A minute of silence ends it.
const KEEPALIVES: &str = "SELECT set_config('tcp_keepalives_idle', '30', false), \
    set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '3', false)";

/// What a step begins with that cannot run in a transaction, such as CREATE INDEX CONCURRENTLY.
const NO_TRANSACTION: &str = "-- no-transaction";

/// A step of a schema.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Its place: steps are applied in this order.
    pub version: i64,
    /// What it does.
    pub about: &'static str,
    /// Its SQL. Applied, it must never change.
    pub sql: &'static str,
}

/// Why a schema could not be brought up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be asked.
    #[error("the database cannot be asked: {0}")]
    Database(#[from] sqlx::Error),
    /// A step failed; those before it stay applied, and what serves goes on.
    #[error("{0}")]
    Step(#[from] MigrateError),
    /// Somebody else has been at it for too long.
    #[error("another process holds the lock of these migrations for more than {} s", PATIENCE.as_secs())]
    Locked,
}

/// Bring the schema up to the last of `steps`, recorded in `table`. Any number may begin at once: one applies, the
/// others find it applied. Steps of a newer version are left alone, so that an undone release starts.
pub async fn migrate(options: &PgConnectOptions, table: &'static str, steps: &[Step]) -> Result<(), Error> {
    let begun = Instant::now();
    let mut connection = loop {
        match PgConnection::connect_with(options).await {
            // A database that starts beside its first service.
            Err(error) if is_starting(&error) && begun.elapsed() < STARTS => tokio::time::sleep(EVERY).await,
            connected => break connected?,
        }
    };
    sqlx::query(KEEPALIVES).execute(&mut connection).await?;
    // A lock that waits would deadlock with CREATE INDEX CONCURRENTLY, which waits for every transaction: it is polled.
    while !lock(&mut connection, table).await? {
        if begun.elapsed() > PATIENCE {
            return Err(Error::Locked);
        }
        tokio::time::sleep(EVERY).await;
    }
    sqlx::query("SELECT set_config('lock_timeout', $1, false)")
        .bind(LOCK_TIMEOUT)
        .execute(&mut connection)
        .await?;
    migrator(table, steps).run_direct(None, &mut connection, false).await?;
    // The lock goes with the connection.
    connection.close().await?;
    Ok(())
}

/// Why the schema is not what `steps` ask for; `None`: it is, or it is newer.
pub async fn missing(
    connection: &mut PgConnection,
    table: &'static str,
    steps: &[Step],
) -> Result<Option<String>, sqlx::Error> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(table)
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(Some(format!("there is no table {table} yet")));
    }
    let sql = format!("SELECT version FROM {table} WHERE success");
    let applied: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(connection).await?;
    let missing = steps.iter().find(|step| !applied.contains(&step.version));
    Ok(missing.map(|step| format!("migration {} ({}) is not applied yet", step.version, step.about)))
}

fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        // cannot_connect_now, too_many_connections.
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P03" | "53300")),
        _ => false,
    }
}

async fn lock(connection: &mut PgConnection, table: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
        .bind(table)
        .fetch_one(connection)
        .await
}

fn migrator(table: &'static str, steps: &[Step]) -> Migrator {
    let steps = steps.iter().map(|step| {
        let sql = AssertSqlSafe(step.sql).into_sql_str();
        let alone = step.sql.starts_with(NO_TRANSACTION);
        Migration::new(step.version, step.about.into(), MigrationType::Simple, sql, alone)
    });
    let mut migrator = Migrator::with_migrations(steps.collect());
    // The lock is ours, and newer steps are none of our business.
    migrator.set_locking(false).set_ignore_missing(true);
    migrator.dangerous_set_table_name(table);
    migrator
}
