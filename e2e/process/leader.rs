//! T23: a leader that stops, is stopped, or wakes up too late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::Value;
use tokio::sync::Notify;
use visiobook::api::kinds::Kind;

use super::state;
use crate::support::eventually;
use crate::support::operator::{Launch, Operator, Pace, Stage, signal};
use crate::support::proxy::{Call, Proxy, Verdict, tail};

/// Namespaces that are worked in side by side.
const LANES: usize = 4;
/// How long a key signs before the next is due, the least that can be asked for.
const KEY: Duration = Duration::from_secs(60);
const SETTLED: Duration = Duration::from_millis(2500);

/// Two operators, each behind a proxy of its own.
struct Pair {
    stage: Stage,
    proxies: [Proxy; 2],
}

const NAMES: [&str; 2] = ["first", "second"];

impl Pair {
    async fn new(name: &str) -> Pair {
        let stage = Stage::new(name).await;
        state::secret(&stage.site).await;
        Pair { stage, proxies: [Proxy::start().await, Proxy::start().await] }
    }

    /// The first leads, the second stands by.
    async fn start(&self) -> [Operator; 2] {
        let first = self.launch(0);
        first.leads().await;
        let second = self.launch(1);
        second.waits().await;
        [first, second]
    }

    fn launch(&self, index: usize) -> Operator {
        let proxy = Some(&self.proxies[index]);
        self.stage.launch(Launch { identity: NAMES[index], proxy, pace: Pace::Quick, ..Launch::default() })
    }
}

/// What a leader changed that is one no longer.
fn changed(calls: &[Call]) -> Vec<Call> {
    let stored = |call: &&Call| (200..300).contains(&call.status) || call.status == 0;
    let changes = |call: &&Call| {
        call.writes() && call.kind != "events" || call.kind == "leases" && call.verb == "update"
    };
    calls.iter().filter(changes).filter(stored).cloned().collect()
}

/// Wake a leader whose lease has gone over to another one.
async fn wakes_and_ends_without_a_write(pair: &Pair, first: &mut Operator) {
    let mark = pair.proxies[0].mark();
    first.thaw();
    let status = first.ended().await;
    assert_ne!(status.code(), Some(0), "who loses the lease does not end in peace");
    let writes = changed(&pair.proxies[0].since(mark));
    assert!(writes.is_empty(), "{:#?}", tail(&writes));
}

