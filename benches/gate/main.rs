//! The readiness gate at ten thousand pods: `make bench PART=gate`. The pods are made by real Deployments and placed by
//! the real scheduler; what their nodes would say of them is said here, at a pace, and what the gate says to that is
//! timed, beside what the same cluster takes for the same words without anybody who judges. Results go to `target/bench.json`; `docs/performance.md` tells the story.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../sidecar/figures.rs"]
mod figures;
mod nodes;
#[path = "../fleet/process.rs"]
mod process;
#[path = "../sidecar/usage.rs"]
mod usage;

use std::time::{Duration, Instant};

use figures::Figure;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use nodes::{Nodes, Seen};
use process::Operator;
use serde_json::{Value, json};
use visiobook::api::{VisiobookEnvironment, VisiobookService};

/// Pods of each service.
const REPLICAS: usize = 100;
/// One service in so many waits for another one, and one has no gate: this benchmark writes the condition of its pods.
const WAITING: usize = 10;
/// Pods of which their node says, in a second, that their containers are ready.
const PACE: usize = 50;
const NAMESPACE: &str = "gate";
/// What others wait for.
const BASE: &str = "base";

#[tokio::main]
async fn main() {
    let pods: usize =
        std::env::var("VISIOBOOK_BENCH_PODS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let services = (pods / REPLICAS).max(3);
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = kube::Client::try_default().await.expect("a cluster: make cluster-up");
    let nodes = Nodes::prepare(&client, pods + REPLICAS).await;
    let clean = prepare(&client).await;
    let operator = Operator::start().await;
    operator.settled(0).await;

    apply(&client, BASE, json!({ "replicas": 1, "gate": { "mode": "Latched" } })).await;
    let mut waiting = Vec::new();
    for index in 0..services {
        let mut spec = json!({ "replicas": REPLICAS, "gate": { "mode": "Latched" } });
        if index % WAITING == 0 {
            spec["dependsOn"] = json!([{ "name": BASE }]);
            waiting.push(name(index));
        } else if index % WAITING == 1 {
            spec["gate"]["mode"] = "Off".into();
        }
        apply(&client, &name(index), spec).await;
    }
    let started = Instant::now();
    let all = services * REPLICAS;
    nodes.until("all pods to be placed", |seen| seen.values().filter(|pod| pod.placed).count() > all).await;
    println!("  {all} pods are placed: {:.0} s", started.elapsed().as_secs_f64());
    tokio::time::sleep(Duration::from_secs(10)).await;

    // Those that wait first, then all others: one of every service after the other.
    let waits = |pod: &Seen| waiting.contains(&pod.service);
    let held: Vec<_> = nodes.named(waits);
    let (calls, begun) = (operator.writes().await, Instant::now());
    nodes.answer(&held, PACE).await;
    nodes
        .until("all who wait to be told", |seen| {
            seen.values().filter(|pod| waits(pod)).all(|pod| pod.told.is_some())
        })
        .await;
    let told = operator.writes().await;
    let alone = let_in(&nodes, "what has no gate", |pod| !pod.gated).await;
    let (before, cpu) = (operator.writes().await, operator.cpu_seconds());
    let gated = let_in(&nodes, "all others", |pod| pod.gated && !waits(pod) && pod.service != BASE).await;
    let cpu = (operator.cpu_seconds() - cpu) / gated.pods as f64;
    let after = operator.writes().await;

    // What they waited for comes.
    nodes.answer(&nodes.named(|pod| pod.service == BASE), PACE).await;
    let came = Instant::now();
    nodes.until("those who waited to be let in", |seen| seen.values().all(|pod| pod.opened.is_some())).await;
    let burst = came.elapsed();
    let end = operator.writes().await;
    let resident = operator.resident_mib();
    println!(
        "  {} that waited were let in {:.1} s after what they waited for; {:.0} s in all",
        held.len(),
        burst.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
    operator.stop().await;
    clean(client).await;
    nodes.remove().await;

    let each = |calls: u64, pods: usize| calls as f64 / pods as f64;
    let (one, two) = (
        each(after.pods - before.pods, gated.pods),
        each((told.pods - calls.pods) + (end.pods - after.pods), held.len()),
    );
    let others = each(end.others + end.events - calls.others - calls.events, all);
    let (pace, p99) = (gated.pace / alone.pace, gated.p99 / alone.p99);
    let without = |value: f64, unit: &str| format!("{value:.2} {unit} without an operator");
    let figures = [
        figure(
            "gate_pods_a_second",
            gated.pace,
            "pods/s",
            &without(alone.pace, "pods/s"),
            Some(pace),
            ">= 50/s, less the last one's time",
            gated.pace >= 0.95 * PACE as f64,
        ),
        figure(
            "gate_answer_to_condition_p50",
            gated.p50,
            "s",
            &without(alone.p50, "s"),
            Some(gated.p50 / alone.p50),
            "-",
            true,
        ),
        figure(
            "gate_answer_to_condition_p99",
            gated.p99,
            "s",
            &without(alone.p99, "s"),
            Some(p99),
            "<= 1 s",
            gated.p99 <= 1.0,
        ),
        figure("gate_calls_a_pod", one, "calls", "1", Some(one), "1", one <= 1.01),
        figure("gate_calls_a_pod_that_waited", two, "calls", "2", Some(two / 2.0), "2", two <= 2.02),
        figure(
            "gate_other_calls_a_pod",
            others,
            "calls",
            "events, and the status of services",
            None,
            "-",
            true,
        ),
        figure(
            "gate_all_that_waited",
            burst.as_secs_f64(),
            "s",
            &format!("{} pods at once", held.len()),
            None,
            "-",
            true,
        ),
        figure("gate_cpu_a_pod", cpu * 1e3, "ms", "-", None, "-", true),
        figure("gate_rss", resident, "MiB", &format!("{all} pods"), None, "-", true),
    ];
    figures::record(&figures);
    for figure in &figures {
        let mark = if figure.holds { "holds" } else { "MISSED" };
        println!("{:30} {:10.3} {:8} goal {:34} {mark}", figure.name, figure.value, figure.unit, figure.goal);
    }
}

/// How pods were let in.
struct LetIn {
    pods: usize,
    /// Pods a second.
    pace: f64,
    /// Seconds from what the node said to the condition.
    p50: f64,
    p99: f64,
}

/// Have the nodes answer for these pods, and wait until all are let in.
async fn let_in(nodes: &Nodes, what: &str, of: impl Fn(&Seen) -> bool) -> LetIn {
    let pods = nodes.named(&of);
    let begun = Instant::now();
    nodes.answer(&pods, PACE).await;
    nodes
        .until(&format!("{what} to be let in"), |seen| {
            seen.values().filter(|pod| of(pod)).all(|pod| pod.opened.is_some())
        })
        .await;
    let pace = pods.len() as f64 / begun.elapsed().as_secs_f64();
    let latencies = nodes.latencies(of);
    let of_all = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)];
    let [p50, p99, most] = [50, 99, 100].map(|percent| of_all(percent).as_secs_f64());
    println!("  {} of {what}: {pace:.0}/s, p50 {p50:.2} s, p99 {p99:.2} s, most {most:.2} s", pods.len());
    LetIn { pods: pods.len(), pace, p50, p99 }
}

