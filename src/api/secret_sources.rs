//! Where the values of secrets are kept, as a team and its environment word it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the value of a variable is kept: in a Secret of the namespace (name and key), or in the environment's store
/// (remote).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.remote) ? !has(self.name) && !has(self.key) : has(self.name) && has(self.key)")
    .message("a secret has either name and key, of a Secret of the namespace, or remote, a key of the environment's store"))]
pub struct SecretSource {
    /// Name of a Secret in the namespace of the service.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Key in its data.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Key of the environment's store, fetched by the External Secrets operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteKey>,
}

impl SecretSource {
    /// A key of a Secret of the namespace.
    pub fn of(name: impl Into<String>, key: impl Into<String>) -> Self {
        Self { name: Some(name.into()), key: Some(key.into()), remote: None }
    }
}

/// A key of a secret store.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteKey {
    /// Its name in the store.
    #[schemars(length(min = 1, max = 1024))]
    pub key: String,
    /// Part of its value, where that is a document. Default: all of it.
    #[schemars(length(min = 1, max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
    /// Its version. Default: the latest.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Where the services of an environment have their secrets from (B04).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.kind) || self.kind != 'External' || has(self.store)").message("secrets.kind External needs secrets.store, from which values are fetched"))]
pub struct EnvironmentSecrets {
    /// The only kind of secret that services may have. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<SecretKind>,
    /// Store that remote keys are fetched from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<SecretStore>,
    /// Time from one fetch to the next, such as 24h. Default: 24h in production, 168h elsewhere.
    #[schemars(length(min = 2, max = 10))]
    #[x_kube(validation = Rule::new("self.matches('^[1-9][0-9]*(h|m)$')").message("secrets.refreshInterval is a number of hours or minutes, such as 24h or 30m"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<String>,
}

/// Kinds of secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecretKind {
    /// A Secret that somebody puts into the namespace.
    Plain,
    /// A Secret that a SealedSecret of the same name makes.
    Sealed,
    /// A key of the environment's store.
    External,
}

/// A store of the External Secrets operator.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretStore {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')").message("secrets.store.name is lower-case letters, digits, dashes and dots"))]
    pub name: String,
    /// ClusterSecretStore (default), or SecretStore, of which each namespace has one of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<StoreKind>,
}

/// Reach of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StoreKind {
    /// One for all namespaces.
    #[default]
    ClusterSecretStore,
    /// One of the namespace.
    SecretStore,
}
