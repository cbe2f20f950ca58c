//! How much of the cluster a service may take.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Broken, Subject};
use crate::api::quantity::Quantity;
use crate::check::resolve::{built_in_resources, said_resources, scaling};

pub(super) fn quantities(it: &Subject<'_>, broken: &mut Broken) {
    let Some(resources) = &it.spec.resources else { return };
    for (part, quantities) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        for (resource, quantity) in quantities.iter().flatten() {
            let field = format!("spec.resources.{part}.{resource}");
            match Quantity::parse(&quantity.0) {
                Err(wrong) => broken.tell("quantity", field, wrong),
                Ok(amount) if amount.to_string().starts_with('-') => {
                    broken.tell("quantity", field, "must not be below zero")
                }
                Ok(amount)
                    if resource.starts_with("hugepages-")
                        && amount.to_string().ends_with(['m', 'u', 'n']) =>
                {
                    broken.tell("quantity", field, "nodes give this resource out in whole numbers only");
                }
                Ok(_) => {}
            }
        }
    }
    if resources.claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        broken.tell(
            "resource-claims",
            "spec.resources.claims",
            "resource claims are not supported: take them out",
        );
    }
}

pub(super) fn requests(it: &Subject<'_>, broken: &mut Broken) {
    let (said_requests, said_limits) = said_resources(it.spec, it.environment);
    let (mut requests, mut limits) = built_in_resources(it.environment.type_);
    requests.extend(said_requests);
    limits.extend(said_limits);
    let read = |quantities: &BTreeMap<String, String>, key: &str| {
        quantities.get(key).and_then(|text| Quantity::parse(text).ok())
    };
    for resource in requests.keys() {
        if !is_shared(resource) && limits.get(resource) != requests.get(resource) {
            let message = format!(
                "nodes do not share this resource out: set spec.resources.limits.{resource} to the same"
            );
            broken.tell("request-above-limit", format!("spec.resources.requests.{resource}"), message);
        } else if let (Some(request), Some(limit)) = (read(&requests, resource), read(&limits, resource))
            && request > limit
        {
            let message = format!(
                "the request of {request} is above the limit of {limit}: raise spec.resources.limits.{resource} too"
            );
            broken.tell("request-above-limit", format!("spec.resources.requests.{resource}"), message);
        }
    }
}

/// Whether a pod may use more of a resource than it asked for.
fn is_shared(resource: &str) -> bool {
    ["cpu", "memory", "ephemeral-storage"].contains(&resource)
}

/// Kubernetes can replace no pod where none may be added and none may be missing.
pub(super) fn pace(it: &Subject<'_>, broken: &mut Broken) {
    let none = |share: &Option<IntOrString>| match share {
        Some(IntOrString::Int(pods)) => *pods == 0,
        Some(IntOrString::String(percent)) => percent == "0%",
        None => false,
    };
    if it.spec.rollout.as_ref().is_some_and(|said| none(&said.max_surge) && none(&said.max_unavailable)) {
        let message = "must not be 0 while maxSurge is 0: no pod could ever be replaced";
        broken.tell("rollout-pace", "spec.rollout.maxUnavailable", message);
    }
}

pub(super) fn autoscaling(it: &Subject<'_>, broken: &mut Broken) {
    let scaling = scaling(&it.spec.autoscaling.clone().unwrap_or_default(), it.environment);
    if let Some(scaling) = &scaling
        && scaling.min > scaling.max
    {
        let message =
            format!("{} is above maxReplicas {}: lower one or raise the other", scaling.min, scaling.max);
        broken.tell("autoscaling-bounds", "spec.autoscaling.minReplicas", message);
    }
}
