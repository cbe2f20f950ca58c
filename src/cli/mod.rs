//! The doors: what the command line offers.

pub mod conformance;
pub mod crd;
mod operator;
pub mod policy;
mod sidecar;

use clap::{Parser, Subcommand};

/// The Visiobook platform on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "visiobook", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator, in the cluster or against any kubeconfig.
    Operator(Box<operator::Args>),
    /// Run the sidecar of an application.
    Sidecar(sidecar::Args),
    /// Hold a running service against the runtime contract.
    Conformance(Box<conformance::Args>),
    /// Print the CRDs, or write them into a folder.
    Crd(crd::Args),
    /// Print the admission policies, or write them into a folder.
    Policy(policy::Args),
}

/// Run the command that the process was called with.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Operator(args) => operator::run(*args),
        Command::Sidecar(args) => sidecar::run(args),
        Command::Conformance(args) => conformance::run(*args),
        Command::Crd(args) => crd::run(&args),
        Command::Policy(args) => policy::run(&args),
    }
}

/// Resolves when the process is told to stop.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        _ => {
            tracing::error!("signals cannot be heard");
            std::future::pending().await
        }
    }
    tracing::info!("stopping");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
