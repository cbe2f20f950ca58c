//! Who may connect to a service, and where it may connect to, as a team and its environment word it.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Who may connect to the pods of a service. Services of the same namespace that list it in dependsOn, the way in from
/// outside where there is one, and what scrapes its metrics may always.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Whether everybody else is kept out. Default: what the environment says. Where its pods may connect to is the
    /// environment's to say, whatever stands here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Who else may connect to its http port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_from: Vec<AllowFrom>,
}

/// Somebody who may connect: a service, or all pods of a namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
// Reserved in CEL: Kubernetes 1.30 knows the field by its escaped name only.
#[x_kube(validation = Rule::new("has(self.__namespace__) || has(self.service)").message("allowFrom names a namespace, a service or both"))]
pub struct AllowFrom {
    /// Its namespace. Default: that of this service.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("allowFrom.namespace is lower-case letters, digits and dashes"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The service. Default: every pod of the namespace.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("allowFrom.service is lower-case letters, digits and dashes"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// Who may connect to whom in an environment.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentNetworkPolicy {
    /// Whether services that say nothing keep out everybody whom nothing names. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Namespaces whose pods scrape metrics, on port 9090 of every pod. Default: monitoring. The operator's own may
    /// always.
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.all(name, size(name) <= 63 && name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))").message("networkPolicy.metricsFrom are names of namespaces"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_from: Option<Vec<String>>,
    /// Where pods may connect to. Default: everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
}

/// Where the pods of an environment may connect to, beside DNS and what each service lists in dependsOn. Everything
/// else is denied.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Egress {
    /// Ranges of addresses, such as `10.20.0.0/16`: those of stores and of everything outside of the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<String>,
}