fn figure(
    name: &str,
    value: f64,
    unit: &'static str,
    against: &str,
    ratio: Option<f64>,
    goal: &'static str,
    holds: bool,
) -> Figure {
    Figure { name: name.into(), value, unit, against: against.into(), ratio, goal, holds }
}

fn name(index: usize) -> String {
    format!("service-{index}")
}

/// An environment and its namespace; and how to be rid of them.
async fn prepare(client: &kube::Client) -> impl AsyncFnOnce(kube::Client) + use<> {
    let params = PatchParams::apply("bench").force();
    let environment = json!({ "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookEnvironment", "metadata": { "name": NAMESPACE }, "spec": { "type": "development" } });
    let environments: Api<VisiobookEnvironment> = Api::all(client.clone());
    environments.patch(NAMESPACE, &params, &Patch::Apply(&environment)).await.expect("environment");
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE, "labels": { "platform.visiobook.com/environment": NAMESPACE } } });
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.patch(NAMESPACE, &params, &Patch::Apply(&namespace)).await.expect("namespace");
    async |client: kube::Client| {
        let background = DeleteParams::background();
        let _ = Api::<Namespace>::all(client.clone()).delete(NAMESPACE, &background).await;
        let _ = Api::<VisiobookEnvironment>::all(client).delete(NAMESPACE, &background).await;
    }
}

async fn apply(client: &kube::Client, name: &str, more: Value) {
    let mut spec = json!({
        "image": "ghcr.io/visiobook/bench:1.0",
        "stack": "nodejs",
        "pod": {
            "nodeSelector": { "bench": "gate" },
            "tolerations": [{ "operator": "Exists" }],
        },
    });
    visiobook::plan::merge(&mut spec, more);
    let object = json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
        "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec,
    });
    let services: Api<VisiobookService> = Api::namespaced(client.clone(), NAMESPACE);
    services.patch(name, &PatchParams::apply("team").force(), &Patch::Apply(&object)).await.expect("service");
}
