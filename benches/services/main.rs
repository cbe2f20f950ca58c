//! `users` beside pgbench, in one run: the same statements on the same PostgreSQL, over as many connections, without a
//! cache. `make bench-services`. Results go to `target/bench.json`; `docs/performance.md` tells the story.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../sidecar/figures.rs"]
mod figures;
#[path = "../sidecar/load.rs"]
mod load;
mod pgbench;
#[path = "../../e2e/support/servers.rs"]
#[allow(dead_code)] // Tests take more of it.
mod servers;
mod service;
#[path = "../sidecar/usage.rs"]
mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use figures::Figure;
use load::{Load, Outcome};
use pgbench::Script;
use servers::Server;
use service::Service;

/// Connections of pgbench, and of the service's pool.
pub const CONNECTIONS: usize = 10;
/// Clients of the service.
const CLIENTS: usize = 50;
/// Requests a second that the seeds ask of a service, in less than 100 ms each.
const SEEDS: f64 = 1000.0;

fn main() {
    let number =
        |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let users = number("VISIOBOOK_BENCH_USERS", 1_000_000);
    let seconds = Duration::from_secs(number("VISIOBOOK_BENCH_SECONDS", 10));
    let postgres = Server::postgres(false);
    let service = Service::start("users", &postgres);
    println!("{users} users are made");
    pgbench::fill(&postgres, users);
    let token = service::token();
    let mut figures = Vec::new();

    for script in [pgbench::by_id(users), pgbench::slice(users)] {
        let most = script.run(&postgres, seconds, None).rate();
        let theirs = script.run(&postgres, seconds, Some(most / 2.0));

        let mut used = Vec::new();
        let full =
            ask(&service, &script, &token, users, None, seconds, || used.push(cpu(&service, &postgres)));
        let (ours, stores) = (used[1].0 - used[0].0, used[1].1 - used[0].1);
        let micros = |cpu: f64| cpu * 1e6 / full.requests as f64;
        let half = ask(&service, &script, &token, users, Some(most / 2.0), seconds, || ());
        let calm = ask(&service, &script, &token, users, Some(SEEDS), seconds, || ());

        let name = script.name;
        println!(
            "{name}: {:.0}/s of pgbench's {most:.0}/s; {:.0} us of CPU a request beside PostgreSQL's {:.0} us; \
             at {:.0}/s p50 {:.2} and p99 {:.2} ms, pgbench {:.2} and {:.2} ms; at {SEEDS}/s mean {:.2} ms",
            full.rate(),
            micros(ours),
            micros(stores),
            most / 2.0,
            half.percentile(0.5),
            half.percentile(0.99),
            theirs.percentile(0.5),
            theirs.percentile(0.99),
            calm.mean(),
        );
        figures.push(Figure {
            name: format!("{name}: CPU of the service a request"),
            value: micros(ours),
            unit: "us",
            against: format!("{:.1} us of PostgreSQL", micros(stores)),
            ratio: Some(ours / stores),
            goal: "<= 1.0x PostgreSQL",
            holds: ours <= stores,
        });
        let (p99, pgbench) = (half.percentile(0.99), theirs.percentile(0.99));
        figures.push(Figure {
            name: format!("{name}: p99 at half of pgbench's rate"),
            value: p99,
            unit: "ms",
            against: format!("{pgbench:.2} ms of pgbench at {:.0}/s", most / 2.0),
            ratio: Some(p99 / pgbench),
            goal: "<= 2 ms more",
            holds: p99 - pgbench <= 2.0,
        });
        figures.push(Figure {
            name: format!("{name}: throughput"),
            value: full.rate(),
            unit: "requests/s",
            against: format!("{SEEDS}/s"),
            ratio: Some(full.rate() / SEEDS),
            goal: ">= 1,000/s",
            holds: full.rate() >= SEEDS,
        });
        figures.push(Figure {
            name: format!("{name}: mean at 1,000/s"),
            value: calm.mean(),
            unit: "ms",
            against: "100 ms".into(),
            ratio: Some(calm.mean() / 100.0),
            goal: "< 100 ms",
            holds: calm.mean() < 100.0,
        });
    }
    let other = Server::postgres(false);
    let database = Service::start("database", &other);
    std::thread::sleep(Duration::from_secs(2));
    for (service, name) in
        [(&service, "users, resident memory after the load"), (&database, "database, resident memory, idle")]
    {
        let resident = usage::resident_mib(service.pid());
        figures.push(Figure::absolute(name, resident, "MiB", "<= 30 MiB", resident <= 30.0));
    }
    figures::record(&figures);
    for figure in figures.iter().filter(|figure| !figure.holds) {
        println!("goal missed: {} is {:.2} {}, goal {}", figure.name, figure.value, figure.unit, figure.goal);
    }
}

/// Requests for what the script reads, for users drawn alike.
fn ask(
    service: &Service,
    script: &Script,
    token: &str,
    users: u64,
    rate: Option<f64>,
    time: Duration,
    around: impl FnMut(),
) -> Outcome {
    let path = script.path;
    let headers = format!("host: users\r\nauthorization: Bearer {token}\r\n\r\n");
    let drawn = AtomicU64::new(1);
    let request = Arc::new(move |bytes: &mut Vec<u8>| {
        let user = 1 + mix(drawn.fetch_add(1, Relaxed)) % users;
        bytes.extend_from_slice(format!("GET {} HTTP/1.1\r\n{headers}", path(user)).as_bytes());
    });
    let load = Load { address: service.address, connections: CLIENTS, request, rate };
    let outcome = load.run(&load::one_thread(), Duration::from_secs(2), time, around);
    let (requests, failed) = (outcome.requests, outcome.failed);
    assert!(requests > 0 && failed == 0, "{failed} of {requests} failed");
    outcome
}

/// A number that looks like any other (splitmix64).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Seconds of CPU of the service, and of PostgreSQL with all of its processes.
fn cpu(service: &Service, postgres: &Server) -> (f64, f64) {
    let children = servers::children(postgres.id());
    let stores = children.into_iter().chain([postgres.id()]).map(usage::cpu_seconds).sum();
    (usage::cpu_seconds(service.pid()), stores)
}
