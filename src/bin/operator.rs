//! The operator alone.

use std::process::ExitCode;

use clap::Parser;
use visiobook::cli;

/// Gives memory back after a list; the system's allocator keeps it, in an arena for each thread.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Run the operator.
#[derive(Parser)]
#[command(name = "visiobook operator", version)]
struct Operator {
    #[command(flatten)]
    args: cli::operator::Args,
}

fn main() -> ExitCode {
    cli::program(|| cli::operator::run(Operator::parse().args))
}
