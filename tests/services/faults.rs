//! Outages of the stores: no wrong answer, nothing lost that was acknowledged, and back within seconds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{PASSWORD, Person, Platform, Running};

/// Writes for as long as it is told to, and what was acknowledged of it.
pub async fn write(service: &Running, person: &Person, stop: &AtomicBool) -> Written {
    let mut written = Written::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("w-{number}");
        let body = json!({ "email": format!("{name}@example.com"), "username": name, "password": PASSWORD });
        match service.post("/api/v1/users", body).send().await {
            answer if answer.status == 201 => {
                written.registered.insert(name, answer.body["id"].as_str().unwrap().to_owned());
            }
            answer => written.refused(answer.status.as_u16(), &answer.body),
        }
        let answer =
            service.put(&person.path(), json!({ "bio": number.to_string() })).by(person).send().await;
        match answer.status.as_u16() {
            200 => written.bio = Some(number),
            status => written.refused(status, &answer.body),
        }
        // What was acknowledged is read at once, whatever happens to the cache.
        let answer = service.get(&person.path()).by(person).send().await;
        match answer.status.as_u16() {
            200 => {
                let bio: Option<i64> = answer.body["profile"]["bio"].as_str().map(|bio| bio.parse().unwrap());
                // A write whose outcome was unknown may have happened.
                assert!(bio >= written.bio && bio <= Some(number), "{bio:?} after {:?}", written.bio);
            }
            status => written.refused(status, &answer.body),
        }
    }
    written
}

#[derive(Default)]
pub struct Written {
    registered: BTreeMap<String, String>,
    bio: Option<i64>,
    pub refusals: BTreeMap<u16, usize>,
}

impl Written {
    fn refused(&mut self, status: u16, body: &Value) {
        // A registration whose outcome was unknown is a duplicate the next time; this writer never repeats a name.
        assert_eq!(status, 503, "{body}");
        *self.refusals.entry(status).or_default() += 1;
    }
}

/// Everything acknowledged is there.
pub fn check(platform: &Platform, written: &Written) {
    let there = platform.postgres.answer("SELECT username || '=' || id FROM users WHERE username LIKE 'w-%'");
    let there: Vec<&str> = there.lines().collect();
    for (name, id) in &written.registered {
        let line = format!("{name}={id}");
        assert!(there.contains(&line.as_str()), "{line} was acknowledged and is lost");
    }
    assert!(written.registered.len() > 5, "only {} were written", written.registered.len());
}

