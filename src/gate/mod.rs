//! May this pod take requests? Pure: what nodes say of pods, and how the services are that they depend on, in; the
//! condition of each pod out, with its reason.
//!
//! Whether the sidecar and the application answer is asked by the kubelet, whose probes go through the pod's own
//! sidecar, and read from what it says of the pod. Whether others are there is asked here, and only here.

mod graph;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::api::{Dependency, KeyRef};
use crate::facts::{Facts, GatedPod, RevisionFact, SecretFact, ServiceName, Standing, Word};

pub use graph::Graph;

/// `Continuous`: seconds for which something has to be missing until pods that take requests are taken out.
pub const PATIENCE: i64 = 30;
/// `Continuous`: seconds for which everything has to be there until they are let in again.
pub const STEADY: i64 = 10;

/// What the pods of a service are told, and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gating {
    /// Whether it depends on others and no pod waits for them.
    pub ignored: bool,
    /// Conditions that differ from what the pods were told before.
    pub verdicts: Vec<Verdict>,
    /// Why pods that answer are kept from requests, by their revision.
    pub waiting: BTreeMap<String, Waiting>,
    /// What of all that it depends on is not ready, in the order of names, for people.
    pub lacking: Vec<String>,
    /// Services that wait for each other, for people.
    pub cycle: Option<String>,
    /// Revisions of which a pod has passed, now or before.
    pub passed: BTreeSet<String>,
    /// When it comes out differently though nothing has changed, in Unix seconds.
    pub wake_at: Option<i64>,
}

/// What holds pods at the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// In one word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Waiting {
    /// Whether it is for what will not come by itself.
    pub fn is_for_ever(&self) -> bool {
        self.reason == CYCLE
    }
}

/// A condition that a pod is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Name of the pod.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// What it is told.
    pub word: Word,
    /// Whether that is the contrary of what it was told before.
    pub turns: bool,
}

/// A service with what it depends on.
pub struct Subject<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// What it depends on, as the resource says.
    pub depends_on: &'a [Dependency],
    /// Whether the resource asks for the gate.
    pub gated: bool,
    /// Whether pods that have passed are taken out again.
    pub continuous: bool,
}

/// The service that a dependency is.
pub fn service_of(dependency: &Dependency, namespace: &str) -> ServiceName {
    let namespace = dependency.namespace.as_deref().unwrap_or(namespace);
    (namespace.to_string(), dependency.service().to_string())
}

/// Every service that has to be looked at: what the resource depends on, and what revisions do of which pods wait.
pub fn wanted(it: &Subject<'_>, facts: &Facts) -> BTreeSet<ServiceName> {
    let own = it.gated.then_some(it.depends_on).into_iter().flatten();
    let mut wanted: BTreeSet<ServiceName> = own.map(|one| service_of(one, it.namespace)).collect();
    for pod in &facts.gated_pods {
        wanted.extend(depends_on(it, &pod.revision, facts));
    }
    wanted
}

/// What the pods of a revision depend on: as stored, or where nothing is stored, as the resource says.
fn depends_on(it: &Subject<'_>, revision: &str, facts: &Facts) -> BTreeSet<ServiceName> {
    let stored: Option<Vec<Dependency>> =
        shape(revision, facts).map(|shape| read(&shape["dependsOn"]).unwrap_or_default());
    let stored = stored.as_deref().unwrap_or(it.depends_on);
    stored.iter().map(|one| service_of(one, it.namespace)).collect()
}

fn shape<'a>(revision: &str, facts: &'a Facts) -> Option<&'a Value> {
    let stored: Option<&RevisionFact> = facts.revisions.iter().find(|stored| stored.hash == revision);
    stored?.data.get("shape")
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// Judge the pods of a service.
pub fn judge(it: &Subject<'_>, facts: &Facts) -> Gating {
    let mut gating = Gating {
        ignored: !it.gated && facts.gated_pods.is_empty() && !it.depends_on.is_empty(),
        lacking: lacking(facts.dependencies.iter()),
        cycle: cycle(&facts.cycle),
        passed: facts.passed.clone(),
        ..Gating::default()
    };
    // A pod that has passed tells it of its revision, should the record of that be lost.
    let open = facts.gated_pods.iter().filter(|pod| pod.is_let_in());
    gating.passed.extend(open.map(|pod| pod.revision.clone()));
    let before = gating.passed.clone();
    for pod in &facts.gated_pods {
        let needs = depends_on(it, &pod.revision, facts);
        let standings: BTreeMap<&ServiceName, &Standing> =
            facts.dependencies.iter().filter(|(name, _)| needs.contains(*name)).collect();
        let passed = before.contains(&pod.revision);
        let found = of_pod(pod, &standings, passed, it.continuous, facts);
        gating.wake_at = [gating.wake_at, found.wake_at].into_iter().flatten().min();
        let Some(word) = found.word else { continue };
        if word.open {
            gating.passed.insert(pod.revision.clone());
        } else {
            let waiting = Waiting { reason: found.reason, message: word.message.clone() };
            gating.waiting.entry(pod.revision.clone()).or_insert(waiting);
        }
        if is_news(pod.said.as_ref(), &word) {
            let turns = pod.said.as_ref().is_none_or(|said| said.open != word.open);
            gating.verdicts.push(Verdict { pod: pod.name.clone(), uid: pod.uid.clone(), word, turns });
        }
    }
    gating
}

