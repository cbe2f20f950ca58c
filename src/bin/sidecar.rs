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
    cli::program(|| cli::sidecar::run(Sidecar::parse().args))
}
