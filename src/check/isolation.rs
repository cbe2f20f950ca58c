//! Who may connect to a service and where it may connect to, as resource and environment come to.

use serde::{Deserialize, Serialize};

use super::EnvironmentRules;
use crate::api::{AllowFrom, VisiobookServiceSpec};

/// Where Prometheus runs unless the environment says otherwise.
const MONITORING: &str = "monitoring";

/// A NetworkPolicy, with defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Isolation {
    /// Whether anybody may connect: what is left is where its pods may connect to, which no service can open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// Who else may connect to the http port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_from: Vec<AllowFrom>,
    /// Namespaces that scrape metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics_from: Vec<String>,
    /// Ranges that its pods may connect to; `None` where they may connect everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<String>>,
}

/// The policy of a resource, where it has one.
pub(super) fn isolation(spec: &VisiobookServiceSpec, environment: &EnvironmentRules) -> Option<Isolation> {
    let said = spec.network_policy.clone().unwrap_or_default();
    let of_environment = environment.said.network_policy.clone().unwrap_or_default();
    let enabled = said.enabled.or(of_environment.enabled).unwrap_or(true);
    let egress = of_environment.egress.map(|egress| egress.ranges);
    (enabled || egress.is_some()).then(|| Isolation {
        open: !enabled,
        allow_from: said.allow_from,
        metrics_from: of_environment.metrics_from.unwrap_or_else(|| vec![MONITORING.into()]),
        egress,
    })
}
