//! VisiobookService: one microservice, as its team describes it.
// The derive repeats the words of `printcolumn`, once per column.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use k8s_openapi::api::core::v1::{LocalObjectReference, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::exposure::{Ingress, ServicePort};
use super::gate::Gate;
use super::isolation::NetworkPolicy;
use super::jobs::Migration;
use super::monitoring::Monitoring;
use super::rollout::Rollout;
use super::secret_sources::SecretSource;
use super::sidecar::{Dependency, Sidecar, SidecarMode};
use super::stack::{DomainService, Profile, Stack};
use super::status::VisiobookServiceStatus;
use super::workload::{Pod, Probes};

/// One microservice: what its team says, from which the operator makes everything the guidelines ask for.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "platform.visiobook.com",
    version = "v1alpha1",
    kind = "VisiobookService",
    plural = "visiobookservices",
    shortname = "vbs",
    category = "visiobook",
    namespaced,
    status = "VisiobookServiceStatus",
    derive = "PartialEq",
    doc = "One microservice: what its team says, from which the operator makes everything the guidelines ask for.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the active colour serves"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is ready, or is not"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "Tag or digest of the image that serves"
    ),
    printcolumn(name = "Pods", type_ = "string", json_path = ".status.pods", description = "Ready pods of wanted pods"),
    printcolumn(name = "Environment", type_ = "string", json_path = ".status.environment"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(
        name = "Since",
        type_ = "date",
        json_path = ".status.conditions[?(@.type==\"Ready\")].lastTransitionTime",
        description = "How long it has been so"
    ),
    validation = Rule::new(format!("size(self.metadata.name) <= {}", super::names::MAX_NAME))
        .message(Message::Message(format!("metadata.name is too long: use at most {} characters, so that the names of its children fit into 63", super::names::MAX_NAME))),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name becomes the name of a Service: start with a letter, then lower-case letters, digits and dashes only"),
    validation = Rule::new("!self.metadata.name.endsWith('-blue') && !self.metadata.name.endsWith('-green') && !self.metadata.name.endsWith('-preview')")
        .message("metadata.name must not end in -blue, -green or -preview: the service's own children end so")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.image) != has(self.domainService)")
        .message("set exactly one of spec.image (your own container) and spec.domainService (one that comes with the operator)"),
    validation = Rule::new("!has(self.domainService) || !(has(self.stack) || has(self.command) || has(self.args) || has(self.port) || has(self.gpu))")
        .message("stack, command, args, port and gpu come with the domain service: take them out"),
    validation = Rule::new("!has(self.env) || !has(self.config) || !self.env.exists(k, k in self.config)")
        .message("a variable is defined in both spec.env and spec.config: keep it in one of them"),
    validation = Rule::new("!has(self.env) || !has(self.secrets) || !self.env.exists(k, k in self.secrets)")
        .message("a variable is defined in both spec.env and spec.secrets: keep it in one of them"),
    validation = Rule::new("!has(self.config) || !has(self.secrets) || !self.config.exists(k, k in self.secrets)")
        .message("a variable is defined in both spec.config and spec.secrets: keep it in one of them"),
    validation = Rule::new("!has(self.configMapKeyRefs) || !self.configMapKeyRefs.exists(k, (has(self.env) && k in self.env) || (has(self.config) && k in self.config) || (has(self.secrets) && k in self.secrets))")
        .message("a variable of spec.configMapKeyRefs is defined in spec.env, spec.config or spec.secrets too: keep one"),
    validation = Rule::new("!has(self.port) || self.port != 15080 || (has(self.sidecar) && has(self.sidecar.mode) && self.sidecar.mode != 'Proxy')")
        .message("spec.port 15080 is taken by the sidecar: let the application listen on another port"),
    validation = Rule::new("!has(self.sidecar) || !has(self.sidecar.auth) || has(self.sidecar.auth.secret) || has(self.sidecar.auth.jwks) || (has(self.secrets) && 'JWT_SECRET' in self.secrets)")
        .message("sidecar.auth has no key to check tokens with: add JWT_SECRET to spec.secrets, or set sidecar.auth.secret or sidecar.auth.jwks"),
    validation = Rule::new("!has(self.sidecar) || !has(self.sidecar.csrf) || (has(self.secrets) && 'CSRF_SECRET' in self.secrets)")
        .message("sidecar.csrf needs a key: add CSRF_SECRET to spec.secrets"),
    validation = Rule::new("!has(self.sidecar) || !has(self.sidecar.mode) || self.sidecar.mode != 'Off' || !has(self.probes) || !has(self.probes.deep)")
        .message("spec.probes.deep asks the sidecar, and spec.sidecar.mode Off leaves it out: take one of them out"),
    validation = Rule::new("!has(self.service) || !has(self.service.enabled) || self.service.enabled || !has(self.port)")
        .message("spec.service.enabled: false makes a worker, which listens on no port: take spec.port out"),
    validation = Rule::new("!has(self.service) || !has(self.service.enabled) || self.service.enabled || !has(self.ingress) || (has(self.ingress.enabled) && !self.ingress.enabled)")
        .message("spec.service.enabled: false makes a worker, which nobody reaches from outside: take spec.ingress out"),
    validation = Rule::new("!has(self.service) || !has(self.service.enabled) || self.service.enabled || !has(self.sidecar) || !has(self.sidecar.mode) || self.sidecar.mode != 'Proxy'")
        .message("spec.service.enabled: false makes a worker, and a sidecar in mode Proxy takes requests: take spec.sidecar.mode out"),
)]
pub struct VisiobookServiceSpec {
    /// Technology of the application: nodejs, python, go, vue or rust. It sets the default port (8000 for python,
    /// 8080 else) and the name under which the environment is passed (NODE_ENV, PYTHON_ENV, APP_ENV).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Stack>,
    /// Kind of service: backend (default), ai or frontend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Image of the application, with a tag or, better, a digest. Exactly one of image and domainService is set.
    #[schemars(length(min = 1, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A domain service that comes with the operator, in place of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_service: Option<DomainService>,
    /// When the kubelet pulls the image: IfNotPresent (default), Always or Never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,
    /// Secrets of the namespace that hold registry credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Command in place of the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Arguments in place of the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Port that the application listens on, passed to it as PORT. Default: 8000 for python, 8080 else. 9090 is
    /// taken by the metrics of the runtime contract, 15080 by the sidecar.
    #[schemars(range(min = 1, max = 65535))]
    #[x_kube(validation = Rule::new("self != 9090").message("spec.port 9090 is taken by /metrics of the runtime contract: let the application listen on another port"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Wanted pods, also set by `kubectl scale` and by autoscalers through the scale subresource. Default: what the
    /// environment says (1 in development, 3 elsewhere). Leave it out where autoscaling is on.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Requests and limits of the application. Default: what the environment says. A part left out keeps its
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// GPUs of each pod, where the environment allows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Environment variables with a plain value. Each variable is defined in one place only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Environment variables kept in a ConfigMap of the service's own. A change replaces the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Files kept in the same ConfigMap and mounted read-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_files: Option<ConfigFiles>,
    /// Environment variables whose value is secret: a key of a Secret in the same namespace, or of the environment's
    /// store. Nothing starts until each is there; a rotation replaces the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretSource>,
    /// Environment variables whose value is a key of somebody else's ConfigMap in the same namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config_map_key_refs: BTreeMap<String, KeyRef>,
    /// Services that this one calls: each becomes a variable `<NAME>_URL`, and is shown in /health.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// What pods wait for before they take requests, beyond their own probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// What the sidecar beside the application does for it.
    // Boxed, like all that is large and seldom said: every resource is kept in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<Box<Sidecar>>,
    /// How the kubelet asks whether the application lives and is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<Box<Probes>>,
    /// Scaling by load. Default: what the environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Box<Autoscaling>>,
    /// How other pods reach the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServicePort>,
    /// How it is reached from outside of the cluster. Default: what the environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// Who may connect to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicy>,
    /// How the service is watched: what Prometheus scrapes, when it alerts, what Grafana shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Box<Monitoring>>,
    /// How many pods voluntary disruptions may take at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption_budget: Option<DisruptionBudget>,
    /// Identity of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<WorkloadAccount>,
    /// How a new version replaces the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Box<Rollout>>,
    /// What is run once for each revision before its pods start, such as a migration of its database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,
    /// True: the operator writes nothing for this service until this is false again. What runs goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Scheduling, volumes and security of the pods, as Kubernetes words them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Box<Pod>>,
}

