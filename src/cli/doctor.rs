//! `visiobook doctor` and `visiobook support-bundle`.

use std::path::PathBuf;

use anstyle::AnsiColor;
use anyhow::Context;
use clap::ValueEnum;

use super::Failed;
use super::cluster::{Cluster, block_on};
use crate::doctor::{self, Check, State};

/// Arguments of `visiobook doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  visiobook doctor\n  visiobook doctor --namespace shop -o json\n\nExits with 1 if something is bad, so that nothing works; warnings leave it at 0."
)]
pub(super) struct Examine {
    #[command(flatten)]
    place: Place,
    /// What is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Arguments of `visiobook support-bundle`.
#[derive(Debug, clap::Args)]
#[command(
    name = "support-bundle",
    after_help = "Examples:\n  visiobook support-bundle\n  visiobook support-bundle --namespace shop --file /tmp/shop.tar.gz\n\nSecrets are not read. Values of variables and of ConfigMaps, and passwords in texts, are taken out. Look at what is in it before you give it away."
)]
pub(super) struct Collect {
    #[command(flatten)]
    place: Place,
    /// File that is written.
    #[arg(long, default_value = "visiobook-support.tar.gz", value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Place {
    /// Namespace of services. Default: for the doctor what the kubeconfig says, for a bundle all.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Namespace of the operator.
    #[arg(long, default_value = "visiobook-system", value_name = "NAMESPACE")]
    operator_namespace: String,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
    Yaml,
}

pub(super) fn examine(args: &Examine) -> anyhow::Result<()> {
    let place = &args.place;
    let checks = block_on(async {
        let (client, default) = place.cluster.connect().await?;
        let namespace = place.namespace.as_ref().unwrap_or(&default);
        Ok(doctor::examine(&client, &place.operator_namespace, namespace).await)
    })?;
    match args.output {
        Output::Text => checks.iter().for_each(tell),
        Output::Json => println!("{}", serde_json::to_string_pretty(&checks)?),
        Output::Yaml => print!("{}", serde_saphyr::to_string(&checks)?),
    }
    match checks.iter().filter(|check| check.state == State::Bad).count() {
        0 => Ok(()),
        bad => Err(Failed::verdict(format!("checks that are bad: {bad}")).into()),
    }
}

fn tell(check: &Check) {
    let (word, colour) = match check.state {
        State::Good => ("good", AnsiColor::Green),
        State::Warning => ("warning", AnsiColor::Yellow),
        State::Bad => ("bad", AnsiColor::Red),
    };
    let colour = colour.on_default();
    anstream::println!("{colour}{word:>7}{colour:#}  {}: {}", check.subject, check.message);
}

pub(super) fn collect(args: &Collect) -> anyhow::Result<()> {
    let place = &args.place;
    let files = block_on(async {
        let (client, _) = place.cluster.connect().await?;
        let namespaces: Vec<String> = place.namespace.iter().cloned().collect();
        Ok(doctor::collect(&client, &place.operator_namespace, &namespaces).await)
    })?;
    let shown = args.file.display();
    let written =
        std::fs::File::create(&args.file).with_context(|| format!("--file: cannot write {shown}"))?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    doctor::archive(&files, "visiobook-support", now, written)?;
    anstream::println!("{shown}: {} files", files.len());
    Ok(())
}
