//! The one binary: operator and command line.

use std::process::ExitCode;

use visiobook::cli;

/// Gives memory back after a list; the system's allocator keeps it, in an arena for each thread.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // One TLS provider for the whole process. It is refused only if there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match cli::run(cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::tell(&error),
    }
}
