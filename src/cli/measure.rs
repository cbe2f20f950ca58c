//! `visiobook measure`: holds queries of a Prometheus against limits.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::measure;

/// Arguments of `visiobook measure`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  visiobook measure --prometheus http://localhost:9090 --query 'up=sum(up{job=\"books\"})' --min up=2\n\nA query comes to one value. Exits with 0 if each kept within its limits: none was outside three times in a row, or at the end. No data is no success."
)]
pub(super) struct Args {
    /// URL of the Prometheus that is asked.
    #[arg(long, value_name = "URL")]
    prometheus: String,
    /// For how long, from when there is something to read.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Seconds until there has to be something to read of each query: longer than Prometheus takes from scrape to scrape.
    #[arg(long, value_name = "SECONDS", default_value_t = 150)]
    patience: u64,
    /// A query, and a name for it. $window in it stands for the time since the first reading, such as 45s.
    #[arg(long = "query", value_name = "NAME=PROMQL", value_parser = pair, required = true)]
    queries: Vec<(String, String)>,
    /// The least that its value may be.
    #[arg(long, value_name = "NAME=NUMBER", value_parser = pair)]
    min: Vec<(String, String)>,
    /// The most that its value may be.
    #[arg(long, value_name = "NAME=NUMBER", value_parser = pair)]
    max: Vec<(String, String)>,
    /// Write what failed into this file too: the message that a Job ends with.
    #[arg(long, value_name = "FILE", env = "MEASURE_SUMMARY")]
    summary: Option<PathBuf>,
}

fn pair(said: &str) -> Result<(String, String), String> {
    let (name, value) = said.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_string(), value.to_string()))
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let limits = measure::limits(&args.queries, &args.min, &args.max).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let [time, patience] = [args.seconds, args.patience].map(Duration::from_secs);
    let held = runtime.block_on(measure::hold(&args.prometheus, &limits, time, patience));
    let Err(wrong) = held else {
        println!("{} of {} kept within their limits", limits.len(), limits.len());
        return Ok(());
    };
    let told = wrong.join("; ");
    if let Some(path) = &args.summary {
        std::fs::write(path, &told).with_context(|| format!("--summary: cannot write {}", path.display()))?;
    }
    bail!(told)
}
