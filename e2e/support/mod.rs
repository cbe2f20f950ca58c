//! What the tests stand on: a client, a namespace of each test's own, and waiting.

pub mod argocd;
pub mod audit;
pub mod beside;
pub mod conformance;
pub mod definitions;
pub mod exchange;
mod fields;
mod kubectl;
mod load;
mod look;
pub mod operator;
pub mod people;
pub mod prometheus;
pub mod proxy;
pub mod servers;
mod tools;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::api::{VisiobookEnvironment, VisiobookService};
use visiobook::apply::resource;

pub use fields::{Field, owned};
pub use kubectl::{kubectl, try_kubectl};
pub use load::Clients;
pub use look::{INTRUDER, metrics, sum};
pub use tools::{root, run, tools};

/// A small stand-in for the seeds' images, which are not public.
pub const STANDIN: &str = "ghcr.io/visiobook-esp/user-service:1.0.0";
/// How long anything may take on a busy machine before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Whether the long variants are wanted (`make soak`).
pub fn soak() -> bool {
    std::env::var_os("VISIOBOOK_SOAK").is_some_and(|soak| !soak.is_empty())
}

/// A client with all rights.
pub async fn client() -> Client {
    // Each test binary is one process; a provider that is there already is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::try_default().await.expect("a cluster: `make cluster-up`, then KUBECONFIG=$(make -s kubeconfig)")
}

/// A namespace and an environment of a test's own. Both are deleted when it is dropped.
pub struct Site {
    pub client: Client,
    pub namespace: String,
    pub environment: Option<String>,
}

impl Site {
    /// A namespace under an environment with this spec.
    pub async fn new(name: &str, environment: Value) -> Site {
        let mut site = Site::unlabelled(name).await;
        site.environment(&site.namespace, environment).await;
        site.label(Some(&site.namespace)).await;
        site.environment = Some(site.namespace.clone());
        site.governed().await;
        site
    }

    /// Wait until the policies know the environment, where there are any: they are told a moment after it is there.
    async fn governed(&self) {
        if std::env::var_os("VISIOBOOK_GUARDED").is_none() {
            return;
        }
        eventually("the policies to know the environment", || async {
            let refusal =
                self.would_apply("probe", json!({ "image": STANDIN })).await.err().map(|it| it.to_string());
            refusal.filter(|refusal| refusal.contains("[environment-exists]")).map_or(Ok(()), Err)
        })
        .await;
    }

    /// A namespace without a label.
    pub async fn unlabelled(name: &str) -> Site {
        let client = client().await;
        let namespace = format!("e2e-{name}-{:04x}", rand_suffix());
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let params = PatchParams::apply("e2e").force();
        namespaces.patch(&namespace, &params, &Patch::Apply(&object)).await.expect("namespace");
        Site { client, namespace, environment: None }
    }

    /// Set or remove the label that names the environment.
    pub async fn label(&self, environment: Option<&str>) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let patch =
            json!({ "metadata": { "labels": { "platform.visiobook.com/environment": environment } } });
        namespaces
            .patch(&self.namespace, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .expect("label");
    }

    /// Make or change an environment.
    pub async fn environment(&self, name: &str, spec: Value) {
        let object = json!({ "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookEnvironment", "metadata": { "name": name }, "spec": spec });
        let environments: Api<VisiobookEnvironment> = Api::all(self.client.clone());
        environments
            .patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(&object))
            .await
            .expect("environment");
        self.listed(name).await;
    }

    /// Wait until every environment knows this one, where the policies ask for that (`e2e/run` says so).
    async fn listed(&self, name: &str) {
        if std::env::var_os("VISIOBOOK_GUARDED").is_none() {
            return;
        }
        let environments: Api<VisiobookEnvironment> = Api::all(self.client.clone());
        eventually("the environment to be listed", || async {
            let all = environments.list(&Default::default()).await.map_err(|error| error.to_string())?;
            let knows = |environment: &VisiobookEnvironment| {
                environment
                    .status
                    .as_ref()
                    .is_some_and(|status| status.environments.iter().any(|it| it == name))
            };
            let ignorant = all.items.iter().find(|environment| !knows(environment));
            ignorant.map_or(Ok(()), |environment| Err(environment.name_any()))
        })
        .await;
    }

    /// The services of this namespace.
    pub fn services(&self) -> Api<VisiobookService> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The children of a kind.
    pub fn children(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind))
    }

    /// A child as JSON.
    pub async fn child(&self, kind: Kind, name: &str) -> Option<Value> {
        let found = self.children(kind).get_opt(name).await.expect("child");
        found.map(|object| serde_json::to_value(object).expect("json"))
    }

    /// Apply a service as its team would.
    pub async fn try_apply(&self, name: &str, spec: Value) -> kube::Result<VisiobookService> {
        let object = json!({
            "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
            "metadata": { "name": name, "namespace": self.namespace }, "spec": spec,
        });
        self.services()
            .patch(name, &PatchParams::apply("team").force().validation_strict(), &Patch::Apply(&object))
            .await
    }

    /// Ask whether a service would be admitted. Asking again and again changes nothing.
    pub async fn would_apply(&self, name: &str, spec: Value) -> kube::Result<VisiobookService> {
        let object = json!({
            "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
            "metadata": { "name": name, "namespace": self.namespace }, "spec": spec,
        });
        let params = PatchParams { dry_run: true, ..PatchParams::apply("team").force() };
        self.services().patch(name, &params, &Patch::Apply(&object)).await
    }

    /// Apply a service that must be admitted.
    pub async fn apply(&self, name: &str, spec: Value) -> VisiobookService {
        self.try_apply(name, spec).await.expect("admitted")
    }

    /// Apply any object in this namespace.
    pub async fn apply_object(&self, object: Value) {
        kubectl(
            &["apply", "--server-side", "--force-conflicts", "-n", &self.namespace, "-f", "-"],
            Some(&object.to_string()),
        );
    }

    /// Wait until a service says what the test waits for.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&VisiobookService) -> bool,
    ) -> VisiobookService {
        let services = self.services();
        eventually(what, || async {
            let service = services.get_opt(name).await.ok().flatten();
            match service {
                Some(service) if holds(&service) => Ok(service),
                other => Err(other.and_then(|service| service.status)),
            }
        })
        .await
    }

    /// Wait until a service is ready, settled, and that of its current spec.
    pub async fn ready(&self, name: &str) -> VisiobookService {
        self.until(name, "ready", |service| {
            is(service, "Ready", "True") && is(service, "Reconciling", "False") && observed(service)
        })
        .await
    }

    /// Wait for a condition of the current spec.
    pub async fn condition(&self, name: &str, type_: &str, status: &str, reason: &str) -> VisiobookService {
        let holds = |service: &VisiobookService| {
            observed(service)
                && conditions(service).any(|c| c.type_ == type_ && c.status == status && c.reason == reason)
        };
        self.until(name, &format!("{type_}={status} {reason}"), holds).await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: namespace {}", self.namespace);
            return;
        }
        kubectl(&["delete", "namespace", &self.namespace, "--wait=false", "--ignore-not-found"], None);
        if let Some(environment) = &self.environment {
            kubectl(&["delete", "vbe", environment, "--ignore-not-found"], None);
        }
    }
}

