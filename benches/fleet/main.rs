//! The operator with a fleet of services on simulated nodes: `make bench`. Every figure that can be is a ratio to
//! something measured in the same run. Results go to `target/bench.json`; `docs/performance.md` tells the story.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../sidecar/figures.rs"]
mod figures;
mod fleet;
mod process;
mod releases;
mod replay;
#[path = "../sidecar/usage.rs"]
mod usage;

use std::time::{Duration, Instant};

use figures::Figure;
use fleet::Fleet;
use process::Operator;

#[tokio::main]
async fn main() {
    let services: usize =
        std::env::var("VISIOBOOK_BENCH_SERVICES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let fleet = Fleet::prepare().await;
    let mut figures = Vec::new();

    let operator = Operator::start().await;
    operator.settled(0).await;
    let empty = operator.resident_mib();
    say("operator with no service", format!("{empty:.1} MiB"));

    fleet.apply(0..100).await;
    fleet.all_ready(0..100).await;
    operator.settled(100).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let hundred = operator.resident_mib();
    say("operator with 100 services", format!("{hundred:.1} MiB"));
    fleet.delete_all().await;

    // From apply to all children and final status.
    let before = operator.writes().await.others;
    let started = Instant::now();
    fleet.apply(0..services).await;
    let took = fleet.all_ready(0..services).await - started;
    operator.settled(services).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let writes = operator.writes().await.others - before;
    let thousand = operator.resident_mib();
    say("apply to final status", format!("{:.1} s, {writes} writes", took.as_secs_f64()));
    say("operator with all services", format!("{thousand:.1} MiB"));

    // From the change of a resource to its patched Deployment.
    let latencies = fleet.change_latencies(200, services).await;
    say("change to patched Deployment", format!("p50 {:?}, p99 {:?}", latencies.0, latencies.1));
    tokio::time::sleep(Duration::from_secs(5)).await;

    // A restart reads everything and writes nothing.
    operator.stop().await;
    let started = Instant::now();
    let operator = Operator::start().await;
    operator.reconciled(services).await;
    let restart = started.elapsed();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let restart_writes = operator.writes().await.others;
    let restarted = operator.resident_mib();
    say("restart", format!("{:.1} s, {restart_writes} writes, {restarted:.1} MiB", restart.as_secs_f64()));

    // The same writes, without anybody deciding anything.
    let recorded = replay::record(&fleet, services).await;

    // Releases among all the others.
    let releases = releases::measure(&fleet, &operator, services).await;
    let at_once = releases.at_once;
    say(
        &format!("{at_once} releases at once"),
        format!(
            "{:.1} s until all wait for their approval, at most {} writes a second; {:.1} s until all have switched",
            releases.deployed.as_secs_f64(),
            releases.busiest,
            releases.switched.as_secs_f64()
        ),
    );
    for (what, latencies) in [("approval", &releases.approve), ("abort", &releases.abort)] {
        let [p50, p99] = [50, 99].map(|percent| latencies.percentile(percent));
        say(&format!("{what} to selector"), format!("p50 {p50:?}, p99 {p99:?}"));
    }
    operator.stop().await;
    fleet.delete_all().await;
    let replayed = replay::run(&fleet, recorded).await;
    say("replay of the same writes", format!("{:.1} s", replayed.as_secs_f64()));
    // With its nodes gone a pod would hold its namespace for minutes.
    fleet.delete_all().await;
    fleet.clean().await;

    let ratio = took.as_secs_f64() / replayed.as_secs_f64();
    let children = fleet::CHILDREN as f64;
    let per_service = writes as f64 / services as f64;
    let seconds = |duration: Duration| duration.as_secs_f64();
    let mut add = |name: &str, value, unit, against: &str, ratio, goal, holds| {
        figures.push(Figure { name: name.into(), value, unit, against: against.into(), ratio, goal, holds });
    };
    add(
        "apply_to_final_status",
        seconds(took),
        "s",
        "replay of the same writes with the same concurrency",
        Some(ratio),
        "<= 1.2x",
        ratio <= 1.2,
    );
    add(
        "writes_per_service",
        per_service,
        "writes",
        "children + 4",
        Some(per_service / (children + 4.0)),
        "<= children + 4",
        per_service <= children + 4.0,
    );
    add("rss_empty", empty, "MiB", "-", None, "-", true);
    add("rss_100", hundred, "MiB", "-", None, "-", true);
    add("rss_all", thousand, "MiB", "60 MiB", Some(thousand / 60.0), "<= 60 MiB at 1,000", thousand <= 60.0);
    add(
        "rss_slope",
        (thousand - hundred) * 1024.0 / (services as f64 - 100.0).max(1.0),
        "KiB/service",
        "-",
        None,
        "-",
        true,
    );
    add(
        "restart",
        seconds(restart),
        "s",
        "10 s",
        Some(seconds(restart) / 10.0),
        "<= 10 s at 1,000",
        seconds(restart) <= 10.0,
    );
    add("restart_writes", restart_writes as f64, "writes", "0", None, "0", restart_writes == 0);
    add("change_to_child_p50", seconds(latencies.0), "s", "-", None, "-", true);
    add("change_to_child_p99", seconds(latencies.1), "s", "-", None, "-", true);
    let against = format!("{at_once} services of {services}");
    add("releases_at_once", seconds(releases.deployed), "s", &against, None, "-", true);
    add("releases_busiest_second", releases.busiest as f64, "writes/s", &against, None, "-", true);
    add("releases_switched", seconds(releases.switched), "s", &against, None, "-", true);
    for (name, latencies, most, goal) in [
        ("approve_to_selector_p99", &releases.approve, 0.25, "<= 250 ms"),
        ("abort_to_selector_p99", &releases.abort, 1.0, "<= 1 s"),
    ] {
        let p99 = seconds(latencies.percentile(99));
        add(name, p99, "s", goal, Some(p99 / most), goal, p99 <= most);
    }
    figures::record(&figures);
    for figure in &figures {
        let mark = if figure.holds { "holds" } else { "MISSED" };
        println!(
            "{:24} {:10.3} {:12} goal {:20} {mark}",
            figure.name, figure.value, figure.unit, figure.goal
        );
    }
}

fn say(what: &str, result: String) {
    println!("  {what}: {result}");
}
