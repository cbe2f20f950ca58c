//! What all passes share.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::channel::mpsc::UnboundedSender;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::{ObjectRef, Store};

use super::backoff::Backoff;
use super::governance::{Governance, enforced};
use super::observing::Observing;
use crate::api::kinds::Kind;
use crate::api::names;
use crate::api::{PodSecurityLevel, VisiobookEnvironmentSpec, VisiobookService};
use crate::apply::{Cache, KeyRing, Secrets, Surroundings, Writer};
use crate::facts::{ContainerFact, EnvironmentFact, Installation, Missing, MissingKinds};
use crate::telemetry::Metrics;

/// A service as it is watched: one that cannot be read does not stop the watch.
pub(super) type Guarded = DeserializeGuard<VisiobookService>;

/// A namespace that was seen.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    /// The environment that its label names.
    environment: Option<String>,
    /// Whether it is being deleted: nothing can be made in it any more.
    terminating: bool,
    /// What its Pod Security label enforces.
    enforces: PodSecurityLevel,
    /// Its uid.
    uid: String,
}

/// The services of one namespace, or of all.
pub(super) struct Lane {
    /// The namespace; `None` for all.
    pub(super) scope: Option<String>,
    /// The services, as watched.
    pub(super) store: Store<Guarded>,
    /// Where to say that one should be looked at.
    pub(super) triggers: UnboundedSender<ObjectRef<Guarded>>,
}

/// What all passes share. Cheap to look at, locked for moments only.
pub(super) struct Context {
    pub(super) writer: Writer,
    pub(super) cache: Arc<Cache>,
    pub(super) secrets: Secrets,
    pub(super) recorder: Recorder,
    pub(super) metrics: Arc<Metrics>,
    pub(super) backoff: Backoff,
    /// Set where nothing is written, and what would be is told.
    pub(super) observing: Option<Observing>,
    /// What signs tokens of services.
    pub(super) ring: Arc<KeyRing>,
    operator: Installation,
    lanes: OnceLock<Vec<Lane>>,
    queued: Mutex<HashSet<ObjectRef<Guarded>>>,
    /// Services as our own writes left them, until the watch has caught up.
    written: Mutex<HashMap<String, Arc<VisiobookService>>>,
    /// When the pods of a service that is not ready were looked at last, and what was seen.
    looks: Mutex<HashMap<String, (Instant, Vec<ContainerFact>)>>,
    /// Since when a service has a status that may wait.
    held_back: Mutex<HashMap<String, Instant>>,
    replicas_applied_by: RwLock<HashMap<String, String>>,
    environments: RwLock<BTreeMap<String, VisiobookEnvironmentSpec>>,
    pub(super) governance: Governance,
    namespaces: RwLock<HashMap<String, Place>>,
    missing_kinds: RwLock<MissingKinds>,
}

impl Context {
    pub(super) fn new(
        writer: Writer,
        cache: Arc<Cache>,
        secrets: Secrets,
        recorder: Recorder,
        metrics: Arc<Metrics>,
        ring: Arc<KeyRing>,
        operator: Installation,
    ) -> Context {
        Context {
            writer,
            cache,
            secrets,
            recorder,
            metrics,
            backoff: Backoff::default(),
            observing: None,
            ring,
            operator,
            lanes: OnceLock::new(),
            queued: Mutex::default(),
            written: Mutex::default(),
            looks: Mutex::default(),
            held_back: Mutex::default(),
            replicas_applied_by: RwLock::default(),
            environments: RwLock::default(),
            governance: Governance::default(),
            namespaces: RwLock::default(),
            missing_kinds: RwLock::default(),
        }
    }

    /// The same, which writes nothing and tells what it would.
    pub(super) fn observing(self, observing: Option<Observing>) -> Context {
        Context { observing, ..self }
    }

    /// This instance leads: these are the services it looks after.
    pub(super) fn lead(&self, lanes: Vec<Lane>) {
        let _ = self.lanes.set(lanes);
    }

