//! Releases from colour to colour among a thousand services: many at once, and how long an order takes to move traffic.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use visiobook::api::{ReleaseState, VisiobookService, names};

use crate::fleet::{CONCURRENCY, Fleet, place};
use crate::process::Operator;

/// Most releases at the same time.
const AT_ONCE: usize = 200;
const PATIENCE: Duration = Duration::from_secs(600);

/// What was measured.
pub struct Releases {
    /// How many services were released at once.
    pub at_once: usize,
    /// From the change of all to the last that waits for its approval.
    pub deployed: Duration,
    /// Most writes in a second meanwhile.
    pub busiest: u64,
    /// From the approval of all to the last Service that selects the new colour.
    pub switched: Duration,
    /// From an approval to the selector, one after the other.
    pub approve: Latencies,
    /// From an abort to the selector, while the release soaks.
    pub abort: Latencies,
}

/// Of many, in order.
pub struct Latencies(Vec<Duration>);

impl Latencies {
    fn of(mut all: Vec<Duration>) -> Latencies {
        all.sort();
        Latencies(all)
    }

    /// As many of a hundred took at most this long.
    pub fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }
}

type Known<T> = watch::Receiver<HashMap<String, T>>;

/// What two watches tell, by name of the service.
struct Watched {
    attempts: Known<(ReleaseState, String)>,
    /// The colour that is selected, and when that was seen.
    colours: Known<(String, Instant)>,
}

/// Release some of the services, which are settled, in every way that is measured. They soak afterwards.
pub async fn measure(fleet: &Fleet, operator: &Operator, services: usize) -> Releases {
    let watched = Watched::new(&fleet.client);
    let at_once = AT_ONCE.min(services);
    let all = || 0..at_once;
    tokio::time::sleep(Duration::from_secs(5)).await;

    let begun = Instant::now();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let busiest = async {
        let (mut before, mut most) = (operator.writes().await.others, 0);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.tick().await;
        loop {
            tokio::select! {
                _ = second.tick() => {}
                _ = &mut stopped => return most,
            }
            let now = operator.writes().await.others;
            most = most.max(now - before);
            before = now;
        }
    };
    let deployed = async {
        patch(fleet, all(), |_| change("first")).await;
        watched.in_state(all(), ReleaseState::AwaitingApproval).await;
        let took = begun.elapsed();
        let _ = stop.send(());
        took
    };
    let (busiest, deployed) = tokio::join!(busiest, deployed);

    let begun = Instant::now();
    let orders = watched.orders(names::APPROVE);
    patch(fleet, all(), |index| orders[&place(index).1].clone()).await;
    let switched = watched.all_select(all(), "green").await - begun;
    watched.in_state(all(), ReleaseState::Soaking).await;
    let abort = watched.one_by_one(fleet, all(), names::ABORT, "blue").await;
    watched.in_state(all(), ReleaseState::Stable).await;

    patch(fleet, all(), |_| change("second")).await;
    watched.in_state(all(), ReleaseState::AwaitingApproval).await;
    let approve = watched.one_by_one(fleet, all(), names::APPROVE, "green").await;
    Releases { at_once, deployed, busiest, switched, approve, abort }
}

fn change(value: &str) -> Value {
    let rollout = json!({ "strategy": "BlueGreen", "approval": true, "soakSeconds": 86400 });
    json!({ "spec": { "env": { "A": value }, "rollout": rollout } })
}

async fn patch(fleet: &Fleet, range: Range<usize>, body: impl Fn(usize) -> Value) {
    stream::iter(range.map(|index| (index, body(index))))
        .for_each_concurrent(CONCURRENCY, |(index, body)| async move {
            let (namespace, name) = place(index);
            let services = fleet.services(&namespace);
            services.patch(&name, &PatchParams::default(), &Patch::Merge(&body)).await.expect("a change");
        })
        .await;
}

impl Watched {
    fn new(client: &Client) -> Watched {
        let (states, attempts) = watch::channel(HashMap::new());
        let of = Api::<VisiobookService>::all(client.clone());
        tokio::spawn(follow(of, states, |service: &VisiobookService, _: Option<&_>| {
            let release = service.status.as_ref()?.rollout.as_ref()?;
            Some((release.state, release.attempt.clone()?))
        }));
        let (selectors, colours) = watch::channel(HashMap::new());
        let of = Api::<Service>::all(client.clone());
        tokio::spawn(follow(of, selectors, |service: &Service, known: Option<&(String, Instant)>| {
            let colour = service.spec.as_ref()?.selector.as_ref()?.get(names::VERSION)?;
            known.is_none_or(|(known, _)| known != colour).then(|| (colour.clone(), Instant::now()))
        }));
        Watched { attempts, colours }
    }

    async fn in_state(&self, range: Range<usize>, state: ReleaseState) {
        let names: Vec<String> = range.map(|index| place(index).1).collect();
        let is = |known: &HashMap<String, (ReleaseState, String)>| {
            names.iter().all(|name| known.get(name).is_some_and(|(now, _)| *now == state))
        };
        wait(&self.attempts, is, state.as_str()).await;
    }

    /// Waits for all, and answers when the last one was seen to.
    async fn all_select(&self, range: Range<usize>, colour: &str) -> Instant {
        let names: Vec<String> = range.map(|index| place(index).1).collect();
        let is = |known: &HashMap<String, (String, Instant)>| {
            names.iter().all(|name| known.get(name).is_some_and(|(now, _)| now == colour))
        };
        wait(&self.colours, is, colour).await;
        let known = self.colours.borrow();
        names.iter().map(|name| known[name].1).max().expect("some")
    }

    /// An order for the attempt of each.
    fn orders(&self, order: &str) -> HashMap<String, Value> {
        let known = self.attempts.borrow();
        let order = |attempt: &str| json!({ "metadata": { "annotations": { order: attempt, names::APPROVED_BY: "bench" } } });
        known.iter().map(|(name, (_, attempt))| (name.clone(), order(attempt))).collect()
    }

    /// Give an order to one after the other, each timed from the request until its Service selects the colour.
    async fn one_by_one(&self, fleet: &Fleet, range: Range<usize>, order: &str, colour: &str) -> Latencies {
        let mut orders = self.orders(order);
        let mut latencies = Vec::new();
        for index in range {
            let (namespace, name) = place(index);
            let body = orders.remove(&name).expect("an attempt");
            let begun = Instant::now();
            fleet
                .services(&namespace)
                .patch(&name, &PatchParams::default(), &Patch::Merge(&body))
                .await
                .expect("an order");
            latencies.push(self.all_select(index..index + 1, colour).await - begun);
        }
        Latencies::of(latencies)
    }
}

async fn wait<T>(known: &Known<T>, holds: impl Fn(&HashMap<String, T>) -> bool, what: &str) {
    let mut known = known.clone();
    tokio::time::timeout(PATIENCE, known.wait_for(|known| holds(known)))
        .await
        .unwrap_or_else(|_| panic!("waited too long for {what}"))
        .expect("a watch");
}

/// Keep what a watch tells of each object, where it tells anything new.
async fn follow<K, T>(
    of: Api<K>,
    into: watch::Sender<HashMap<String, T>>,
    read: impl Fn(&K, Option<&T>) -> Option<T>,
) where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let stream = watcher(of, watcher::Config::default()).default_backoff().applied_objects();
    futures::pin_mut!(stream);
    while let Some(seen) = stream.next().await {
        let Ok(object) = seen else { continue };
        into.send_if_modified(|known| {
            let name = object.name_any();
            let news = read(&object, known.get(&name)).map(|value| known.insert(name, value));
            news.is_some()
        });
    }
}
