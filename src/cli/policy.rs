//! `visiobook policy`: the admission policies, generated from the code.

use std::path::PathBuf;

use anyhow::Context;

use crate::check;

/// Arguments of `visiobook policy`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  visiobook policy | kubectl apply -f -\n  visiobook policy --write config/policy/"
)]
pub struct Args {
    /// Write one file per policy into this folder instead.
    #[arg(long)]
    write: Option<PathBuf>,
}

/// Name and content of each file.
pub fn render() -> anyhow::Result<Vec<(String, String)>> {
    check::policies()
        .into_iter()
        .map(|(name, objects)| {
            let documents: Result<Vec<String>, _> = objects.iter().map(serde_saphyr::to_string).collect();
            Ok((name, documents.context("a policy cannot be written as YAML")?.join("---\n")))
        })
        .collect()
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    for (name, yaml) in render()? {
        match &args.write {
            Some(folder) => {
                let path = folder.join(name);
                std::fs::write(&path, yaml).with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => print!("---\n{yaml}"),
        }
    }
    Ok(())
}
