//! Stores that are there and not well: emptied, full, slow. No wrong answer, nothing lost that was acknowledged, and back
//! within seconds; of users, and of the registry.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{Connection, Executor};

use super::faults::{back, check, write};
use super::issuer::Issuer;
use super::proxy::Proxy;
use super::registry::{SYNC, told};
use super::support::{Platform, Running};

fn pause(seconds: f64) -> tokio::time::Sleep {
    tokio::time::sleep(Duration::from_secs_f64(seconds))
}

/// A registry, and a service that tells it one schema after the other.
struct Registry {
    platform: Platform,
    issuer: Issuer,
    service: Running,
}

#[derive(Default)]
struct Told {
    /// Number of the schema, by the revision that was acknowledged.
    acknowledged: BTreeMap<i64, i64>,
    refusals: usize,
}

impl Registry {
    async fn start(platform: Platform) -> Registry {
        let issuer = Issuer::new();
        let platform = platform.with("SERVICE_KEYS_FOLDER", issuer.keys().to_str().unwrap());
        let service = platform.start().await;
        service.until_ready().await;
        Registry { platform, issuer, service }
    }

    /// Tells until it is told to stop, and reads what it told.
    async fn tell(&self, stop: &AtomicBool) -> Told {
        let token = self.issuer.token("shop", "books");
        let mut told_so_far = Told::default();
        let mut path = None;
        for number in 0i64.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let body = told("books", &[("books", &format!("c{number}"), "text")]);
            let answer = self.service.post(SYNC, body).bearing(&token).send().await;
            match answer.status.as_u16() {
                201 => {
                    let revision = answer.body["revision"].as_i64().unwrap();
                    path = answer.body["id"]
                        .as_str()
                        .map(|id| format!("/api/v1/migrations/services/{id}/schema"));
                    let known = told_so_far.acknowledged.insert(revision, number);
                    assert_eq!(known, None, "revision {revision} is of two schemas");
                }
                503 => told_so_far.refusals += 1,
                status => panic!("{status}: {}", answer.body),
            }
            let Some(path) = &path else { continue };
            let answer = self.service.get(path).bearing(&token).send().await;
            match answer.status.as_u16() {
                200 => {
                    let there = column(&answer.body);
                    let least = told_so_far.acknowledged.last_key_value().map(|(_, number)| *number);
                    // One whose outcome was unknown may have been kept.
                    assert!(Some(there) >= least && there <= number, "{there} after {least:?}");
                }
                503 => told_so_far.refusals += 1,
                status => panic!("{status}: {}", answer.body),
            }
        }
        told_so_far
    }

    /// Everything acknowledged is there.
    fn check(&self, told: &Told) {
        let rows = self.platform.postgres.answer(
            "SELECT revision || '=' || (definition->'schema'->0->>'column_name') FROM schema_revisions",
        );
        let rows: Vec<&str> = rows.lines().collect();
        for (revision, number) in &told.acknowledged {
            let line = format!("{revision}=c{number}");
            assert!(rows.contains(&line.as_str()), "{line} was acknowledged and is lost");
        }
        assert!(told.acknowledged.len() > 5, "only {} were told", told.acknowledged.len());
    }

    /// Wait until it answers again: how long that took.
    async fn back(&self) -> Duration {
        let token = self.issuer.token("shop", "audit");
        let begun = Instant::now();
        loop {
            let list = self.service.get("/api/v1/migrations/services").bearing(&token).send().await;
            if list.status == 200 {
                return begun.elapsed();
            }
            assert_eq!(list.status, 503, "{}", list.body);
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", self.service.log());
            pause(0.05).await;
        }
    }
}

/// The number of the only column.
fn column(body: &Value) -> i64 {
    body["schema"][0]["column_name"].as_str().unwrap()[1..].parse().unwrap()
}

