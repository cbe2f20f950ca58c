//! The one binary: operator and command line.

use std::process::ExitCode;

use visiobook::cli;

/// Gives memory back after a list; the system's allocator keeps it, in an arena for each thread.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::program(|| {
        cli::end_with_the_reader();
        cli::run(cli::parse())
    })
}
