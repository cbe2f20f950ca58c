//! T14: what an environment, or a newer operator, changes reaches the services of an environment in waves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use visiobook::api::kinds::Kind;

use crate::support::operator::{Launch, Stage, visiobook};
use crate::support::{Site, conditions, events, eventually, quick};

const SERVICES: usize = 6;
const AT_ONCE: usize = 2;
/// CPUs that no node has.
const TOO_MANY: &str = "640";

fn environment(level: &str, more: Value) -> Value {
    let mut spec = json!({
        "type": "development",
        "defaults": { "replicas": 1, "logLevel": level },
        "rollout": { "deadlineSeconds": 30, "waves": { "maxConcurrent": AT_ONCE } },
    });
    visiobook::plan::merge(&mut spec, more);
    spec
}

fn names() -> Vec<String> {
    (0..SERVICES).map(|index| format!("wave-{index}")).collect()
}

async fn fleet(site: &Site) {
    for name in names() {
        site.apply(&name, quick(json!({ "sidecar": { "mode": "Off" } }))).await;
    }
    for name in names() {
        site.ready(&name).await;
    }
}

/// The Deployments of a site, each as it is at one moment.
async fn deployments(site: &Site) -> BTreeMap<String, Value> {
    let all = site.children(Kind::Deployment).list(&ListParams::default()).await.expect("Deployments");
    all.into_iter().map(|it| (it.name_any(), serde_json::to_value(it).expect("json"))).collect()
}

fn variable<'a>(deployment: &'a Value, name: &str) -> Option<&'a str> {
    let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array()?;
    variables.iter().find(|variable| variable["name"] == name)?["value"].as_str()
}

fn is_broken(deployment: &Value) -> bool {
    deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] == TOO_MANY
}

/// Whether its pods are not all those of its template, and there.
fn rolls(deployment: &Value) -> bool {
    let (status, wanted) = (&deployment["status"], &deployment["spec"]["replicas"]);
    let is = |field: &str| status[field].as_i64().unwrap_or(0) == wanted.as_i64().unwrap_or(0);
    let observed = status["observedGeneration"].as_i64() >= deployment["metadata"]["generation"].as_i64();
    !(observed && is("updatedReplicas") && is("replicas") && is("availableReplicas"))
}

