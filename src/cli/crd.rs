//! `visiobook crd`: the two CRDs, generated from the code.

use std::path::PathBuf;

use anyhow::Context;

use crate::api::crds;

/// Arguments of `visiobook crd`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  visiobook crd | kubectl apply -f -\n  visiobook crd --write crds/")]
pub struct Args {
    /// Write one file per CRD into this folder instead.
    #[arg(long)]
    write: Option<PathBuf>,
}

/// Name and content of each file.
pub fn render() -> anyhow::Result<Vec<(String, String)>> {
    crds()
        .into_iter()
        .map(|crd| {
            let yaml = serde_saphyr::to_string(&crd).context("a CRD cannot be written as YAML")?;
            Ok((format!("{}.yaml", crd.spec.names.plural), yaml))
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
