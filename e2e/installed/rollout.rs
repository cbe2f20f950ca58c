//! Releases of real pods, under requests of clients that never retry.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::api::names::{self, Colour};
use visiobook::api::{Outcome, ReleaseState, RolloutStatus};

use crate::support::exchange::address;
use crate::support::{Clients, Site, eventually, missing_podinfo, podinfo, soak};

/// Clients at once, each with its own connections.
const CLIENTS: usize = 8;

async fn site(name: &str, rollout: Value) -> Site {
    let mut all = json!({ "strategy": "BlueGreen", "soakSeconds": 3, "warmSeconds": 5 });
    visiobook::plan::merge(&mut all, rollout);
    let defaults = json!({ "replicas": 2, "autoscaling": { "enabled": false } });
    Site::new(name, json!({ "type": "development", "rollout": all, "defaults": defaults })).await
}

async fn release(site: &Site, what: &str, holds: impl Fn(&RolloutStatus) -> bool) -> RolloutStatus {
    let rollout = |service: &visiobook::api::VisiobookService| service.status.as_ref()?.rollout.clone();
    let service = site.until("books", what, |service| rollout(service).is_some_and(|now| holds(&now))).await;
    rollout(&service).expect("a release")
}

#[tokio::test(flavor = "multi_thread")]
async fn t12_good_and_bad_releases_in_turn_lose_no_request() {
    let site = site("releases", json!({})).await;
    site.apply("books", podinfo(0)).await;
    site.ready("books").await;
    let address = address(&site, "books", 80).await;
    // Some ask for what is there, some for what takes longer than the old colour stays warm.
    let clients = [("/version", 1000), ("/delay/6", 8)]
        .map(|(path, least)| (path, least, Clients::start(address, path, CLIENTS)));
    let mut colour = Colour::Blue;
    for number in 1..=if soak() { 100 } else { 4 } {
        let is_bad = number % 2 == 0;
        let mut spec = if is_bad { missing_podinfo(number) } else { podinfo(number) };
        if is_bad {
            spec["rollout"] = json!({ "deadlineSeconds": 30 });
        }
        site.apply("books", spec).await;
        let wanted = if is_bad { Outcome::DeadlineExceeded } else { Outcome::Promoted };
        let ended = release(&site, wanted.as_str(), |now| {
            now.number == number as i64 && now.outcome == Some(wanted) && now.state == ReleaseState::Stable
        });
        let ended = ended.await;
        colour = if is_bad { colour } else { colour.other() };
        assert_eq!(ended.colour, colour, "release {number}");
        let gone = names::coloured("books", colour.other());
        eventually("the other colour to go", || async {
            if site.child(Kind::Deployment, &gone).await.is_none() { Ok(()) } else { Err(number) }
        })
        .await;
    }
    for (path, least, clients) in clients {
        let (answered, lost) = clients.stop().await;
        assert!(answered > least, "{path}: only {answered} answers");
        let (count, first) = (lost.len(), lost.first());
        assert!(lost.is_empty(), "{path}: {count} of {answered} requests were lost, first {first:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t12_an_undo_loses_no_request() {
    let site = site("returns", json!({ "soakSeconds": 1, "warmSeconds": 600 })).await;
    site.apply("books", podinfo(0)).await;
    site.ready("books").await;
    let clients = Clients::start(address(&site, "books", 80).await, "/version", CLIENTS);
    site.apply("books", podinfo(1)).await;
    let promoted = release(&site, "Promoted", |now| now.state == ReleaseState::Retiring).await;
    assert_eq!(promoted.colour, Colour::Green);
    let undo = json!({ "metadata": { "annotations": { names::UNDO: promoted.attempt } } });
    site.services().patch("books", &PatchParams::default(), &Patch::Merge(&undo)).await.expect("ordered");
    let back = release(&site, "RolledBack", |now| now.outcome == Some(Outcome::RolledBack)).await;
    assert_eq!(back.colour, Colour::Blue);
    // What is left drains.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (answered, lost) = clients.stop().await;
    assert!(lost.is_empty(), "{} of {answered} requests were lost, first {:?}", lost.len(), lost.first());
}