/// Looks again and again how many Deployments roll at the same moment.
struct Watch {
    most: Arc<AtomicUsize>,
    seen: Arc<Mutex<BTreeSet<String>>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Watch {
    fn start(site: &Site) -> Watch {
        let (most, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let deployments = site.children(Kind::Deployment);
        let task = tokio::spawn({
            let (most, stop, seen) = (most.clone(), stop.clone(), seen.clone());
            async move {
                while !stop.load(Ordering::Relaxed) {
                    let all = deployments.list(&ListParams::default()).await.expect("Deployments");
                    let all = all.into_iter().map(|it| serde_json::to_value(it).expect("json"));
                    // What no node takes stands still, and is counted by who waits for it.
                    let rolling: Vec<Value> = all.filter(|it| rolls(it) && !is_broken(it)).collect();
                    most.fetch_max(rolling.len(), Ordering::Relaxed);
                    let names = rolling.iter().map(|it| it["metadata"]["name"].to_string());
                    seen.lock().expect("names").extend(names);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
        Watch { most, seen, stop, task }
    }

    /// Every service was seen to roll, and never too many at once.
    async fn end(self, when: &str) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("watched");
        let (most, seen) = (self.most.load(Ordering::Relaxed), self.seen.lock().expect("names").len());
        println!("{when}: {seen} Deployments rolled, {most} at once at most");
        assert!((1..=AT_ONCE).contains(&most), "{when}: {most} at once");
        assert_eq!(seen, SERVICES, "{when}");
    }
}

/// Wait until every service runs what the environment asks for.
async fn arrived(site: &Site, variable_name: &str, value: &str) {
    eventually(&format!("{variable_name}={value} everywhere"), || async {
        let all = deployments(site).await;
        let left: Vec<&String> = all
            .iter()
            .filter(|(_, it)| rolls(it) || variable(it, variable_name) != Some(value))
            .map(|(name, _)| name)
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    for name in names() {
        site.ready(&name).await;
    }
}

/// What a service says that waits for its turn.
async fn waits(site: &Site, name: &str) -> Option<String> {
    let service = site.services().get(name).await.expect("service");
    let waits = conditions(&service).find(|it| it.type_ == "Reconciling" && it.reason == "WaitsForWave");
    waits.map(|condition| condition.message.clone())
}

fn generations(all: &BTreeMap<String, Value>) -> BTreeMap<&String, Option<i64>> {
    all.iter().map(|(name, it)| (name, it["metadata"]["generation"].as_i64())).collect()
}

async fn pods(site: &Site) -> BTreeSet<String> {
    let mut pods = BTreeSet::new();
    for name in names() {
        pods.extend(site.pods(&name).await.iter().filter_map(ResourceExt::uid));
    }
    pods
}

#[tokio::test(flavor = "multi_thread")]
async fn t14_a_change_of_the_environment_arrives_in_waves_and_halts_where_it_breaks_pods() {
    let stage = Stage::governed("waves", environment("info", json!({}))).await;
    let site = &stage.site;
    let operator = stage.launch(Launch::default());
    operator.leads().await;
    fleet(site).await;

    let file = tempfile::tempdir().expect("folder");
    let file = file.path().join("environment.yaml");
    let document = json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookEnvironment",
        "metadata": { "name": site.namespace }, "spec": environment("debug", json!({})),
    });
    std::fs::write(&file, document.to_string()).expect("a file");
    let (_, told) = visiobook(&["plan", "-f", file.to_str().expect("a path")]);
    assert!(
        told.contains("releases 6 services in 3 waves of at most 2 each; halts after 1 failure"),
        "{told}"
    );
    assert!(told.contains("restarts 6 of 6 services, 6 pods"), "{told}");

    let watch = Watch::start(site);
    site.environment(&site.namespace, environment("debug", json!({}))).await;
    let told = eventually("somebody to wait", || async {
        for name in names() {
            if let Some(told) = waits(site, &name).await {
                return Ok((name, told));
            }
        }
        Err("nobody waits")
    })
    .await;
    assert!(told.1.contains("waits for the wave: ") && told.1.contains(&site.namespace), "{told:?}");
    arrived(site, "LOG_LEVEL", "debug").await;
    watch.end("a change of the environment").await;
    let events = events(site, &told.0).await;
    assert!(events.iter().any(|event| event.contains("WaitsForWave")), "{events:?}");

    // Pods that no node takes: the first wave, and nobody else.
    let (before, pods_before) = (deployments(site).await, pods(site).await);
    let cpu = json!({ "cpu": TOO_MANY });
    let broken = json!({ "defaults": { "resources": { "requests": cpu, "limits": cpu } } });
    site.environment(&site.namespace, environment("debug", broken)).await;
    let told = eventually("the wave to halt", || async {
        let mut told = Vec::new();
        for name in names() {
            told.extend(waits(site, &name).await.filter(|told| told.contains("is halted")));
        }
        if told.len() == SERVICES - AT_ONCE { Ok(told) } else { Err(told) }
    })
    .await;
    assert!(told[0].contains("wave-") && told[0].contains("continue-wave"), "{told:?}");
    let after = deployments(site).await;
    let changed = generations(&before)
        .into_iter()
        .filter(|it| !generations(&after).contains_key(it.0) || generations(&after)[it.0] != it.1);
    assert_eq!(changed.count(), AT_ONCE);
    assert_eq!(after.values().filter(|it| is_broken(it)).count(), AT_ONCE);
    assert!(pods_before.is_subset(&pods(site).await), "a pod that served is gone");

    // A change of its own is held by nobody.
    let free = names().into_iter().find(|name| !is_broken(&after[&format!("{name}-blue")])).expect("one");
    let own = quick(json!({ "sidecar": { "mode": "Off" }, "env": { "OWN": "1" } }));
    site.apply(&free, own).await;
    eventually("its own change", || async {
        let it = deployments(site).await[&format!("{free}-blue")].clone();
        if variable(&it, "OWN") == Some("1") { Ok(()) } else { Err(it) }
    })
    .await;

    let watch = Watch::start(site);
    site.environment(&site.namespace, environment("warn", json!({}))).await;
    arrived(site, "LOG_LEVEL", "warn").await;
    watch.end("the environment repaired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t14_what_a_newer_operator_renders_arrives_in_waves_where_the_environment_lets_it() {
    let next =
        PathBuf::from(std::env::var_os("VISIOBOOK_NEXT").expect("VISIOBOOK_NEXT: `make e2e` builds it"));
    let stage = Stage::governed("renders", environment("info", json!({}))).await;
    let site = &stage.site;
    let mut operator = stage.launch(Launch::default());
    operator.leads().await;
    fleet(site).await;
    operator.kill();

    let before = deployments(site).await;
    let operator = stage.launch(Launch { binary: &next, ..Launch::default() });
    operator.leads().await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(generations(&deployments(site).await), generations(&before), "nothing restarts");

    let watch = Watch::start(site);
    let lets = json!({ "rollout": { "waves": { "operatorUpgrades": true } } });
    site.environment(&site.namespace, environment("info", lets)).await;
    arrived(site, "NEXT_RELEASE", "1").await;
    watch.end("a newer operator").await;

    // Nothing is taken back, and nothing moves.
    let before = deployments(site).await;
    site.environment(&site.namespace, environment("info", json!({}))).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(generations(&deployments(site).await), generations(&before));
}
