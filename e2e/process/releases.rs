//! Releases in a row, good and bad ones in turn, while the operator and pods are killed: no client loses anything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use visiobook::api::kinds::Kind;
use visiobook::api::names::{self, Colour};
use visiobook::api::{Outcome, ReleaseState, VisiobookService};

use super::jobs::PYTHON;
use super::rollout::{rollout, selects, stage};
use crate::support::exchange::address;
use crate::support::operator::{Launch, Operator};
use crate::support::{Clients, Site, eventually, missing_podinfo, podinfo, soak};

/// Clients at once of short requests, which leave the machine time for the releases, and of long ones.
const CLIENTS: usize = 4;
const PATIENT: usize = 8;
const TALKERS: usize = 4;

/// A release of podinfo, and how it is to end.
fn version(number: usize) -> (Value, Outcome) {
    let mut spec = podinfo(number);
    let outcome = match number % 4 {
        1 | 3 => Outcome::Promoted,
        2 => {
            spec = missing_podinfo(number);
            spec["rollout"] = json!({ "deadlineSeconds": 40 });
            Outcome::DeadlineExceeded
        }
        _ => {
            // Found to be bad when it serves already.
            let program = "import os, sys; sys.exit(os.environ['VISIOBOOK_CHECK_PHASE'] == 'live')";
            let job = json!({ "image": PYTHON, "command": ["/interpreter", "-c", program] });
            spec["rollout"] = json!({ "checks": { "deadlineSeconds": 60, "job": job } });
            Outcome::RolledBack
        }
    };
    (spec, if number == 0 { Outcome::Promoted } else { outcome })
}

/// Conversations over a WebSocket, one after the other, until told to stop: how many, and what went wrong.
fn talk(address: SocketAddr, stop: &Arc<AtomicBool>) -> JoinHandle<(u64, Vec<String>)> {
    let stop = stop.clone();
    tokio::spawn(async move {
        let (mut held, mut lost) = (0, Vec::new());
        while !stop.load(Relaxed) {
            match tokio::time::timeout(Duration::from_secs(20), conversation(address)).await {
                Ok(Ok(())) => held += 1,
                Ok(Err(error)) => lost.push(error),
                Err(_) => lost.push("no answer".to_string()),
            }
        }
        (held, lost)
    })
}

