//! How releases are wanted: what an environment says, and what a service says for itself.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::freeze::Freeze;
use super::jobs::{Checks, EnvironmentChecks};
use super::waves::Waves;

/// How the services of an environment are released. A service may be stricter, never looser.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentRollout {
    /// RollingUpdate (default), which services may change to BlueGreen, or BlueGreen for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Whether somebody with the verb approve has to approve each release before traffic moves. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<bool>,
    /// Seconds from the start of a release until it is given up because its pods are not ready (C10, C14).
    /// Default: 900 in production, 600 elsewhere.
    #[schemars(range(min = 1, max = 86400))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<i64>,
    /// Seconds after the switch in which traffic returns by itself (C17, X03). Default: 30.
    #[schemars(range(min = 0, max = 86400))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak_seconds: Option<i64>,
    /// Seconds after the soak for which the old pods stay, so that an undo is a switch (C18). Default: 600.
    #[schemars(range(min = 0, max = 604800))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_seconds: Option<i64>,
    /// Times in which nothing is released forward. Default: none.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Freeze>,
    /// Which environment must have verified an image before it runs here. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// What people attest before traffic moves, each under their own name and with evidence, such as database-backup. A
    /// service may ask for more. Default: nothing.
    #[schemars(length(max = 8), inner(length(max = 63)))]
    #[x_kube(validation = Rule::new("self.all(item, item.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))").message("an item of attest is lower-case letters, digits and hyphens, such as database-backup"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attest: Vec<String>,
    /// What is checked before traffic moves, and after it. A service may check more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<EnvironmentChecks>,
    /// How many services at once a change of this environment reaches. Default: a tenth of those that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waves: Option<Waves>,
}

/// An image runs only where another environment has promoted it (C12): a service carries the signed evidence in the
/// annotation platform.visiobook.com/evidence.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promotion {
    /// Environments whose evidence counts, such as staging.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 253)))]
    pub from: Vec<String>,
    /// Public keys that evidence may be signed with: PEM, P-256. While a key is replaced, the old one and the new one.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 1024)))]
    pub keys: Vec<String>,
}

/// How a new version replaces the old one.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// RollingUpdate: pod by pod. BlueGreen: all pods of the new version start beside the old ones, then traffic moves
    /// at once, and returns if they fail. Default: what the environment says, else RollingUpdate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Pods, or percent of them, above the wanted number during an update. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrString>,
    /// Pods, or percent of them, missing during an update. Default: 1, or 0 where only one pod is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// BlueGreen: whether somebody with the verb approve has to approve each release before traffic moves. Default: what
    /// the environment says; one that asks for approval cannot be overruled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<bool>,
    /// BlueGreen: what people attest before traffic moves, beside what the environment asks for. Default: nothing.
    #[schemars(length(max = 8), inner(length(max = 63)))]
    #[x_kube(validation = Rule::new("self.all(item, item.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))").message("an item of attest is lower-case letters, digits and hyphens, such as database-backup"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attest: Vec<String>,
    /// BlueGreen: seconds from the start of a release until it is given up because its pods are not ready. Default: what
    /// the environment says (900 in production, 600 elsewhere), which is also the most.
    #[schemars(range(min = 1, max = 86400))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<i64>,
    /// BlueGreen: seconds after the switch in which traffic returns by itself. Default: what the environment says, else 30.
    /// What the environment says is also the least.
    #[schemars(range(min = 0, max = 86400))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak_seconds: Option<i64>,
    /// BlueGreen: seconds after the soak for which the old pods stay, so that an undo is a switch. Default: what the
    /// environment says, else 600. What the environment says is also the least.
    #[schemars(range(min = 0, max = 604800))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_seconds: Option<i64>,
    /// BlueGreen: what is checked before traffic moves, and after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Checks>,
}

/// Ways to replace a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Strategy {
    /// Pod by pod, in one Deployment (A05).
    #[default]
    RollingUpdate,
    /// All at once, from one colour to the other (C13-C18).
    BlueGreen,
}
