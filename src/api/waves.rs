//! How a change of an environment reaches its services, and how far it has come.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A change of the environment that replaces pods reaches the services a few at a time. What a service changes itself
/// waits for nobody.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.maxConcurrent) || string(self.maxConcurrent).matches('^([1-9][0-9]{0,3}|([1-9][0-9]?|100)%)$')").message("rollout.waves.maxConcurrent must be a number from 1 to 9999, or 1% to 100%"))]
pub struct Waves {
    /// Services that are released at the same time: a number, or percent of those that the change concerns, rounded up.
    /// Default: 10%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<IntOrString>,
    /// Services that fail until no other is let in. Default: 1.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt_after_failures: Option<i32>,
    /// Whether what a newer operator, or another image of the sidecar, renders differently replaces pods in waves too.
    /// Default: false; it arrives with the next release of each service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_upgrades: Option<bool>,
}

/// How far a change of the environment has come.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveStatus {
    /// Services that run what the current generation of the environment asks for since they were let in.
    #[serde(default)]
    pub done: i32,
    /// Services that are being released.
    #[serde(default)]
    pub running: i32,
    /// Services that wait to be let in.
    #[serde(default)]
    pub waiting: i32,
    /// Services whose new pods are ready, and that wait for an approval or for the end of a freeze.
    #[serde(default)]
    pub held: i32,
    /// Services that failed.
    #[serde(default)]
    pub failed: i32,
    /// Services that may be released at the same time.
    #[serde(default)]
    pub max_concurrent: i32,
    /// Services that have failed, as namespace/name@revision. Their names in the annotation
    /// platform.visiobook.com/continue-wave let the others go on.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
}
