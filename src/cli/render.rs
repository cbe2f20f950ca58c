//! `visiobook render`: the manifests of a service, without a cluster.

use clap::builder::NonEmptyStringValueParser;

use super::files::{self, Files, Format};
use super::installation::Whereabouts;
use super::{Failed, validate};
use crate::facts::EnvironmentFact;
use crate::operator::IMAGE_OF_RELEASE;
use crate::{manifest, plan};

/// Arguments of `visiobook render`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  visiobook render -f service.yaml\n  visiobook render -f service.yaml --environment production.yaml --namespace shop\n  visiobook render -f service.yaml -f environments/ | kubectl apply --dry-run=server -f -\n  diff <(git show main:service.yaml | visiobook render -f -) <(visiobook render -f service.yaml)\n\nThe output is for review: what the operator makes carries an owner and a digest of its secrets beside."
)]
pub(super) struct Args {
    #[command(flatten)]
    files: Files,
    /// What is printed.
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    output: Format,
    /// Image of the sidecars, where the environment names no other.
    #[arg(long, env = "VISIOBOOK_IMAGE", default_value = IMAGE_OF_RELEASE, value_parser = NonEmptyStringValueParser::new(), value_name = "IMAGE")]
    sidecar_image: String,
    #[command(flatten)]
    operator: Whereabouts,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let (files, environment) = (args.files.read()?, args.files.environment()?);
    let gathered = manifest::gather(&files, environment.as_ref(), args.files.namespace());
    if gathered.services.is_empty() {
        return Err(Failed::usage("the files hold no VisiobookService").into());
    }
    let operator = args.operator.of(args.sidecar_image.clone());
    let (mut objects, mut findings) = (Vec::new(), Vec::new());
    for placed in &gathered.services {
        let (service, found) = manifest::examine(placed);
        if let (Some(service), true) = (service, found.is_empty()) {
            match plan::preview(&service, &placed.environment, &operator) {
                Ok(planned) => objects.extend(planned),
                Err(refusals) => anyhow::bail!("{}", refusals[0]),
            }
        }
        findings.extend(found);
        if placed.environment == EnvironmentFact::Unlabelled {
            let name = placed.document.text("/metadata/name").unwrap_or_default();
            anstream::eprintln!(
                "{name}: no file tells the environment of namespace {}: rendered under the built-in development rules",
                placed.namespace
            );
        }
    }
    if !findings.is_empty() {
        validate::tell(&findings, false);
        return Err(Failed::refused(&findings).into());
    }
    files::print(&objects, args.output)
}
