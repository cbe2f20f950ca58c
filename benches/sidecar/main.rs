//! The sidecar beside nginx, in one run: one thread against one worker, the same application, the same fields in the
//! log. `make bench-sidecar`. Results go to `target/bench.json`; `docs/performance.md` tells the story.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod application;
mod figures;
mod load;
mod proxies;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use figures::Figure;
use load::{Load, Outcome};
use proxies::Proxy;
use serde_json::{Value, json};

/// Rounds of which the middle one counts.
const ROUNDS: usize = 3;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let application = application::start();
    let seconds: f64 =
        std::env::var("VISIOBOOK_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4.0);
    let mut figures = Vec::new();

    let (bare_port, full_port) = (proxies::free_port(), proxies::free_port());
    let nginx = proxies::nginx(folder.path(), application);
    let bare = proxies::sidecar(folder.path(), "bare", &bare_settings(application, bare_port), bare_port);
    let (settings, token) = full_settings(folder.path(), application, full_port);
    let full = proxies::sidecar(folder.path(), "full", &settings, full_port);
    let start = bare.start.as_secs_f64() * 1000.0;
    figures.push(Figure::absolute("sidecar start to listening", start, "ms", "<= 20 ms", start <= 20.0));
    std::thread::sleep(Duration::from_secs(1));
    let idle = usage::resident_mib(full.pid);
    figures.push(Figure::absolute("sidecar resident memory, idle", idle, "MiB", "<= 8 MiB", idle <= 8.0));

    let mut most = 0.0_f64;
    for (bytes, size) in [(1 << 10, "1 KiB"), (100 << 10, "100 KiB")] {
        for connections in [50, 500] {
            let mut rounds: [Vec<(f64, f64)>; 3] = Default::default();
            for _ in 0..ROUNDS {
                for (proxy, rounds) in [&nginx, &bare, &full].into_iter().zip(&mut rounds) {
                    let headers = if std::ptr::eq(proxy, &full) { token.clone() } else { String::new() };
                    let load = get(proxy, bytes, &headers, connections, None);
                    rounds.push(cost(proxy, &load, seconds));
                }
            }
            let [nginx, bare, full] =
                rounds.map(|rounds| (median(&rounds, |r| r.0), median(&rounds, |r| r.1)));
            if connections == 50 && bytes == 1 << 10 {
                most = nginx.1;
            }
            for (name, (micros, rate), goal, limit) in
                [("features off", bare, "<= 1.0x nginx", 1.0), ("features on", full, "<= 1.5x nginx", 1.5)]
            {
                let case = format!("{size}, {connections} connections, {name}");
                let ratio = micros / nginx.0;
                println!(
                    "{case}: {micros:.1} us of CPU a request, nginx {:.1}: {ratio:.2}x; {rate:.0}/s, nginx {:.0}/s",
                    nginx.0, nginx.1
                );
                figures.push(Figure {
                    name: format!("sidecar CPU per request, {case}"),
                    value: micros,
                    unit: "us",
                    against: format!("{:.1} us of nginx", nginx.0),
                    ratio: Some(ratio),
                    goal,
                    holds: ratio <= limit,
                });
                figures.push(Figure {
                    name: format!("sidecar throughput, {case}"),
                    value: rate,
                    unit: "requests/s",
                    against: format!("{:.0} requests/s of nginx", nginx.1),
                    ratio: Some(rate / nginx.1),
                    goal: "-",
                    holds: true,
                });
            }
        }
    }
    let loaded = usage::resident_mib(full.pid);
    figures.push(Figure::absolute(
        "sidecar resident memory, after 500 connections",
        loaded,
        "MiB",
        "<= 20 MiB",
        loaded <= 20.0,
    ));

    // Latency at half of what nginx can do, sent when it is due and not when the last answer is there.
    let latency = |proxy: &Proxy, headers: &str| {
        let load = get(proxy, 1 << 10, headers, 50, Some(most / 2.0));
        let outcome = load.run(Duration::from_secs(1), Duration::from_secs_f64(seconds * 2.0), || ());
        check(&outcome);
        (outcome.percentile(0.5), outcome.percentile(0.99))
    };
    let of = |proxy: &Proxy, headers: &str| {
        let rounds: Vec<_> = (0..ROUNDS).map(|_| latency(proxy, headers)).collect();
        (median(&rounds, |r| r.0), median(&rounds, |r| r.1))
    };
    let (theirs, ours) = (of(&nginx, ""), of(&full, &token));
    println!(
        "latency at {:.0}/s: nginx p50 {:.3} p99 {:.3} ms, sidecar p50 {:.3} p99 {:.3} ms",
        most / 2.0,
        theirs.0,
        theirs.1,
        ours.0,
        ours.1
    );
    for (name, ours, theirs, goal, holds) in [
        ("p50", ours.0, theirs.0, "-", true),
        ("p99", ours.1, theirs.1, "<= 0.5 ms more", ours.1 - theirs.1 <= 0.5),
    ] {
        figures.push(Figure {
            name: format!("sidecar latency {name} at half of nginx's maximum, features on"),
            value: ours,
            unit: "ms",
            against: format!("{theirs:.3} ms of nginx"),
            ratio: Some(ours / theirs),
            goal,
            holds,
        });
    }
    figures::record(&figures);
    for figure in figures.iter().filter(|figure| !figure.holds) {
        println!("goal missed: {} is {:.2} {}, goal {}", figure.name, figure.value, figure.unit, figure.goal);
    }
}

