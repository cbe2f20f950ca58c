//! Which cluster a command speaks to.

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Where to find it.
#[derive(Debug, clap::Args)]
pub(super) struct Cluster {
    /// Context of the kubeconfig. Default: the current one, or the cluster that the process runs in.
    #[arg(long, value_name = "CONTEXT", help_heading = "Cluster")]
    context: Option<String>,
}

impl Cluster {
    /// A client, and the namespace that the kubeconfig names.
    pub(super) async fn connect(&self) -> anyhow::Result<(Client, String)> {
        let config = match &self.context {
            Some(context) => {
                let options =
                    KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
                Config::from_custom_kubeconfig(Kubeconfig::read()?, &options).await.context("--context")?
            }
            None => Config::infer().await.context("no cluster: set KUBECONFIG, or name a --context")?,
        };
        let namespace = config.default_namespace.clone();
        Ok((Client::try_from(config)?, namespace))
    }
}

/// Run a command that speaks to a cluster.
pub(super) fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// An error of the API server, with what to do about it.
pub(super) fn explain(error: kube::Error) -> anyhow::Error {
    match &error {
        kube::Error::Api(status) if status.is_forbidden() => {
            anyhow::anyhow!("{}: ask for that right, or use another context", status.message)
        }
        kube::Error::Api(status) if status.code == 404 => {
            anyhow::anyhow!("{}: is the operator installed? `visiobook doctor` tells", status.message.trim())
        }
        _ => error.into(),
    }
}