/// Whether a pod is told. What it lacks may change a hundred times while it waits, and is read in the status of its
/// service: a hundred pods times a hundred sentences would be ten thousand writes.
fn is_news(said: Option<&Word>, word: &Word) -> bool {
    said.is_none_or(|said| said.open != word.open || said.reason != word.reason)
}

/// What is found of one pod.
#[derive(Default)]
struct Found {
    /// What it is told; `None` where it keeps what it was told.
    word: Option<Word>,
    reason: &'static str,
    wake_at: Option<i64>,
}

impl Found {
    fn open(message: &str) -> Found {
        Found::told(true, "Passed", message.into())
    }

    fn told(open: bool, reason: &'static str, message: String) -> Found {
        Found { word: Some(Word { open, reason: reason.into(), message }), reason, wake_at: None }
    }
}

fn of_pod(
    pod: &GatedPod,
    standings: &BTreeMap<&ServiceName, &Standing>,
    passed: bool,
    continuous: bool,
    facts: &Facts,
) -> Found {
    let all = standings.iter().map(|(name, standing)| (*name, *standing));
    if pod.is_let_in() {
        return if continuous { watched(all, facts) } else { Found::default() };
    }
    if !pod.answers {
        // The kubelet keeps it from requests already, and says why.
        return Found::default();
    }
    if let Some(missing) = missing_secret(&pod.revision, facts) {
        return Found::told(false, SECRETS, missing);
    }
    if passed && !continuous {
        return Found::open("its revision has passed, and it answers");
    }
    if all.clone().any(|(_, standing)| standing.is_lacking()) {
        return waits(all, facts);
    }
    let settled = all
        .filter_map(|(_, standing)| match standing {
            Standing::Ready { since } if passed => Some(since + STEADY),
            _ => None,
        })
        .max()
        .filter(|at| *at > facts.now);
    match settled {
        // Told already why it waits, and soon no longer true: nothing new is said for so short a time.
        Some(at) => Found { wake_at: Some(at), ..Found::default() },
        None => Found::open("it answers, and what it depends on is ready"),
    }
}

/// Words for conditions.
const DEPENDENCIES: &str = "WaitingForDependencies";
const CYCLE: &str = "DependencyCycle";
const SECRETS: &str = "WaitingForSecrets";

fn waits<'a>(mut all: impl Iterator<Item = (&'a ServiceName, &'a Standing)> + Clone, facts: &Facts) -> Found {
    let message = format!("waiting for {}", lacking(all.clone()).join("; "));
    // Beside services that wait for each other, it may wait for one that comes by itself.
    let is_stuck = all.any(|(name, standing)| standing.is_lacking() && facts.cycle.contains(name));
    match cycle(&facts.cycle).filter(|_| is_stuck) {
        Some(cycle) => Found::told(false, CYCLE, format!("{message}; {cycle}")),
        None => Found::told(false, DEPENDENCIES, message),
    }
}

/// A pod that takes requests, where it is watched what it depends on: it goes out once something was missing for long.
fn watched<'a>(all: impl Iterator<Item = (&'a ServiceName, &'a Standing)> + Clone, facts: &Facts) -> Found {
    let due = |standing: &Standing| match standing {
        Standing::Ready { .. } | Standing::Foreign => None,
        // Nobody has looked at it since it was made anew: it may well be there.
        Standing::NotReady { since: None } => None,
        // While nobody led nobody noted that it came back.
        Standing::NotReady { since: Some(since) } => Some((*since).max(facts.leading_since) + PATIENCE),
        Standing::Leaving | Standing::Missing => Some(facts.now),
    };
    match all.clone().filter_map(|(_, standing)| due(standing)).min() {
        Some(at) if at <= facts.now => waits(all, facts),
        wake_at => Found { wake_at, ..Found::default() },
    }
}

/// What is not ready, each with how it is.
fn lacking<'a>(all: impl Iterator<Item = (&'a ServiceName, &'a Standing)>) -> Vec<String> {
    all.filter_map(|((namespace, name), standing)| {
        let how = match standing {
            Standing::Ready { .. } | Standing::Foreign => return None,
            Standing::NotReady { since: Some(since) } => format!("not ready since {}", clock(*since)),
            Standing::NotReady { since: None } => "not looked at yet".into(),
            Standing::Leaving => "being deleted".into(),
            Standing::Missing => {
                "there is no VisiobookService and no Service of that name; make it, or correct spec.dependsOn"
                    .into()
            }
        };
        Some(format!("{namespace}/{name}: {how}"))
    })
    .collect()
}

/// The time of the day first, for that is what people look for.
fn clock(second: i64) -> String {
    let time = Timestamp::from_second(second).unwrap_or_default();
    time.strftime("%H:%M:%SZ on %Y-%m-%d").to_string()
}

fn cycle(services: &[ServiceName]) -> Option<String> {
    let names: Vec<String> = services.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} wait for each other and cannot start from nothing: take one of them out of spec.dependsOn, or set spec.gate.mode to Off in one",
            names.join(" -> ")
        )
    })
}

/// A secret that the pods of a revision read and that is gone.
fn missing_secret(revision: &str, facts: &Facts) -> Option<String> {
    let secrets: BTreeMap<String, KeyRef> = read(shape(revision, facts)?.get("secrets")?)?;
    let missing = secrets.into_values().find(|key| {
        let found = facts.secrets.get(&(key.name.clone(), key.key.clone()));
        !matches!(found, Some(SecretFact::Present { .. }))
    })?;
    Some(format!("waiting for key \"{}\" of Secret \"{}\"", missing.key, missing.name))
}

#[cfg(test)]
mod tests;
