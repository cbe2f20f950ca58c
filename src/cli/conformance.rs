//! `visiobook conformance`: holds a running service against the runtime contract.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::conformance::{self, Spec, Target, catalog};

/// Arguments of `visiobook conformance`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  visiobook conformance --url http://localhost:8080\n  visiobook conformance --url http://books --spec books.yaml --junit conformance.xml\n\nExits with 0 only if no check failed."
)]
pub(super) struct Args {
    /// Where the service takes traffic.
    #[arg(long, required_unless_present = "list")]
    url: Option<String>,
    /// Where it answers /health, /ready, /metrics and /kpis. Default: port 9090 of the same host, else --url.
    #[arg(long)]
    contract_url: Option<String>,
    /// YAML file that tells its routes, origins, KPIs and more, so that more is checked.
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Others send traffic meanwhile, or several instances answer: as `shared: true` in the spec.
    #[arg(long, env = "CONFORMANCE_SHARED")]
    shared: bool,
    /// Token that is sent with requests to the application.
    #[arg(long, env = "CONFORMANCE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// What is printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Write JUnit XML into this file too.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write what failed into this file too, in a few words: the message that a Job ends with.
    #[arg(long, value_name = "FILE", env = "CONFORMANCE_SUMMARY")]
    summary: Option<PathBuf>,
    /// Seconds that one answer may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    timeout: f64,
    /// Seconds until there has to be a way to the service: that to a new Service is known to each node in its time.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, env = "CONFORMANCE_WAIT")]
    wait: u32,
    /// Print all checks and leave.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
    Junit,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let (false, Some(url)) = (args.list, args.url) else {
        print!("{}", listing());
        return Ok(());
    };
    let mut spec = match &args.spec {
        Some(path) => {
            let shown = path.display();
            let text =
                std::fs::read_to_string(path).with_context(|| format!("--spec: cannot read {shown}"))?;
            Spec::read(&text).with_context(|| format!("--spec {shown}"))?
        }
        None => Spec::default(),
    };
    spec.shared |= args.shared;
    let timeout = Duration::try_from_secs_f64(args.timeout)
        .ok()
        .filter(|timeout| !timeout.is_zero())
        .context("--timeout: write a number of seconds greater than 0")?;
    let wait = Duration::from_secs(args.wait.into());
    let target = Target { url, contract_url: args.contract_url, token: args.token, timeout, wait };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(conformance::examine(&target, spec))?;
    match args.output {
        Output::Text => print!("{}", report.text()),
        Output::Json => println!("{}", report.json()?),
        Output::Junit => print!("{}", report.junit()),
    }
    if let Some(path) = &args.junit {
        std::fs::write(path, report.junit())
            .with_context(|| format!("--junit: cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.summary {
        std::fs::write(path, report.brief())
            .with_context(|| format!("--summary: cannot write {}", path.display()))?;
    }
    if report.failed > 0 {
        bail!("{} of {} checks failed", report.failed, report.checks.len());
    }
    Ok(())
}

/// Every check as a row of a Markdown table: what the documentation shows too.
pub fn listing() -> String {
    let mut text = String::from("| check | holds | expected |\n|---|---|---|\n");
    for check in catalog::all() {
        text += &format!(
            "| `{}` | {} | {} |\n",
            check.id,
            check.requirements.join(", "),
            check.expected.replace('|', "\\|")
        );
    }
    text
}
