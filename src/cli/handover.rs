//! `visiobook adopt` and `visiobook eject`: every step is shown before one is taken.

use std::path::PathBuf;
use std::time::Duration;

use super::cluster::{Cluster, block_on, explain};
use super::files;
use super::installation::Whereabouts;
use super::{Failed, validate};
use crate::apply::governed;
use crate::handover::{Adoption, Ejection};
use crate::manifest::{self, Placed};
use crate::operator::IMAGE_OF_RELEASE;
use crate::plan;

/// Arguments of `visiobook adopt`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  helm get values books --output yaml | visiobook convert - > books.yaml\n  visiobook adopt -f books.yaml\n  visiobook adopt -f books.yaml --yes\n\nThe resource bears the name of the Service that takes the requests. Its new pods start beside the old ones, which are stopped once the new ones have taken the requests over. See docs/adoption.md for what to do with the Helm release or the Application afterwards."
)]
pub(super) struct Adopt {
    /// File with the VisiobookService, such as `visiobook convert` makes it.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    filename: PathBuf,
    /// Namespace, where the file names none. Default: what the kubeconfig says.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Take the steps, after they were shown.
    #[arg(long)]
    yes: bool,
    /// Seconds that the new pods have to become ready.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    operator: Whereabouts,
    #[command(flatten)]
    cluster: Cluster,
}

/// Arguments of `visiobook eject`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  visiobook eject books\n  visiobook eject books --namespace shop --yes\n\nDeployment, Service and the rest go on as they are, without an owner, and no request is dropped. Pods that wait at the gate are replaced first, one by one; nothing else restarts. The sidecars stay in the pods until the Deployment says otherwise."
)]
pub(super) struct Eject {
    /// Name of the VisiobookService.
    #[arg(value_name = "NAME")]
    name: String,
    /// Its namespace. Default: what the kubeconfig says.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Take the steps, after they were shown.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    cluster: Cluster,
}

pub(super) fn adopt(args: &Adopt) -> anyhow::Result<()> {
    let file = files::file(&args.filename).map_err(Failed::unreadable)?;
    let ours: Vec<_> =
        file.documents.iter().filter(|document| document.is_ours("VisiobookService")).collect();
    let [document] = ours.as_slice() else {
        return Err(Failed::usage(format!(
            "{} holds {} VisiobookServices: adopt takes one",
            file.name,
            ours.len()
        ))
        .into());
    };
    block_on(async {
        let (client, default) = args.cluster.connect().await?;
        let said = document.text("/metadata/namespace").or(args.namespace.as_deref());
        let namespace = said.unwrap_or(&default).to_string();
        let environment = governed(&client, &namespace).await.map_err(explain)?;
        let placed = Placed { file: &file.name, document, namespace, environment };
        let (service, findings) = manifest::examine(&placed);
        let Some(service) = service.filter(|_| findings.is_empty()) else {
            validate::tell(&findings, false);
            return Err(Failed::refused(&findings).into());
        };
        let operator = args.operator.of(IMAGE_OF_RELEASE.into());
        let planned = plan::preview(&service, &placed.environment, &operator)
            .map_err(|refusals| Failed::verdict(refusals[0].to_string()))?;
        let adoption = Adoption::survey(&client, service, &planned).await?;
        show(&adoption.steps());
        if args.yes {
            adoption.run(&client, Duration::from_secs(args.timeout), &mut tell).await?;
        }
        Ok(())
    })?;
    nothing_done(args.yes);
    Ok(())
}

pub(super) fn eject(args: &Eject) -> anyhow::Result<()> {
    block_on(async {
        let (client, default) = args.cluster.connect().await?;
        let namespace = args.namespace.as_ref().unwrap_or(&default);
        let ejection = Ejection::survey(&client, namespace, &args.name).await?;
        show(&ejection.steps());
        if args.yes {
            ejection.run(&client, &mut tell).await?;
        }
        Ok(())
    })?;
    nothing_done(args.yes);
    Ok(())
}

fn show(steps: &[String]) {
    for (index, step) in steps.iter().enumerate() {
        anstream::println!("{:>3}. {step}", index + 1);
    }
}

fn tell(step: &str) {
    anstream::eprintln!("{step}");
}

fn nothing_done(yes: bool) {
    if !yes {
        anstream::eprintln!("nothing is done yet: add --yes");
    }
}
