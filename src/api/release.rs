//! Releases from one colour to the other: where a service stands in its own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::freeze::BreakGlass;
use super::jobs::PastJob;
use super::names::Colour;

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
    /// What people have attested of it.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attested: Vec<Attestation>,
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

/// What somebody says has been done for a release (C36).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attestation {
    /// What, such as database-backup.
    pub item: String,
    /// Who says so.
    pub by: String,
    /// Where it can be seen.
    #[schemars(length(max = 256))]
    pub evidence: String,
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
    /// What people had attested of it.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attested: Vec<Attestation>,
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
