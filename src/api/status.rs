//! What the operator reports of a VisiobookService.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::names::Colour;
use super::release::RolloutStatus;

/// What runs, and why it does not where it does not.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VisiobookServiceStatus {
    /// Generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Environment that governs the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Revision that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_revision: Option<String>,
    /// Colour that serves: blue or green.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_colour: Option<Colour>,
    /// Tag or digest of the image that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Pods of the active colour, for the scale subresource.
    #[serde(default)]
    pub replicas: i32,
    /// Label selector of the active colour's pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Ready pods of wanted pods, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<String>,
    /// Wanted pods when last seen: what comes back when `spec.replicas` is taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_replicas: Option<i32>,
    /// When a secret last had a new value, and the pods were replaced for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_rotated: Option<Time>,
    /// Releases from one colour to the other, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// Objects made for this service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Child>,
    /// Facts, each true on its own: Ready, Accepted, SecretsResolved, DependenciesReady, Progressing, Autoscaling, Exposed,
    /// MonitoringReady, Paused, and Reconciling and Stalled for tools that read kstatus.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// An object made for a service.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Child {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}
