//! A real PostgreSQL and a real Redis behind the health of real pods, with real outages.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::servers::Server;
use crate::support::{Site, soak};

/// How often the sidecar looks at a store (D07), how long it waits for one that does not answer, and what a busy machine adds.
const NOTICED: Duration = Duration::from_secs(30 + 5 + 25);
/// What probes are asked of.
const PATHS: [&str; 3] = ["/alive", "/health", "/ready"];

/// Status and body of a path, and how long they took.
async fn ask(pod: SocketAddr, path: &str) -> (u16, Value, Duration) {
    let started = Instant::now();
    let answer = http_get(pod, path).await.unwrap_or_else(|error| panic!("{path} of {pod}: {error}"));
    (answer.0, serde_json::from_slice(&answer.1).unwrap_or_default(), started.elapsed())
}

async fn http_get(pod: SocketAddr, path: &str) -> std::io::Result<(u16, Vec<u8>)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(pod).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(answer.len());
    let status = String::from_utf8_lossy(&answer[..head]);
    let status = status.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Ok((status, answer.split_off((head + 4).min(answer.len()))))
}

/// What the pods of a service went through: uid, address, whether Ready, restarts.
async fn pods(site: &Site) -> Vec<(String, String, bool, i32)> {
    let mut pods: Vec<_> = site
        .pods("books")
        .await
        .into_iter()
        .map(|pod| {
            let status = pod.status.unwrap_or_default();
            let is_ready = status
                .conditions
                .iter()
                .flatten()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True");
            let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
            let restarts = all.map(|container| container.restart_count).sum();
            (pod.metadata.uid.unwrap_or_default(), status.pod_ip.unwrap_or_default(), is_ready, restarts)
        })
        .collect();
    pods.sort();
    pods
}

/// Ask all probes again and again until the health of `store` is as said; answers the slowest.
async fn until(pod: SocketAddr, store: &str, found: &str, within: Duration, times: &mut Vec<Duration>) {
    let started = Instant::now();
    loop {
        let mut health = Value::Null;
        for path in PATHS {
            let (status, body, time) = ask(pod, path).await;
            times.push(time);
            if path == "/alive" {
                assert_eq!(status, 200, "a store's outage is not the application's: {body}");
            }
            if path == "/health" {
                let all_well =
                    ["database", "redis"].iter().all(|store| body["dependencies"][store] == "healthy");
                assert_eq!(status == 200, body["status"] == "healthy", "{body}");
                assert!(status == 200 || !all_well, "{body}");
                health = body;
            }
        }
        if health["dependencies"][store] == found {
            return;
        }
        assert!(started.elapsed() < within, "{store} is not {found} after {within:?}: {health}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_pods_tells_of_real_stores_and_an_outage_takes_no_pod() {
    let host: IpAddr = std::env::var("VISIOBOOK_HOST")
        .ok()
        .and_then(|host| host.parse().ok())
        .expect("VISIOBOOK_HOST: the address under which pods reach this machine (`cluster env` prints it)");
    let (mut database, mut redis) = (Server::postgres_on(host), Server::redis_on(host));
    let site = Site::new("stores", json!({ "type": "development" })).await;
    site.secret("stores", &[("database", &database.url()), ("redis", &redis.url())]).await;
    let spec = json!({
        "image": "docker.io/visiobook/example-go:1.0.0",
        "replicas": 1,
        "secrets": {
            "DATABASE_URL": { "name": "stores", "key": "database" },
            "REDIS_URL": { "name": "stores", "key": "redis" },
        },
    });
    site.apply("books", spec).await;
    site.ready("books").await;
    let before = pods(&site).await;
    let pod = SocketAddr::new(before[0].1.parse().expect("an address"), 9090);
    let mut times = Vec::new();

    until(pod, "database", "healthy", NOTICED, &mut times).await;
    until(pod, "redis", "healthy", NOTICED, &mut times).await;
    // It accepts and never answers.
    database.freeze();
    until(pod, "database", "unhealthy", NOTICED, &mut times).await;
    let (status, body, _) = ask(pod, "/ready").await;
    assert_eq!((status, &body["status"]), (503, &json!("not_ready")), "{body}");
    database.thaw();
    until(pod, "database", "healthy", NOTICED, &mut times).await;
    redis.stop();
    until(pod, "redis", "unhealthy", NOTICED, &mut times).await;
    redis.start();
    until(pod, "redis", "healthy", NOTICED, &mut times).await;
    database.stop();
    until(pod, "database", "unhealthy", NOTICED, &mut times).await;
    database.start();
    until(pod, "database", "healthy", NOTICED, &mut times).await;

    assert_eq!(pods(&site).await, before, "an outage restarted a pod or took it out");
    times.sort();
    let (slow, slowest) = (times[times.len() * 99 / 100], times[times.len() - 1]);
    println!("{} probes, 99 % within {slow:?}, the slowest {slowest:?}", times.len());
    // One that asked the frozen store would have waited for three seconds.
    assert!(slowest < Duration::from_millis(2500), "a probe waited for {slowest:?}");
    assert!(!soak() || slow < Duration::from_millis(50), "1 of 100 probes took more than {slow:?}");
}
