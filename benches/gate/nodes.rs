//! What says of pods what their nodes would: that their containers are ready, and that a pod whose gate is open is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, watch};
use visiobook::api::names;

/// Pods on each of them.
const PODS: usize = 2500;
/// Requests at the same time.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(1800);

/// A pod as it is seen.
#[derive(Clone, Default)]
pub struct Seen {
    pub service: String,
    pub placed: bool,
    /// Whether it waits for the gate. Of one that does not, the condition is written here.
    pub gated: bool,
    spoken_for: bool,
    /// When its node began to say that its containers are ready.
    answers: Option<Instant>,
    /// When the gate was seen to have said anything.
    pub told: Option<Instant>,
    /// When the gate was seen to be open.
    pub opened: Option<Instant>,
}

/// Nodes without a kubelet.
pub struct Nodes {
    client: Client,
    count: usize,
    seen: watch::Sender<HashMap<String, Seen>>,
}

impl Nodes {
    /// Enough of them for so many pods, and kept alive.
    pub async fn prepare(client: &Client, pods: usize) -> Nodes {
        let count = pods.div_ceil(PODS);
        let nodes: Api<Node> = Api::all(client.clone());
        let params = PatchParams::apply("bench").force();
        for index in 0..count {
            let node = json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": { "name": name(index), "labels": { "bench": "gate", "kubernetes.io/hostname": name(index) } },
                "spec": { "taints": [{ "key": "bench", "value": "gate", "effect": "NoSchedule" }] },
            });
            nodes.patch(&name(index), &params, &Patch::Apply(&node)).await.expect("node");
            nodes.patch_status(&name(index), &params, &Patch::Apply(&alive())).await.expect("node status");
        }
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(10)).await;
                for index in 0..count {
                    let _ = nodes.patch_status(&name(index), &params, &Patch::Apply(&alive())).await;
                }
            }
        });
        let (seen, _) = watch::channel(HashMap::new());
        let (ready, spoken_for) = mpsc::unbounded_channel();
        let (open, opened) = mpsc::unbounded_channel();
        tokio::spawn(follow(client.clone(), seen.clone(), ready, open));
        // As the gate would, without judging.
        tokio::spawn(say_of_each(client.clone(), spoken_for, names::CONTRACT));
        // As the kubelet does once all gates are open.
        tokio::spawn(say_of_each(client.clone(), opened, "Ready"));
        Nodes { client: client.clone(), count, seen }
    }

    /// Wait until this holds of the pods that are seen.
    pub async fn until(&self, what: &str, holds: impl Fn(&HashMap<String, Seen>) -> bool) {
        let mut seen = self.seen.subscribe();
        let begun = Instant::now();
        // Not at each of their changes: there are thousands.
        while !holds(&seen.borrow_and_update()) {
            assert!(begun.elapsed() < PATIENCE, "waited too long for {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Those of which this holds, one of every service after the other.
    pub fn named(&self, of: impl Fn(&Seen) -> bool) -> Vec<String> {
        let seen = self.seen.borrow();
        let mut by_service: HashMap<&str, Vec<&String>> = HashMap::new();
        for (name, pod) in seen.iter().filter(|(_, pod)| of(pod)) {
            by_service.entry(&pod.service).or_default().push(name);
        }
        let most = by_service.values().map(Vec::len).max().unwrap_or_default();
        (0..most)
            .flat_map(|index| by_service.values().filter_map(move |pods| pods.get(index)))
            .map(|name| name.to_string())
            .collect()
    }

    /// Say of these pods that their containers are ready, so many in a second.
    pub async fn answer(&self, pods: &[String], pace: usize) {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / pace as u32);
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        for pod in pods {
            tick.tick().await;
            let permit = permits.clone().acquire_owned().await.expect("open");
            self.seen.send_modify(|seen| {
                if let Some(pod) = seen.get_mut(pod) {
                    pod.answers = Some(Instant::now());
                }
            });
            let (client, pod) = (self.client.clone(), pod.clone());
            tokio::spawn(async move {
                let status = json!({ "status": {
                    "phase": "Running",
                    "conditions": [condition("Initialized", true), condition("ContainersReady", true), condition("Ready", false)],
                } });
                say(&client, &pod, &status).await;
                drop(permit);
            });
        }
    }

    /// From what the node said to what the gate was seen to say, in order.
    pub fn latencies(&self, of: impl Fn(&Seen) -> bool) -> Vec<Duration> {
        let seen = self.seen.borrow();
        let took = |pod: &Seen| Some(pod.opened?.saturating_duration_since(pod.answers?));
        let mut all: Vec<Duration> = seen.values().filter(|pod| of(pod)).filter_map(took).collect();
        all.sort();
        all
    }

    /// Leave none behind, nor pods that wait for their word.
    pub async fn remove(&self) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), super::NAMESPACE);
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let begun = Instant::now();
        loop {
            let left = pods.list_metadata(&Default::default()).await.expect("pods").items;
            if left.is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{} pods do not go", left.len());
            futures::stream::iter(left)
                .for_each_concurrent(AT_ONCE, |pod| {
                    let (pods, at_once) = (pods.clone(), &at_once);
                    async move {
                        let _ = pods.delete(&pod.name_any(), at_once).await;
                    }
                })
                .await;
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        for index in 0..self.count {
            let _ = nodes.delete(&name(index), &DeleteParams::background()).await;
        }
    }
}

