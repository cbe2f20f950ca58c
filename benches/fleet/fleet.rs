//! Many small services on simulated nodes.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use visiobook::api::{VisiobookEnvironment, VisiobookService};

/// Namespaces that the services are spread over.
const NAMESPACES: usize = 10;
/// Simulated nodes.
const NODES: usize = 4;
/// Requests at the same time, as the operator's own concurrency.
pub const CONCURRENCY: usize = 16;
/// ServiceAccount, ConfigMap, ControllerRevision, Service, PodDisruptionBudget, NetworkPolicy, Deployment,
/// HorizontalPodAutoscaler, Ingress, ServiceMonitor, PrometheusRule, dashboard.
pub const CHILDREN: usize = 12;
const PATIENCE: Duration = Duration::from_secs(900);

pub struct Fleet {
    pub client: Client,
    /// Names of the services that are ready and settled, as a watch tells.
    ready: watch::Receiver<HashSet<(String, String)>>,
}

pub fn place(index: usize) -> (String, String) {
    (format!("bench-{}", index % NAMESPACES), format!("service-{index}"))
}

pub fn spec() -> Value {
    json!({
        "image": "ghcr.io/visiobook/bench:1.0",
        "stack": "nodejs",
        "env": { "A": "1" },
        "config": { "B": "2" },
        "autoscaling": { "enabled": true, "minReplicas": 1 },
        "ingress": { "hosts": ["bench.visiobook.com"] },
        "pod": {
            "nodeSelector": { "type": "kwok" },
            "tolerations": [{ "key": "kwok.x-k8s.io/node", "operator": "Exists", "effect": "NoSchedule" }],
        },
    })
}

pub fn resource(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    })
}

