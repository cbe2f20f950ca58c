//! One of the two that release: its program, and a service that it looks after, in a namespace of its own.

mod objects;
mod selector;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams,
};
use serde_json::{Value, json};
use visiobook::api::VisiobookEnvironment;
use visiobook::api::names;

use objects::PODS;
pub use objects::{Change, NAME, WARM};
pub use selector::{Selected, Selector};

const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Ours,
    Argo,
}

pub struct Peer {
    pub side: Side,
    client: Client,
    namespace: String,
    files: tempfile::TempDir,
    process: Option<Child>,
    /// What the Service selects.
    pub selector: Selector,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Ours => "ours",
            Side::Argo => "Argo Rollouts",
        }
    }
}

impl Peer {
    /// Namespace, account and program.
    pub async fn start(client: &Client, side: Side) -> Peer {
        let namespace = match side {
            Side::Ours => "bench-ours",
            Side::Argo => "bench-argo",
        };
        let mut peer = Peer {
            side,
            client: client.clone(),
            namespace: namespace.to_string(),
            files: tempfile::tempdir().expect("folder"),
            process: None,
            selector: Selector::of(Api::namespaced(client.clone(), namespace), NAME),
        };
        peer.prepare().await;
        peer.launch();
        peer
    }

    /// The name under which the API server knows it.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:controller", self.namespace)
    }

    async fn prepare(&self) {
        let labels = match self.side {
            Side::Ours => json!({ names::ENVIRONMENT: self.namespace }),
            Side::Argo => json!({}),
        };
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.namespace, "labels": labels } });
        put(&Api::<Namespace>::all(self.client.clone()), &self.namespace, namespace).await;
        let account =
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "controller" } });
        put(&self.of::<ServiceAccount>(), "controller", account).await;
        let binding = objects::binding(&self.namespace);
        put(&Api::<ClusterRoleBinding>::all(self.client.clone()), &self.namespace, binding).await;
        let spec = TokenRequestSpec { expiration_seconds: Some(7200), ..Default::default() };
        let request = TokenRequest { spec: Some(spec), ..Default::default() };
        let answer = self
            .of::<ServiceAccount>()
            .create_token_request("controller", &PostParams::default(), &request)
            .await
            .expect("a token");
        let token = answer.status.and_then(|status| status.token).expect("a token");
        std::fs::write(self.kubeconfig(), objects::kubeconfig(&token, &self.namespace).to_string())
            .expect("kubeconfig");
        match self.side {
            Side::Ours => {
                let environment = objects::environment(&self.namespace);
                put(&Api::<VisiobookEnvironment>::all(self.client.clone()), &self.namespace, environment)
                    .await;
            }
            Side::Argo => {
                for name in [NAME, "users-preview"] {
                    put(&self.of::<Service>(), name, objects::service(name)).await;
                }
            }
        }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.files.path().join("kubeconfig")
    }

    /// Start its program, for its namespace alone.
    pub fn launch(&mut self) {
        let variable =
            |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name}: run this by `make bench`"));
        let mut command = match self.side {
            Side::Ours => {
                let mut command = Command::new(variable("VISIOBOOK_BIN"));
                command
                    .args(["operator", "--namespace", &self.namespace, "--own-namespace", &self.namespace])
                    // The one that follows a killed one has its name, and need not wait for the lease.
                    .args(["--identity", "bench", "--admin-address", "127.0.0.1:18089"])
                    // It is no pod, so it cannot know its image.
                    .env("VISIOBOOK_IMAGE", variable("VISIOBOOK_SIDECAR_IMAGE"));
                command
            }
            Side::Argo => {
                let mut command = Command::new(variable("ARGO_ROLLOUTS_BIN"));
                command
                    .args(["--namespaced", "--namespace", &self.namespace, "--leader-elect=false"])
                    .args(["--healthzPort", "18091", "--metricsPort", "18090", "--kubeconfig"])
                    .arg(self.kubeconfig())
                    .env("POD_NAMESPACE", &self.namespace);
                command
            }
        };
        let log = std::env::temp_dir().join(format!("{}.log", self.namespace));
        let output = File::options().create(true).append(true).open(log).expect("log");
        let child = command
            .env("KUBECONFIG", self.kubeconfig())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("log"))
            .stderr(output)
            .spawn()
            .expect("its program");
        self.process = Some(child);
    }

    /// End its program without a warning.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Resident memory, from the kernel.
    pub fn resident_mib(&self) -> f64 {
        let process = self.process.as_ref().expect("it runs").id();
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).expect("number").parse::<f64>().expect("number") / 1024.0
    }

    fn of<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The resource that is released.
    fn resources(&self) -> Api<DynamicObject> {
        let kind = match self.side {
            Side::Ours => GroupVersionKind::gvk("platform.visiobook.com", "v1alpha1", "VisiobookService"),
            Side::Argo => GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout"),
        };
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk(&kind))
    }

    async fn resource(&self) -> Value {
        serde_json::to_value(self.resources().get(NAME).await.expect("the resource")).expect("json")
    }

    /// Ask for a release.
    pub async fn apply(&self, change: Change) {
        put(&self.resources(), NAME, objects::released(self.side, change)).await;
    }

    /// Wait until a release has all its pods, and waits for somebody's word. Answers its name, where it has one.
    pub async fn waits(&self) -> String {
        self.until("a release to wait", async || {
            let object = self.resource().await;
            let status = &object["status"];
            match self.side {
                Side::Ours => (status["rollout"]["state"] == "AwaitingApproval"
                    && status["observedGeneration"] == object["metadata"]["generation"])
                    .then(|| status["rollout"]["attempt"].as_str().unwrap_or_default().to_string()),
                Side::Argo => status["pauseConditions"][0]["reason"]
                    .as_str()
                    .is_some_and(|reason| reason == "BlueGreenPause")
                    .then(String::new),
            }
        })
        .await
    }

    /// Say the word.
    pub async fn approve(&self, attempt: &str) {
        match self.side {
            Side::Ours => self.order(json!({ names::APPROVE: attempt, names::APPROVED_BY: "bench" })).await,
            Side::Argo => self.status(json!({ "pauseConditions": null })).await,
        }
    }

    /// End the release that is under way.
    pub async fn abort(&self, attempt: &str) {
        match self.side {
            Side::Ours => self.order(json!({ names::ABORT: attempt })).await,
            Side::Argo => self.status(json!({ "abort": true })).await,
        }
    }

    /// Bring back what served before, which is warm.
    pub async fn undo(&self, attempt: &str, before: Change) {
        match self.side {
            Side::Ours => self.order(json!({ names::UNDO: attempt })).await,
            // What its `undo` does: the template of before.
            Side::Argo => self.apply(before).await,
        }
    }

    async fn order(&self, annotations: Value) {
        let patch = json!({ "metadata": { "annotations": annotations } });
        self.resources().patch(NAME, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("an order");
    }

    async fn status(&self, status: Value) {
        let patch = json!({ "status": status });
        self.resources()
            .patch_status(NAME, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .expect("an order");
    }

    /// Whether it says that the last release has failed.
    pub async fn gave_up(&self) -> bool {
        let object = self.resource().await;
        let status = &object["status"];
        match self.side {
            Side::Ours => status["rollout"]["outcome"] == "DeadlineExceeded",
            Side::Argo => status["phase"] == "Degraded",
        }
    }

    /// Somebody writes another selector, or takes it away.
    pub async fn meddle(&self, selector: Option<&BTreeMap<String, String>>) {
        let operations = match selector {
            Some(selector) => json!([{ "op": "replace", "path": "/spec/selector", "value": selector }]),
            None => json!([{ "op": "remove", "path": "/spec/selector" }]),
        };
        let patch = Patch::Json::<()>(serde_json::from_value(operations).expect("a patch"));
        self.of::<Service>().patch(NAME, &PatchParams::default(), &patch).await.expect("a selector");
    }

    /// What the other Service selects.
    pub async fn preview(&self) -> BTreeMap<String, String> {
        let service = self.of::<Service>().get("users-preview").await.expect("a preview");
        service.spec.and_then(|spec| spec.selector).expect("a selector")
    }

    pub async fn address(&self) -> SocketAddr {
        let ip = self
            .until("an address", async || {
                let service = self.of::<Service>().get_opt(NAME).await.expect("the Service");
                service.and_then(|service| service.spec?.cluster_ip)
            })
            .await;
        SocketAddr::new(ip.parse().expect("an address"), 80)
    }

    /// Pods, those too that are going, by the labels of a selector.
    pub async fn pods(&self, selector: Option<&BTreeMap<String, String>>) -> Vec<Pod> {
        let mut labels = vec![format!("{}={NAME}", names::NAME)];
        labels.extend(selector.into_iter().flatten().map(|(name, value)| format!("{name}={value}")));
        let params = ListParams::default().labels(&labels.join(","));
        self.of::<Pod>().list(&params).await.expect("pods").items
    }

    /// All pods that a selector finds go at once.
    pub async fn lose(&self, selector: &BTreeMap<String, String>) {
        let at_once = DeleteParams::default().grace_period(0);
        for pod in self.pods(Some(selector)).await {
            let name = pod.metadata.name.unwrap_or_default();
            let _ = self.of::<Pod>().delete(&name, &at_once).await;
        }
    }

    /// Wait until only the pods of one version are left, all ready.
    pub async fn alone(&self) {
        self.until("the old pods to go", async || {
            let pods = self.pods(None).await;
            let ready = |pod: &Pod| {
                let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
                let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
                ready.any(|condition| condition.status == "True")
            };
            (pods.len() == PODS && pods.iter().all(ready)).then_some(())
        })
        .await;
    }

    pub async fn until<T>(&self, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            assert!(started.elapsed() < PATIENCE, "{}: waited too long for {what}", self.side.name());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Leave nothing behind.
    pub async fn clean(mut self) {
        let background = DeleteParams::background();
        let _ = self.resources().delete(NAME, &background).await;
        self.until("the pods to go", async || self.pods(None).await.is_empty().then_some(())).await;
        self.kill();
        let namespaces = Api::<Namespace>::all(self.client.clone());
        let _ = namespaces.delete(&self.namespace, &background).await;
        self.until("its namespace to go", async || match namespaces.get_opt(&self.namespace).await {
            Ok(None) => Some(()),
            _ => None,
        })
        .await;
        let _ =
            Api::<ClusterRoleBinding>::all(self.client.clone()).delete(&self.namespace, &background).await;
        if self.side == Side::Ours {
            let all = Api::<VisiobookEnvironment>::all(self.client.clone());
            let _ = all.delete(&self.namespace, &background).await;
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Write an object as somebody who insists.
async fn put<K>(api: &Api<K>, name: &str, object: Value)
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let params = PatchParams::apply("bench").force();
    api.patch(name, &params, &Patch::Apply(&object)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
}
