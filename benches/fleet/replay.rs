//! The same writes as the operator's, sent as fast as the API server takes them, by somebody who decides nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use tokio::sync::watch;
use visiobook::api::kinds::Kind;
use visiobook::api::names;
use visiobook::apply::resource;

use crate::fleet::{CONCURRENCY, Fleet, place, resource as service};

/// What the operator left behind for one service.
pub struct Recorded {
    index: usize,
    children: Vec<(Kind, Value)>,
    status: Value,
}

/// Read what the operator made.
pub async fn record(fleet: &Fleet, services: usize) -> Vec<Recorded> {
    let mut children: HashMap<(String, String), Vec<(Kind, Value)>> = HashMap::new();
    for kind in Kind::ALL {
        let api: Api<DynamicObject> = Api::all_with(fleet.client.clone(), &resource(kind));
        let params = kube::api::ListParams::default().labels(&format!(
            "{}={}",
            names::MANAGED_BY,
            names::MANAGED_BY_VALUE
        ));
        let list = match api.list(&params).await {
            Err(kube::Error::Api(status)) if kind.is_optional() && status.code == 404 => continue,
            list => list.expect("children"),
        };
        for mut object in list.items {
            let owner = object.metadata.owner_references.iter().flatten().next().expect("owner").name.clone();
            let key = (object.metadata.namespace.clone().expect("namespace"), owner);
            object.metadata = kube::api::ObjectMeta {
                name: object.metadata.name,
                namespace: object.metadata.namespace,
                labels: object.metadata.labels,
                annotations: object.metadata.annotations,
                owner_references: object.metadata.owner_references,
                ..Default::default()
            };
            let mut value = serde_json::to_value(&object).expect("json");
            value.as_object_mut().expect("object").remove("status");
            // Items of a list do not say what they are.
            value["apiVersion"] = kind.api_version().into();
            value["kind"] = kind.as_str().into();
            if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
                spec.remove("clusterIP");
                spec.remove("clusterIPs");
            }
            children.entry(key).or_default().push((kind, value));
        }
    }
    let mut recorded = Vec::new();
    for index in 0..services {
        let (namespace, name) = place(index);
        let status = fleet.services(&namespace).get(&name).await.expect("service").status.expect("status");
        let status = serde_json::to_value(status).expect("json");
        // Some were changed since and have two of what changes: the first release is what is replayed.
        let mut children = children.remove(&(namespace, name.clone())).unwrap_or_default();
        let mut seen = std::collections::HashSet::new();
        // Its dashboard is a ConfigMap too, and never changes.
        let is_dashboard = |child: &Value| {
            child["metadata"]["name"].as_str().is_some_and(|name| name.ends_with(names::DASHBOARD))
        };
        children.retain(|(kind, child)| seen.insert((*kind, is_dashboard(child))));
        assert_eq!(children.len(), crate::fleet::CHILDREN, "{name} has other children than expected");
        recorded.push(Recorded { index, children, status });
    }
    recorded
}

