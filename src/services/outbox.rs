//! Events of changes (X42): written in the transaction of the change, sent to a Redis stream after it, and forgotten
//! only once Redis has acknowledged them. A reader may see one twice, by its `id`, and never miss one.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use tokio::sync::Notify;
use uuid::Uuid;

use super::cache::Cache;
use super::database::{Database, Error, commit};
use super::measures::Measures;

/// Events that are sent together.
const BATCH: i64 = 100;
/// Between two looks for events of other replicas, or for Redis.
const EVERY: Duration = Duration::from_secs(1);
/// Events that a stream keeps, about: readers that are further behind lose the oldest.
const KEPT: usize = 100_000;
/// Only one replica sends at a time, or events of one entity could change places.
const LOCK: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 1))";
const INSERT: &str =
    "INSERT INTO outbox_events (kind, subject, correlation_id, payload) VALUES ($1, $2, $3, $4)";
const INSERT_MANY: &str = "INSERT INTO outbox_events (kind, subject, correlation_id, payload) \
    SELECT $1, subject, $3, $4 FROM unnest($2::uuid[]) AS many (subject)";
const OLDEST: &str = "SELECT id, kind, subject, correlation_id, payload::text, \
    to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') \
    FROM outbox_events ORDER BY position LIMIT $1";
/// No more than that: a million that wait must not keep any from being sent.
const COUNT: &str = "SELECT count(*) FROM (SELECT FROM outbox_events LIMIT 10001) AS waiting";
const DELETE: &str = "DELETE FROM outbox_events WHERE id = ANY($1)";

/// Every statement, to be held against a real database.
pub const STATEMENTS: [&str; 6] = [LOCK, INSERT, INSERT_MANY, OLDEST, COUNT, DELETE];

/// Events on their way. Share it in an `Arc`.
pub struct Outbox {
    stream: String,
    cache: Arc<Cache>,
    woken: Notify,
    pending: IntGauge,
}

/// Something that happened to an entity.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// What happened, such as `user.created`.
    pub kind: &'static str,
    /// To which entity.
    pub subject: Uuid,
    /// In which request.
    pub correlation_id: &'a str,
    /// What there is to say of it; never a secret.
    pub payload: Value,
}

type Row = (Uuid, String, Uuid, String, String, String);

impl Outbox {
    /// The outbox of a service: its stream is `visiobook:<service>:events`.
    pub fn new(service: &str, cache: Arc<Cache>, measures: &Measures) -> Result<Outbox, prometheus::Error> {
        let pending = IntGauge::new(
            "outbox_events_pending",
            "Events that are not acknowledged yet; 10001: more than are counted",
        )?;
        measures.registry().register(Box::new(pending.clone()))?;
        Ok(Outbox { stream: format!("visiobook:{service}:events"), cache, woken: Notify::new(), pending })
    }

    /// Write an event into the transaction of its change. Without a Redis there is nobody to tell.
    pub async fn write(&self, connection: &mut PgConnection, event: &Event<'_>) -> Result<(), sqlx::Error> {
        if self.cache.is_there() {
            sqlx::query(INSERT)
                .bind(event.kind)
                .bind(event.subject)
                .bind(event.correlation_id)
                .bind(&event.payload)
                .execute(connection)
                .await?;
        }
        Ok(())
    }

    /// Write one event of many entities.
    pub async fn write_many(
        &self,
        connection: &mut PgConnection,
        (kind, subjects): (&'static str, &[Uuid]),
        correlation_id: &str,
        payload: &Value,
    ) -> Result<(), sqlx::Error> {
        if self.cache.is_there() {
            let query = sqlx::query(INSERT_MANY).bind(kind).bind(subjects).bind(correlation_id).bind(payload);
            query.execute(connection).await?;
        }
        Ok(())
    }

    /// There is something to send.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Send events for ever.
    pub async fn run(&self, database: &Database) {
        if !self.cache.is_there() {
            return std::future::pending().await;
        }
        let mut failing = false;
        loop {
            match self.send(database).await {
                Ok(sent) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("Events are sent again");
                    }
                    if sent == BATCH as usize {
                        continue;
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(error, "Events wait to be sent");
                    }
                    tokio::time::sleep(EVERY).await;
                }
            }
            let _ = tokio::time::timeout(EVERY, self.woken.notified()).await;
        }
    }

    /// Send the oldest; how many.
    async fn send(&self, database: &Database) -> Result<usize, String> {
        let told = |error: Error| error.to_string();
        let sql = |error: sqlx::Error| error.to_string();
        let work = async {
            let mut transaction = database.begin().await.map_err(told)?;
            let mine: bool = sqlx::query_scalar(LOCK)
                .bind(&self.stream)
                .fetch_one(&mut *transaction)
                .await
                .map_err(sql)?;
            let pending: i64 = sqlx::query_scalar(COUNT).fetch_one(&mut *transaction).await.map_err(sql)?;
            self.pending.set(pending);
            if !mine || pending == 0 {
                return Ok(0);
            }
            let rows: Vec<Row> =
                sqlx::query_as(OLDEST).bind(BATCH).fetch_all(&mut *transaction).await.map_err(sql)?;
            self.cache.send(&self.pipeline(&rows)).await?;
            let ids: Vec<Uuid> = rows.iter().map(|row| row.0).collect();
            sqlx::query(DELETE).bind(&ids).execute(&mut *transaction).await.map_err(sql)?;
            commit(transaction).await.map_err(told)?;
            self.pending.sub(ids.len() as i64);
            Ok(ids.len())
        };
        tokio::time::timeout(Duration::from_secs(8), work).await.unwrap_or_else(|_| Err("no answer".into()))
    }

    fn pipeline(&self, rows: &[Row]) -> redis::Pipeline {
        let mut pipeline = redis::pipe();
        for (id, kind, subject, correlation_id, payload, time) in rows {
            pipeline.cmd("XADD").arg(&self.stream).arg("MAXLEN").arg("~").arg(KEPT).arg("*");
            pipeline
                .arg("id")
                .arg(id.to_string())
                .arg("type")
                .arg(kind)
                .arg("subject")
                .arg(subject.to_string());
            pipeline
                .arg("correlationId")
                .arg(correlation_id)
                .arg("time")
                .arg(time)
                .arg("payload")
                .arg(payload);
        }
        pipeline
    }
}