    /// Have one service looked at. While standing by nobody listens: all are looked at once this instance leads.
    pub(super) fn trigger(&self, namespace: &str, name: &str) {
        let lanes = self.lanes.get().into_iter().flatten();
        for lane in lanes.filter(|lane| lane.scope.as_deref().is_none_or(|scope| scope == namespace)) {
            let service = ObjectRef::new(name).within(namespace);
            let mut queued = lock(&self.queued);
            queued.insert(service.clone());
            self.metrics.set_queue_depth(queued.len());
            let _ = lane.triggers.unbounded_send(service);
        }
    }

    /// Have every service looked at that `concerns`.
    pub(super) fn trigger_where(&self, concerns: impl Fn(&VisiobookService) -> bool) {
        for guarded in self.lanes.get().into_iter().flatten().flat_map(|lane| lane.store.state()) {
            if let Ok(service) = &guarded.0
                && concerns(service)
            {
                self.trigger(&service.namespace().unwrap_or_default(), &service.name_any());
            }
        }
    }

    /// A pass over this service begins.
    pub(super) fn begin(&self, service: &ObjectRef<Guarded>) {
        let mut queued = lock(&self.queued);
        queued.remove(service);
        self.metrics.set_queue_depth(queued.len());
    }

    /// The service as the watch or our own last write knows it, whichever is newer.
    pub(super) fn newest(&self, watched: &VisiobookService) -> Arc<VisiobookService> {
        let uid = watched.uid().unwrap_or_default();
        let mut written = lock(&self.written);
        match written.get(&uid) {
            Some(ours) if version(ours) > version(watched) => ours.clone(),
            _ => {
                written.remove(&uid);
                Arc::new(watched.clone())
            }
        }
    }

    /// Our own write left a service like this.
    pub(super) fn wrote(&self, service: VisiobookService) -> Arc<VisiobookService> {
        let service = Arc::new(service);
        lock(&self.written).insert(service.uid().unwrap_or_default(), service.clone());
        service
    }

    /// Whether the watch, which has just stored it, tells of what we wrote ourselves.
    pub(super) fn is_own_write(&self, watched: &VisiobookService) -> bool {
        let uid = watched.uid().unwrap_or_default();
        let mut written = lock(&self.written);
        let Some(ours) = written.get(&uid).map(|ours| version(ours)) else { return false };
        if version(watched) >= ours {
            // Caught up.
            written.remove(&uid);
        }
        version(watched) <= ours
    }

    /// The pods of a service were looked at, or there is nothing to look for any more.
    pub(super) fn looked(&self, uid: &str, seen: Option<Vec<ContainerFact>>) {
        let mut looks = lock(&self.looks);
        match seen {
            Some(containers) => drop(looks.insert(uid.to_string(), (Instant::now(), containers))),
            None => drop(looks.remove(uid)),
        }
    }

    /// How long ago that was, and what was seen.
    pub(super) fn last_look(&self, uid: &str) -> Option<(Duration, Vec<ContainerFact>)> {
        lock(&self.looks).get(uid).map(|(at, containers)| (at.elapsed(), containers.clone()))
    }

    /// How long a status that says nothing pressing still has to wait, if at all.
    pub(super) fn hold_back(&self, uid: &str, gap: Duration) -> Option<Duration> {
        let since = *lock(&self.held_back).entry(uid.to_string()).or_insert_with(Instant::now);
        gap.checked_sub(since.elapsed()).filter(|left| !left.is_zero())
    }

    /// No status waits: it was published, or says nothing new any more.
    pub(super) fn nothing_held_back(&self, uid: &str) {
        lock(&self.held_back).remove(uid);
    }

    /// A service was seen; note who applies its size.
    pub(super) fn note_replicas(&self, uid: &str, manager: Option<String>) {
        let mut notes = self.replicas_applied_by.write().unwrap_or_else(PoisonError::into_inner);
        match manager {
            Some(manager) => notes.insert(uid.to_string(), manager),
            None => notes.remove(uid),
        };
    }

