//! One question to a dependency, over a connection that is kept where the protocol has one.

use std::time::Duration;

use http::HeaderMap;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;

use super::postgres::Postgres;
use super::target::Target;
use crate::contract::settings::Migrations;
use crate::sidecar::fetch::{self, Fetch};

/// What an answer told.
#[derive(Debug, Default, PartialEq)]
pub struct Answered {
    /// Status, where it is HTTP.
    pub status_code: Option<u16>,
    /// Whether the migrations are done, where they were looked at.
    pub migrated: Option<Result<(), String>>,
}

/// What asks a dependency.
pub enum Probe {
    /// `SELECT 1`.
    Postgres(Box<Postgres>),
    /// `PING`.
    Redis(Box<redis::Client>, Option<MultiplexedConnection>),
    /// `GET /health`.
    Service(Box<Fetch>, String),
    /// It cannot be asked.
    Unusable(String),
}

impl Probe {
    /// What asks `target`, a service by `fetch`.
    pub fn new(target: Target, fetch: &Fetch) -> Probe {
        match target {
            Target::Postgres(options, schema) => Probe::Postgres(Box::new(Postgres::new(*options, schema))),
            Target::Redis(client) => Probe::Redis(client, None),
            Target::Service(url) => Probe::Service(Box::new(fetch.clone()), url),
            Target::Unusable(reason) => Probe::Unusable(reason),
        }
    }

    /// Ask once. The caller bounds the time by `within`; a kept connection gets half of it, so that a dead one leaves
    /// time for a new one.
    pub async fn ask(
        &mut self,
        within: Duration,
        migrations: Option<Migrations>,
    ) -> Result<Answered, String> {
        match self {
            Probe::Postgres(postgres) => postgres.ask(within / 2, migrations).await,
            Probe::Redis(client, kept) => ping(client, kept, within / 2).await.map(|()| Answered::default()),
            Probe::Service(fetch, url) => get(fetch, url, within).await,
            Probe::Unusable(reason) => Err(reason.clone()),
        }
    }
}

async fn ping(
    client: &redis::Client,
    kept: &mut Option<MultiplexedConnection>,
    patience: Duration,
) -> Result<(), String> {
    let command = redis::cmd("PING");
    if let Some(mut connection) = kept.take() {
        let answer = command.query_async::<redis::Value>(&mut connection);
        if let Ok(Ok(_)) = tokio::time::timeout(patience, answer).await {
            *kept = Some(connection);
            return Ok(());
        }
    }
    // The caller's time is the one that counts.
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let told = |error: redis::RedisError| fetch::told(&error);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(told)?;
    command.query_async::<redis::Value>(&mut connection).await.map_err(told)?;
    *kept = Some(connection);
    Ok(())
}

async fn get(fetch: &Fetch, url: &str, within: Duration) -> Result<Answered, String> {
    match fetch.get(url, HeaderMap::new(), within).await {
        Ok((status, _)) if status.is_success() => {
            Ok(Answered { status_code: Some(status.as_u16()), ..Answered::default() })
        }
        Ok((status, _)) => Err(format!("GET /health answered {}", status.as_u16())),
        Err(error) => Err(error.to_string()),
    }
}
