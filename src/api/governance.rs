//! What an environment puts into each of its namespaces, and what is told of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::LimitRangeItem;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::waves::WaveStatus;

/// What all pods of a namespace may take together.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Most of each resource, in the words of a ResourceQuota: requests.cpu, limits.memory, pods,
    /// requests.nvidia.com/gpu (B07, X07).
    pub hard: BTreeMap<String, Quantity>,
}

/// What each container, pod or volume of a namespace may take, and what it gets where it says nothing.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ranges {
    /// The limits, in the words of a LimitRange.
    #[schemars(length(min = 1))]
    pub limits: Vec<LimitRangeItem>,
}

/// The Pod Security Standard that namespaces of the environment enforce.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurity {
    /// Least strict level that a namespace may enforce. The operator's own pods run under restricted.
    pub enforce: PodSecurityLevel,
    /// Report (default): a namespace that enforces less is told in the condition PodSecurity. Set: its label is raised,
    /// for which the operator needs the rights of config/pod-security. Never lowered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<PodSecurityMode>,
}

/// A Pod Security Standard, the least strict first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurityLevel {
    /// Nothing is refused.
    Privileged,
    /// Known ways out of a container are refused.
    Baseline,
    /// Only what is hardened runs.
    #[default]
    Restricted,
}

impl PodSecurityLevel {
    /// The word in the label of a namespace.
    pub fn as_str(self) -> &'static str {
        match self {
            PodSecurityLevel::Privileged => "privileged",
            PodSecurityLevel::Baseline => "baseline",
            PodSecurityLevel::Restricted => "restricted",
        }
    }

    /// What a label says; without one, or with a word that is none, nothing is refused.
    pub fn of_label(label: Option<&str>) -> PodSecurityLevel {
        match label {
            Some("restricted") => PodSecurityLevel::Restricted,
            Some("baseline") => PodSecurityLevel::Baseline,
            _ => PodSecurityLevel::Privileged,
        }
    }
}

/// What follows where a namespace enforces too little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PodSecurityMode {
    /// It is told.
    #[default]
    Report,
    /// Its label is raised.
    Set,
}

/// Who may do what in the namespaces of the environment (B05, X05). Each list of groups is bound to a ClusterRole of
/// the operator's. The bindings outlive this object: deleting it locks nobody out.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// Groups that may read everything but Secrets: ClusterRole visiobook-viewer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub view: Vec<String>,
    /// Groups that may change services too: ClusterRole visiobook-editor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edit: Vec<String>,
    /// Groups that may approve releases: ClusterRole visiobook-approver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approve: Vec<String>,
    /// Service accounts that may approve if their own rights allow it, such as a release pipeline's. Default: none,
    /// so that whoever merges does not approve by that alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approver_accounts: Vec<AccountRef>,
}

/// A service account.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountRef {
    /// Its namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What governs, and what does not keep to it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VisiobookEnvironmentStatus {
    /// Generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Namespaces whose label names this environment.
    #[serde(default)]
    pub namespaces: i32,
    /// Services in them.
    #[serde(default)]
    pub services: i32,
    /// Services that break a rule. They keep running as they were last accepted.
    #[serde(default)]
    pub violations: i32,
    /// Every environment that exists, so that a label which names none is refused while no operator runs.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<String>,
    /// How far the last change that replaces pods has come; nothing where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<WaveStatus>,
    /// Each on its own, always with a reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
