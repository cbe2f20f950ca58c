//! HorizontalPodAutoscaler: it scales the VisiobookService, never a Deployment (A09).

use serde_json::json;

use super::{Planned, Site};
use crate::api::GROUP;
use crate::api::kinds::Kind;
use crate::check::Serving;

pub(super) fn build(site: &Site<'_>, serving: &Serving) -> Option<Planned> {
    let scaling = serving.scaling.as_ref()?;
    let metric = |name: &str, percent: i32| {
        json!({ "type": "Resource", "resource": {
            "name": name,
            "target": { "type": "Utilization", "averageUtilization": percent },
        } })
    };
    let mut spec = json!({
        "scaleTargetRef": { "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "VisiobookService", "name": site.owner.name },
        "minReplicas": scaling.min,
        "maxReplicas": scaling.max,
        "metrics": [metric("cpu", scaling.cpu), metric("memory", scaling.memory)],
    });
    if scaling.behavior.as_object().is_some_and(|behavior| !behavior.is_empty()) {
        spec["behavior"] = scaling.behavior.clone();
    }
    let body = json!({ "spec": spec });
    Some(Planned::new(site, Kind::HorizontalPodAutoscaler, site.owner.name.clone(), body))
}
