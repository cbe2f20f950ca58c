//! How a command says that it failed, by its exit code too.

use std::process::ExitCode;

use crate::manifest::Finding;

/// A failure with an exit code of its own: 1 for a verdict, 2 for a command that could not do its work.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failed {
    code: u8,
    message: String,
}

impl Failed {
    /// The command was given the wrong things.
    pub(super) fn usage(message: impl Into<String>) -> Failed {
        Failed { code: 2, message: message.into() }
    }

    /// Its files cannot be read.
    pub(super) fn unreadable(error: anyhow::Error) -> Failed {
        Failed { code: 2, message: format!("{error:#}") }
    }

    /// It did its work, and the answer is no.
    pub(super) fn verdict(message: impl Into<String>) -> Failed {
        Failed { code: 1, message: message.into() }
    }

    /// Something would change, and that was asked for.
    pub(super) fn changes() -> Failed {
        Failed { code: 3, message: "something would change".into() }
    }

    /// Something in the files is refused.
    pub(super) fn refused(findings: &[Finding]) -> Failed {
        Failed::verdict(match findings.len() {
            1 => "one field is refused".to_string(),
            many => format!("{many} refusals"),
        })
    }
}

/// Print why a command failed, and answer its exit code.
pub fn tell(error: &anyhow::Error) -> ExitCode {
    anstream::eprintln!("error: {error:#}");
    ExitCode::from(error.downcast_ref::<Failed>().map_or(1, |failed| failed.code))
}
