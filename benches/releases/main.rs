//! Releases beside those of Argo Rollouts, on the same cluster, of the same application, under the same requests: part of
//! `make bench`. `cargo bench --bench releases -- cases argo` runs a part of it. Figures go to `target/bench.json`;
//! `docs/performance.md` tells the story.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod audit;
mod cases;
#[path = "../sidecar/figures.rs"]
mod figures;
mod load;
mod peer;

use std::time::{Duration, Instant};

use audit::{Audit, Calls};
use figures::Figure;
use load::{Answer, Load};
use peer::{Change, Peer, Side};

/// What good releases came to.
struct Measured {
    asked: usize,
    lost: Vec<String>,
    /// From the change to a release that waits for its word, each.
    ready: Vec<Duration>,
    /// From the word to the Service that selects the new version, each.
    switched: Vec<Duration>,
    /// From the word to the last request that the old version answered, each: of clients that connect anew, and of
    /// those that keep their connection.
    left: [Vec<Duration>; 2],
    calls: Option<Calls>,
    resident: f64,
}

#[tokio::main]
async fn main() {
    let releases: u32 =
        std::env::var("VISIOBOOK_BENCH_RELEASES").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let said: Vec<String> = std::env::args().collect();
    // None of them means all of them.
    let wanted = |word: &str, of: [&str; 2]| {
        let said: Vec<&String> = said.iter().filter(|word| of.contains(&word.as_str())).collect();
        said.is_empty() || said.iter().any(|said| *said == word)
    };
    let part = |word| wanted(word, ["good", "cases"]);
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = kube::Client::try_default().await.expect("a cluster: make cluster-up");
    let (mut measured, mut outcomes) = (Vec::new(), Vec::new());
    for (side, word) in [(Side::Ours, "ours"), (Side::Argo, "argo")] {
        if !wanted(word, ["ours", "argo"]) {
            continue;
        }
        let mut peer = Peer::start(&client, side).await;
        peer.apply(Change::good(0)).await;
        let address = peer.address().await;
        peer.until("the first version", async || load::release(address).await.ok()).await;
        peer.alone().await;
        if part("good") {
            let found = good(&peer, releases).await;
            tell(side, releases, &found);
            measured.push(found);
        }
        if part("cases") {
            outcomes.push(cases::all(&mut peer).await);
        }
        peer.clean().await;
    }
    if let [ours, argo] = &outcomes[..] {
        cases::compare(ours, argo);
    }
    if let [ours, argo] = &measured[..] {
        let figures = figures(releases, ours, argo);
        figures::record(&figures);
        for figure in &figures {
            let mark = if figure.holds { "holds" } else { "MISSED" };
            println!(
                "{:40} {:10.3} {:10} against {:30} goal {:18} {mark}",
                figure.name, figure.value, figure.unit, figure.against, figure.goal
            );
        }
    }
}

/// Release good versions, one after the other.
async fn good(peer: &Peer, releases: u32) -> Measured {
    let load = Load::start(peer.address().await);
    let audit = Audit::begin();
    let (mut ready, mut switched, mut words) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=releases {
        let before = peer.selector.now();
        let asked = Instant::now();
        peer.apply(Change::good(number)).await;
        let attempt = peer.waits().await;
        ready.push(asked.elapsed());
        let word = Instant::now();
        peer.approve(&attempt).await;
        let moved = peer.selector.moved(&before, Duration::from_secs(60)).await.expect("traffic moves");
        switched.push(moved - word);
        words.push((number, word));
        // They are warm for a while, then stop.
        tokio::time::sleep(Duration::from_secs(peer::WARM)).await;
        peer.alone().await;
    }
    // What it still tells of the last one belongs to it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let calls = audit.map(|audit| audit.calls_of(&peer.user()));
    let resident = peer.resident_mib();
    let answers = load.stop().await;
    let left = [false, true].map(|keeps| words.iter().map(|word| leaving(&answers, keeps, *word)).collect());
    let lost = answers.iter().filter_map(|answer| answer.said.as_ref().err());
    Measured { asked: answers.len(), lost: lost.cloned().collect(), ready, switched, left, calls, resident }
}

/// From the word for a release to the beginning of the last request that one before it answered.
fn leaving(answers: &[Answer], keeps: bool, (number, word): (u32, Instant)) -> Duration {
    let of = answers.iter().filter(|answer| answer.keeps == keeps && answer.begun > word);
    let old = of.filter(|answer| answer.said.as_ref().is_ok_and(|release| *release < number));
    old.map(|answer| answer.begun - word).max().unwrap_or_default()
}

fn middle(all: &[Duration]) -> f64 {
    let mut all = all.to_vec();
    all.sort();
    all[all.len() / 2].as_secs_f64()
}

fn worst(all: &[Duration]) -> f64 {
    all.iter().max().copied().unwrap_or_default().as_secs_f64()
}

fn tell(side: Side, releases: u32, found: &Measured) {
    println!("{}: {releases} releases", side.name());
    println!("  requests: {}, lost: {} {:?}", found.asked, found.lost.len(), found.lost.first());
    for (what, all) in [
        ("change to ready", &found.ready),
        ("word to selector", &found.switched),
        ("word to the last request on the old version, new connections", &found.left[0]),
        ("the same, kept connections", &found.left[1]),
    ] {
        println!("  {what}: middle {:.3} s, worst {:.3} s", middle(all), worst(all));
    }
    if let Some(calls) = found.calls {
        let each = |count: usize| count as f64 / f64::from(releases);
        println!(
            "  requests to the API server for each release: {:.1}, of which {:.1} write and {:.1} are events",
            each(calls.all),
            each(calls.writes),
            each(calls.events)
        );
    }
    println!("  resident memory: {:.1} MiB", found.resident);
}

fn figures(releases: u32, ours: &Measured, argo: &Measured) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |name: &str, unit, ours: f64, argo: f64, goal, holds| {
        figures.push(Figure {
            name: format!("releases_{name}"),
            value: ours,
            unit,
            against: format!("Argo Rollouts: {argo:.3}"),
            ratio: (argo > 0.0).then_some(ours / argo),
            goal,
            holds,
        });
    };
    let lost = ours.lost.len() as f64;
    add("lost", "requests", lost, argo.lost.len() as f64, "0", lost == 0.0);
    add("change_to_ready", "s", middle(&ours.ready), middle(&argo.ready), "-", true);
    add("word_to_selector", "s", middle(&ours.switched), middle(&argo.switched), "-", true);
    let [anew, kept] = [0, 1].map(|keeps| (worst(&ours.left[keeps]), worst(&argo.left[keeps])));
    add("word_to_last_on_old_new_connections", "s", anew.0, anew.1, "-", true);
    add("word_to_last_on_old_kept_connections", "s", kept.0, kept.1, "-", true);
    if let (Some(ours), Some(argo)) = (ours.calls, argo.calls) {
        let each = |count: usize| count as f64 / f64::from(releases);
        add("api_calls", "requests", each(ours.all), each(argo.all), "-", true);
        add("api_writes", "requests", each(ours.writes), each(argo.writes), "-", true);
    }
    add("rss", "MiB", ours.resident, argo.resident, "<= 1.0x", ours.resident <= argo.resident);
    figures
}