/// Empty Redis, as somebody does by hand.
async fn flush(platform: &Platform) {
    let client = redis::Client::open(platform.redis.as_ref().unwrap().url()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await.unwrap();
}

/// Take every connection that the server gives, those that others have too.
async fn exhaust(platform: &mut Platform) -> Vec<sqlx::PgConnection> {
    platform.postgres.sql("ALTER SYSTEM SET max_connections = 10");
    platform.postgres.stop();
    platform.postgres.start();
    platform.postgres.wait();
    let url = platform.postgres.url();
    let mut held: Vec<sqlx::PgConnection> = Vec::new();
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name IN ('users', 'database', 'visiobook-sidecar')";
    for _ in 0..5 {
        if let Some(one) = held.first_mut() {
            one.execute(others).await.unwrap();
        }
        while let Ok(one) = sqlx::PgConnection::connect(&url).await {
            held.push(one);
        }
    }
    assert!(held.len() > 5, "{}", held.len());
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_emptied_in_mid_work_changes_no_answer() {
    let users = Platform::new();
    let service = users.start().await;
    let person = service.somebody().await;
    let registry = Registry::start(Platform::of("database")).await;
    let stop = AtomicBool::new(false);
    let outages = async {
        for _ in 0..20 {
            pause(0.2).await;
            flush(&users).await;
            flush(&registry.platform).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (written, told, ()) = tokio::join!(write(&service, &person, &stop), registry.tell(&stop), outages);
    assert!(written.refusals.is_empty() && told.refusals == 0, "{:?}, {}", written.refusals, told.refusals);
    check(&users, &written);
    registry.check(&told);
    // Nothing waits for a stream that is not there any more.
    let deadline = Instant::now() + Duration::from_secs(10);
    for platform in [&users, &registry.platform] {
        while platform.postgres.answer("SELECT count(*) FROM outbox_events") != "0" {
            assert!(Instant::now() < deadline, "events wait");
            pause(0.1).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_out_of_connections_loses_nothing_and_is_used_again_within_seconds() {
    let mut users = Platform::new();
    let service = users.start().await;
    let person = service.somebody().await;
    let stop = AtomicBool::new(false);
    let outages = async {
        pause(1.0).await;
        let held = exhaust(&mut users).await;
        pause(3.0).await;
        drop(held);
        let took = back(&service, &person).await;
        assert!(took < Duration::from_secs(5), "{took:?}");
        pause(1.0).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (written, ()) = tokio::join!(write(&service, &person, &stop), outages);
    check(&users, &written);
    assert!(!written.refusals.is_empty(), "nothing was felt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_out_of_connections_or_restarted_loses_nothing_that_it_was_told() {
    let mut registry = Registry::start(Platform::of("database")).await;
    let stop = AtomicBool::new(false);
    let mut postgres = std::mem::replace(&mut registry.platform, Platform::bare(None));
    let outages = async {
        pause(1.0).await;
        postgres.postgres.stop();
        pause(1.0).await;
        postgres.postgres.start();
        postgres.postgres.wait();
        let took = registry.back().await;
        assert!(took < Duration::from_secs(5), "{took:?}");
        pause(1.0).await;
        let held = exhaust(&mut postgres).await;
        pause(3.0).await;
        drop(held);
        let took = registry.back().await;
        assert!(took < Duration::from_secs(5), "{took:?}");
        pause(1.0).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (told, ()) = tokio::join!(registry.tell(&stop), outages);
    registry.platform = postgres;
    registry.check(&told);
    assert!(told.refusals > 0, "nothing was felt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_postgres_makes_slow_answers_or_none_and_no_wrong_one() {
    let platform = Platform::new();
    let proxy = Proxy::new(platform.postgres.port).await;
    let through = |platform: &Platform, proxy: &Proxy| {
        platform
            .postgres
            .url()
            .replace(&format!(":{}/", platform.postgres.port), &format!(":{}/", proxy.port))
    };
    let url = through(&platform, &proxy);
    let users = platform.with("DATABASE_URL", &url).with("LOG_LEVEL", "debug").with("DB_MAX_OPEN_CONNS", "2");
    let service = users.start().await;
    let person = service.somebody().await;
    let platform = Platform::of("database");
    let other = Proxy::new(platform.postgres.port).await;
    let url = through(&platform, &other);
    let registry = Registry::start(platform.with("DATABASE_URL", &url)).await;
    let delay = |milliseconds| {
        proxy.delay(milliseconds);
        other.delay(milliseconds);
    };
    let stop = AtomicBool::new(false);
    let outages = async {
        pause(1.0).await;
        delay(50);
        pause(4.0).await;
        delay(2000);
        // Many at once wait for two connections.
        let asked = (0..10).map(|_| service.get(&person.path()).by(&person).send());
        let begun = Instant::now();
        for answer in futures::future::join_all(asked).await {
            assert!(matches!(answer.status.as_u16(), 200 | 503), "{}", answer.body);
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        // More than anybody waits for one answer.
        delay(6000);
        pause(6.0).await;
        delay(0);
        for took in [back(&service, &person).await, registry.back().await] {
            assert!(took < Duration::from_secs(8), "{took:?}");
        }
        pause(2.0).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (written, told, ()) = tokio::join!(write(&service, &person, &stop), registry.tell(&stop), outages);
    check(&users, &written);
    registry.check(&told);
    assert!(!written.refusals.is_empty() && told.refusals > 0, "nothing was felt");

    // E06: what failed is counted, by what it was.
    let Value::String(metrics) = service.get("/metrics").send().await.expect(200) else { panic!() };
    let failed =
        metrics.lines().filter(|line| line.starts_with("db_query_errors_total{")).collect::<Vec<_>>();
    // Whether the wait for a connection or the statement on it ends first is the machine's to say.
    let timed_out = [r#"error_type="Timeout""#, r#"error_type="PoolTimedOut""#];
    assert!(failed.iter().any(|line| timed_out.iter().any(|kind| line.contains(kind))), "{failed:?}");
    assert!(
        failed.iter().all(|line| line.contains("operation=\"") && line.contains("table=\"")),
        "{failed:?}"
    );
    // E19: the pool is told every half minute, and loudly where somebody had to wait for it.
    let deadline = Instant::now() + Duration::from_secs(35);
    let pools = loop {
        let log = service.log();
        let lines = log.lines().filter(|line| line.contains("\"Database pool\""));
        let pools: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        if !pools.is_empty() {
            break pools;
        }
        assert!(Instant::now() < deadline, "no line about the pool");
        pause(0.5).await;
    };
    assert!(
        ["open_connections", "in_use", "idle", "wait_seconds"]
            .iter()
            .all(|field| pools[0][field].is_number())
    );
    assert!(
        pools.iter().any(|line| line["level"] == "warn" && line["wait_seconds"].as_f64() > Some(1.0)),
        "{pools:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_a_network_has_lost_are_given_up_long_before_tcp_does() {
    let platform = Platform::new();
    let proxy = Proxy::new(platform.postgres.port).await;
    let port = |port: u16| format!(":{port}/");
    let url = platform.postgres.url().replace(&port(platform.postgres.port), &port(proxy.port));
    let platform = platform.with("DATABASE_URL", &url).with("DB_MAX_OPEN_CONNS", "4");
    let service = platform.start().await;
    let person = service.somebody().await;
    // All four are in use as it happens.
    proxy.delay(500);
    let asked = (0..12).map(|_| service.get(&person.path()).by(&person).send());
    let lost = async {
        pause(1.2).await;
        proxy.lose();
        proxy.delay(0);
    };
    let (answers, ()) = tokio::join!(futures::future::join_all(asked), lost);
    assert!(answers.iter().any(|answer| answer.status == 503), "nothing was felt");
    let took = back(&service, &person).await;
    assert!(took < Duration::from_secs(30), "{took:?}");
}
