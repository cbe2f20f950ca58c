//! PodDisruptionBudget: one per colour, so that no pod is under two.

use serde_json::json;

use super::{Planned, Site, selector};
use crate::api::kinds::Kind;
use crate::api::names;
use crate::check::{Budget, Serving};

pub(super) fn build(site: &Site<'_>, serving: &Serving) -> Option<Planned> {
    let (field, value) = match serving.budget.as_ref()? {
        Budget::MinAvailable(value) => ("minAvailable", value),
        Budget::MaxUnavailable(value) => ("maxUnavailable", value),
    };
    let body = json!({ "spec": {
        field: value,
        "selector": { "matchLabels": selector(site) },
        // A pod that is broken anyway must not hold up the drain of a node.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    } });
    Some(Planned::new(
        site,
        Kind::PodDisruptionBudget,
        names::coloured(&site.owner.name, site.decision.colour),
        body,
    ))
}
