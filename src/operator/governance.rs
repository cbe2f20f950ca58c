//! Environments: what they put into their namespaces is kept, and what does not keep to them is told.
//!
//! One environment after the other, a moment after something about it changed. Nothing is written where nothing
//! differs, so an environment that nobody touches costs no request.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::context::Context;
use super::watched::Watched;
use crate::api::{PodSecurityLevel, PodSecurityMode, VisiobookEnvironment};
use crate::apply::{self, Error};
use crate::facts::{Applied, Failure};
use crate::plan;
use crate::status::{self, Listed, Overview, Place, Violation};

/// Events of an environment are gathered for so long.
const GATHER: Duration = Duration::from_secs(1);

/// What is known of environments, beside their rules.
#[derive(Default)]
pub(super) struct Governance {
    environments: Mutex<BTreeMap<String, Arc<VisiobookEnvironment>>>,
    /// What each service was told at the last pass over it, by uid; nothing, if it keeps the rules.
    verdicts: Mutex<HashMap<String, Option<String>>>,
    /// Environments to look at, and when.
    due: Mutex<BTreeMap<String, Instant>>,
    woken: Notify,
    backoff: Backoff,
}

impl Governance {
    /// Have an environment looked at.
    pub(super) fn trigger(&self, environment: &str) {
        self.trigger_in(environment, GATHER);
    }

    fn trigger_in(&self, environment: &str, wait: Duration) {
        let at = Instant::now() + wait;
        let mut due = lock(&self.due);
        let before = due.get(environment).copied();
        due.insert(environment.to_string(), before.map_or(at, |before| before.min(at)));
        self.woken.notify_one();
    }

    /// An environment was seen, or is gone.
    pub(super) fn see(&self, name: &str, environment: Option<VisiobookEnvironment>) {
        let mut environments = lock(&self.environments);
        let news = match environment {
            // The answer to our own last write may be newer than what the watch tells.
            Some(environment)
                if environments.get(name).is_some_and(|known| is_newer(known, &environment)) =>
            {
                return;
            }
            Some(environment) => environments.insert(name.to_string(), Arc::new(environment)).is_none(),
            None => environments.remove(name).is_some(),
        };
        if news {
            // Each lists all of them.
            environments.keys().for_each(|known| self.trigger_in(known, Duration::ZERO));
        }
        drop(environments);
        self.trigger(name);
    }

    /// An environment, if it exists.
    pub(super) fn find(&self, name: &str) -> Option<Arc<VisiobookEnvironment>> {
        lock(&self.environments).get(name).cloned()
    }

    /// A service was held against its environment. Tells whether that is news.
    pub(super) fn note(&self, uid: &str, refused: Option<String>) -> bool {
        let before = lock(&self.verdicts).insert(uid.to_string(), refused.clone());
        before != Some(refused)
    }

    /// A service is gone.
    pub(super) fn forget(&self, uid: &str) {
        lock(&self.verdicts).remove(uid);
    }

    /// Environments whose time has come.
    fn take_due(&self) -> Vec<String> {
        let (now, mut due) = (Instant::now(), lock(&self.due));
        let ready: Vec<String> =
            due.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        due.retain(|name, _| !ready.contains(name));
        ready
    }

    /// Every environment, and whether the status of each of the others lists this one.
    fn listed(&self, name: &str) -> (Vec<String>, bool) {
        let environments = lock(&self.environments);
        let knows = |environment: &VisiobookEnvironment| {
            environment
                .status
                .as_ref()
                .is_some_and(|status| status.environments.iter().any(|known| known == name))
        };
        let everywhere = environments.iter().all(|(other, environment)| other == name || knows(environment));
        (environments.keys().cloned().collect(), everywhere)
    }

    fn next_due(&self) -> Option<Instant> {
        lock(&self.due).values().min().copied()
    }

    /// Which of these services break a rule: by the last pass over them, or before the first by their status.
    fn violations(&self, services: &[Arc<Watched>]) -> Vec<Violation> {
        let verdicts = lock(&self.verdicts);
        let refused = |service: &Watched| match verdicts.get(&service.uid().unwrap_or_default()) {
            Some(refused) => refused.clone(),
            None => status::refused(service.open().ok()?.status.as_ref()?),
        };
        let mut violations: Vec<Violation> = services
            .iter()
            .filter(|service| service.is_readable())
            .filter_map(|service| {
                let name = format!("{}/{}", service.namespace().unwrap_or_default(), service.name_any());
                Some(Violation { service: name, message: refused(service)? })
            })
            .collect();
        violations.sort();
        violations
    }
}

