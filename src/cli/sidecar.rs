//! `visiobook sidecar`: settings and signals around the data plane.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::contract::{self, leave};
use crate::sidecar::{run, settings};

/// Where a kubelet takes the last words of a container from.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Arguments of `visiobook sidecar`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  VISIOBOOK_SIDECAR='{\"service\": \"users\", \"application\": {\"port\": 3000}}' visiobook sidecar\n  visiobook sidecar --settings sidecar.json"
)]
pub struct Args {
    /// File with the settings, as JSON. Default: the variable VISIOBOOK_SIDECAR.
    #[arg(long, env = "VISIOBOOK_SIDECAR_FILE")]
    settings: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Have the sidecar beside this process stop taking requests, and wait until it has.
    Drain {
        /// Port of the contract, on which the sidecar listens.
        #[arg(long, default_value_t = contract::METRICS_PORT)]
        port: u16,
    },
}

/// Run the sidecar, or ask the one beside this process to stop.
pub fn run(args: Args) -> anyhow::Result<()> {
    // One thread: what a sidecar costs is counted for every pod.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.command {
        Some(Command::Drain { port }) => {
            runtime.block_on(crate::sidecar::drain::ask(port)).map_err(Into::into)
        }
        None => {
            let outcome = read(args.settings).and_then(|settings| Ok((settings, operator()?))).and_then(
                |(settings, operator)| {
                    Ok(runtime.block_on(run::run(settings, operator, super::stopped()))?)
                },
            );
            if let Err(error) = &outcome {
                leave_word(&format!("{error:#}"));
            }
            outcome.context("the sidecar ended")
        }
    }
}

/// Leave what went wrong where the kubelet looks for it, so that it shows in the status of the pod.
fn leave_word(text: &str) {
    // Outside of a container there is no such file, and none is made.
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(TERMINATION_LOG) {
        let _ = file.write_all(text.as_bytes());
    }
}

/// What the operator is known by, where it is.
fn operator() -> anyhow::Result<Option<leave::Operator>> {
    let text = std::env::var(leave::VARIABLE).ok().filter(|text| !text.is_empty());
    text.map(|text| serde_json::from_str(&text).context(leave::VARIABLE)).transpose()
}

fn read(file: Option<PathBuf>) -> anyhow::Result<contract::settings::Settings> {
    let (document, place) = match file {
        Some(file) => {
            let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
            (text, file.display().to_string())
        }
        None => match std::env::var(contract::SETTINGS_VARIABLE) {
            Ok(text) => (text, contract::SETTINGS_VARIABLE.to_string()),
            Err(_) => bail!("no settings: set {} or --settings", contract::SETTINGS_VARIABLE),
        },
    };
    settings::read(&document).map_err(|mistakes| anyhow::anyhow!("{place}:\n  {}", mistakes.join("\n  ")))
}