impl Fleet {
    /// Nodes, namespaces and an environment.
    pub async fn prepare() -> Fleet {
        let mut config = kube::Config::infer().await.expect("a cluster: make cluster-up");
        config.default_retry = true;
        let client = Client::try_from(config).expect("client");
        let apply = PatchParams::apply("bench").force();
        let nodes: Api<Node> = Api::all(client.clone());
        for index in 0..NODES {
            let name = format!("bench-{index}");
            let node = json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": { "name": name, "annotations": { "kwok.x-k8s.io/node": "fake" }, "labels": { "type": "kwok", "kubernetes.io/hostname": name } },
                "spec": { "taints": [{ "key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule" }] },
            });
            nodes.patch(&name, &apply, &Patch::Apply(&node)).await.expect("node");
            let size = json!({ "cpu": "1000", "memory": "1000Gi", "pods": "2000" });
            let status = json!({ "apiVersion": "v1", "kind": "Node", "status": { "capacity": size, "allocatable": size } });
            nodes.patch_status(&name, &apply, &Patch::Apply(&status)).await.expect("node status");
        }
        let environments: Api<VisiobookEnvironment> = Api::all(client.clone());
        let environment = json!({ "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookEnvironment", "metadata": { "name": "bench" }, "spec": { "type": "development" } });
        environments.patch("bench", &apply, &Patch::Apply(&environment)).await.expect("environment");
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for index in 0..NAMESPACES {
            let name = format!("bench-{index}");
            let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": { "platform.visiobook.com/environment": "bench" } } });
            namespaces.patch(&name, &apply, &Patch::Apply(&namespace)).await.expect("namespace");
        }
        let (sender, ready) = watch::channel(HashSet::new());
        tokio::spawn(follow(client.clone(), sender));
        Fleet { client, ready }
    }

    pub fn services(&self, namespace: &str) -> Api<VisiobookService> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Apply services as their teams would.
    pub async fn apply(&self, range: Range<usize>) {
        stream::iter(range)
            .for_each_concurrent(CONCURRENCY, |index| async move {
                let (namespace, name) = place(index);
                let object = resource(&namespace, &name, spec());
                let params = PatchParams::apply("team").force();
                self.services(&namespace)
                    .patch(&name, &params, &Patch::Apply(&object))
                    .await
                    .expect("service");
            })
            .await;
    }

    /// Wait until the status of all is final. Answers when it was.
    pub async fn all_ready(&self, range: Range<usize>) -> Instant {
        let wanted: HashSet<(String, String)> = range.map(place).collect();
        let mut ready = self.ready.clone();
        let all = ready.wait_for(|ready| wanted.is_subset(ready));
        tokio::time::timeout(PATIENCE, all).await.expect("all services become ready").expect("watch");
        Instant::now()
    }

    /// Delete all services, and wait until their pods are gone.
    pub async fn delete_all(&self) {
        for index in 0..NAMESPACES {
            let services = self.services(&format!("bench-{index}"));
            services
                .delete_collection(&DeleteParams::background(), &ListParams::default())
                .await
                .expect("delete");
        }
        let started = Instant::now();
        loop {
            let mut left = 0;
            for index in 0..NAMESPACES {
                let namespace = format!("bench-{index}");
                let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &namespace);
                let pods: Api<k8s_openapi::api::core::v1::Pod> =
                    Api::namespaced(self.client.clone(), &namespace);
                let one = ListParams::default().limit(1);
                left += self.services(&namespace).list(&one).await.expect("list").items.len();
                left += deployments.list(&one).await.expect("list").items.len();
                left += pods.list(&one).await.expect("list").items.len();
            }
            if left == 0 {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "the services do not go");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Change services one after the other, each until its Deployment has changed: median and 99th percentile.
    pub async fn change_latencies(&self, count: usize, services: usize) -> (Duration, Duration) {
        let changed: Arc<Mutex<tokio::sync::mpsc::UnboundedReceiver<(String, String)>>> = {
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            let deployments: Api<Deployment> = Api::all(self.client.clone());
            tokio::spawn(async move {
                let stream = watcher(
                    deployments,
                    watcher::Config::default().labels("app.kubernetes.io/managed-by=visiobook-operator"),
                )
                .applied_objects();
                futures::pin_mut!(stream);
                while let Ok(Some(deployment)) = stream.try_next().await {
                    let value = deployment
                        .spec
                        .and_then(|spec| spec.template.spec?.containers.into_iter().next()?.env)
                        .and_then(|env| env.into_iter().find(|variable| variable.name == "A")?.value);
                    let name = deployment.metadata.name.unwrap_or_default();
                    if sender.send((name, value.unwrap_or_default())).is_err() {
                        return;
                    }
                }
            });
            Arc::new(Mutex::new(receiver))
        };
        tokio::time::sleep(Duration::from_secs(5)).await;
        let mut latencies = Vec::new();
        let mut changed = changed.lock().await;
        for index in 0..count {
            let (namespace, name) = place(index * 5 % services);
            let value = format!("changed-{index}");
            let patch = json!({ "spec": { "env": { "A": value } } });
            let started = Instant::now();
            self.services(&namespace)
                .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .expect("change");
            let deployment = format!("{name}-blue");
            loop {
                let seen = tokio::time::timeout(Duration::from_secs(60), changed.recv())
                    .await
                    .expect("a change")
                    .expect("watch");
                if seen == (deployment.clone(), value.clone()) {
                    break;
                }
            }
            latencies.push(started.elapsed());
        }
        latencies.sort();
        (latencies[latencies.len() / 2], latencies[latencies.len() * 99 / 100])
    }

    /// Leave nothing behind.
    pub async fn clean(&self) {
        let background = DeleteParams::background();
        for index in 0..NAMESPACES {
            let _ = Api::<Namespace>::all(self.client.clone())
                .delete(&format!("bench-{index}"), &background)
                .await;
        }
        for index in 0..NODES {
            let _ =
                Api::<Node>::all(self.client.clone()).delete(&format!("bench-{index}"), &background).await;
        }
        let _ = Api::<VisiobookEnvironment>::all(self.client.clone()).delete("bench", &background).await;
    }
}

async fn follow(client: Client, sender: watch::Sender<HashSet<(String, String)>>) {
    let services: Api<VisiobookService> = Api::all(client);
    let stream = watcher(services, watcher::Config::default()).default_backoff();
    futures::pin_mut!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Apply(service) | watcher::Event::InitApply(service)) => {
                let key = (service.namespace().unwrap_or_default(), service.name_any());
                let status = service.status.unwrap_or_default();
                let is = |type_: &str, word: &str| {
                    status.conditions.iter().any(|c| c.type_ == type_ && c.status == word)
                };
                let settled = is("Ready", "True")
                    && is("Reconciling", "False")
                    && status.observed_generation == service.metadata.generation;
                sender.send_modify(|ready| {
                    if settled {
                        ready.insert(key)
                    } else {
                        ready.remove(&key)
                    };
                });
            }
            Ok(watcher::Event::Delete(service)) => {
                let key = (service.namespace().unwrap_or_default(), service.name_any());
                sender.send_modify(|ready| {
                    ready.remove(&key);
                });
            }
            _ => {}
        }
    }
}