/// Look after environments until told to stop. `whole` says whether this operator sees every namespace: only then
/// does it know enough to tell of an environment.
pub(super) async fn govern(context: Arc<Context>, whole: bool, stop: CancellationToken) {
    tokio::select! {
        () = context.services_known() => {}
        () = stop.cancelled() => return,
    }
    let governance = &context.governance;
    for name in lock(&governance.environments).keys() {
        governance.trigger_in(name, Duration::ZERO);
    }
    loop {
        let next = governance.next_due();
        let sleep =
            tokio::time::sleep_until(next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600)));
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep => {}
            () = governance.woken.notified() => {}
        }
        for name in governance.take_due() {
            match look_after(&context, &name, whole).await {
                Ok(true) => governance.backoff.clear(&name),
                Ok(false) => governance.trigger_in(&name, governance.backoff.next(&name)),
                Err(error) => {
                    let wait = governance.backoff.next(&name);
                    tracing::warn!(environment = name, %error, wait_seconds = wait.as_secs_f32(), "trying again later");
                    governance.trigger_in(&name, wait);
                }
            }
        }
    }
}

/// One pass over an environment: what its namespaces should hold, and what to tell. Answers whether all went well.
async fn look_after(context: &Context, name: &str, whole: bool) -> Result<bool, Error> {
    let governance = &context.governance;
    let Some(environment) = lock(&governance.environments).get(name).cloned() else { return Ok(true) };
    let mut places = Vec::new();
    for (namespace, enforces, uid) in context.places_of(name) {
        let plan = plan::govern(name, &environment.spec, &namespace); // pure
        let mut applied = Applied::default();
        let owner = plan::governor(&namespace);
        let result = apply::apply(&context.writer, &context.cache, &owner, &plan, &mut applied).await; // writes
        if let Err(Error::NotLeader) = &result {
            return Err(Error::NotLeader);
        }
        note(name, &namespace, context, &applied);
        let mut place = Place { name: namespace, enforces, failure: None, not_raised: None };
        place.failure = result.err().map(|error| Failure {
            reason: error.reason(),
            message: error.to_string(),
            transient: error.is_transient(),
        });
        raise(context, &environment, &mut place, &uid).await;
        places.push(place);
    }
    let progress = context.progress(name);
    if let Some(progress) = &progress {
        context.metrics.show_wave(name, &progress.status);
    }
    // The environment may say now that a wave goes on in spite of who has failed.
    context.wake_waiting(name);
    if whole {
        let services = context.services_in(&places.iter().map(|place| place.name.as_str()).collect());
        let violations = governance.violations(&services);
        let previous = environment.status.clone().unwrap_or_default();
        let (known, everywhere) = governance.listed(name);
        if !everywhere {
            // Its turn comes again once the others have had theirs.
            governance.trigger(name);
        }
        let overview = Overview {
            wave: progress.as_ref(),
            name,
            spec: &environment.spec,
            generation: environment.metadata.generation.unwrap_or(0),
            listed: &Listed { known, everywhere },
            places: &places,
            services: services.len(),
            violations: &violations,
            previous: &previous,
        };
        let report = status::report_environment(&overview, Timestamp::now()); // pure
        if report != previous {
            let published = apply::publish_environment(&context.writer, &environment, &report).await?; // writes
            lock(&governance.environments).insert(name.to_string(), Arc::new(published));
        }
    }
    Ok(places.iter().all(|place| place.failure.is_none() && place.not_raised.is_none()))
}

/// Raise the Pod Security label of a namespace, where the environment asks for that.
async fn raise(context: &Context, environment: &VisiobookEnvironment, place: &mut Place, uid: &str) {
    let Some(wanted) = &environment.spec.pod_security else { return };
    if wanted.mode != Some(PodSecurityMode::Set) || place.enforces >= wanted.enforce {
        return;
    }
    match apply::raise_pod_security(&context.writer, &place.name, uid, wanted.enforce).await {
        Ok(()) => place.enforces = wanted.enforce,
        Err(error) => place.not_raised = Some(format!("{error}; the rights are in config/pod-security")),
    }
}

fn note(environment: &str, namespace: &str, context: &Context, applied: &Applied) {
    for drift in &applied.drift {
        context.metrics.record_drift_repair(drift.kind.as_str());
    }
    if *applied != Applied::default() {
        tracing::info!(
            environment,
            namespace,
            created = applied.created.len(),
            updated = applied.updated.len(),
            pruned = applied.pruned.len(),
            drift = applied.drift.len(),
            "governed"
        );
    }
}

/// The level that a label of a namespace enforces.
pub(super) fn enforced(labels: Option<&BTreeMap<String, String>>) -> PodSecurityLevel {
    let label = labels.and_then(|labels| labels.get("pod-security.kubernetes.io/enforce"));
    PodSecurityLevel::of_label(label.map(String::as_str))
}

fn is_newer(one: &VisiobookEnvironment, other: &VisiobookEnvironment) -> bool {
    let version = |environment: &VisiobookEnvironment| -> u64 {
        environment.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
    };
    one.uid() == other.uid() && version(one) >= version(other)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
