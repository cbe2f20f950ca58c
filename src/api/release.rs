//! Releases from one colour to the other: how an environment wants them, and where a service stands in its own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::freeze::{BreakGlass, Freeze};
use super::jobs::{EnvironmentChecks, PastJob};
use super::names::Colour;
use super::service::Strategy;
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

/// Where a release stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReleaseState {
    /// No release is under way.
    #[default]
    Stable,
    /// Pods of the new revision start in the other colour.
    Deploying,
    /// They are ready and are checked.
    Verifying,
    /// They are good, and somebody has to approve, or a freeze has to end.
    AwaitingApproval,
    /// Traffic moves as soon as as many pods are ready as serve now.
    Switching,
    /// Traffic has moved and is watched; it returns by itself.
    Soaking,
    /// The release is complete; the old pods stay warm for a while.
    Retiring,
}

impl ReleaseState {
    /// Every state, in the order in which a release passes them.
    pub const ALL: [ReleaseState; 7] = [
        ReleaseState::Stable,
        ReleaseState::Deploying,
        ReleaseState::Verifying,
        ReleaseState::AwaitingApproval,
        ReleaseState::Switching,
        ReleaseState::Soaking,
        ReleaseState::Retiring,
    ];

    /// The states that can follow.
    pub fn next(self) -> &'static [ReleaseState] {
        use ReleaseState::*;
        match self {
            Stable => &[Deploying],
            Deploying => &[Verifying, Stable],
            Verifying => &[AwaitingApproval, Switching, Stable],
            AwaitingApproval => &[Switching, Stable],
            Switching => &[Soaking, AwaitingApproval, Stable],
            Soaking => &[Retiring, Stable],
            Retiring => &[Stable],
        }
    }

    /// The word in status, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReleaseState::Stable => "Stable",
            ReleaseState::Deploying => "Deploying",
            ReleaseState::Verifying => "Verifying",
            ReleaseState::AwaitingApproval => "AwaitingApproval",
            ReleaseState::Switching => "Switching",
            ReleaseState::Soaking => "Soaking",
            ReleaseState::Retiring => "Retiring",
        }
    }

    /// Whether a new revision is on its way and traffic has not moved.
    pub fn is_before_switch(self) -> bool {
        matches!(
            self,
            ReleaseState::Deploying
                | ReleaseState::Verifying
                | ReleaseState::AwaitingApproval
                | ReleaseState::Switching
        )
    }
}

/// How a release ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// Its revision serves.
    Promoted,
    /// Somebody stopped it.
    Aborted,
    /// Traffic has returned to the revision before it.
    RolledBack,
    /// A newer revision took its place before traffic moved.
    Superseded,
    /// Its pods were not ready in time.
    DeadlineExceeded,
    /// Its migration, or a check before traffic moved, has failed.
    Failed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 6] = [
        Outcome::Promoted,
        Outcome::Aborted,
        Outcome::RolledBack,
        Outcome::Superseded,
        Outcome::DeadlineExceeded,
        Outcome::Failed,
    ];

    /// The word in status, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Promoted => "Promoted",
            Outcome::Aborted => "Aborted",
            Outcome::RolledBack => "RolledBack",
            Outcome::Superseded => "Superseded",
            Outcome::DeadlineExceeded => "DeadlineExceeded",
            Outcome::Failed => "Failed",
        }
    }

    /// Whether the revision does not run though it was asked for.
    pub fn is_failure(self) -> bool {
        matches!(self, Outcome::Aborted | Outcome::RolledBack | Outcome::DeadlineExceeded | Outcome::Failed)
    }
}

/// Releases of a service: which colour serves, what is on its way, and what was. The operator keeps the same words on
/// the Service, in the very write that moves traffic; this is the copy for people.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Where the release stands: Stable, Deploying, Verifying, AwaitingApproval, Switching, Soaking or Retiring.
    pub state: ReleaseState,
    /// Colour that serves: blue or green.
    #[schemars(with = "String")]
    pub colour: Colour,
    /// Revision that serves.
    pub revision: String,
    /// Releases so far.
    #[serde(default)]
    pub number: i64,
    /// The release that is under way, or was last: a revision and a number. Approve, abort, retry and undo name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// Since when the state is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// When the state ends by itself: the release is given up, the soak or the warm time is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// What it waits for, and what can be done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Revision in the colour that does not serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview_revision: Option<String>,
    /// Revision that served before, which an undo brings back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_revision: Option<String>,
    /// Since when another revision than the one that serves has been asked for, and which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// Revision that is asked for and does not start again by itself: it failed, or was undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_revision: Option<String>,
    /// Pods that were needed when traffic moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<i32>,
    /// When traffic moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched: Option<Time>,
    /// Since when pods are missing that were there when traffic moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwell_since: Option<Time>,
    /// Who approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// Who released in a freeze, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlass>,
    /// How the release ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Jobs of the release that have ended.
    #[schemars(length(max = 3))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<PastJob>,
    /// Releases that have ended, the newest first.
    #[schemars(length(max = 10))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<PastRelease>,
}

impl RolloutStatus {
    /// Revision of the release that is under way, or was last.
    pub fn attempted(&self) -> Option<&str> {
        self.attempt.as_deref()?.rsplit_once('-').map(|(revision, _)| revision)
    }
}

/// A revision that is asked for.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// Which.
    pub revision: String,
    /// Since when.
    pub since: Time,
}

/// A release that has ended.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastRelease {
    /// Which.
    pub attempt: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// Who released it in a freeze, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlass>,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When traffic moved to it, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
}
