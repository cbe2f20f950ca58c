//! What a checked resource comes to. Only what somebody said stands here; defaults are added when it is rendered,
//! so that a default that a later release changes is no change of the resource.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Exposure, External, Isolation, Monitoring};
use crate::api::{
    CheckJob, ConfigFiles, Dependency, DomainService, EnvironmentType, Gpu, KeyRef, LogLevel, MetricLimit,
    Migration, Profile, PullPolicy, ServiceType, Sidecar, SidecarMode, Stack,
};

/// A resource that may run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Valid {
    /// What a pod is made from. Its hash is the revision.
    pub shape: Shape,
    /// What is made around the pods. A change of it replaces none of them.
    pub serving: Serving,
    /// Digest of what the resource itself says of its pods: what changes the shape and not this is its environment.
    pub own: String,
}

/// Everything that shapes a pod. The revision is a hash of this, so a field added here must be left out of the
/// JSON while nobody has set it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shape {
    /// Rule book of the environment.
    pub environment: EnvironmentType,
    /// Technology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Stack>,
    /// Kind of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Image of the application; empty for a domain service until it is rendered.
    pub image: String,
    /// Domain service that comes with the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_service: Option<DomainService>,
    /// When it is pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,
    /// Names of the Secrets it is pulled with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    /// Secrets of the operator's namespace of which copies are pulled with, as the environment says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copied_pull_secrets: Vec<String>,
    /// Command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Port of the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whether nobody sends it requests.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub worker: bool,
    /// Requests, canonical, as resource or environment say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, String>,
    /// Limits, canonical, as resource or environment say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
    /// GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Labels of nodes with GPUs, as the environment says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gpu_node_selector: BTreeMap<String, String>,
    /// Taints of nodes with GPUs, as the environment says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu_tolerations: Vec<Value>,
    /// Log level, as the environment says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
    /// Plain variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Variables kept in the ConfigMap.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Files kept in the ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_files: Option<ConfigFiles>,
    /// Variables from Secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, KeyRef>,
    /// Variables from other ConfigMaps.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config_map_key_refs: BTreeMap<String, KeyRef>,
    /// Services that it calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// Whether pods wait at the gate, where the resource says otherwise than it is anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gated: Option<bool>,
    /// The sidecar, as resource or environment say; never its image, which a revision is stored with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<Box<Sidecar>>,
    /// Hosts of the colour that does not serve, where the sidecar answers few hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preview_hosts: Vec<String>,
    /// Proxies in front, as the environment says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// Probes, as the resource words them.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub probes: Value,
    /// ServiceAccount, if not the service's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Whether pods get its token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automount_token: bool,
    /// Pass-through, as the resource words it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub pod: Value,
    /// What is run before the first pod starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,
    /// How an operator renders it, where that alone is what is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendering: Option<String>,
}

impl Shape {
    /// Whether its pods wait at the gate. What nobody says is no part of the revision, so what ran before there was a
    /// gate goes on without one until its next release.
    pub fn is_gated(&self) -> bool {
        self.gated.unwrap_or(!self.depends_on.is_empty() || self.domain_service.is_some())
    }

    /// Whether there is a sidecar, and whether traffic passes through it.
    pub fn mode(&self) -> SidecarMode {
        self.sidecar.as_ref().and_then(|sidecar| sidecar.mode).unwrap_or_default()
    }

    /// Key of a Secret that the sidecar checks tokens with, mounted where it is set (D64).
    pub fn token_key(&self) -> Option<&KeyRef> {
        let auth = self.sidecar.as_ref()?.auth.as_ref()?;
        auth.secret.as_ref().or_else(|| self.secrets.get("JWT_SECRET"))
    }
}

/// Everything around the pods, with defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Serving {
    /// Name of the environment, for people.
    pub environment: String,
    /// Pods of a service that never said how many.
    pub replicas: i32,
    /// Reach of the Service.
    pub service_type: ServiceType,
    /// Port of the Service.
    pub service_port: u16,
    /// Annotations of the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_annotations: BTreeMap<String, String>,
    /// Scaling by load, where it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// Budget, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// ServiceAccount, where the operator makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// What is fetched from the environment's store, where anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// Whether each Secret must be made by a SealedSecret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
    /// The way in from outside, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
    /// Who may connect, where anybody is kept out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// How it is watched, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Box<Monitoring>>,
    /// How it is released from one colour to the other; left out where pods are replaced one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// Whether pods that have passed the gate are taken out again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continuous_gate: bool,
    /// Pods above the wanted number during an update.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub max_surge: Value,
    /// Pods missing during an update.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub max_unavailable: Value,
}

/// A release from one colour to the other, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Whether somebody has to approve.
    #[serde(default)]
    pub approval: bool,
    /// What people have to attest, in the order of names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attest: Vec<String>,
    /// From its start until it is given up.
    pub deadline: i64,
    /// From the switch until traffic no longer returns by itself.
    pub soak: i64,
    /// From then until the old pods go.
    pub warm: i64,
    /// What is checked, where anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Box<Checked>>,
}

/// What is checked before traffic moves, and after it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Whether the runtime contract is.
    #[serde(default)]
    pub conformance: bool,
    /// A check of the service's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<CheckJob>,
    /// What Prometheus is asked during the soak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
    /// Seconds until it has failed.
    pub deadline: i64,
}

impl Checked {
    /// Whether anything is checked before traffic moves: what is measured needs requests.
    pub fn before_switch(&self) -> bool {
        self.conformance || self.job.is_some()
    }

    /// Seconds until the check after the switch has failed, of a release that soaks so long.
    pub fn live_seconds(&self, soak: i64) -> i64 {
        self.deadline + self.measured.as_ref().map_or(0, |measured| measured.seconds(soak))
    }
}

/// What Prometheus is asked during the soak.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Its URL.
    pub prometheus: String,
    /// What the new pods are held against, where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objectives: Option<Held>,
    /// Queries of the service's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, MetricLimit>,
    /// Seconds from scrape to scrape.
    pub interval: i64,
}

impl Measured {
    /// For how long it is asked: the soak, and no less than three scrapes, the first two of which tell no rate.
    pub fn seconds(&self, soak: i64) -> i64 {
        soak.max(3 * self.interval)
    }
}

/// The objectives at the gate: between what is promised and what calls somebody (X39).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Most per cent of the requests that are answered with 5xx (I04, X27).
    pub error_percent: f64,
    /// Most milliseconds of the 95th percentile (I02).
    pub latency_milliseconds: u32,
}

/// Scaling by load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Fewest pods.
    pub min: i32,
    /// Most pods.
    pub max: i32,
    /// Wanted CPU in percent of the request.
    pub cpu: i32,
    /// Wanted memory in percent of the request.
    pub memory: i32,
    /// Speed, as the resource words it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub behavior: Value,
}

/// A PodDisruptionBudget's one number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Budget {
    /// What stays.
    MinAvailable(Value),
    /// What may go.
    MaxUnavailable(Value),
}

/// A ServiceAccount of the operator's making.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Its name; empty for the name of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}
