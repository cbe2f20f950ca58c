//! Adopt: a Deployment and its Service, by Helm or by hand, become a VisiobookService. The new pods start beside the
//! old ones; only once all of them are ready does the operator take the Service over, which moves the requests; only
//! then are the old pods stopped, a few at a time. Nothing is deleted but what would contradict the new objects.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec};
use kube::api::{DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::Listener;
use super::objects::{Error, MANAGER, is_true, of_kind, patch, services, tried, wait};
use crate::api::kinds::Kind;
use crate::api::{VisiobookService, names};

/// Time in which every node learns that the old pods get no more requests.
const SETTLE: Duration = Duration::from_secs(10);
/// Kinds of which an object becomes the child that bears its name.
const TAKEN_OVER: [Kind; 8] = [
    Kind::Service,
    Kind::ServiceAccount,
    Kind::HorizontalPodAutoscaler,
    Kind::Ingress,
    Kind::HTTPRoute,
    Kind::NetworkPolicy,
    Kind::ServiceMonitor,
    Kind::PrometheusRule,
];
/// Longest time that the old pods may take to stop.
const STOP: Duration = Duration::from_secs(300);

/// A service that is to be taken over.
#[derive(Clone, Debug)]
pub struct Adoption {
    service: VisiobookService,
    found: Vec<Found>,
    replicas: i32,
}

/// An object that runs without us.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its kind.
    pub kind: Kind,
    /// What becomes of it.
    pub role: Role,
    object: DynamicObject,
}

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The service has a child of this kind and name: it becomes that.
    TakenOver,
    /// Its pods are replaced by the service's own.
    Replaced,
    /// It selects the new pods too, and would contradict the service's own.
    Removed,
}

impl Adoption {
    /// Find what stands where the children of a service would: `planned` is what the service comes to.
    pub async fn survey(
        client: &Client,
        service: VisiobookService,
        planned: &[Value],
    ) -> Result<Adoption, Error> {
        let (name, namespace) = (service.name_any(), service.namespace().unwrap_or_default());
        let list = async |kind: Kind| {
            let found = of_kind(client, &namespace, kind).list(&ListParams::default()).await;
            match found {
                Err(kube::Error::Api(status)) if status.code == 404 && Kind::OPTIONAL.contains(&kind) => {
                    return Ok(Vec::new());
                }
                found => found.map(|list| list.items),
            }
            .map_err(tried(format!("list {} in namespace {namespace}", kind.as_str())))
        };
        let free = |object: &DynamicObject| {
            !object.owner_references().iter().any(|owner| owner.controller == Some(true))
        };
        let mut found = Vec::new();
        for kind in TAKEN_OVER {
            let is_child = |object: &DynamicObject| is_child(planned, kind, &object.name_any());
            let objects = list(kind).await?.into_iter().filter(|object| is_child(object) && free(object));
            found.extend(objects.map(|object| Found { kind, role: Role::TakenOver, object }));
        }
        let ours = services(client, &namespace).get_opt(&name).await.map_err(tried("read the service"))?;
        let traffic = found.iter().find(|found| found.kind == Kind::Service);
        if traffic.is_none() && ours.is_none() {
            return Err(Error::Absent(format!(
                "there is no Service {name} in namespace {namespace} to take over: name the resource like the Service that takes the requests, or apply the resource if nothing runs yet"
            )));
        }
        let selector =
            traffic.map(|traffic| labels(&traffic.object.data["spec"]["selector"])).unwrap_or_default();
        let mut replicas = 0;
        for object in list(Kind::Deployment).await?.into_iter().filter(free) {
            let pods = labels(&object.data["spec"]["template"]["metadata"]["labels"]);
            let marked = object.annotations().get(names::ADOPT) == Some(&name);
            if marked || selects(&selector, &pods) {
                replicas += object.data["spec"]["replicas"].as_i64().unwrap_or(1) as i32;
                let role = of_name(planned, Kind::Deployment, &object, Role::Replaced);
                found.push(Found { kind: Kind::Deployment, role, object });
            }
        }
        let pods = planned
            .iter()
            .find(|child| child["kind"] == Kind::Deployment.as_str())
            .map(|deployment| labels(&deployment["spec"]["template"]["metadata"]["labels"]))
            .unwrap_or_default();
        for object in list(Kind::PodDisruptionBudget).await?.into_iter().filter(free) {
            if selects(&labels(&object.data["spec"]["selector"]["matchLabels"]), &pods) {
                let role = of_name(planned, Kind::PodDisruptionBudget, &object, Role::Removed);
                found.push(Found { kind: Kind::PodDisruptionBudget, role, object });
            }
        }
        Ok(Adoption { service, found, replicas })
    }

