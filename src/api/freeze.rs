//! Times in which nothing is released forward, and how somebody releases all the same.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A time in which no release starts and none moves traffic forward: once (from and to), or every week (weekly).
/// Returns, aborts and undo always may. A service's first version starts all the same.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.weekly) ? !has(self.from) && !has(self.to) : has(self.from) && has(self.to)").message("a freeze has from and to, or weekly"))]
#[x_kube(validation = Rule::new("!has(self.from) || !has(self.to) || self.from < self.to").message("a freeze ends after it begins: set to after from"))]
pub struct Freeze {
    /// Why, for those who wait.
    #[schemars(length(min = 1, max = 200))]
    pub reason: String,
    /// When it begins, such as 2026-12-21T18:00:00+01:00.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Time>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Time>,
    /// Every week, instead of once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<Weekly>,
}

/// A part of every week. One that ends before it begins goes on into the next week.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.from != self.to").message("a weekly freeze ends at another time than it begins"))]
pub struct Weekly {
    /// When it begins, such as Fri 16:00.
    #[schemars(length(max = 9))]
    #[x_kube(validation = Rule::new("self.matches('^(Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([01][0-9]|2[0-3]):[0-5][0-9]$')").message("weekly.from is a day and a time, such as Fri 16:00"))]
    pub from: String,
    /// When it ends, such as Mon 08:00.
    #[schemars(length(max = 9))]
    #[x_kube(validation = Rule::new("self.matches('^(Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([01][0-9]|2[0-3]):[0-5][0-9]$')").message("weekly.to is a day and a time, such as Mon 08:00"))]
    pub to: String,
    /// Time zone of both, by its name in the IANA database, such as Europe/Paris. Default: UTC.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// Somebody released in a freeze.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BreakGlass {
    /// Who.
    pub by: String,
    /// Why.
    #[schemars(length(max = 1024))]
    pub reason: String,
}