/// Wait until a read works again: how long that took.
pub async fn back(service: &Running, person: &Person) -> Duration {
    let begun = Instant::now();
    loop {
        let answer = service.get(&person.path()).by(person).send().await;
        if answer.status == 200 {
            return begun.elapsed();
        }
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", service.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_restarts_and_nothing_acknowledged_is_lost() {
    let mut platform = Platform::new();
    let service = platform.start().await;
    let person = service.somebody().await;
    let stop = AtomicBool::new(false);
    let pause = |seconds: f64| tokio::time::sleep(Duration::from_secs_f64(seconds));
    let outages = async {
        for _ in 0..3 {
            pause(1.0).await;
            platform.postgres.stop();
            pause(1.5).await;
            platform.postgres.start();
            platform.postgres.wait();
            let took = back(&service, &person).await;
            assert!(took < Duration::from_secs(5), "{took:?}");
        }
        pause(1.0).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (written, ()) = tokio::join!(write(&service, &person, &stop), outages);
    check(&platform, &written);
    assert!(!written.refusals.is_empty(), "no outage was felt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_postgres_holds_no_request_for_ever() {
    let platform = Platform::new();
    let service = platform.start().await;
    let person = service.somebody().await;
    platform.postgres.freeze();
    let begun = Instant::now();
    let asked = (0..20).map(|_| service.get(&person.path()).by(&person).send());
    for answer in futures::future::join_all(asked).await {
        assert_eq!(answer.status, 503, "{}", answer.body);
    }
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    platform.postgres.thaw();
    let took = back(&service, &person).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_connections_is_a_wait_and_then_an_answer() {
    let platform = Platform::new().with("DB_MAX_OPEN_CONNS", "2");
    let service = platform.start().await;
    let person = service.somebody().await;
    let asked = (0..200).map(|_| service.get(&person.path()).by(&person).send());
    for answer in futures::future::join_all(asked).await {
        assert!(matches!(answer.status.as_u16(), 200 | 503), "{}", answer.body);
    }
    // Others hold all that the server gives.
    platform.postgres.sql("ALTER SYSTEM SET max_connections = 5");
    let mut platform = platform;
    platform.postgres.stop();
    platform.postgres.start();
    platform.postgres.wait();
    let mut held = Vec::new();
    for _ in 0..8 {
        use sqlx::Connection;
        held.extend(sqlx::PgConnection::connect(&platform.postgres.url()).await);
    }
    let answer = service.get(&person.path()).by(&person).send().await;
    assert!(matches!(answer.status.as_u16(), 200 | 503), "{}", answer.body);
    drop(held);
    back(&service, &person).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crowd_no_more_connections_stay_open_than_are_kept() {
    let platform = Platform::new().with("DB_MAX_OPEN_CONNS", "10").with("DB_MAX_IDLE_CONNS", "1");
    let service = platform.start().await;
    let person = service.somebody().await;
    let crowd = (0..200).map(|_| service.get(&person.path()).by(&person).send());
    for answer in futures::future::join_all(crowd).await {
        answer.expect(200);
    }
    let open = "SELECT count(*) > 2 FROM pg_stat_activity WHERE application_name = 'users'";
    let deadline = Instant::now() + Duration::from_secs(10);
    // One that is kept, and one that is in use just now.
    while platform.postgres.answer(open) != "f" {
        assert!(Instant::now() < deadline, "{}", service.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_leaves_freezes_and_is_emptied_and_every_read_is_right() {
    let mut platform = Platform::new();
    let service = platform.start().await;
    let person = service.somebody().await;
    let stop = AtomicBool::new(false);
    let pause = |seconds: f64| tokio::time::sleep(Duration::from_secs_f64(seconds));
    let outages = async {
        let redis = platform.redis.as_mut().unwrap();
        for _ in 0..2 {
            pause(1.0).await;
            redis.freeze();
            pause(1.5).await;
            redis.thaw();
            pause(1.0).await;
            redis.stop();
            pause(1.5).await;
            redis.start();
        }
        pause(2.0).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (written, ()) = tokio::join!(write(&service, &person, &stop), outages);
    // Without Redis a request is slower, and right.
    assert!(written.refusals.is_empty(), "{:?}", written.refusals);
    check(&platform, &written);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_yesterday_in_redis_is_not_believed() {
    let platform = Platform::new();
    let service = platform.start().await;
    let person = service.somebody().await;
    service.get(&person.path()).by(&person).send().await.expect(200);
    let client = redis::Client::open(platform.redis.as_ref().unwrap().url()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let key = format!("user:{}", person.id);
    let old: String = redis::cmd("GET").arg(&key).query_async(&mut redis).await.unwrap();
    let left: i64 = redis::cmd("TTL").arg(&key).query_async(&mut redis).await.unwrap();
    assert!((3500..=3600).contains(&left), "{left} s (DL29)");
    assert!(!old.contains("password") && !old.contains("$2b$"), "{old}");
    service.put(&person.path(), json!({ "bio": "new" })).by(&person).send().await.expect(200);
    service.get(&person.path()).by(&person).send().await.expect(200);
    let current: String = redis::cmd("GET").arg(&key).query_async(&mut redis).await.unwrap();
    let kept: Value = serde_json::from_str(&current).unwrap();
    let (format, mut lost) = (kept["format"].clone(), kept["user"].clone());
    // A failover lost a change, and another one has its version.
    lost["profile"]["bio"] = "lost".into();
    lost["updatedAt"] = "2020-01-01T00:00:00.000Z".into();
    let lost = json!({ "format": format, "user": lost }).to_string();
    for entry in [old.as_str(), lost.as_str(), "no JSON", "{}"] {
        redis::cmd("SET").arg(&key).arg(entry).query_async::<()>(&mut redis).await.unwrap();
        let read = service.get(&person.path()).by(&person).send().await.expect(200);
        assert_eq!(read["profile"]["bio"], "new");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_redis_and_none_is_lost() {
    let mut platform = Platform::new();
    let service = platform.start().await;
    let person = service.somebody().await;
    platform.redis.as_mut().unwrap().stop();
    for number in 0..5 {
        service
            .put(&person.path(), json!({ "bio": number.to_string() }))
            .by(&person)
            .send()
            .await
            .expect(200);
    }
    assert_ne!(platform.postgres.answer("SELECT count(*) FROM outbox_events"), "0");
    platform.redis.as_mut().unwrap().start();
    let deadline = Instant::now() + Duration::from_secs(20);
    while platform.postgres.answer("SELECT count(*) FROM outbox_events") != "0" {
        assert!(Instant::now() < deadline, "{}", service.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let client = redis::Client::open(platform.redis.as_ref().unwrap().url()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    type Entries = Vec<(String, BTreeMap<String, String>)>;
    let entries: Entries = redis::cmd("XRANGE")
        .arg("visiobook:users:events")
        .arg("-")
        .arg("+")
        .query_async(&mut redis)
        .await
        .unwrap();
    let updates: Vec<_> = entries.iter().filter(|(_, entry)| entry["type"] == "user.updated").collect();
    assert_eq!(updates.len(), 5, "{entries:?}");
    assert!(
        updates
            .iter()
            .all(|(_, entry)| entry["subject"] == person.id && entry["payload"] == r#"{"fields": ["bio"]}"#),
        "{updates:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_the_truth_and_no_outage_ends_the_process() {
    let mut platform = Platform::new();
    let mut service = platform.start().await;
    service.until_ready().await;
    let until = async |service: &Running, path: &str, status: u16| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while service.get(path).send().await.status != status {
            assert!(Instant::now() < deadline, "{path} is not {status}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    platform.redis.as_mut().unwrap().stop();
    until(&service, "/health", 503).await;
    // It works without.
    until(&service, "/ready", 200).await;
    platform.postgres.stop();
    until(&service, "/ready", 503).await;
    platform.postgres.start();
    platform.redis.as_mut().unwrap().start();
    until(&service, "/health", 200).await;
    until(&service, "/ready", 200).await;
    let (took, well) = service.stop();
    assert!(well && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_starts_before_its_stores_and_stops_without_them() {
    let mut platform = Platform::new();
    platform.postgres.stop();
    platform.redis.as_mut().unwrap().stop();
    let mut service = platform.start().await;
    assert_eq!(service.get("/ready").send().await.status, 503);
    platform.postgres.start();
    platform.redis.as_mut().unwrap().start();
    service.until_ready().await;
    service.somebody().await;
    let resident = std::fs::read_to_string(format!("/proc/{}/status", service.id())).unwrap();
    assert!(resident.contains("VmRSS"));
    let (_, well) = service.stop();
    assert!(well, "{}", service.log());
}
