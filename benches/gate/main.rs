//! The readiness gate at ten thousand pods: `make bench PART=gate`. The pods are made by real Deployments and placed by
//! the real scheduler; what their nodes would say of them is said here, at a pace, and what the gate says to that is
//! timed. Results go to `target/bench.json`; `docs/performance.md` tells the story.
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
/// One service in so many waits for another one.
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
    let services = (pods / REPLICAS).max(2);
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
    let free: Vec<_> = nodes.named(|pod| !waits(pod) && pod.service != BASE);
    let (free_begun, cpu) = (Instant::now(), operator.cpu_seconds());
    nodes.answer(&free, PACE).await;
    nodes
        .until("all others to be let in", |seen| {
            seen.values().filter(|pod| !waits(pod) && pod.service != BASE).all(|pod| pod.opened.is_some())
        })
        .await;
    let paced = free.len() as f64 / free_begun.elapsed().as_secs_f64();
    let cpu = (operator.cpu_seconds() - cpu) / free.len() as f64;
    let let_in = operator.writes().await;
    let latencies = nodes.latencies(|pod| !waits(pod) && pod.service != BASE);
    let percentiles =
        [50, 99, 100].map(|percent| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)]);

    // What they waited for comes.
    nodes.answer(&nodes.named(|pod| pod.service == BASE), PACE).await;
    let came = Instant::now();
    nodes.until("those who waited to be let in", |seen| seen.values().all(|pod| pod.opened.is_some())).await;
    let burst = came.elapsed();
    let end = operator.writes().await;
    let resident = operator.resident_mib();
    println!(
        "  {} let in at {paced:.0}/s: p50 {:?}, p99 {:?}, most {:?}; {} that waited {:.1} s after what they waited for; {:.0} s in all",
        free.len(),
        percentiles[0],
        percentiles[1],
        percentiles[2],
        held.len(),
        burst.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
    operator.stop().await;
    clean(client).await;
    nodes.remove().await;

    let each = |calls: u64, pods: usize| calls as f64 / pods as f64;
    let (one, two) = (
        each(let_in.pods - told.pods, free.len()),
        each((told.pods - calls.pods) + (end.pods - let_in.pods), held.len()),
    );
    let others = each(end.others + end.events - calls.others - calls.events, all);
    let p99 = percentiles[1].as_secs_f64();
    let figures = [
        figure(
            "gate_pods_a_second",
            paced,
            "pods/s",
            "50 that answer in a second",
            Some(paced / PACE as f64),
            ">= 50/s, less the last one's time",
            paced >= 0.95 * PACE as f64,
        ),
        figure("gate_answer_to_condition_p50", percentiles[0].as_secs_f64(), "s", "-", None, "-", true),
        figure("gate_answer_to_condition_p99", p99, "s", "1 s", Some(p99), "<= 1 s", p99 <= 1.0),
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