impl VisiobookServiceSpec {
    /// Whether nobody sends it requests.
    pub fn is_worker(&self) -> bool {
        self.service.as_ref().and_then(|service| service.enabled) == Some(false)
    }

    /// Whether there is a sidecar, and whether traffic passes through it.
    pub fn sidecar_mode(&self) -> SidecarMode {
        let said = self.sidecar.as_ref().and_then(|sidecar| sidecar.mode);
        said.unwrap_or(if self.is_worker() { SidecarMode::Observe } else { SidecarMode::Proxy })
    }
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// Only if the node lacks it (A03).
    #[default]
    IfNotPresent,
    /// At every start.
    Always,
    /// Never.
    Never,
}

/// GPUs of a pod; the request always equals the limit (B07).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// GPUs of each pod.
    #[schemars(range(min = 1, max = 64))]
    pub count: i32,
    /// Resource that nodes offer them as. Default: nvidia.com/gpu.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.contains('/')").message("gpu.resourceName is a device such as nvidia.com/gpu, with the domain of its vendor; ask for CPU and memory by spec.resources"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
}

/// A key of a Secret or a ConfigMap.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Files of a service.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigFiles {
    /// Folder they appear in. Default: /app/config.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.startsWith('/') && !self.contains(':')").message("configFiles.mountPath is an absolute path without a colon"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// File name to content.
    pub files: BTreeMap<String, String>,
}

