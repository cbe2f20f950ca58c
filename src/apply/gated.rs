//! Pods with the readiness gate: of each only what the gate looks at is kept, for there may be thousands. And the one
//! write to a pod that there is, its condition.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::api::{Api, Object, Patch, PatchParams, ValidationDirective};
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::writer::{Error, Writer, payload, version_of};
use crate::api::names;
use crate::facts::{GatedPod, Word};
use crate::gate::Verdict;
use crate::plan::Owner;

/// A pod as it is watched: most of it is not even read.
pub type WatchedPod = Object<Unread, Conditions>;

/// A part that nobody looks at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Unread {}

/// What is read of the status of a pod.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Conditions {
    /// Those of its node, and the operator's.
    #[serde(default)]
    conditions: Vec<PodCondition>,
}

/// Condition by which the kubelet tells that all containers of a pod are ready.
const CONTAINERS_READY: &str = "ContainersReady";

/// The pods that are watched, in the namespaces that `scope` names.
pub fn watched_pods(client: kube::Client, scope: Option<&str>) -> Api<WatchedPod> {
    let kind = kube::api::ApiResource::erase::<Pod>(&());
    match scope {
        Some(namespace) => Api::namespaced_with(client, namespace, &kind),
        None => Api::all_with(client, &kind),
    }
}

/// Pods that carry the gate and are to stay, by service.
#[derive(Default)]
pub struct GatedPods(Mutex<Known>);

type Service = (String, String);

#[derive(Default)]
struct Known {
    pods: HashMap<Service, BTreeMap<String, (u64, GatedPod)>>,
    /// What a list that is under way has not shown yet, by the namespace that it looks at.
    unseen: HashMap<Option<String>, HashSet<(Service, String)>>,
}

impl GatedPods {
    /// A pod was seen, in a watch or in an answer. Tells the service that should look, where it is news.
    pub fn see(&self, pod: &WatchedPod) -> Option<Service> {
        let (service, name) = place(pod)?;
        let mut known = self.lock();
        for unseen in known.unseen.values_mut() {
            unseen.remove(&(service.clone(), name.clone()));
        }
        if pod.metadata.deletion_timestamp.is_some() {
            // It gets no more requests, whatever is said of it.
            return known.remove(&service, &name).then_some(service);
        }
        let version = version_of(&pod.metadata);
        let pods = known.pods.entry(service.clone()).or_default();
        let read = read(pod);
        match pods.get(&name) {
            Some((newer, _)) if *newer >= version => None,
            Some((_, same)) if *same == read => {
                pods.insert(name, (version, read));
                None
            }
            _ => {
                pods.insert(name, (version, read));
                Some(service)
            }
        }
    }

    /// A pod is gone.
    pub fn forget(&self, pod: &WatchedPod) {
        if let Some((service, name)) = place(pod) {
            let mut known = self.lock();
            // Not one that was made again under the same name.
            let uid = pod.uid().unwrap_or_default();
            let same = known.pods.get(&service).and_then(|pods| pods.get(&name));
            if same.is_some_and(|(_, same)| same.uid == uid) {
                known.remove(&service, &name);
            }
        }
    }

    /// A list begins: what it does not show is gone.
    pub fn begin_list(&self, scope: &Option<String>) {
        let mut known = self.lock();
        let within = |service: &&Service| scope.as_ref().is_none_or(|scope| *scope == service.0);
        let all = known.pods.keys().filter(within);
        let all =
            all.flat_map(|service| known.pods[service].keys().map(|pod| (service.clone(), pod.clone())));
        let all = all.collect();
        known.unseen.insert(scope.clone(), all);
    }

    /// A list is complete.
    pub fn end_list(&self, scope: &Option<String>) {
        let mut known = self.lock();
        for (service, pod) in known.unseen.remove(scope).unwrap_or_default() {
            known.remove(&service, &pod);
        }
    }

    /// The pods of a service, in the order of their names.
    pub fn of(&self, namespace: &str, name: &str) -> Vec<GatedPod> {
        let known = self.lock();
        let pods = known.pods.get(&(namespace.to_string(), name.to_string()));
        pods.into_iter().flat_map(BTreeMap::values).map(|(_, pod)| pod.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn remove(&mut self, service: &Service, pod: &str) -> bool {
        let Some(pods) = self.pods.get_mut(service) else { return false };
        let was_there = pods.remove(pod).is_some();
        if pods.is_empty() {
            self.pods.remove(service);
        }
        was_there
    }
}

fn place(pod: &WatchedPod) -> Option<(Service, String)> {
    let service = pod.labels().get(names::NAME)?.clone();
    Some(((pod.namespace()?, service), pod.name_any()))
}

fn read(pod: &WatchedPod) -> GatedPod {
    let find = |type_: &str| {
        let conditions = pod.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().find(|condition| condition.type_ == type_)
    };
    GatedPod {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        revision: pod.labels().get(names::REVISION).cloned().unwrap_or_default(),
        answers: find(CONTAINERS_READY).is_some_and(|condition| condition.status == "True"),
        said: find(names::CONTRACT).map(|condition| Word {
            open: condition.status == "True",
            reason: condition.reason.clone().unwrap_or_default(),
            message: condition.message.clone().unwrap_or_default(),
        }),
    }
}

/// Tell a pod what was found of it. The uid alone guards the write: the kubelet writes to the same status all the time.
pub async fn tell_pod(
    writer: &Writer,
    pods: &GatedPods,
    owner: &Owner,
    verdict: &Verdict,
    now: jiff::Timestamp,
) -> Result<(), Error> {
    let word = &verdict.word;
    let mut condition = json!({
        "type": names::CONTRACT,
        "status": if word.open { "True" } else { "False" },
        "reason": word.reason,
        "message": word.message,
    });
    // It keeps its time while its status stays.
    if verdict.turns {
        let time = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
        condition["lastTransitionTime"] = time.to_string().into();
    }
    let body = json!({
        "apiVersion": Pod::api_version(&()),
        "kind": Pod::kind(&()),
        "metadata": { "name": verdict.pod, "uid": verdict.uid },
        "status": { "conditions": [condition] },
    });
    let params = PatchParams {
        field_manager: Some(names::GATE_MANAGER.to_string()),
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::default()
    };
    let api = watched_pods(writer.claimed()?, Some(&owner.namespace));
    // Conditions are merged by their type.
    match api.patch_status(&verdict.pod, &params, &Patch::Strategic(&payload(&body))).await {
        Ok(pod) => {
            pods.see(&pod);
            Ok(())
        }
        // It is gone.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::Refused {
            what: format!("set the condition of pod {}", verdict.pod),
            source: Box::new(error),
        }),
    }
}

/// Whether there is a Service of a name; `None` where the operator may not look.
pub async fn service_exists(writer: &Writer, namespace: &str, name: &str) -> Result<Option<bool>, Error> {
    let api: Api<k8s_openapi::api::core::v1::Service> = Api::namespaced(writer.claimed()?, namespace);
    match api.get_metadata_opt(name).await {
        Ok(found) => Ok(Some(found.is_some())),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(None),
        Err(error) => Err(Error::Refused {
            what: format!("look for Service {namespace}/{name}"),
            source: Box::new(error),
        }),
    }
}
