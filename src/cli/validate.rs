//! `visiobook validate`: every refusal, before anything is applied.

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde_json::json;

use super::Failed;
use super::files::Files;
use crate::manifest::{self, Finding};

/// Arguments of `visiobook validate`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  visiobook validate -f service.yaml --environment production.yaml\n  visiobook validate -f deploy/ -o sarif > visiobook.sarif\n  kustomize build overlays/production | visiobook validate -f -\n\nExits with 0 if nothing is refused, 1 if something is, 2 if the files cannot be read or hold nothing of ours."
)]
pub(super) struct Args {
    #[command(flatten)]
    files: Files,
    /// What is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
    Sarif,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let files = args.files.read().map_err(Failed::unreadable)?;
    let environment = args.files.environment().map_err(Failed::unreadable)?;
    let gathered = manifest::gather(&files, environment.as_ref(), args.files.namespace());
    if gathered.services.is_empty() && gathered.environments.is_empty() {
        return Err(Failed::usage("the files hold no VisiobookService and no VisiobookEnvironment").into());
    }
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(gathered.environments.iter().flat_map(|placed| manifest::examine_environment(placed).1));
    findings.extend(gathered.services.iter().flat_map(|placed| manifest::examine(placed).1));
    let (services, environments) = (gathered.services.len(), gathered.environments.len());
    match args.output {
        Output::Text => {
            tell(&findings, true);
            if findings.is_empty() {
                anstream::println!(
                    "nothing is refused: services {services}, environments {environments}, other documents passed over {}",
                    gathered.others
                );
            }
        }
        Output::Json => {
            let report = json!({ "services": services, "environments": environments, "others": gathered.others, "refusals": findings });
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        Output::Sarif => {
            println!(
                "{}",
                serde_json::to_string_pretty(&manifest::sarif(&findings, env!("CARGO_PKG_VERSION")))?
            );
        }
    }
    if findings.is_empty() { Ok(()) } else { Err(Failed::refused(&findings).into()) }
}

/// One line for each refusal, as compilers print theirs.
pub(super) fn tell(findings: &[Finding], on_output: bool) {
    let (bold, red) = (Style::new().bold(), AnsiColor::Red.on_default());
    for finding in findings {
        let Finding { file, line, field, rule, message, resource } = finding;
        let text =
            format!("{bold}{file}:{line}{bold:#}: {resource}: {red}{field}{red:#}: {message} [{rule}]");
        if on_output {
            anstream::println!("{text}");
        } else {
            anstream::eprintln!("{text}");
        }
    }
}