    /// Every step, in order.
    pub fn steps(&self) -> Vec<String> {
        let name = self.service.name_any();
        let mut steps = Vec::new();
        for Found { kind, object, .. } in &self.found {
            steps.push(format!(
                "mark {} {}, so that neither Helm nor Argo CD prunes it",
                kind.as_str(),
                object.name_any()
            ));
        }
        steps.push(format!("make VisiobookService {name}, with pods: {}", self.replicas));
        steps.push(format!("wait until the new pods, those of {name}-blue, are ready"));
        for (what, role) in
            [("take over", Role::TakenOver), ("stop the pods of", Role::Replaced), ("delete", Role::Removed)]
        {
            for Found { kind, object, .. } in self.found.iter().filter(|found| found.role == role) {
                steps.push(format!("{what} {} {}", kind.as_str(), object.name_any()));
            }
        }
        steps
    }

    /// Take the steps. The new pods have `patience` to become ready.
    pub async fn run(self, client: &Client, patience: Duration, told: Listener<'_>) -> Result<(), Error> {
        let (name, namespace) = (self.service.name_any(), self.service.namespace().unwrap_or_default());
        for Found { kind, object, role } in &self.found {
            patch(&of_kind(client, &namespace, *kind), object, mark(&name, object, *role)).await?;
            told(&format!("{} {} is marked", kind.as_str(), object.name_any()));
        }
        self.make(client).await?;
        told(&format!("VisiobookService {name} is made; waiting for its pods"));

        let api = services(client, &namespace);
        let traffic = of_kind(client, &namespace, Kind::Service);
        let moved = wait(patience, || async {
            let service = api.get(&name).await.map_err(tried("read the service"))?;
            let address = traffic.get(&name).await.map_err(tried("read the Service"))?;
            let ours =
                address.owner_references().iter().any(|owner| Some(&owner.uid) == service.uid().as_ref());
            let selects_ours = address.data["spec"]["selector"].get(names::VERSION).is_some();
            Ok((ours && selects_ours && is_true(&service, "Ready")).then_some(()))
        })
        .await?;
        if moved.is_none() {
            return Err(Error::Late {
                seconds: patience.as_secs(),
                what: format!(
                    "the new pods are not all ready, or no operator looks after namespace {namespace}"
                ),
                way_out: format!(
                    "`kubectl describe visiobookservice {name}` tells why. Run this again to go on, or `visiobook eject {name} --yes` to go back"
                ),
            });
        }
        told(&format!("Service {name} sends its requests to the new pods"));
        tokio::time::sleep(SETTLE).await;

        for Found { object, .. } in self.found.iter().filter(|found| found.role == Role::Replaced) {
            stop(client, &namespace, &object.name_any()).await?;
            told(&format!(
                "Deployment {} has no pods any more; delete it when nobody wants to go back",
                object.name_any()
            ));
        }
        for Found { kind, object, .. } in self.found.iter().filter(|found| found.role == Role::Removed) {
            let deleted =
                of_kind(client, &namespace, *kind).delete(&object.name_any(), &DeleteParams::default()).await;
            match deleted {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => drop(deleted.map_err(tried(format!("delete {}", object.name_any())))?),
            }
            told(&format!("{} {} is deleted", kind.as_str(), object.name_any()));
        }
        Ok(())
    }