// The future of the last status is awaited at the end: waiting for pods must not hold a writer's place.
#[allow(clippy::async_yields_async)]
/// Write it all again, and wait as the operator had to: for the pods, before the last status.
pub async fn run(fleet: &Fleet, recorded: Vec<Recorded>) -> Duration {
    let available = follow_available(fleet);
    let started = Instant::now();
    let total = recorded.len();
    // As in the run of the operator, all resources are applied by their teams at the same time.
    let (applied, next) = tokio::sync::mpsc::unbounded_channel();
    let teams = async {
        stream::iter(recorded)
            .for_each_concurrent(CONCURRENCY, |recorded| {
                let applied = applied.clone();
                async move {
                    let (namespace, name) = place(recorded.index);
                    let object = service(&namespace, &name, crate::fleet::spec());
                    let params = PatchParams::apply("team").force();
                    let made = fleet
                        .services(&namespace)
                        .patch(&name, &params, &Patch::Apply(&object))
                        .await
                        .expect("service");
                    applied.send((recorded, made.metadata.uid.expect("uid"))).expect("queue");
                }
            })
            .await;
        drop(applied);
    };
    let next = Arc::new(tokio::sync::Mutex::new(next));
    let writers = stream::unfold(next, |next| async move {
        let item = next.lock().await.recv().await?;
        Some((item, next))
    })
    .map(|(recorded, uid)| {
        let mut available = available.clone();
        async move {
            let (namespace, name) = place(recorded.index);
            write(fleet, &namespace, &name, &recorded, &uid).await;
            let deployment = format!("{name}-blue");
            // Waiting for pods holds up nobody else, as it does not hold up the operator.
            let status = recorded.status.clone();
            let fleet_client = fleet.client.clone();
            tokio::spawn(async move {
                available
                    .wait_for(|ready| ready.contains(&(namespace.clone(), deployment.clone())))
                    .await
                    .expect("watch");
                publish(&fleet_client, &namespace, &name, &status).await;
            })
        }
    })
    .buffer_unordered(CONCURRENCY)
    .collect::<Vec<_>>();
    let ((), finishing) = tokio::join!(teams, writers);
    assert_eq!(finishing.len(), total);
    for last in finishing {
        last.await.expect("last status");
    }
    started.elapsed()
}

async fn write(fleet: &Fleet, namespace: &str, name: &str, recorded: &Recorded, uid: &str) {
    let services = fleet.services(namespace);
    let scale = Scale {
        metadata: kube::api::ObjectMeta {
            name: Some(name.into()),
            namespace: Some(namespace.into()),
            ..Default::default()
        },
        spec: Some(ScaleSpec { replicas: Some(1) }),
        status: None,
    };
    services.replace_scale(name, &PostParams::default(), &scale).await.expect("scale");
    for (kind, object) in &recorded.children {
        let mut object = object.clone();
        object["metadata"]["ownerReferences"][0]["uid"] = uid.into();
        let api: Api<DynamicObject> = Api::namespaced_with(fleet.client.clone(), namespace, &resource(*kind));
        let child = object["metadata"]["name"].as_str().expect("name").to_string();
        let managers: &[&str] =
            if *kind == Kind::Service { &[names::SWITCH_MANAGER, names::MANAGER] } else { &[names::MANAGER] };
        for manager in managers {
            api.patch(&child, &PatchParams::apply(manager).force(), &Patch::Apply(&object))
                .await
                .expect("child");
        }
    }
    publish(
        &fleet.client,
        namespace,
        name,
        &json!({ "replicas": 0, "conditions": recorded.status["conditions"] }),
    )
    .await;
}

async fn publish(client: &kube::Client, namespace: &str, name: &str, status: &Value) {
    let services: Api<visiobook::api::VisiobookService> = Api::namespaced(client.clone(), namespace);
    let body = json!({ "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService", "metadata": { "name": name }, "status": status });
    services
        .patch_status(name, &PatchParams::apply(names::STATUS_MANAGER).force(), &Patch::Apply(&body))
        .await
        .expect("status");
}

fn follow_available(fleet: &Fleet) -> watch::Receiver<std::collections::HashSet<(String, String)>> {
    use k8s_openapi::api::apps::v1::Deployment;
    let (sender, receiver) = watch::channel(std::collections::HashSet::new());
    let deployments: Api<Deployment> = Api::all(fleet.client.clone());
    tokio::spawn(async move {
        let labels = format!("{}={}", names::MANAGED_BY, names::MANAGED_BY_VALUE);
        let stream = watcher(deployments, watcher::Config::default().labels(&labels))
            .default_backoff()
            .applied_objects();
        futures::pin_mut!(stream);
        while let Some(event) = stream.next().await {
            let Ok(deployment) = event else { continue };
            if deployment.status.and_then(|status| status.available_replicas).unwrap_or(0) >= 1 {
                let key = (
                    deployment.metadata.namespace.unwrap_or_default(),
                    deployment.metadata.name.unwrap_or_default(),
                );
                sender.send_modify(|ready| {
                    ready.insert(key);
                });
            }
        }
    });
    receiver
}
