//! Schemas in the database, each revision with its event in the same transaction.

use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, FromRow, Row};
use uuid::Uuid;

use super::difference::{Difference, difference};
use super::statements::{self as sql, Sort};
use super::types::{Registered, Revision};
use crate::services::database::{Database, Error, commit};
use crate::services::outbox::{Event, Outbox};
use crate::services::page::{Page, Wanted};
use crate::services::schema::Definition;

/// A schema that a service tells.
pub struct Telling {
    /// Namespace of the service.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The schema, sorted.
    pub definition: Definition,
    /// When it was read, in microseconds since 1970.
    pub read_at: i64,
    /// The id of the request.
    pub correlation_id: String,
}

/// What became of it.
pub enum Outcome {
    /// It is kept.
    Kept(Box<Kept>),
    /// Another schema was read later, and told before.
    Outdated,
}

/// A schema that is kept.
pub struct Kept {
    /// Id of the service.
    pub id: Uuid,
    /// Number of the schema.
    pub revision: i32,
    /// Whether it is another than the one before.
    pub changed: bool,
    /// What differs.
    pub difference: Difference,
}

/// A kept schema as it was told.
pub struct Found {
    /// Its number.
    pub revision: i32,
    /// The version of the service that told it last.
    pub version: String,
    /// When it was read last.
    pub told_at: String,
    /// The schema.
    pub definition: Definition,
}

/// The schemas.
pub struct Store {
    database: Arc<Database>,
    outbox: Arc<Outbox>,
}

impl Store {
    /// Schemas in `database`.
    pub fn new(database: Arc<Database>, outbox: Arc<Outbox>) -> Store {
        Store { database, outbox }
    }

    /// Keep a schema. The same one told again is kept once, so a second try of who had no answer harms nobody.
    pub async fn keep(&self, told: &Telling) -> Result<Outcome, Error> {
        let digest = digest(&told.definition);
        let work = || async {
            let mut transaction = self.database.begin().await?;
            let id: Uuid = sqlx::query_scalar(sql::REGISTER)
                .bind(&told.namespace)
                .bind(&told.name)
                .fetch_one(&mut *transaction)
                .await?;
            let latest: Option<(i32, Vec<u8>, bool, Json<Definition>)> = sqlx::query_as(sql::LATEST)
                .bind(id)
                .bind(told.read_at)
                .fetch_optional(&mut *transaction)
                .await?;
            let before = match latest {
                Some((revision, known, ..)) if known == digest => {
                    sqlx::query(sql::CONFIRM)
                        .bind(id)
                        .bind(revision)
                        .bind(&told.version)
                        .bind(told.read_at)
                        .execute(&mut *transaction)
                        .await?;
                    commit(transaction).await?;
                    let difference = Difference::default();
                    return Ok(Outcome::Kept(Box::new(Kept { id, revision, changed: false, difference })));
                }
                Some((.., true, _)) => return Ok(Outcome::Outdated),
                Some((revision, .., Json(definition))) => (revision, definition),
                None => (0, Definition::default()),
            };
            let revision = before.0 + 1;
            sqlx::query(sql::INSERT)
                .bind(id)
                .bind(revision)
                .bind(&told.version)
                .bind(told.read_at)
                .bind(&digest)
                .bind(Json(&told.definition))
                .execute(&mut *transaction)
                .await?;
            sqlx::query(sql::TRIM).bind(id).bind(revision).execute(&mut *transaction).await?;
            let difference = difference(&before.1, &told.definition);
            let payload = json!({
                "namespace": told.namespace, "service": told.name, "version": told.version,
                "revision": revision, "breaking": difference.breaking,
            });
            let event =
                Event { kind: "schema.changed", subject: id, correlation_id: &told.correlation_id, payload };
            self.outbox.write(&mut transaction, &event).await?;
            commit(transaction).await?;
            Ok(Outcome::Kept(Box::new(Kept { id, revision, changed: true, difference })))
        };
        let outcome = self.database.run("insert", "schema_revisions", work).await?;
        self.outbox.wake();
        Ok(outcome)
    }

    /// A service.
    pub async fn service(&self, id: Uuid) -> Result<Option<Registered>, Error> {
        let read = || async {
            let row = sqlx::query(AssertSqlSafe(sql::service())).bind(id);
            Ok(row.fetch_optional(&self.database.pool()).await?.as_ref().map(registered).transpose()?)
        };
        self.database.run("select", "registered_services", read).await
    }

