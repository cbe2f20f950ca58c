//! `visiobook service`: the domain services, on any machine.

use anyhow::anyhow;

use super::Failed;
use crate::services::configuration::Configuration;
use crate::services::{SERVICES, Service, find, process, users};

/// Arguments of `visiobook service`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It is configured by variables: DATABASE_URL and JWT_SECRET have to be set; docs/services tells the others.\n\nExamples:\n  visiobook service users migrate\n  visiobook service users\n  visiobook service users grant ada@example.com admin\n  visiobook service database"
)]
pub(super) struct Args {
    /// Which service.
    #[arg(value_parser = SERVICES.map(|service| service.name))]
    name: String,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Bring the schema of its database up, and end.
    Migrate,
    /// Make a user of the service `users` an admin: how the first one comes to be.
    Grant {
        /// The user's address.
        email: String,
        /// What the user may from now on.
        #[arg(value_parser = ["user", "moderator", "admin"])]
        role: String,
    },
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let service = find(&args.name).ok_or_else(|| Failed::usage(format!("no service {:?}", args.name)))?;
    let lookup = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match &args.command {
            Some(Command::Migrate) => Ok(process::migrate(service, &lookup).await?),
            Some(Command::Grant { email, role }) => grant(service, &lookup, email, role).await,
            None => serve(service, &lookup).await,
        }
    })
}

async fn serve(service: &'static Service, lookup: process::Lookup<'_>) -> anyhow::Result<()> {
    let configuration = read(service, lookup)?;
    let sink = process::log(&configuration)?;
    let ended = process::run(service, configuration, lookup, super::stopped(), |_| {}).await;
    sink.flush();
    Ok(ended?)
}

async fn grant(
    service: &Service,
    lookup: process::Lookup<'_>,
    email: &str,
    role: &str,
) -> anyhow::Result<()> {
    if service.name != users::SERVICE.name {
        return Err(Failed::usage("roles are those of the service users").into());
    }
    let configuration = read(service, lookup)?;
    let granted = users::grant(&configuration, email, role).await;
    match granted.map_err(|error| anyhow!(configuration.redact(&error)))? {
        true => Ok(()),
        false => Err(Failed::verdict(format!("no user has the address {email}")).into()),
    }
}

fn read(service: &Service, lookup: process::Lookup<'_>) -> anyhow::Result<Configuration> {
    let read = Configuration::read(service.name, &lookup);
    Ok(read.map_err(process::Error::Configuration)?)
}
