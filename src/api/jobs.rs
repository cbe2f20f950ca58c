//! What is run for a release: a migration before its pods start, and checks before and after its traffic moves.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::service::KeyRef;

/// A Job that runs once for each revision, before the first pod of it starts: with its image, variables, secrets and
/// ServiceAccount, without a sidecar. While it runs, and if it fails, what served before goes on.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.command) || has(self.args)")
    .message("say what migrates: set migration.command, or migration.args for the image's own entry point"))]
pub struct Migration {
    /// Command. Default: that of the service (spec.command, else the image's entry point).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Arguments. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Seconds until it is stopped and has failed. Default: 300.
    #[schemars(range(min = 1, max = 86400))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<i64>,
    /// How often it is tried again within that time if it ends with an error. Default: 2.
    #[schemars(range(min = 0, max = 10))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<i32>,
}

/// BlueGreen: what is checked at the preview Service before traffic moves, and again at the Service during the soak. A
/// failure before the switch ends the release; one after it returns traffic.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checks {
    /// Whether the service is held against the runtime contract, as `visiobook conformance` does. Default: what the
    /// environment says, else false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conformance: Option<bool>,
    /// A check of the service's own, after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<CheckJob>,
    /// Whether Prometheus is asked during the soak if the new pods keep the objectives of the service: errors (at most
    /// 1 %, or what objectives.maxErrorPercent says below that) and latency (objectives.latencyMilliseconds). Default:
    /// what the environment says, else false. The environment says where Prometheus is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objectives: Option<bool>,
    /// Further queries of Prometheus that have to keep within limits during the soak, by a name of your own.
    #[schemars(extend("maxProperties" = 16))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, MetricLimit>,
    /// Seconds until a check is stopped and has failed (C11, C15); what is measured has the soak beside that. Default:
    /// 300.
    #[schemars(range(min = 1, max = 86400))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<i64>,
}

/// What a query of Prometheus has to keep within.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.max) || has(self.min)")
    .message("a query without a limit checks nothing: set max, min or both"))]
pub struct MetricLimit {
    /// PromQL that comes to one value. $pods stands for a regular expression of the names of the pods that serve, and
    /// $window for the time since traffic moved, as in `sum(rate(jobs_failed_total{pod=~"$pods"}[$window]))`.
    #[schemars(length(min = 1, max = 2048))]
    pub query: String,
    /// The value must not be above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The value must not be below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
}

/// A container that checks a service: it passes if it ends with code 0. It is told where and what by
/// VISIOBOOK_CHECK_URL, VISIOBOOK_CHECK_PHASE (preview or live) and VISIOBOOK_CHECK_REVISION.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckJob {
    /// Its image, under the environment's rules for images. Default: that of the revision which is checked.
    #[schemars(length(min = 1, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Command in place of the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Arguments in place of the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Further variables with a plain value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Further variables from keys of Secrets of the namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, KeyRef>,
}

/// Checks that an environment asks for.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.objectives) || !self.objectives || has(self.prometheus)")
    .message("checks.objectives are asked of a Prometheus: say in checks.prometheus where it is"))]
pub struct EnvironmentChecks {
    /// Whether each service is held against the runtime contract. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conformance: Option<bool>,
    /// Whether each service that is released blue-green has to bring a check of its own. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<bool>,
    /// URL of the Prometheus that is asked during the soak, such as http://prometheus.monitoring:9090. The Job that asks
    /// runs in the namespace of the service. Default: none, and nothing is asked.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^ ?#]+$')").message("checks.prometheus is an http or https URL such as http://prometheus.monitoring:9090"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<String>,
    /// Whether each service is held against its objectives during the soak. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objectives: Option<bool>,
}

/// What a Job of a release is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// It prepares what the revision needs, before its pods start.
    Migration,
    /// It checks the revision before traffic moves.
    Preview,
    /// It checks the revision that serves.
    Live,
}

impl Phase {
    /// Each of them.
    pub const ALL: [Phase; 3] = [Phase::Migration, Phase::Preview, Phase::Live];

    /// The word in names, labels and variables.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Migration => "migrate",
            Phase::Preview => "preview",
            Phase::Live => "live",
        }
    }

    /// What it is, for people.
    pub fn title(self) -> &'static str {
        match self {
            Phase::Migration => "the migration",
            Phase::Preview => "the check before the switch",
            Phase::Live => "the check after the switch",
        }
    }
}

/// A Job of a release that has ended.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastJob {
    /// What it was for: Migration, Preview or Live.
    pub phase: Phase,
    /// The attempt that it was run for.
    pub attempt: String,
    /// Whether it did its work.
    pub succeeded: bool,
    /// Why not, or what it said.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it was seen to have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
}