    /// A service is gone.
    pub(super) fn forget(&self, service: &VisiobookService) {
        let uid = service.uid().unwrap_or_default();
        lock(&self.written).remove(&uid);
        self.nothing_held_back(&uid);
        self.looked(&uid, None);
        self.note_replicas(&uid, None);
        self.governance.forget(&uid);
        self.trigger_governance(&service.namespace().unwrap_or_default());
        self.backoff.clear(&uid);
        self.metrics.forget_service(&service.namespace().unwrap_or_default(), &service.name_any());
    }

    /// Who governs a service; `None` while its namespace has not been seen, for it may yet turn out to have a label.
    pub(super) fn surroundings(&self, service: &VisiobookService) -> Option<Surroundings> {
        let namespace = service.namespace().unwrap_or_default();
        let place =
            self.namespaces.read().unwrap_or_else(PoisonError::into_inner).get(&namespace).cloned()?;
        let environment = match place.environment {
            None => EnvironmentFact::Unlabelled,
            Some(name) => match self.environments.read().unwrap_or_else(PoisonError::into_inner).get(&name) {
                Some(spec) => EnvironmentFact::Governed { name, spec: Box::new(spec.clone()) },
                None => EnvironmentFact::Missing { name },
            },
        };
        let notes = self.replicas_applied_by.read().unwrap_or_else(PoisonError::into_inner);
        Some(Surroundings {
            environment,
            replicas_applied_by: notes.get(&service.uid().unwrap_or_default()).cloned(),
            operator: self.operator.clone(),
            missing_kinds: self.missing_kinds.read().unwrap_or_else(PoisonError::into_inner).clone(),
            signing: self.ring.signing(),
            now: jiff::Timestamp::now().as_second(),
        })
    }

    /// An optional kind is offered by the cluster from now on, or is not.
    pub(super) fn see_kind(&self, kind: Kind, missing: Option<Missing>) {
        {
            let mut kinds = self.missing_kinds.write().unwrap_or_else(PoisonError::into_inner);
            let before = match &missing {
                Some(missing) => kinds.insert(kind, missing.clone()),
                None => kinds.remove(&kind),
            };
            if before == missing {
                return;
            }
        }
        let kind = kind.as_str();
        match missing {
            None => tracing::info!(kind, "a kind that may be missing is there"),
            Some(missing) => tracing::info!(kind, ?missing, "a kind that may be missing is not there"),
        }
        self.trigger_where(|_| true);
    }

    /// Have the services looked at whose environment copies a Secret of the operator's own namespace.
    pub(super) fn see_own_secret(&self, namespace: &str, name: &str) {
        if namespace != self.operator.namespace {
            return;
        }
        let copying: HashSet<String> = {
            let environments = self.environments.read().unwrap_or_else(PoisonError::into_inner);
            let copies = |spec: &VisiobookEnvironmentSpec| {
                let defaults = spec.defaults.as_ref();
                defaults
                    .is_some_and(|defaults| defaults.copied_pull_secrets.iter().any(|copied| copied == name))
            };
            environments.iter().filter(|(_, spec)| copies(spec)).map(|(name, _)| name.clone()).collect()
        };
        if copying.is_empty() {
            return;
        }
        let governed: HashSet<String> = {
            let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
            let is_governed = |place: &Place| {
                place.environment.as_ref().is_some_and(|environment| copying.contains(environment))
            };
            namespaces.iter().filter(|(_, place)| is_governed(place)).map(|(name, _)| name.clone()).collect()
        };
        self.trigger_where(|service| {
            service.namespace().is_some_and(|namespace| governed.contains(&namespace))
        });
    }

    /// An environment was seen, or is gone.
    pub(super) fn see_environment(&self, name: &str, spec: Option<VisiobookEnvironmentSpec>) {
        {
            let mut environments = self.environments.write().unwrap_or_else(PoisonError::into_inner);
            let changed = match spec {
                Some(spec) => environments.insert(name.to_string(), spec.clone()).as_ref() != Some(&spec),
                None => environments.remove(name).is_some(),
            };
            if !changed {
                return;
            }
        }
        let governed: HashSet<String> = {
            let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
            namespaces
                .iter()
                .filter(|(_, place)| place.environment.as_deref() == Some(name))
                .map(|(namespace, _)| namespace.clone())
                .collect()
        };
        self.trigger_where(|service| {
            service.namespace().is_some_and(|namespace| governed.contains(&namespace))
        });
    }