/// Scaling by load, through the scale subresource of this resource.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.minReplicas) ? self.minReplicas : 2) <= (has(self.maxReplicas) ? self.maxReplicas : 10)")
    .message("autoscaling.minReplicas (default 2) must not be above autoscaling.maxReplicas (default 10)"))]
pub struct Autoscaling {
    /// Whether load decides the number of pods. Default: what the environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Fewest pods. Default: 2.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,
    /// Most pods. Default: 10.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<i32>,
    /// Wanted mean CPU in percent of the request. Default: 70.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(rename = "targetCPUUtilizationPercentage", default, skip_serializing_if = "Option::is_none")]
    pub target_cpu_utilization_percentage: Option<i32>,
    /// Wanted mean memory in percent of the request. Default: 80.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_memory_utilization_percentage: Option<i32>,
    /// How fast it scales up and down. Default: Kubernetes' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
}

/// How many pods voluntary disruptions may take at once.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.minAvailable) && has(self.maxUnavailable))").message("set one of disruptionBudget.minAvailable and disruptionBudget.maxUnavailable"))]
pub struct DisruptionBudget {
    /// Whether there is a PodDisruptionBudget. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Pods, or percent of them, that stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_available: Option<IntOrString>,
    /// Pods, or percent of them, that may go. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
}

/// Identity of the pods.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.create) || self.create || has(self.name)").message("with serviceAccount.create: false, name the ServiceAccount to use in serviceAccount.name"))]
pub struct WorkloadAccount {
    /// Whether the operator makes the ServiceAccount. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<bool>,
    /// Its name. Default: the name of the service.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its annotations, where the operator makes it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Whether pods get its token. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automount_token: Option<bool>,
}
