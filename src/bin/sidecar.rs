//! The sidecar alone.

use std::process::ExitCode;

use clap::Parser;
use visiobook::cli;

/// Gives memory back after a burst of connections; the system's allocator keeps it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Run the sidecar of an application.
#[derive(Parser)]
#[command(name = "visiobook sidecar", version)]
struct Sidecar {
    #[command(flatten)]
    args: cli::sidecar::Args,
}

fn main() -> ExitCode {
    // One TLS provider for the whole process. It is refused only if there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match cli::sidecar::run(Sidecar::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::tell(&error),
    }
}