    /// Make the resource with as many pods as run now. The number is set as an autoscaler would, so that it is nobody's
    /// word, and before the operator may look.
    async fn make(&self, client: &Client) -> Result<(), Error> {
        let (name, namespace) = (self.service.name_any(), self.service.namespace().unwrap_or_default());
        let api = services(client, &namespace);
        let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        let mut paused = self.service.clone();
        let size = paused.spec.replicas.take().unwrap_or(self.replicas);
        paused.spec.paused = true;
        match api.create(&params, &paused).await {
            Ok(made) => {
                let scale = Scale {
                    metadata: ObjectMeta {
                        name: Some(name.clone()),
                        namespace: Some(namespace),
                        uid: made.uid(),
                        ..ObjectMeta::default()
                    },
                    spec: Some(ScaleSpec { replicas: Some(size) }),
                    status: None,
                };
                api.replace_scale(&name, &params, &scale).await.map_err(tried("set the number of pods"))?;
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(tried(format!("make VisiobookService {name}"))(error)),
        }
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let go = json!({ "spec": { "paused": null } });
        api.patch(&name, &params, &Patch::Merge(&go)).await.map_err(tried("let the operator begin"))?;
        Ok(())
    }
}

/// Whether a service has a child of this kind and name.
fn is_child(planned: &[Value], kind: Kind, name: &str) -> bool {
    planned.iter().any(|child| child["kind"] == kind.as_str() && child["metadata"]["name"] == name)
}

/// What becomes of an object: one that was ejected before bears the name of a child, and its pods serve.
fn of_name(planned: &[Value], kind: Kind, object: &DynamicObject, otherwise: Role) -> Role {
    if is_child(planned, kind, &object.name_any()) { Role::TakenOver } else { otherwise }
}

/// Stop the pods of a Deployment, a quarter at a time.
async fn stop(client: &Client, namespace: &str, name: &str) -> Result<(), Error> {
    let api = of_kind(client, namespace, Kind::Deployment);
    let read = async || api.get(name).await.map_err(tried(format!("read Deployment {name}")));
    let wanted = read().await?.data["spec"]["replicas"].as_i64().unwrap_or(0);
    let step = (wanted / 4).max(1);
    let mut left = wanted;
    while left > 0 {
        left = (left - step).max(0);
        patch(&api, &read().await?, json!({ "spec": { "replicas": left } })).await?;
        let stopped = wait(STOP, || async {
            let now = read().await?.data["status"]["replicas"].as_i64().unwrap_or(0);
            Ok((now <= left).then_some(()))
        });
        if stopped.await?.is_none() {
            return Err(Error::Late {
                seconds: STOP.as_secs(),
                what: format!("pods of Deployment {name} have not stopped"),
                way_out: "the new ones serve. Run this again to go on".into(),
            });
        }
    }
    Ok(())
}

/// The marks of an object that is handed over: who may take it, and that nobody prunes it.
fn mark(service: &str, object: &DynamicObject, role: Role) -> Value {
    const OPTIONS: &str = "argocd.argoproj.io/sync-options";
    const KEEP: &str = "Prune=false";
    let options = object.annotations().get(OPTIONS).map(String::as_str).unwrap_or_default();
    let options = match options {
        "" => KEEP.to_string(),
        options if options.split(',').any(|option| option.trim() == KEEP) => options.to_string(),
        options => format!("{options},{KEEP}"),
    };
    let mut annotations = json!({ "helm.sh/resource-policy": "keep", OPTIONS: options });
    if role != Role::Removed {
        annotations[names::ADOPT] = service.into();
    }
    json!({ "metadata": { "annotations": annotations } })
}

fn labels(value: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

/// Whether a selector that says something chooses pods with these labels.
fn selects(selector: &BTreeMap<String, String>, pods: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && selector.iter().all(|(label, value)| pods.get(label) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_selector_chooses_nothing() {
        let pods = labels(&json!({ "app": "books", "version": "blue" }));
        assert!(selects(&labels(&json!({ "app": "books" })), &pods));
        assert!(!selects(&labels(&json!({ "app": "films" })), &pods));
        assert!(!selects(&labels(&json!({})), &pods));
        assert!(!selects(&labels(&Value::Null), &pods));
    }

    #[test]
    fn what_was_ejected_is_taken_over_and_not_stopped() {
        let planned = [json!({ "kind": "Deployment", "metadata": { "name": "books-blue" } })];
        let named = |name: &str| DynamicObject {
            types: None,
            metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
            data: Value::Null,
        };
        let role = |name: &str| of_name(&planned, Kind::Deployment, &named(name), Role::Replaced);
        assert_eq!(role("books-blue"), Role::TakenOver);
        assert_eq!(role("books"), Role::Replaced);
        let budget = of_name(&planned, Kind::PodDisruptionBudget, &named("books-blue"), Role::Removed);
        assert_eq!(budget, Role::Removed);
    }

    #[test]
    fn a_mark_keeps_the_options_that_were_there() {
        let mut object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "books" },
        }))
        .unwrap();
        let of =
            |object: &DynamicObject, role| mark("books", object, role)["metadata"]["annotations"].clone();
        assert_eq!(of(&object, Role::TakenOver)["argocd.argoproj.io/sync-options"], "Prune=false");
        assert_eq!(of(&object, Role::TakenOver)[names::ADOPT], "books");
        assert!(of(&object, Role::Removed).get(names::ADOPT).is_none());
        object.annotations_mut().insert("argocd.argoproj.io/sync-options".into(), "Validate=false".into());
        assert_eq!(
            of(&object, Role::Replaced)["argocd.argoproj.io/sync-options"],
            "Validate=false,Prune=false"
        );
        assert_eq!(of(&object, Role::Replaced)["helm.sh/resource-policy"], "keep");
    }
}
