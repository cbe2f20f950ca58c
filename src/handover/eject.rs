//! Eject: the children of a service go on without us. First the operator's hands are off (`paused`), then the
//! autoscaler scales the Deployment itself, then no child has an owner any more, and only then the resource goes.
//! No step changes a selector, and none a pod template but of pods that wait for the operator before they take requests:
//! those are replaced one by one by others that do not, while there still is an operator to let them in.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PropagationPolicy};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::Listener;
use super::objects::{Error, MANAGER, is_true, of_kind, patch, services, tried, wait};
use crate::api::VisiobookService;
use crate::api::kinds::Kind;
use crate::api::names::{self, Colour};

/// Longest time that the operator may take to say that it writes no more.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest time that pods may take to be replaced.
const REPLACED: Duration = Duration::from_secs(600);
/// A lease that was not renewed for so long is nobody's.
const SILENCE: i64 = 60;

/// A service that is to be left to itself.
#[derive(Clone, Debug)]
pub struct Ejection {
    service: VisiobookService,
    children: Vec<(Kind, DynamicObject)>,
    serving: Colour,
}

impl Ejection {
    /// Look at a service and its children.
    pub async fn survey(client: &Client, namespace: &str, name: &str) -> Result<Ejection, Error> {
        let what = format!("read VisiobookService {namespace}/{name}");
        let service = services(client, namespace).get_opt(name).await.map_err(tried(what))?;
        let service = service.ok_or_else(|| {
            Error::Absent(format!("there is no VisiobookService {name} in namespace {namespace}: name another, or add --namespace"))
        })?;
        let uid = service.uid().unwrap_or_default();
        let ours = ListParams::default().labels(&format!("{}={name}", names::NAME));
        let mut children = Vec::new();
        for kind in Kind::ALL {
            let found = match of_kind(client, namespace, kind).list(&ours).await {
                Ok(found) => found,
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(tried(format!("list {}", kind.as_str()))(error)),
            };
            let owned =
                found.into_iter().filter(|child| child.owner_references().iter().any(|o| o.uid == uid));
            children.extend(owned.map(|child| (kind, child)));
        }
        let serving = service.status.as_ref().and_then(|status| status.active_colour).unwrap_or(Colour::Blue);
        Ok(Ejection { service, children, serving })
    }

    /// Every step, in order.
    pub fn steps(&self) -> Vec<String> {
        let name = self.service.name_any();
        let mut steps =
            vec![format!("pause VisiobookService {name}: from here on the operator writes nothing")];
        for (_, child) in self.gated() {
            let child = child.name_any();
            steps.push(format!(
                "replace the pods of Deployment {child} one by one: they wait for the operator's word"
            ));
        }
        for (kind, child) in &self.children {
            let child = child.name_any();
            if *kind == Kind::HorizontalPodAutoscaler {
                let target = names::coloured(&name, self.serving);
                steps.push(format!("let HorizontalPodAutoscaler {child} scale Deployment {target}"));
            }
        }
        for (kind, child) in self.children.iter().filter(|(kind, _)| *kind != Kind::ControllerRevision) {
            steps.push(format!("leave {} {} to itself", kind.as_str(), child.name_any()));
        }
        steps.push(format!("delete VisiobookService {name}, and nothing with it"));
        for (kind, child) in self.children.iter().filter(|(kind, _)| *kind == Kind::ControllerRevision) {
            steps.push(format!(
                "delete {} {}, which the operator alone reads",
                kind.as_str(),
                child.name_any()
            ));
        }
        steps
    }

    /// Deployments whose pods wait for the operator before they take requests.
    fn gated(&self) -> impl Iterator<Item = &(Kind, DynamicObject)> {
        self.children.iter().filter(|(kind, child)| {
            let gates = child.data.pointer("/spec/template/spec/readinessGates").and_then(Value::as_array);
            *kind == Kind::Deployment
                && gates
                    .is_some_and(|gates| gates.iter().any(|gate| gate["conditionType"] == names::CONTRACT))
        })
    }

    /// Take the steps.
    pub async fn run(self, client: &Client, told: Listener<'_>) -> Result<(), Error> {
        let (name, namespace) = (self.service.name_any(), self.service.namespace().unwrap_or_default());
        let api = services(client, &namespace);
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let pause = json!({ "spec": { "paused": true } });
        api.patch(&name, &params, &Patch::Merge(&pause)).await.map_err(tried("pause the service"))?;
        let paused = wait(PATIENCE, || async {
            let service = api.get(&name).await.map_err(tried("read the service"))?;
            let done = is_true(&service, "Paused") || !operator_is_up(client).await?;
            Ok(done.then_some(()))
        })
        .await?;
        if paused.is_none() {
            return Err(Error::Late {
                seconds: PATIENCE.as_secs(),
                what: "the operator has not said that it writes no more (condition Paused)".into(),
                way_out: "look at its logs and try again, or set spec.paused to false".into(),
            });
        }
        told(&format!("VisiobookService {name} is paused"));

        // What was seen before the pause may have changed since.
        let fresh = Ejection::survey(client, &namespace, &name).await?;
        for (kind, child) in fresh.gated() {
            open(&of_kind(client, &namespace, *kind), child).await?;
            told(&format!("the pods of Deployment {} wait for nobody any more", child.name_any()));
        }
        let fresh = Ejection::survey(client, &namespace, &name).await?;
        for (kind, child) in fresh.children.iter().filter(|(kind, _)| *kind != Kind::ControllerRevision) {
            let change = release(*kind, child, &names::coloured(&name, fresh.serving));
            patch(&of_kind(client, &namespace, *kind), child, change).await?;
            told(&format!("{} {} is left to itself", kind.as_str(), child.name_any()));
        }
        let orphan =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
        api.delete(&name, &orphan).await.map_err(tried("delete the service"))?;
        let uid = fresh.service.uid();
        let gone = wait(PATIENCE, || async {
            let left = api.get_opt(&name).await.map_err(tried("read the service"))?;
            Ok((left.and_then(|left| left.uid()) != uid).then_some(()))
        })
        .await?;
        if gone.is_none() {
            return Err(Error::Late {
                seconds: PATIENCE.as_secs(),
                what: "the resource is still being deleted: the garbage collector of the cluster has not let its children go".into(),
                way_out: "its children have no owner any more; look at kube-controller-manager".into(),
            });
        }
        told(&format!("VisiobookService {name} is deleted"));
        for (kind, child) in fresh.children.iter().filter(|(kind, _)| *kind == Kind::ControllerRevision) {
            let deleted =
                of_kind(client, &namespace, *kind).delete(&child.name_any(), &DeleteParams::default()).await;
            match deleted {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => drop(deleted.map_err(tried("delete a stored revision"))?),
            }
        }
        Ok(())
    }
}

