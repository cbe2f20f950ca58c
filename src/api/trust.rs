//! Whom a service trusts, and who may call it: tokens between services, and authorities of one's own.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::KeyRef;

/// Which other services may call, by the tokens that the operator mints for them (B22, D79). Services of the namespace
/// that name this one in spec.dependsOn always may.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTokens {
    /// Services that may call as well, as `<name>` or, in another namespace, `<namespace>/<name>`.
    #[schemars(inner(length(min = 1, max = 127)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Whether nobody may call without a token, where spec.sidecar.auth is not set. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

/// PEM certificates of authorities that are trusted beside the public ones: a key of a ConfigMap or of a Secret.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.configMap) != has(self.secret)").message("set exactly one of trustedCertificates.configMap and trustedCertificates.secret"))]
pub struct TrustedCertificates {
    /// Key of a ConfigMap of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<KeyRef>,
    /// Key of a Secret of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<KeyRef>,
}