    /// A page of services, of a name and a namespace where these are given.
    pub async fn services(
        &self,
        wanted: &Wanted<Sort>,
        page: i64,
        (name, namespace): (Option<&str>, Option<&str>),
    ) -> Result<Page<Registered>, Error> {
        let statement = sql::services(wanted.sort, wanted.direction);
        let read = || async {
            let mut transaction = self.database.begin_snapshot().await?;
            let total: i64 = sqlx::query_scalar(sql::COUNT)
                .bind(name)
                .bind(namespace)
                .fetch_one(&mut *transaction)
                .await?;
            let rows = sqlx::query(AssertSqlSafe(statement.clone()))
                .bind(name)
                .bind(namespace)
                .bind(wanted.limit)
                .bind(Page::<Registered>::skipped(page, wanted.limit))
                .fetch_all(&mut *transaction)
                .await?;
            commit(transaction).await?;
            let items = rows.iter().map(registered).collect::<Result<_, _>>()?;
            Ok(Page::new(items, total, page, wanted.limit))
        };
        self.database.run("select", "registered_services", read).await
    }

    /// A page of the schemas of a service; none where there is no such service.
    pub async fn revisions(
        &self,
        id: Uuid,
        wanted: &Wanted<()>,
        page: i64,
    ) -> Result<Option<Page<Revision>>, Error> {
        let statement = sql::revisions(wanted.direction);
        let read = || async {
            let mut transaction = self.database.begin_snapshot().await?;
            let total: i64 =
                sqlx::query_scalar(sql::COUNT_REVISIONS).bind(id).fetch_one(&mut *transaction).await?;
            let rows = sqlx::query(AssertSqlSafe(statement.clone()))
                .bind(id)
                .bind(wanted.limit)
                .bind(Page::<Revision>::skipped(page, wanted.limit))
                .fetch_all(&mut *transaction)
                .await?;
            commit(transaction).await?;
            let items = rows.iter().map(revision).collect::<Result<_, _>>()?;
            // A service without a schema is none.
            Ok((total > 0).then(|| Page::new(items, total, page, wanted.limit)))
        };
        self.database.run("select", "schema_revisions", read).await
    }

    /// The schema of a service by its number; none: the latest.
    pub async fn schema(&self, id: Uuid, revision: Option<i32>) -> Result<Option<Found>, Error> {
        let read = || async {
            let query = sqlx::query_as(sql::REVISION).bind(id).bind(revision);
            Ok(query.fetch_optional(&self.database.pool()).await?)
        };
        let row: Option<(i32, String, String, Json<Definition>)> =
            self.database.run("select", "schema_revisions", read).await?;
        Ok(row.map(|(revision, version, told_at, Json(definition))| Found {
            revision,
            version,
            told_at,
            definition,
        }))
    }

    /// Forget a service with all it has told; whether there was one.
    pub async fn forget(&self, id: Uuid, correlation_id: &str) -> Result<bool, Error> {
        let work = || async {
            let mut transaction = self.database.begin().await?;
            if sqlx::query(sql::DELETE).bind(id).execute(&mut *transaction).await?.rows_affected() == 0 {
                return Ok(false);
            }
            let event = Event { kind: "service.forgotten", subject: id, correlation_id, payload: json!({}) };
            self.outbox.write(&mut transaction, &event).await?;
            commit(transaction).await?;
            Ok(true)
        };
        let forgotten = self.database.run("delete", "registered_services", work).await?;
        self.outbox.wake();
        Ok(forgotten)
    }

    /// How many services there are.
    pub async fn count(&self) -> Result<i64, Error> {
        let read =
            || async { Ok(sqlx::query_scalar(sql::COUNT_SERVICES).fetch_one(&self.database.pool()).await?) };
        self.database.run("statistics", "registered_services", read).await
    }
}

/// By which two schemas are told apart.
fn digest(definition: &Definition) -> Vec<u8> {
    Sha256::digest(serde_json::to_vec(definition).unwrap_or_default()).to_vec()
}

fn registered(row: &PgRow) -> Result<Registered, sqlx::Error> {
    let (id, namespace, service, version, revision, told_at, created_at, updated_at) =
        FromRow::from_row(row)?;
    Ok(Registered { id, namespace, service, version, revision, told_at, created_at, updated_at })
}

fn revision(row: &PgRow) -> Result<Revision, sqlx::Error> {
    Ok(Revision {
        revision: row.try_get(0)?,
        version: row.try_get(1)?,
        told_at: row.try_get(2)?,
        created_at: row.try_get(3)?,
        tables: row.try_get(4)?,
        columns: row.try_get(5)?,
    })
}