    /// Environments that a complete list no longer shows are gone.
    pub(super) fn keep_environments(&self, seen: &HashSet<String>) {
        let known: Vec<String> =
            self.environments.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        for name in known.iter().filter(|name| !seen.contains(*name)) {
            self.see_environment(name, None);
            self.governance.see(name, None);
        }
    }

    /// A service was held against its environment; a refused one was told this.
    pub(super) fn note_verdict(&self, service: &VisiobookService, refused: Option<String>) {
        let namespace = service.namespace().unwrap_or_default();
        if self.governance.note(&service.uid().unwrap_or_default(), refused) {
            self.trigger_governance(&namespace);
        }
    }

    /// Wait until every service was seen once.
    pub(super) async fn services_known(&self) {
        for lane in self.lanes.get().into_iter().flatten() {
            // A store that is gone was stopped, and with it the operator.
            let _ = lane.store.wait_until_ready().await;
        }
    }

    /// The services in some namespaces.
    pub(super) fn services_in(&self, namespaces: &BTreeSet<&str>) -> Vec<Arc<Guarded>> {
        let all = self.lanes.get().into_iter().flatten().flat_map(|lane| lane.store.state());
        all.filter(|service| {
            service.namespace().is_some_and(|namespace| namespaces.contains(namespace.as_str()))
        })
        .collect()
    }

    /// Have the environment of a namespace looked at.
    pub(super) fn trigger_governance(&self, namespace: &str) {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        let environment = namespaces.get(namespace).and_then(|place| place.environment.as_ref());
        environment.into_iter().for_each(|environment| self.governance.trigger(environment));
    }

    /// The namespaces that this operator looks after and whose label names an environment, in order, with what they
    /// enforce and their uids.
    pub(super) fn places_of(&self, environment: &str) -> Vec<(String, PodSecurityLevel, String)> {
        let within = |namespace: &String| {
            let scopes = self.lanes.get().into_iter().flatten().map(|lane| lane.scope.as_ref());
            scopes.into_iter().any(|scope| scope.is_none_or(|scope| scope == namespace))
        };
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        let mut places: Vec<_> = namespaces
            .iter()
            .filter(|(name, place)| {
                place.environment.as_deref() == Some(environment) && !place.terminating && within(name)
            })
            .map(|(name, place)| (name.clone(), place.enforces, place.uid.clone()))
            .collect();
        places.sort();
        places
    }

    /// Whether a namespace is being deleted.
    pub(super) fn is_terminating(&self, namespace: &str) -> bool {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        namespaces.get(namespace).is_some_and(|place| place.terminating)
    }

    /// A namespace was seen, or is gone.
    pub(super) fn see_namespace(&self, namespace: &str, seen: Option<&ObjectMeta>) {
        {
            let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
            let place = seen.map(|meta| Place {
                environment: meta.labels.as_ref().and_then(|labels| labels.get(names::ENVIRONMENT)).cloned(),
                terminating: meta.deletion_timestamp.is_some(),
                enforces: enforced(meta.labels.as_ref()),
                uid: meta.uid.clone().unwrap_or_default(),
            });
            let before = match &place {
                Some(place) => namespaces.insert(namespace.to_string(), place.clone()),
                None => namespaces.remove(namespace),
            };
            if before == place {
                return;
            }
            let concerned =
                [&before, &place].into_iter().flatten().filter_map(|place| place.environment.as_ref());
            concerned.for_each(|environment| self.governance.trigger(environment));
        }
        self.trigger_where(|service| service.namespace().as_deref() == Some(namespace));
    }
}

fn version(service: &VisiobookService) -> u64 {
    service.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