fn name(index: usize) -> String {
    format!("bench-gate-{index}")
}

fn alive() -> Value {
    let size = json!({ "cpu": "10000", "memory": "10000Gi", "pods": PODS.to_string() });
    let mut ready = condition("Ready", true);
    ready["reason"] = "Bench".into();
    ready["lastHeartbeatTime"] = Timestamp::now().to_string().into();
    json!({ "apiVersion": "v1", "kind": "Node", "status": { "capacity": size, "allocatable": size, "conditions": [ready] } })
}

fn condition(type_: &str, holds: bool) -> Value {
    let now = Timestamp::from_second(Timestamp::now().as_second()).expect("now").to_string();
    json!({ "type": type_, "status": if holds { "True" } else { "False" }, "lastTransitionTime": now })
}

async fn say(client: &Client, pod: &str, status: &Value) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), super::NAMESPACE);
    pods.patch_status(pod, &PatchParams::default(), &Patch::Strategic(status)).await.expect("a pod's status");
}

async fn follow(
    client: Client,
    seen: watch::Sender<HashMap<String, Seen>>,
    ready: mpsc::UnboundedSender<String>,
    open: mpsc::UnboundedSender<String>,
) {
    let pods: Api<Pod> = Api::namespaced(client, super::NAMESPACE);
    let stream = watcher(pods, watcher::Config::default()).default_backoff().applied_objects();
    futures::pin_mut!(stream);
    while let Some(pod) = stream.next().await {
        let Ok(pod) = pod else { continue };
        let conditions = || pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let of = |type_: &str| conditions().find(|said| said.type_ == type_);
        let said = of(names::CONTRACT);
        let is_open = said.is_some_and(|said| said.status == "True");
        let is_ready = of("ContainersReady").is_some_and(|said| said.status == "True");
        seen.send_modify(|seen| {
            let known = seen.entry(pod.name_any()).or_default();
            known.service = pod.labels().get(names::NAME).cloned().unwrap_or_default();
            known.gated = pod.spec.as_ref().is_some_and(|spec| spec.readiness_gates.is_some());
            known.placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
            if is_ready && !known.gated && !known.spoken_for {
                known.spoken_for = true;
                let _ = ready.send(pod.name_any());
            }
            if said.is_some() {
                known.told.get_or_insert_with(Instant::now);
            }
            if is_open && known.opened.is_none() {
                known.opened = Some(Instant::now());
                let _ = open.send(pod.name_any());
            }
        });
    }
}

/// Say of each of these pods that a condition holds.
async fn say_of_each(client: Client, mut pods: mpsc::UnboundedReceiver<String>, type_: &'static str) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(pod) = pods.recv().await {
        let permit = permits.clone().acquire_owned().await.expect("open");
        let client = client.clone();
        tokio::spawn(async move {
            say(&client, &pod, &json!({ "status": { "conditions": [condition(type_, true)] } })).await;
            drop(permit);
        });
    }
}