/// Clients that ask for bodies of so many bytes, with further header lines.
fn get(proxy: &Proxy, bytes: usize, headers: &str, connections: usize, rate: Option<f64>) -> Load {
    let request = format!(
        "GET /{bytes} HTTP/1.1\r\nhost: users\r\nuser-agent: bench/1.0\r\naccept: */*\r\n{headers}\r\n"
    );
    let request = Arc::new(move |bytes: &mut Vec<u8>| bytes.extend_from_slice(request.as_bytes()));
    Load { address: proxy.address, connections, request, rate }
}

/// Microseconds of CPU a request, and requests a second.
fn cost(proxy: &Proxy, load: &Load, seconds: f64) -> (f64, f64) {
    let mut cpu = Vec::new();
    let outcome = load.run(Duration::from_secs(1), Duration::from_secs_f64(seconds), || {
        cpu.push(usage::cpu_seconds(proxy.pid))
    });
    check(&outcome);
    ((cpu[1] - cpu[0]) * 1e6 / outcome.requests as f64, outcome.rate())
}

fn check(outcome: &Outcome) {
    assert!(outcome.requests > 0 && outcome.failed == 0, "{} of {} failed", outcome.failed, outcome.requests);
}

/// What nginx does, and nothing more: a log line, a correlation id, metrics.
fn bare_settings(application: u16, port: u16) -> Value {
    json!({
        "service": "users", "serviceVersion": "1.2.3", "environment": "production",
        "port": port, "contractPort": proxies::free_port(),
        "application": { "port": application, "metricsPath": null },
        "securityHeaders": false, "retries": 0, "breaker": { "failures": 0 },
    })
}

/// Everything that applies to an ordinary request, with limits that are not reached.
fn full_settings(folder: &std::path::Path, application: u16, port: u16) -> (Value, String) {
    let secret = "a secret of more than thirty-two characters";
    let keys = folder.join("keys");
    std::fs::create_dir_all(&keys).unwrap();
    std::fs::write(keys.join("current"), secret).unwrap();
    let claims = json!({ "user_id": "42", "role": "user", "exp": 4_102_444_800_u64 });
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let settings = json!({
        "service": "users", "serviceVersion": "1.2.3", "environment": "production",
        "port": port, "contractPort": proxies::free_port(),
        "application": { "port": application, "metricsPath": null },
        "routes": ["/{size}"],
        "rateLimit": { "requestsPerMinute": 4_000_000_000_u32, "burst": 4_000_000_000_u32 },
        "trustedProxies": ["10.0.0.0/8"],
        "corsOrigins": ["https://www.visiobook.com"],
        "hosts": ["users"],
        "auth": { "keysFolder": keys },
        "compression": true,
        "errors": { "envelope": true, "mask": true },
    });
    (settings, format!("authorization: Bearer {token}\r\norigin: https://www.visiobook.com\r\n"))
}

fn median<T>(rounds: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
