//! The doors: what the command line offers.

mod cluster;
mod completion;
pub mod conformance;
mod convert;
pub mod crd;
mod doctor;
mod failed;
mod files;
mod handover;
mod installation;
mod lean;
mod measure;
pub mod operator;
mod plan;
pub mod policy;
mod reference;
mod render;
mod rollout;
mod service;
pub mod sidecar;
mod validate;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use failed::Failed;
pub use failed::{end_with_the_reader, program};
pub use reference::reference;

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
    /// Run a domain service, or bring its database up.
    Service(service::Args),
    /// Hold a running service against the runtime contract.
    Conformance(Box<conformance::Args>),
    /// Hold queries of a Prometheus against limits for a while.
    Measure(measure::Args),
    /// Print the CRDs, or write them into a folder.
    Crd(crd::Args),
    /// Print the admission policies, or write them into a folder.
    Policy(policy::Args),
    /// Print the manifests that a service comes to, without a cluster.
    Render(render::Args),
    /// Tell every refusal, with rule, field and line, without a cluster.
    Validate(validate::Args),
    /// Tell what an apply would change in the cluster, and whether pods would restart.
    Plan(plan::Args),
    /// See, approve, stop and take back the releases of a service.
    Rollout(rollout::Args),
    /// Make a VisiobookService from a team's Helm values.
    Convert(convert::Args),
    /// Take over what runs already, by Helm or by hand.
    Adopt(handover::Adopt),
    /// Leave what runs to itself, as plain objects without the operator.
    Eject(handover::Eject),
    /// Tell what is wrong with an installation.
    Doctor(doctor::Examine),
    /// Collect what is needed to understand a failure, without any secret.
    SupportBundle(doctor::Collect),
    /// Print the completions of a shell.
    Completion(completion::Args),
}

/// What kubectl looks for on the PATH when it is asked for `kubectl visiobook`.
const PLUGIN: &str = "kubectl-visiobook";

/// The command line as it is told to people, by the name that the program was called by.
pub fn command(called: &str) -> clap::Command {
    let command = Cli::command();
    let file = std::path::Path::new(called).file_name().unwrap_or_default();
    if file != PLUGIN {
        return command;
    }
    // Examples are to be typed as they stand.
    command.bin_name("kubectl visiobook").mut_subcommands(|subcommand| {
        let examples = subcommand.get_after_help().map(ToString::to_string).unwrap_or_default();
        subcommand.after_help(examples.replace("  visiobook ", "  kubectl visiobook "))
    })
}

/// Read the arguments that the process was called with. Wrong ones end it.
pub fn parse() -> Cli {
    let called = std::env::args().next().unwrap_or_default();
    let mut command = command(&called);
    let matches = command.get_matches_mut();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// Run the command that the process was called with.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Operator(args) => {
            lean::become_lean("operator");
            operator::run(*args)
        }
        Command::Sidecar(args) => {
            lean::become_lean("sidecar");
            sidecar::run(args)
        }
        Command::Service(args) => service::run(&args),
        Command::Conformance(args) => conformance::run(*args),
        Command::Measure(args) => measure::run(&args),
        Command::Crd(args) => crd::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Rollout(args) => rollout::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Adopt(args) => handover::adopt(&args),
        Command::Eject(args) => handover::eject(&args),
        Command::Doctor(args) => doctor::examine(&args),
        Command::SupportBundle(args) => doctor::collect(&args),
        Command::Completion(args) => completion::run(&args),
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
