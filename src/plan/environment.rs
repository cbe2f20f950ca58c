//! What an environment puts into each of its namespaces. None of it belongs to the environment's object: who deletes
//! that must neither lock people out nor lift a quota.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::LimitRangeItem;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use super::{Owner, Plan, Planned};
use crate::api::kinds::Kind;
use crate::api::quantity::canonical;
use crate::api::{VisiobookEnvironmentSpec, names};

/// Name of the quota and of the range.
const NAME: &str = "visiobook-environment";

/// As whose the objects of a namespace are known.
pub fn governor(namespace: &str) -> Owner {
    Owner { name: names::GOVERNOR.into(), namespace: namespace.into(), uid: String::new() }
}

/// Everything that should exist in a namespace because of its environment. What an earlier environment put there and
/// this one does not is pruned.
pub fn govern(environment: &str, spec: &VisiobookEnvironmentSpec, namespace: &str) -> Plan {
    let planned = |kind: Kind, name: &str, body: Value| {
        let mut object = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.as_str(),
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {
                    names::NAME: names::GOVERNOR,
                    names::MANAGED_BY: names::MANAGED_BY_VALUE,
                    names::ENVIRONMENT: environment,
                },
            },
        });
        super::merge(&mut object, body);
        Planned { kind, name: name.to_string(), manager: names::MANAGER, object }
    };
    let mut objects = Vec::new();
    if let Some(quota) = spec.quota.as_ref().filter(|quota| !quota.hard.is_empty()) {
        objects.push(planned(Kind::ResourceQuota, NAME, json!({ "spec": { "hard": stored(&quota.hard) } })));
    }
    if let Some(ranges) = &spec.limit_range {
        let limits: Vec<Value> = ranges.limits.iter().map(range).collect();
        objects.push(planned(Kind::LimitRange, NAME, json!({ "spec": { "limits": limits } })));
    }
    let access = spec.access.clone().unwrap_or_default();
    for (role, groups) in names::ROLES.into_iter().zip([access.view, access.edit, access.approve]) {
        if groups.is_empty() {
            continue;
        }
        let api_group = "rbac.authorization.k8s.io";
        let subject = |group: &String| json!({ "apiGroup": api_group, "kind": "Group", "name": group });
        let subjects: Vec<Value> = groups.iter().map(subject).collect();
        let role_ref = json!({ "apiGroup": api_group, "kind": "ClusterRole", "name": role });
        objects.push(planned(Kind::RoleBinding, role, json!({ "roleRef": role_ref, "subjects": subjects })));
    }
    Plan { objects, ..Plan::default() }
}

/// A range as the API server stores it: for containers it fills defaults in from the bounds.
fn range(item: &LimitRangeItem) -> Value {
    let mut item = item.clone();
    if item.type_ == "Container" {
        let limits = item.default.get_or_insert_default();
        for (name, most) in item.max.iter().flatten() {
            limits.entry(name.clone()).or_insert_with(|| most.clone());
        }
        let requests = item.default_request.get_or_insert_default();
        for (name, value) in limits.iter().chain(item.min.iter().flatten()) {
            requests.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    let mut body = json!({ "type": item.type_ });
    for (field, quantities) in [
        ("default", item.default),
        ("defaultRequest", item.default_request),
        ("max", item.max),
        ("maxLimitRequestRatio", item.max_limit_request_ratio),
        ("min", item.min),
    ] {
        let quantities = quantities.unwrap_or_default();
        if !quantities.is_empty() {
            body[field] = stored(&quantities);
        }
    }
    body
}

/// Quantities as the API server stores them.
fn stored(quantities: &BTreeMap<String, Quantity>) -> Value {
    quantities.iter().map(|(name, value)| (name.clone(), Value::from(canonical(&value.0)))).collect()
}
