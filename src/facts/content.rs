//! What a Secret of ours holds, as far as it may be known: told by an annotation of it, written with the values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a Secret of ours holds. Its values are made by the hand that writes them, and stand nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// A token of the service, by which others know it (B22).
    ServiceToken(TokenContent),
    /// Registry credentials, copied from a Secret of the operator's own namespace.
    PullSecret {
        /// Name of that Secret.
        from: String,
        /// Keyed digest of its value.
        digest: String,
    },
}

/// What a token of a service says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenContent {
    /// Key that it is signed with.
    pub kid: String,
    /// Since when it holds, in Unix seconds.
    pub issued: i64,
    /// Until when, in Unix seconds.
    pub expires: i64,
    /// Services that it says the service calls, as `<namespace>/<name>`.
    pub calls: Vec<String>,
}

/// What signs tokens now, and what they are verified with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signing {
    /// Key that signs now.
    pub kid: String,
    /// Public keys as PEM by `kid`: of the key that signs, of the next one, and of those whose tokens may still hold.
    pub public: BTreeMap<String, String>,
    /// Seconds for which a token holds.
    pub lifetime: i64,
}

/// A key that tokens are signed with, without the key itself. Times are Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningKey {
    /// By which tokens name it.
    pub kid: String,
    /// When it was made.
    pub made: i64,
    /// Since when it signs; none: verifiers do not all know it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs: Option<i64>,
    /// Since when another one signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<i64>,
}
