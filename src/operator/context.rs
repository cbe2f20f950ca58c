//! What all passes share.

mod dependencies;
mod surroundings;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::channel::mpsc::UnboundedSender;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};

pub(super) use dependencies::LOOK_AGAIN;

use super::backoff::Backoff;
use super::governance::Governance;
use super::leaving::Leavers;
use super::notifier::Notifier;
use super::observing::Observing;
use super::watched::{Unreadable, Watched};
use crate::api::{VisiobookEnvironmentSpec, VisiobookService};
use crate::apply::{Cache, GatedPods, KeyRing, Secrets, Writer};
use crate::facts::{ContainerFact, Installation, MissingKinds, ServiceName};
use crate::telemetry::Metrics;

/// The services of one namespace, or of all.
pub(super) struct Lane {
    /// The namespace; `None` for all.
    pub(super) scope: Option<String>,
    /// The services, as watched.
    pub(super) store: Store<Watched>,
    /// Where to say that one should be looked at.
    pub(super) triggers: UnboundedSender<ObjectRef<Watched>>,
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
    /// Pods with the readiness gate.
    pub(super) gated_pods: GatedPods,
    dependencies: dependencies::Dependencies,
    operator: Installation,
    lanes: OnceLock<Vec<Lane>>,
    leading_since: OnceLock<i64>,
    queued: Mutex<HashSet<ObjectRef<Watched>>>,
    /// Services as our own writes left them, until the watch has caught up.
    written: Mutex<HashMap<String, Arc<VisiobookService>>>,
    /// When the pods of a service that is not ready were looked at last, and what was seen.
    looks: Mutex<HashMap<String, (Instant, Vec<ContainerFact>)>>,
    /// Since when a service has a status that may wait.
    held_back: Mutex<HashMap<String, Instant>>,
    replicas_applied_by: RwLock<HashMap<String, String>>,
    environments: RwLock<BTreeMap<String, VisiobookEnvironmentSpec>>,
    pub(super) governance: Governance,
    pub(super) notifier: Notifier,
    pub(super) leavers: Leavers,
    pub(super) waves: super::waves::Waves,
    namespaces: RwLock<HashMap<String, surroundings::Place>>,
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
            notifier: Notifier::new(&operator.namespace),
            leavers: Leavers::default(),
            waves: super::waves::Waves::default(),
            gated_pods: GatedPods::default(),
            dependencies: dependencies::Dependencies::default(),
            operator,
            lanes: OnceLock::new(),
            leading_since: OnceLock::new(),
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
        let _ = self.leading_since.set(jiff::Timestamp::now().as_second());
        let _ = self.lanes.set(lanes);
    }

    /// Since when this instance leads, in Unix seconds.
    pub(super) fn leading_since(&self) -> i64 {
        self.leading_since.get().copied().unwrap_or_default()
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
    pub(super) fn trigger_where(&self, concerns: impl Fn(&Watched) -> bool) {
        for service in self.lanes.get().into_iter().flatten().flat_map(|lane| lane.store.state()) {
            if service.is_readable() && concerns(&service) {
                self.trigger(&service.namespace().unwrap_or_default(), &service.name_any());
            }
        }
    }

    /// A pass over this service begins.
    pub(super) fn begin(&self, service: &ObjectRef<Watched>) {
        let mut queued = lock(&self.queued);
        queued.remove(service);
        self.metrics.set_queue_depth(queued.len());
    }

    /// The service as the watch or our own last write knows it, whichever is newer.
    pub(super) fn newest(&self, watched: &Arc<Watched>) -> Result<Arc<VisiobookService>, Unreadable> {
        let uid = watched.uid().unwrap_or_default();
        let mut written = lock(&self.written);
        // The watch may have caught up since this was taken from it, and our own write be forgotten for that.
        let watched = self
            .stored(&ObjectRef::from_obj(&**watched))
            .filter(|stored| version(&**stored) > version(&**watched))
            .unwrap_or_else(|| watched.clone());
        match written.get(&uid) {
            Some(ours) if version(&**ours) > version(&*watched) => return Ok(ours.clone()),
            _ => written.remove(&uid),
        };
        drop(written);
        Ok(Arc::new(watched.open()?))
    }

    /// A service as the watch tells it now.
    fn stored(&self, service: &ObjectRef<Watched>) -> Option<Arc<Watched>> {
        self.lanes.get().into_iter().flatten().find_map(|lane| lane.store.get(service))
    }

    /// Our own write left a service like this.
    pub(super) fn wrote(&self, service: VisiobookService) -> Arc<VisiobookService> {
        let service = Arc::new(service);
        lock(&self.written).insert(service.uid().unwrap_or_default(), service.clone());
        service
    }

    /// Whether the watch, which has just stored it, tells of what we wrote ourselves.
    pub(super) fn is_own_write(&self, watched: &Watched) -> bool {
        let uid = watched.uid().unwrap_or_default();
        let mut written = lock(&self.written);
        let Some(ours) = written.get(&uid).map(|ours| version(&**ours)) else { return false };
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

    /// How long a status that may wait for so long still has to, if at all.
    pub(super) fn hold_back(&self, uid: &str, longest: Duration) -> Option<Duration> {
        let since = *lock(&self.held_back).entry(uid.to_string()).or_insert_with(Instant::now);
        longest.checked_sub(since.elapsed()).filter(|left| !left.is_zero())
    }

    /// No status waits: it was published, or says nothing new any more.
    pub(super) fn nothing_held_back(&self, uid: &str) {
        lock(&self.held_back).remove(uid);
    }

    /// A service was seen.
    pub(super) fn see(&self, seen: &Watched) {
        self.note_replicas(&seen.uid().unwrap_or_default(), seen.replicas_applied_by().map(str::to_string));
        self.see_needs(seen);
    }

    /// Who applies the size of a service.
    fn note_replicas(&self, uid: &str, manager: Option<String>) {
        let mut notes = self.replicas_applied_by.write().unwrap_or_else(PoisonError::into_inner);
        match manager {
            Some(manager) => notes.insert(uid.to_string(), manager),
            None => notes.remove(uid),
        };
    }

    /// A service is gone.
    pub(super) fn forget(&self, service: &Watched) {
        let uid = service.uid().unwrap_or_default();
        lock(&self.written).remove(&uid);
        self.nothing_held_back(&uid);
        self.looked(&uid, None);
        self.note_replicas(&uid, None);
        self.governance.forget(&uid);
        self.leavers.forget(&uid);
        self.forget_standing(&uid);
        self.forget_needs(&place(service));
        self.trigger_governance(&service.namespace().unwrap_or_default());
        self.backoff.clear(&uid);
        self.metrics.forget_service(&service.namespace().unwrap_or_default(), &service.name_any());
    }

    /// There is no such service, and no pass over it runs any more.
    pub(super) fn missed(&self, namespace: &str, name: &str) {
        self.begin(&ObjectRef::new(name).within(namespace));
        self.forget_standing_of(&(namespace.to_string(), name.to_string()));
        self.metrics.forget_service(namespace, name);
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
    pub(super) fn services_in(&self, namespaces: &BTreeSet<&str>) -> Vec<Arc<Watched>> {
        let all = self.lanes.get().into_iter().flatten().flat_map(|lane| lane.store.state());
        all.filter(|service| {
            service.namespace().is_some_and(|namespace| namespaces.contains(namespace.as_str()))
        })
        .collect()
    }
}

/// Namespace and name of a service.
pub(super) fn place(service: &impl ResourceExt) -> ServiceName {
    (service.namespace().unwrap_or_default(), service.name_any())
}

fn version(service: &impl Resource) -> u64 {
    service.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