#[tokio::test(flavor = "multi_thread")]
async fn t23_a_leader_that_sleeps_past_its_lease_writes_nothing_when_it_wakes() {
    let pair = Pair::new("asleep").await;
    let site = &pair.stage.site;
    let [mut first, _second] = pair.start().await;
    site.apply("shop", state::first_spec()).await;
    state::settled(site, "shop").await;
    pair.proxies[0].quiet(SETTLED).await;

    first.freeze();
    site.apply("shop", state::second_spec()).await;
    pair.stage.led_by(NAMES[1]).await;
    state::settled(site, "shop").await;
    pair.proxies[1].quiet(SETTLED).await;
    let end = state::of(site, "shop").await;

    wakes_and_ends_without_a_write(&pair, &mut first).await;
    pair.proxies[1].quiet(SETTLED).await;
    state::expect(site, "shop", &end, "after the old leader woke up").await;
    assert_eq!(pair.stage.leader().await.as_deref(), Some(NAMES[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn t23_a_key_that_falls_due_while_its_leader_sleeps_is_not_made_when_it_wakes() {
    let pair = Pair::new("key-due").await;
    let (site, due) = (&pair.stage.site, Instant::now() + KEY);
    let keys = || site.existing(Kind::Secret, "visiobook-operator-signing-keys");
    let seconds = KEY.as_secs().to_string();
    let mut first = pair.stage.launch(Launch {
        identity: NAMES[0],
        proxy: Some(&pair.proxies[0]),
        pace: Pace::Quick,
        more: &["--signing-key-seconds", &seconds],
        ..Launch::default()
    });
    first.leads().await;
    first.freeze();
    let early = changed(&pair.proxies[0].since(0)).into_iter().filter(|call| call.kind == "secrets").count();
    assert_eq!(early, 0, "the key was due before the leader slept");
    let before = keys().await;

    // For this one no key is due: whoever makes one is the other.
    let _second = pair.launch(1);
    pair.stage.led_by(NAMES[1]).await;
    tokio::time::sleep_until((due + Duration::from_secs(1)).into()).await;
    wakes_and_ends_without_a_write(&pair, &mut first).await;
    assert_eq!(keys().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn t23_a_write_that_is_overtaken_between_check_and_send_changes_nothing() {
    let lanes = join_all((0..LANES).map(overtaken_lane)).await;
    let writes = {
        let lane = &lanes[0];
        let _operators = lane.start().await;
        run(lane, "clean-run").await
    };
    assert!(writes.iter().all(|writes| *writes >= 5), "creates and updates are more than {writes:?} writes");
    // The first pass writes everything but the last status.
    let cases = |update: bool| (1..writes[usize::from(update)]).map(move |write| (write, update));
    let cases: Vec<(usize, bool)> = cases(false).chain(cases(true)).collect();
    join_all(lanes.iter().enumerate().map(|(index, lane)| {
        let cases = cases.iter().skip(index).step_by(LANES);
        async move {
            for (write, update) in cases {
                overtake(lane, *write, *update).await;
            }
        }
    }))
    .await;
}

async fn overtaken_lane(lane: usize) -> Pair {
    Pair::new(&format!("overtaken-{lane}")).await
}

/// Create a service and change it, without any trouble. Answers how many writes each took.
async fn run(pair: &Pair, name: &str) -> [usize; 2] {
    let mut writes = [0; 2];
    for (count, spec) in writes.iter_mut().zip([state::first_spec(), state::second_spec()]) {
        let mark = pair.proxies[0].mark();
        pair.stage.site.apply(name, spec).await;
        state::settled(&pair.stage.site, name).await;
        pair.proxies[0].quiet(SETTLED).await;
        *count = pair.proxies[0].writes(mark).iter().filter(|call| call.kind != "events").count();
    }
    writes
}

/// Stop the leader when its claim was checked and its write is on the way. The write arrives when the standby has
/// done the same.
async fn overtake(pair: &Pair, write: usize, update: bool) {
    let site = &pair.stage.site;
    let name = format!("{}-{write:02}", if update { "update" } else { "create" });
    let [mut first, mut second] = pair.start().await;
    let mut spec = state::first_spec();
    if update {
        site.apply(&name, spec).await;
        state::settled(site, &name).await;
        pair.proxies[0].quiet(SETTLED).await;
        spec = state::second_spec();
    }
    let (gate, pid) = (Arc::new(Notify::new()), first.pid());
    let (held, holding) = (Arc::new(AtomicBool::new(false)), gate.clone());
    let noting = held.clone();
    let counted = std::sync::Mutex::new(0);
    pair.proxies[0].rule(move |call| {
        if !call.writes() || call.kind == "events" {
            return Verdict::Forward;
        }
        let mut counted = counted.lock().expect("count");
        *counted += 1;
        if *counted != write {
            return Verdict::Forward;
        }
        signal(pid, "STOP");
        noting.store(true, Ordering::SeqCst);
        Verdict::Hold(holding.clone())
    });
    site.apply(&name, spec).await;
    pair.stage.led_by(NAMES[1]).await;
    second.leads().await;
    state::settled(site, &name).await;
    pair.proxies[1].quiet(SETTLED).await;
    assert!(held.load(Ordering::SeqCst), "{name}: the write never came");
    let end: Value = state::of(site, &name).await;

    let mark = pair.proxies[0].mark();
    let late = pair.proxies[0]
        .writes(0)
        .into_iter()
        .rev()
        .find(|call| call.status == 0)
        .expect("a write that is held");
    gate.notify_one();
    eventually("the late write to be answered", || async {
        let calls = pair.proxies[0].writes(0);
        let answered = calls.iter().rev().find(|call| call.at == late.at).map_or(0, |call| call.status);
        if answered == 0 { Err(late.path.clone()) } else { Ok(()) }
    })
    .await;
    let calls = pair.proxies[0].writes(0);
    let answered = calls.iter().rev().find(|call| call.at == late.at).expect("the late write");
    assert!(
        !(200..300).contains(&answered.status),
        "{name}: {} {} -> {}",
        late.verb,
        late.path,
        answered.status
    );
    first.thaw();
    let status = first.ended().await;
    assert_ne!(status.code(), Some(0), "{name}: who loses the lease does not end in peace");
    let writes = changed(&pair.proxies[0].since(mark));
    assert!(writes.is_empty(), "{name}: {:#?}", tail(&writes));
    pair.proxies[1].quiet(Duration::from_millis(500)).await;
    state::expect(site, &name, &end, "after the late write").await;
    pair.proxies[0].forward();
    // Released, so that the next pair need not wait.
    second.terminate();
    second.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_asked_to_stop_gives_the_lease_back_at_once() {
    let stage = Stage::new("release").await;
    let proxy = Proxy::start().await;
    // Without a release the standby would wait for fifteen seconds.
    let mut first = stage.launch(Launch {
        identity: "first",
        proxy: Some(&proxy),
        pace: Pace::Eager,
        ..Launch::default()
    });
    first.leads().await;
    let second = stage.launch(Launch {
        identity: "second",
        proxy: Some(&proxy),
        pace: Pace::Eager,
        ..Launch::default()
    });
    second.waits().await;
    let asked = Instant::now();
    first.terminate();
    let status = first.ended().await;
    assert_eq!(status.code(), Some(0), "who is asked to stop ends in peace");
    second.leads().await;
    assert!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
}
