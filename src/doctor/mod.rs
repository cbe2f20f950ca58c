//! What is wrong with an installation? Each check tells what it saw, and what to do. Nothing is written but the
//! reviews by which the API server is asked for rights.

mod bundle;
mod checks;
mod redact;

pub use bundle::{File, archive, collect};
pub use checks::examine;
pub use redact::redact;

use serde::Serialize;

/// What one check saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub subject: String,
    /// How it is.
    pub state: State,
    /// What was seen, and the way out.
    pub message: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// Something does not work that can be lived without, or could not be looked at.
    Warning,
    /// Nothing works without it.
    Bad,
}

impl Check {
    fn new(subject: impl Into<String>, state: State, message: impl Into<String>) -> Check {
        Check { subject: subject.into(), state, message: message.into() }
    }
}
