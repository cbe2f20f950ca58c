//! The files that a command is pointed at, and what it prints.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::Serialize;

use crate::manifest::{self, Document, File};

/// Which files.
#[derive(Debug, clap::Args)]
pub(super) struct Files {
    /// YAML file, folder of such files, or - for what is piped in. Documents of other kinds are passed over.
    #[arg(short = 'f', long = "filename", required = true, num_args = 1.., value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// File with the VisiobookEnvironment that governs. Default: the one that the namespace's label names among the
    /// files, else the one that governs in the cluster where one is asked, else the built-in development rules.
    #[arg(long, value_name = "FILE")]
    environment: Option<PathBuf>,
    /// Namespace of resources that name none. Default: `default`, or what the kubeconfig says.
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(super) namespace: Option<String>,
}

impl Files {
    /// Namespace of resources that name none, where no cluster is asked.
    pub(super) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }

    /// Read all of them.
    pub(super) fn read(&self) -> anyhow::Result<Vec<File>> {
        let mut files = Vec::new();
        for path in &self.filename {
            if path.is_dir() {
                let mut inside: Vec<PathBuf> = std::fs::read_dir(path)
                    .with_context(|| format!("cannot read {}", path.display()))?
                    .map(|entry| Ok(entry?.path()))
                    .collect::<std::io::Result<_>>()?;
                inside.retain(|path| {
                    path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
                });
                inside.sort();
                for path in inside {
                    files.push(file(&path)?);
                }
            } else {
                files.push(file(path)?);
            }
        }
        Ok(files)
    }

    /// The environment that governs, where one is named.
    pub(super) fn environment(&self) -> anyhow::Result<Option<Document>> {
        let Some(path) = &self.environment else { return Ok(None) };
        let shown = path.display();
        let documents = file(path).context("--environment")?.documents;
        let mut environments: Vec<Document> =
            documents.into_iter().filter(|document| document.is_ours("VisiobookEnvironment")).collect();
        match (environments.pop(), environments.is_empty()) {
            (Some(environment), true) => Ok(Some(environment)),
            (None, _) => bail!("--environment: {shown} holds no VisiobookEnvironment"),
            (Some(_), false) => {
                bail!(
                    "--environment: {shown} holds several of them: give it to -f, with the namespaces whose labels choose"
                )
            }
        }
    }
}

/// The documents of one file.
pub(super) fn file(path: &Path) -> anyhow::Result<File> {
    let name = if path == Path::new("-") { "(input)".to_string() } else { path.display().to_string() };
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.with_context(|| format!("cannot read {name}"))?;
    let documents = manifest::read(&text).with_context(|| format!("{name} is no YAML"))?;
    Ok(File { name, documents })
}

/// A format for objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Yaml,
    Json,
}

/// Print objects: as YAML documents, or as one JSON list as kubectl reads it.
pub(super) fn print(objects: &[impl Serialize], format: Format) -> anyhow::Result<()> {
    match format {
        Format::Yaml => {
            for object in objects {
                print!(
                    "---\n{}",
                    serde_saphyr::to_string(object).context("an object cannot be written as YAML")?
                );
            }
        }
        Format::Json => {
            let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
            println!("{}", serde_json::to_string_pretty(&list)?);
        }
    }
    Ok(())
}
