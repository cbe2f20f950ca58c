//! The CRDs, with what the generator cannot say: list types, map keys, bounds.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{VisiobookEnvironment, VisiobookService};

/// Lists whose items have an identity: path in the schema, and the keys that make it.
const MAPS: &[(&str, &[&str])] = &[
    ("spec.imagePullSecrets", &["name"]),
    ("spec.defaults.imagePullSecrets", &["name"]),
    ("spec.pod.volumes", &["name"]),
    ("spec.pod.volumeMounts", &["mountPath"]),
    ("spec.pod.topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("spec.pod.hostAliases", &["ip"]),
    ("spec.dependsOn", &["name"]),
    ("spec.notifications", &["name"]),
    ("spec.access.approverAccounts", &["namespace", "name"]),
    ("status.conditions", &["type"]),
    ("status.children", &["kind", "name"]),
    ("status.rollout.history", &["attempt"]),
    ("status.rollout.jobs", &["phase"]),
];
/// Lists without order or doubles.
const SETS: &[&str] = &[
    "spec.images.registries",
    "spec.ingress.hosts",
    "spec.networkPolicy.metricsFrom",
    "spec.networkPolicy.egress.ranges",
    "spec.notifications[].events",
    "spec.access.view",
    "spec.access.edit",
    "spec.access.approve",
    "spec.sidecar.routes",
    "spec.sidecar.hosts",
    "spec.sidecar.auth.publicRoutes",
    "spec.sidecar.serviceTokens.allow",
    "spec.defaults.copiedPullSecrets",
    "spec.sidecar.cors.origins",
    "spec.sidecar.rateLimit.exemptSubjects",
    "spec.sidecar.corsOrigins",
    "spec.sidecar.trustedProxies",
    "spec.monitoring.disabledAlerts",
];

/// Most items of a list, and most keys of a map, where nothing else is said: CEL estimates its cost by them.
const MAX_ITEMS: i64 = 64;
/// Most variables of one source.
const MAX_VARIABLES: i64 = 256;
/// Longest text where nothing else is said; a ConfigMap's content is bound by its own 1 MiB.
const MAX_TEXT: i64 = 65_536;

/// Both CRDs, as they are installed.
pub fn crds() -> [CustomResourceDefinition; 2] {
    [VisiobookService::crd(), VisiobookEnvironment::crd()].map(finish)
}

fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            for (name, schema) in root.properties.iter_mut().flatten() {
                bound(name, schema);
            }
        }
    }
    crd
}

fn bound(path: &str, schema: &mut JSONSchemaProps) {
    // Kubernetes drops null before it stores, and `nullable` would let it through to us.
    schema.nullable = None;
    // Long texts of Kubernetes' own types are told by `kubectl explain pod.spec` as well; they are half the size.
    if let Some(text) = schema.description.as_mut()
        && path.matches('.').count() > 2
        && text.len() > 160
    {
        *text = first_sentence(text);
    }
    // Formats that Kubernetes does not know; the range says the same.
    if schema.format.as_deref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = Some("int32".into());
    }
    match schema.type_.as_deref() {
        Some("array") => {
            schema.max_items.get_or_insert(MAX_ITEMS);
            if let Some((_, keys)) = MAPS.iter().find(|(list, _)| *list == path) {
                schema.x_kubernetes_list_type = Some("map".into());
                schema.x_kubernetes_list_map_keys = Some(keys.iter().map(|key| key.to_string()).collect());
            } else if SETS.contains(&path) {
                schema.x_kubernetes_list_type = Some("set".into());
            } else {
                schema.x_kubernetes_list_type.get_or_insert("atomic".into());
            }
        }
        Some("object") if schema.additional_properties.is_some() => {
            schema.max_properties.get_or_insert(MAX_VARIABLES);
        }
        Some("string") if schema.enum_.is_none() && schema.format.is_none() => {
            schema.max_length.get_or_insert(MAX_TEXT);
        }
        _ => {}
    }
    for (name, child) in schema.properties.iter_mut().flatten() {
        bound(&format!("{path}.{name}"), child);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(child)) = schema.additional_properties.as_mut() {
        bound(path, child);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(child)) = schema.items.as_mut() {
        bound(&format!("{path}[]"), child);
    }
}

fn first_sentence(text: &str) -> String {
    let end = text.find(". ").map_or(text.len(), |dot| dot + 1);
    text.chars().take(text[..end].chars().count().min(300)).collect()
}
