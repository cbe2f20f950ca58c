//! Entities in Redis beside the database (DL29). Redis may be away, slow, empty or restored from yesterday: whoever asks
//! uses an entry only in the state that the database names, so an entry can be missing, but never wrong.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use prometheus::{IntCounterVec, Opts, Registry};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{FromRedisValue, RedisResult};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::configuration::Store;

/// Seconds that an entry stays (DL29).
const SECONDS: u64 = 3600;
/// How long Redis has to answer: longer, and the database is quicker.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long it has to answer where nobody waits for it.
const LONG_PATIENCE: Duration = Duration::from_secs(5);
/// How long it is left alone after it did not.
const PAUSE: Duration = Duration::from_secs(1);

/// A Redis that may be away. Share it in an `Arc`.
pub struct Cache {
    redis: Option<ConnectionManager>,
    endpoint: String,
    started: Instant,
    /// Milliseconds since the start until which it is left alone.
    alone_until: AtomicU64,
    reads: IntCounterVec,
}

impl Cache {
    /// A cache in `store`; none: nothing is ever found.
    pub fn new(store: Option<&Store<redis::Client>>, registry: &Registry) -> Result<Cache, String> {
        let reads = IntCounterVec::new(
            Opts::new("cache_reads_total", "Looks into the cache, by what was found"),
            &["outcome"],
        )
        .map_err(|error| error.to_string())?;
        registry.register(Box::new(reads.clone())).map_err(|error| error.to_string())?;
        let settings = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(LONG_PATIENCE))
            .set_response_timeout(Some(LONG_PATIENCE))
            .set_number_of_retries(0);
        let connect = |store: &Store<redis::Client>| {
            ConnectionManager::new_lazy_with_config(store.client.clone(), settings)
                .map_err(|error| format!("REDIS_URL: {}", store.redact(&error.to_string())))
        };
        Ok(Cache {
            redis: store.map(connect).transpose()?,
            endpoint: store.map(|store| store.endpoint().to_owned()).unwrap_or_default(),
            started: Instant::now(),
            alone_until: AtomicU64::new(0),
            reads,
        })
    }

    /// Whether there is a Redis at all.
    pub fn is_there(&self) -> bool {
        self.redis.is_some()
    }

    /// The entry of a key.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let found: Option<Option<Vec<u8>>> = self.ask(redis::cmd("GET").arg(key)).await;
        // What an older version of this service wrote, or somebody else, is none.
        let entry = found.as_ref()?.as_ref().and_then(|bytes| serde_json::from_slice(bytes).ok());
        self.reads.with_label_values(&[if entry.is_some() { "hit" } else { "miss" }]).inc();
        entry
    }

    /// Keep an entry for an hour.
    pub async fn put<T: Serialize>(&self, key: &str, entry: &T) {
        let Ok(text) = serde_json::to_vec(entry) else { return };
        let _: Option<()> = self.ask(redis::cmd("SET").arg(key).arg(text).arg("EX").arg(SECONDS)).await;
    }

    /// Drop entries.
    pub async fn forget(&self, keys: &[String]) {
        if !keys.is_empty() {
            let _: Option<()> = self.ask(redis::cmd("DEL").arg(keys)).await;
        }
    }

    /// Send commands whose acknowledgement matters: nothing is left out because Redis was slow before.
    pub async fn send(&self, pipeline: &redis::Pipeline) -> Result<(), String> {
        let Some(mut redis) = self.redis.clone() else { return Err("there is no Redis".into()) };
        let sent = pipeline.query_async::<redis::Value>(&mut redis);
        match tokio::time::timeout(LONG_PATIENCE, sent).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", LONG_PATIENCE.as_secs())),
        }
    }

    /// Ask, unless it has just not answered. What fails is told once a second at most, and harms nobody.
    async fn ask<T: FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let mut redis = self.redis.clone()?;
        let now = self.started.elapsed().as_millis() as u64;
        if now < self.alone_until.load(Relaxed) {
            return None;
        }
        let asked: Result<RedisResult<T>, _> =
            tokio::time::timeout(PATIENCE, command.query_async(&mut redis)).await;
        let error = match asked {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", PATIENCE.as_millis()),
        };
        self.alone_until.store(now + PAUSE.as_millis() as u64, Relaxed);
        self.reads.with_label_values(&["away"]).inc();
        tracing::warn!(error, endpoint = self.endpoint, "Cache operation failed");
        None
    }
}
