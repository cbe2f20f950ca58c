//! The one binary: operator and command line.

use clap::Parser;
use visiobook::cli::{self, Cli};

fn main() -> anyhow::Result<()> {
    // One TLS provider for the whole process. It is refused only if there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    cli::run(Cli::parse())
}
