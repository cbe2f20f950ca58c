//! What goes wrong with releases, tried on both (docs/performance.md has the table). Each case tells what it saw and judges
//! nothing.

use std::time::{Duration, Instant};

use crate::load::{Answer, Load};
use crate::peer::{Change, Peer, Selected, Side};

/// How long a case waits for what may never come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was tried, and what came of it.
pub type Outcomes = Vec<(&'static str, String)>;

/// All cases, one after the other, each of them with a release of its own.
pub async fn all(peer: &mut Peer) -> Outcomes {
    println!("{}: what goes wrong", peer.side.name());
    // Numbers that no good release has.
    let numbers = &mut (1000..);
    let mut next = || Change::good(numbers.next().expect("a number"));
    let mut told = Outcomes::new();
    let mut tell = |what, outcome: String| {
        println!("  {what}: {outcome}");
        told.push((what, outcome));
    };
    tell(
        "T02: the selector is led to the new version while the release waits",
        led(peer, next(), true).await,
    );
    tell("T02: the selector is taken away while the release waits", led(peer, next(), false).await);
    tell("T12: the release is taken back while the old version is warm", undone(peer, next()).await);
    tell("T01: all new pods are lost right after the switch", lost(peer, next()).await);
    tell("T11: the controller is killed as the word is given", killed(peer, next()).await);
    tell("T10: the new version never gets ready (deadline 15 s)", never_ready(peer, next()).await);
    tell(
        "T10: the version that serves is lost meanwhile, and stays away for its restart",
        both(peer, next()).await,
    );
    told
}

/// The table.
pub fn compare(ours: &Outcomes, argo: &Outcomes) {
    println!("| case | {} | {} |\n|---|---|---|", Side::Ours.name(), Side::Argo.name());
    for ((what, ours), (_, argo)) in ours.iter().zip(argo) {
        println!("| {what} | {ours} | {argo} |");
    }
}

/// Somebody edits the selector of a release that waits.
async fn led(peer: &Peer, change: Change, forward: bool) -> String {
    peer.apply(change).await;
    let attempt = peer.waits().await;
    let before = peer.selector.now();
    let load = Load::start(peer.address().await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let to = peer.preview().await;
    let meddled = Instant::now();
    peer.meddle(forward.then_some(&to)).await;
    peer.selector.moved(&before, PATIENCE).await.expect("it was edited");
    let back = peer.selector.back(&before, PATIENCE).await;
    let answers = load.stop().await;
    if back.is_none() {
        peer.meddle(Some(&before.0)).await;
        peer.selector.back(&before, PATIENCE).await.expect("it was put back by hand");
    }
    let early = count(&answers, |said| said.is_ok_and(|release| release == change.number));
    let outcome = format!(
        "{}; {early} requests answered by what nobody had approved, {}",
        back.map_or("not put back in 20 s".to_string(), |at| format!(
            "put back after {}",
            seconds(at - meddled)
        )),
        lost_of(&answers),
    );
    end(peer, &attempt).await;
    outcome
}

/// Abort what waits, and wait for the rest to go.
async fn end(peer: &Peer, attempt: &str) {
    peer.abort(attempt).await;
    peer.alone().await;
}

/// Release, and answer what was selected before, and the attempt.
async fn promoted(peer: &Peer, change: Change) -> (Selected, String) {
    let before = peer.selector.now();
    peer.apply(change).await;
    let attempt = peer.waits().await;
    peer.approve(&attempt).await;
    peer.selector.moved(&before, PATIENCE).await.expect("traffic moves");
    (before, attempt)
}

async fn undone(peer: &Peer, change: Change) -> String {
    let old = Change { warm: 30, ..serving(peer).await };
    let (before, attempt) = promoted(peer, Change { warm: 30, ..change }).await;
    let load = Load::start(peer.address().await);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let word = Instant::now();
    peer.undo(&attempt, old).await;
    let back = peer.selector.back(&before, PATIENCE).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let answers = load.stop().await;
    let outcome = match back {
        Some(at) => format!("traffic is back after {}, {}", seconds(at - word), lost_of(&answers)),
        None => format!("traffic is not back in 20 s, {}", lost_of(&answers)),
    };
    // Also what is warm for long goes when something else is asked for.
    settle(peer, Change::good(change.number + 100)).await;
    outcome
}

async fn lost(peer: &Peer, change: Change) -> String {
    let load = Load::start(peer.address().await);
    let (before, _) = promoted(peer, Change { soak: 15, warm: 20, ..change }).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let new = peer.selector.now();
    let killed = Instant::now();
    peer.lose(&new.0).await;
    let back = peer.selector.back(&before, PATIENCE).await;
    let answers = load.stop().await;
    let outcome = format!(
        "{}; {}, no answer for {}",
        back.map_or("traffic stays with the new version, which starts anew".to_string(), |at| {
            format!("traffic is back on the old version after {}", seconds(at - killed))
        }),
        lost_of(&answers),
        seconds(gap(&answers, killed)),
    );
    settle(peer, Change::good(change.number + 100)).await;
    outcome
}

async fn killed(peer: &mut Peer, change: Change) -> String {
    let before = peer.selector.now();
    peer.apply(change).await;
    let attempt = peer.waits().await;
    let load = Load::start(peer.address().await);
    let word = Instant::now();
    peer.approve(&attempt).await;
    peer.kill();
    peer.launch();
    let moved = peer.selector.moved(&before, Duration::from_secs(60)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let answers = load.stop().await;
    let outcome = match moved {
        Some(at) => format!("traffic moves {} after the word, {}", seconds(at - word), lost_of(&answers)),
        None => format!("traffic does not move in 60 s, {}", lost_of(&answers)),
    };
    peer.alone().await;
    outcome
}

async fn never_ready(peer: &Peer, change: Change) -> String {
    let load = Load::start(peer.address().await);
    let before = peer.selector.now();
    let asked = Instant::now();
    peer.apply(Change { good: false, deadline: 15, ..change }).await;
    let mut ended = None;
    while ended.is_none() && asked.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        ended = peer.gave_up().await.then(|| asked.elapsed());
    }
    let mut gone = None;
    while gone.is_none() && asked.elapsed() < Duration::from_secs(75) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        gone = (peer.pods(None).await.len() == 2).then(|| asked.elapsed());
    }
    let answers = load.stop().await;
    let stayed = if peer.selector.now().0 == before.0 { "traffic stays" } else { "traffic moved" };
    let outcome = format!(
        "{}, its pods {}; {stayed}, {}",
        ended
            .map_or("not given up in 60 s".to_string(), |after| format!("given up after {}", seconds(after))),
        gone.map_or("are left after 75 s".to_string(), |after| format!("are gone after {}", seconds(after))),
        lost_of(&answers),
    );
    settle(peer, Change::good(change.number + 100)).await;
    outcome
}

/// The new version cannot start, and the one that serves dies too.
async fn both(peer: &Peer, change: Change) -> String {
    let load = Load::start(peer.address().await);
    let before = peer.selector.now();
    peer.apply(Change { good: false, deadline: 60, ..change }).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let killed = Instant::now();
    peer.lose(&before.0).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let answers = load.stop().await;
    let stayed = if peer.selector.now().0 == before.0 { "traffic stays with it" } else { "traffic moved" };
    let outcome =
        format!("{stayed}; {}, no answer for {}", lost_of(&answers), seconds(gap(&answers, killed)));
    settle(peer, Change::good(change.number + 100)).await;
    outcome
}

/// A good release, so that the next case begins with one version, settled.
async fn settle(peer: &Peer, change: Change) {
    promoted(peer, Change { warm: 2, ..change }).await;
    peer.alone().await;
}

/// The release that serves now.
async fn serving(peer: &Peer) -> Change {
    let address = peer.address().await;
    Change::good(peer.until("an answer", async || crate::load::release(address).await.ok()).await)
}

fn count(answers: &[Answer], holds: impl Fn(Result<u32, &String>) -> bool) -> usize {
    answers.iter().filter(|answer| holds(answer.said.as_ref().copied())).count()
}

fn lost_of(answers: &[Answer]) -> String {
    format!("{} of {} requests lost", count(answers, |said| said.is_err()), answers.len())
}

/// The longest time after a moment within which no request was answered that was begun in it.
fn gap(answers: &[Answer], since: Instant) -> Duration {
    let good = answers.iter().filter(|answer| answer.begun > since && answer.said.is_ok());
    let mut begun: Vec<Instant> = good.map(|answer| answer.begun).collect();
    begun.push(since);
    begun.sort();
    begun.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