/// A spec that is ready as soon as it runs, with more laid over it.
pub fn quick(more: Value) -> Value {
    let mut spec = json!({
        "image": STANDIN,
        "probes": { "readiness": { "initialDelaySeconds": 0, "periodSeconds": 1 } },
    });
    visiobook::plan::merge(&mut spec, more);
    spec
}

/// A release of podinfo that is ready as soon as it runs.
pub fn podinfo(release: usize) -> Value {
    json!({
        "image": "docker.io/stefanprodan/podinfo:6.9.2",
        "env": { "PODINFO_PORT": "8080", "PODINFO_DATA_PATH": "/tmp", "RELEASE": release.to_string() },
        "probes": { "readiness": { "initialDelaySeconds": 0, "periodSeconds": 1 } },
    })
}

/// One whose image is nowhere.
pub fn missing_podinfo(release: usize) -> Value {
    let mut spec = podinfo(release);
    spec["image"] = "docker.io/stefanprodan/podinfo:0.0.0-missing".into();
    spec
}

/// Conditions of a service.
pub fn conditions(
    service: &VisiobookService,
) -> impl Iterator<Item = &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    service.status.iter().flat_map(|status| &status.conditions)
}

/// Whether a condition has a status.
pub fn is(service: &VisiobookService, type_: &str, status: &str) -> bool {
    conditions(service).any(|condition| condition.type_ == type_ && condition.status == status)
}

/// What a condition says.
pub fn message(service: &VisiobookService, type_: &str) -> String {
    conditions(service)
        .find(|condition| condition.type_ == type_)
        .map(|c| c.message.clone())
        .unwrap_or_default()
}

/// Whether the status speaks of the current spec.
pub fn observed(service: &VisiobookService) -> bool {
    service.status.as_ref().and_then(|status| status.observed_generation) == service.metadata.generation
}

/// Ask again until it holds; fail with what was seen last.
pub async fn eventually<T, E: Debug, F: Future<Output = Result<T, E>>>(what: &str, ask: impl Fn() -> F) -> T {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(seen) if started.elapsed() > PATIENCE => {
                panic!("waited {PATIENCE:?} for {what}; last seen: {seen:#?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Messages of the events of a service, with their reasons.
pub async fn events(site: &Site, name: &str) -> Vec<String> {
    use k8s_openapi::api::events::v1::Event;
    let events: Api<Event> = Api::namespaced(site.client.clone(), &site.namespace);
    let list = events.list(&Default::default()).await.expect("events");
    list.items
        .into_iter()
        .filter(|event| {
            event.regarding.as_ref().is_some_and(|regarding| regarding.name.as_deref() == Some(name))
        })
        .map(|event| format!("{}: {}", event.reason.unwrap_or_default(), event.note.unwrap_or_default()))
        .collect()
}

/// Delete an object and wait until it is gone.
pub async fn delete_service(site: &Site, name: &str) {
    let services = site.services();
    services.delete(name, &DeleteParams::background()).await.expect("deleted");
    eventually("the service to be gone", || async {
        match services.get_opt(name).await {
            Ok(None) => Ok(()),
            other => Err(other.map(|found| found.map(|service| service.name_any()))),
        }
    })
    .await;
}

fn rand_suffix() -> u16 {
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("clock").subsec_nanos();
    (nanos >> 8) as u16 ^ std::process::id() as u16
}
