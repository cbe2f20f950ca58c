//! VisiobookEnvironment: what DevOps govern for all services of an environment.
// The derive repeats the words of `printcolumn`, once per column.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LocalObjectReference, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::exposure::EnvironmentIngress;
use super::governance::{Access, PodSecurity, Quota, Ranges, VisiobookEnvironmentStatus};
use super::isolation::EnvironmentNetworkPolicy;
use super::monitoring::Monitoring;
use super::notifications::Notification;
use super::rollout::EnvironmentRollout;
use super::secret_sources::EnvironmentSecrets;
use super::sidecar::EnvironmentSidecar;

/// One environment: the defaults its services start from, and the limits they keep to. A namespace belongs to it
/// by the label `platform.visiobook.com/environment: <name>`.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "platform.visiobook.com",
    version = "v1alpha1",
    kind = "VisiobookEnvironment",
    plural = "visiobookenvironments",
    shortname = "vbe",
    category = "visiobook",
    status = "VisiobookEnvironmentStatus",
    derive = "PartialEq",
    doc = "One environment: the defaults its services start from, and the limits they keep to.",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Log level", type_ = "string", json_path = ".spec.defaults.logLevel", priority = 1),
    printcolumn(name = "GPU", type_ = "boolean", json_path = ".spec.limits.gpu.allowed"),
    printcolumn(name = "Namespaces", type_ = "integer", json_path = ".status.namespaces"),
    printcolumn(name = "Services", type_ = "integer", json_path = ".status.services"),
    printcolumn(
        name = "Violations",
        type_ = "integer",
        json_path = ".status.violations",
        description = "Services that break a rule, and run as they were last accepted"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether every namespace has what the environment puts into it"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct VisiobookEnvironmentSpec {
    /// Which of the three rule books applies where this object says nothing: development, staging or production.
    #[serde(rename = "type")]
    pub type_: EnvironmentType,
    /// What services get that say nothing themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<EnvironmentDefaults>,
    /// What no service may exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<EnvironmentLimits>,
    /// Which images may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImageRules>,
    /// What the sidecars of all services start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<EnvironmentSidecar>,
    /// Where services have their secrets from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<EnvironmentSecrets>,
    /// How services are reached from outside of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<EnvironmentIngress>,
    /// Who may connect to whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<EnvironmentNetworkPolicy>,
    /// What all pods of a namespace may take together. Default: no quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// What each container may take that is no service's. Default: no range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_range: Option<Ranges>,
    /// How strict the namespaces are with pods. Default: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security: Option<PodSecurity>,
    /// Who may do what in the namespaces. Default: whoever may by other means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// How services are released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<EnvironmentRollout>,
    /// Who is told of releases. Default: nobody.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notifications: Vec<Notification>,
    /// How all services are watched, unless they say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Monitoring>,
}

/// The rule book of an environment (B01-B03, X04).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EnvironmentType {
    /// One small replica, verbose logs, no GPU.
    #[default]
    Development,
    /// Like production, with few GPUs.
    Staging,
    /// Immutable images, three replicas, autoscaling.
    Production,
}

impl EnvironmentType {
    /// The word in `ENVIRONMENT` and its aliases (X04).
    pub fn as_str(self) -> &'static str {
        match self {
            EnvironmentType::Development => "development",
            EnvironmentType::Staging => "staging",
            EnvironmentType::Production => "production",
        }
    }
}

/// Verbosity of an application, in the words of the guidelines (D25).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Every request.
    Info,
    /// What deserves a look.
    Warn,
    /// Failures only.
    Error,
}

impl LogLevel {
    /// The word in `LOG_LEVEL`.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        }
    }
}

/// Values for services that say nothing themselves.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentDefaults {
    /// Pods of a service. Default: 1 in development, 3 elsewhere.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// `LOG_LEVEL` of every service. Default: debug in development, info elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
    /// Requests and limits of a container. Default: 50m and 64Mi up to 200m and 256Mi in development, 100m and
    /// 128Mi up to 500m and 512Mi elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Whether services are scaled by their load. Default: not in development, else yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<AutoscalingDefault>,
    /// Secrets that every pod may pull its images with, beside its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Secrets of the operator's own namespace, of type kubernetes.io/dockerconfigjson, that every pod may pull its images
    /// with: each service is given copies, which follow them.
    #[schemars(length(max = 8), inner(length(min = 1, max = 253)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copied_pull_secrets: Vec<String>,
    /// Labels of nodes that pods with a GPU ask for, beside their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gpu_node_selector: BTreeMap<String, String>,
    /// Taints that pods with a GPU tolerate, beside their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu_tolerations: Vec<Toleration>,
}

/// Whether an environment scales its services.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalingDefault {
    /// Whether a service that says nothing has a HorizontalPodAutoscaler.
    pub enabled: bool,
}

/// Ceilings of an environment.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.minReplicas) || !has(self.replicas) || self.minReplicas <= self.replicas").message("limits.minReplicas must not be above limits.replicas"))]
pub struct EnvironmentLimits {
    /// Most CPU that a container may have as its limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Most memory that a container may have as its limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Most pods that a service may have. Default: no limit.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Fewest pods that a service may have. Default: no limit.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,
    /// Whether services may have GPUs. Default: not in development, 1 a pod in staging, any number in production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuLimit>,
}

/// Rule for GPUs (B07, X07).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.allowed || !has(self.perPod)").message("set limits.gpu.allowed to true, or leave perPod out"))]
pub struct GpuLimit {
    /// Whether a service may ask for GPUs at all.
    pub allowed: bool,
    /// Most GPUs that one pod may ask for. Default: no limit.
    #[schemars(range(min = 1, max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_pod: Option<i32>,
}

/// Rules for images (X50). The operator's own image is never refused.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRules {
    /// Registries, or registries with a path, that images may come from, such as `ghcr.io/visiobook`. Default: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<String>,
    /// Whether the tag `latest`, or no tag at all, is refused. Default: yes, but not in development.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forbid_latest: Option<bool>,
    /// Whether an image must be named by its digest. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_digest: Option<bool>,
}