/// Replace the pods of a Deployment by such as do not wait for the operator, and wait until all are there.
async fn open(api: &Api<DynamicObject>, deployment: &DynamicObject) -> Result<(), Error> {
    let name = deployment.name_any();
    let change = json!({ "spec": { "template": {
        "metadata": { "labels": { names::GATE: null } },
        "spec": { "readinessGates": null },
    } } });
    patch(api, deployment, change).await?;
    let replaced = wait(REPLACED, || async {
        let now = api.get(&name).await.map_err(tried(format!("read Deployment {name}")))?;
        let count = |path: &str| now.data.pointer(path).and_then(Value::as_i64).unwrap_or(0);
        let wanted = count("/spec/replicas");
        let observed = count("/status/observedGeneration") >= now.metadata.generation.unwrap_or(0);
        let done = ["/status/updatedReplicas", "/status/replicas", "/status/availableReplicas"]
            .iter()
            .all(|path| count(path) == wanted);
        Ok((observed && done).then_some(()))
    });
    if replaced.await?.is_none() {
        return Err(Error::Late {
            seconds: REPLACED.as_secs(),
            what: format!("the pods of Deployment {name} are not all replaced by such as wait for nobody"),
            way_out: format!(
                "`kubectl rollout status deployment/{name}` tells how far it is. Run this again to go on, or set spec.paused to false to go back"
            ),
        });
    }
    Ok(())
}

/// A child without its owner and without our marks. The template of its pods stays as it is from here on, marks and all: a
/// change would replace them.
fn release(kind: Kind, child: &DynamicObject, deployment: &str) -> Value {
    let owners: Vec<_> =
        child.owner_references().iter().filter(|owner| owner.kind != "VisiobookService").collect();
    let mut change = json!({ "metadata": {
        "ownerReferences": owners,
        "labels": { names::MANAGED_BY: null, names::REVISION: null },
        "annotations": { names::SERVING: null, names::ADOPT: null, names::SECRETS_DIGEST: null, names::SECRETS_ROTATION: null, names::SECRETS_ROTATED: null },
    } });
    if kind == Kind::HorizontalPodAutoscaler {
        change["spec"] = json!({ "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": deployment } });
    }
    change
}

/// Whether somebody leads: only then somebody writes.
async fn operator_is_up(client: &Client) -> Result<bool, Error> {
    let leases: Api<Lease> = Api::all(client.clone());
    let found = leases.list(&ListParams::default().fields("metadata.name=visiobook-operator")).await;
    let now = jiff::Timestamp::now();
    let found = match found {
        Ok(found) => found,
        // Who may not look waits for its word.
        Err(kube::Error::Api(status)) if status.is_forbidden() => return Ok(true),
        Err(error) => return Err(tried("list leases")(error)),
    };
    Ok(found.into_iter().filter_map(|lease| lease.spec).any(|spec| {
        let holds = spec.holder_identity.is_some_and(|holder| !holder.is_empty());
        holds && spec.renew_time.is_some_and(|time| now.as_second() - time.0.as_second() < SILENCE)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_child_keeps_its_pods_and_its_other_owners() {
        let child: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "books-blue", "ownerReferences": [
                { "apiVersion": "a/v1", "kind": "VisiobookService", "name": "books", "uid": "1" },
                { "apiVersion": "a/v1", "kind": "Team", "name": "x", "uid": "2" },
            ] },
            "spec": { "template": {} },
        }))
        .unwrap();
        let change = release(Kind::Deployment, &child, "books-blue");
        assert!(change.get("spec").is_none(), "a change of the spec could replace pods: {change}");
        let owners = change["metadata"]["ownerReferences"].as_array().unwrap();
        assert_eq!((owners.len(), &owners[0]["kind"]), (1, &"Team".into()));
        assert_eq!(change["metadata"]["labels"][names::MANAGED_BY], Value::Null);
        let scaler = release(Kind::HorizontalPodAutoscaler, &child, "books-green");
        assert_eq!(scaler["spec"]["scaleTargetRef"]["kind"], "Deployment");
        assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], "books-green");
    }
}
