//! The doors: what the command line offers.

pub mod conformance;
pub mod crd;
mod operator;

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
    /// Hold a running service against the runtime contract.
    Conformance(Box<conformance::Args>),
    /// Print the CRDs, or write them into a folder.
    Crd(crd::Args),
}

/// Run the command that the process was called with.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Operator(args) => operator::run(*args),
        Command::Conformance(args) => conformance::run(*args),
        Command::Crd(args) => crd::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
