//! A database: whether it answers, and whether its migrations are done.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row};

use super::probe::Answered;
use crate::contract::settings::Migrations;
use crate::sidecar::fetch;

/// PostgreSQL's code for a table that is not there.
const UNDEFINED_TABLE: &str = "42P01";

/// A database with the connection that is kept to it.
pub struct Postgres {
    options: PgConnectOptions,
    schema: Option<String>,
    kept: Option<PgConnection>,
}

impl Postgres {
    /// A database that is not connected to yet; `schema` is where Prisma keeps its table.
    pub fn new(options: PgConnectOptions, schema: Option<String>) -> Postgres {
        Postgres { options, schema, kept: None }
    }

    /// Whether it answers (D06), and whether it is migrated. A kept connection has `patience` to answer.
    pub async fn ask(
        &mut self,
        patience: Duration,
        migrations: Option<Migrations>,
    ) -> Result<Answered, String> {
        // Taken, so that a connection whose answer is no longer awaited is never used again.
        let kept = match self.kept.take() {
            Some(mut kept) => {
                let answered = tokio::time::timeout(patience, select_one(&mut kept)).await;
                matches!(answered, Ok(Ok(()))).then_some(kept)
            }
            None => None,
        };
        let mut connection = match kept {
            Some(kept) => kept,
            None => self.connect().await.map_err(|error| fetch::told(&error))?,
        };
        let migrated = match migrations {
            Some(migrations) => Some(self.look_at(migrations, &mut connection).await),
            None => None,
        };
        self.kept = Some(connection);
        Ok(Answered { migrated, ..Answered::default() })
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        select_one(&mut connection).await?;
        Ok(connection)
    }

    /// D11, X44.
    async fn look_at(&self, migrations: Migrations, connection: &mut PgConnection) -> Result<(), String> {
        let (sql, table) = match migrations {
            // A migration that was resolved as rolled back stays unfinished for ever: Prisma itself passes over it.
            Migrations::Prisma => (
                format!(
                    "SELECT count(*) FROM {}_prisma_migrations WHERE finished_at IS NULL AND rolled_back_at IS NULL",
                    self.qualifier()
                ),
                "_prisma_migrations",
            ),
            Migrations::Alembic => ("SELECT count(*) FROM alembic_version".to_owned(), "alembic_version"),
            Migrations::AnyTable => (
                "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = 'public'".to_owned(),
                "pg_tables",
            ),
        };
        // Text after text, without preparing: a pooler in between would mix up prepared ones.
        let counted = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await;
        let rows = match counted.and_then(|row: PgRow| row.try_get::<i64, _>(0)) {
            Ok(rows) => rows,
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_TABLE) => {
                return Err(format!("there is no table {table} yet"));
            }
            Err(error) => return Err(fetch::told(&error)),
        };
        match (migrations, rows) {
            (Migrations::Prisma, 0) => Ok(()),
            (Migrations::Prisma, unfinished) => Err(format!("{unfinished} unfinished in {table}")),
            (Migrations::Alembic, 0) => Err(format!("no row in {table} yet")),
            (Migrations::AnyTable, 0) => Err("no table in the schema public yet".to_owned()),
            _ => Ok(()),
        }
    }

    fn qualifier(&self) -> String {
        self.schema.as_ref().map(|schema| format!("\"{}\".", schema.replace('"', "\"\""))).unwrap_or_default()
    }
}

async fn select_one(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("SELECT 1").execute(connection).await.map(|_| ())
}
