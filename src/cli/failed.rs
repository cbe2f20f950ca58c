//! How a command says that it failed, by its exit code too.

use std::process::ExitCode;

use crate::manifest::Finding;

/// What a shell says of a program that SIGPIPE ended: its verdict is not known.
const ENDED_BY_SIGPIPE: i32 = 141;

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

/// What every program begins and ends with: TLS, and an exit code.
pub fn program(run: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    // One provider for the whole process. It is refused only if there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Err(error) = run() else { return ExitCode::SUCCESS };
    anstream::eprintln!("error: {error:#}");
    ExitCode::from(error.downcast_ref::<Failed>().map_or(1, |failed| failed.code))
}

/// Whoever reads what is printed may have heard enough, as `head` has: end then, as the signal of it would have ended the
/// process, and say nothing of it. The signal itself would end it for a connection that somebody closed, too.
pub fn end_with_the_reader() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or_default();
        if said.starts_with("failed printing to std") && said.contains("Broken pipe") {
            std::process::exit(ENDED_BY_SIGPIPE);
        }
        tell(panic);
    }));
}
