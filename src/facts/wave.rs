//! What a wave looks at: where revisions come from, and who is let in.

use serde::{Deserialize, Serialize};

/// Where a stored revision comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Digest of what the service itself said when it was asked for last; `None` of one that an older operator stored.
    pub own: Option<String>,
    /// The wave that it was last released with; `None` where the service itself asked for it.
    pub wave: Option<WaveMark>,
}

/// The wave that a revision came with. It is stored with the revision, so that an operator that starts knows who is
/// under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveMark {
    /// The environment.
    pub environment: String,
    /// Its generation.
    pub generation: i64,
    /// When the service was let in, in Unix seconds.
    pub since: i64,
    /// Whether all pods have arrived.
    #[serde(default)]
    pub done: bool,
}

/// Whether a service is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may begin.
    Admitted {
        /// Generation of the environment.
        generation: i64,
    },
    /// There is no room yet, for this reason.
    Waits(String),
    /// Others have failed, and nobody is let in until somebody does something about it.
    Halted(String),
}

/// How this operator renders a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendering {
    /// Digest of it.
    pub digest: String,
    /// The same, for each way in which the sidecar is told to hear the operator.
    pub either: [String; 2],
}