/// Three questions and their echoes, a moment apart.
async fn conversation(address: SocketAddr) -> Result<(), String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    let opened = client_async("ws://books/ws/echo", stream).await;
    let (mut socket, _) = opened.map_err(|error| format!("open: {error}"))?;
    for question in ["one", "two", "three"] {
        socket.send(Message::text(question)).await.map_err(|error| format!("{question}: {error}"))?;
        loop {
            let answer = socket.next().await.ok_or_else(|| format!("{question}: closed"))?;
            let answer = answer.map_err(|error| format!("{question}: {error}"))?;
            // Between its echoes it tells its name.
            if answer.to_text().is_ok_and(|text| text.contains(question)) {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    socket.close(None).await.map_err(|error| format!("close: {error}"))
}

/// What the status says of the releases, at every change.
fn record(site: &Site) -> Arc<std::sync::Mutex<BTreeMap<String, usize>>> {
    let seen: Arc<std::sync::Mutex<BTreeMap<String, usize>>> = Arc::default();
    let (services, recorded) = (site.services(), seen.clone());
    tokio::spawn(async move {
        let stream = watcher(services, watcher::Config::default()).default_backoff().applied_objects();
        futures::pin_mut!(stream);
        while let Some(told) = stream.next().await {
            let Ok(service) = told else { continue };
            let Some(now) = rollout(&service) else { continue };
            let reason = if now.reason.is_empty() { "" } else { " with a reason" };
            *recorded
                .lock()
                .expect("record")
                .entry(format!("{}{reason}", now.state.as_str()))
                .or_default() += 1;
        }
    });
    seen
}

/// Harm that comes in the middle of a release, another sort with each.
async fn harm(
    site: &Site,
    number: usize,
    live: Colour,
    operator: &mut Operator,
    start: impl Fn() -> Operator,
) {
    // Not always in the same state.
    tokio::time::sleep(Duration::from_millis(700 * (number as u64 % 7))).await;
    match number % 3 {
        0 => {
            operator.kill();
            *operator = start();
            operator.leads().await;
        }
        // Before it has traffic, or after: a pod that has none is killed, one that has some is asked to go.
        1 => {
            let idle = live.other();
            let found = site.pods_of("books", idle).await;
            if selects(site, "books").await == Some(live) && !found.iter().any(is_ready) {
                site.kill("books", idle).await;
            }
        }
        _ => {
            if let Some(pod) = site.pods_of("books", live).await.first() {
                let api: Api<Pod> = Api::namespaced(site.client.clone(), &site.namespace);
                api.delete(&pod.name_any(), &DeleteParams::default()).await.expect("deleted");
            }
        }
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[tokio::test(flavor = "multi_thread")]
async fn t12_releases_in_a_row_lose_nothing_while_the_operator_and_pods_are_killed() {
    let stage = stage("in-a-row", json!({ "soakSeconds": 3, "warmSeconds": 5 })).await;
    let site = &stage.site;
    let start = || stage.launch(Launch::default());
    let mut operator = start();
    operator.leads().await;
    site.apply("books", version(0).0).await;
    site.ready("books").await;
    let address = address(site, "books", 80).await;
    let recorded = record(site);
    let short = Clients::start(address, "/version", CLIENTS);
    let long = Clients::start(address, "/delay/6", PATIENT);
    let stop = Arc::new(AtomicBool::new(false));
    let talkers: Vec<_> = (0..TALKERS).map(|_| talk(address, &stop)).collect();

    let mut live = Colour::Blue;
    let releases = if soak() { 100 } else { 6 };
    for number in 1..=releases {
        let (spec, wanted) = version(number);
        site.apply("books", spec).await;
        harm(site, number, live, &mut operator, start).await;
        let is_over = |service: &VisiobookService| {
            rollout(service).is_some_and(|now| {
                now.number == number as i64 && now.outcome.is_some() && now.state == ReleaseState::Stable
            })
        };
        let service = site.until("books", wanted.as_str(), is_over).await;
        let ended = rollout(&service).expect("a release");
        live = if wanted == Outcome::Promoted { live.other() } else { live };
        assert_eq!((ended.outcome, ended.colour), (Some(wanted), live), "release {number}: {}", ended.reason);
        let is_explained = wanted == Outcome::Promoted || !ended.history[0].reason.is_empty();
        assert!(is_explained, "release {number} failed without a reason");
        let gone = names::coloured("books", live.other());
        eventually("the other colour to go", || async {
            if site.child(Kind::Deployment, &gone).await.is_none() { Ok(()) } else { Err(number) }
        })
        .await;
    }

    stop.store(true, Relaxed);
    let (mut held, mut broken) = (0, Vec::new());
    for talker in talkers {
        let (number, lost) = talker.await.expect("a talker");
        held += number;
        broken.extend(lost);
    }
    let [(short, short_lost), (long, long_lost)] = [short.stop().await, long.stop().await];
    println!(
        "{releases} releases: {short} requests, {long} long ones and {held} conversations; {:?}",
        recorded.lock()
    );
    for (what, lost) in [("requests", short_lost), ("long requests", long_lost), ("conversations", broken)] {
        assert!(lost.is_empty(), "{} {what} were lost, first {:?}", lost.len(), lost.first());
    }
    let least = if soak() { [100_000, 1_000, 1_000] } else { [1_000, 20, 20] };
    assert!(short >= least[0] && long >= least[1] && held >= least[2], "{short}, {long}, {held}: too few");
    let silent: Vec<String> =
        recorded.lock().expect("record").keys().filter(|state| !state.contains(' ')).cloned().collect();
    assert!(silent.is_empty() || silent == ["Stable"], "states without a reason: {silent:?}");
}
