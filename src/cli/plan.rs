//! `visiobook plan`: what would an apply change, and would pods restart?

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde::Serialize;

use super::cluster::{Cluster, block_on, explain};
use super::files::Files;
use super::installation::Whereabouts;
use super::{Failed, validate};
use crate::api::{VisiobookEnvironment, VisiobookService, Waves, names};
use crate::apply::{Fate, Foreseen, Foresight, foresee, parted};
use crate::facts::{EnvironmentFact, Installation};
use crate::manifest::{self, Placed};
use crate::operator::IMAGE_OF_RELEASE;
use crate::rollout::waves;

/// Arguments of `visiobook plan`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  visiobook plan -f service.yaml\n  visiobook plan -f environments/production.yaml\n  visiobook plan -f service.yaml --exit-code || echo 'something would change'\n\nReads the cluster and writes nothing. A Secret that may not be read is taken to be there.\nExits with 0; with --exit-code with 3 if something would change; with 1 if something is refused."
)]
pub(super) struct Args {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    cluster: Cluster,
    /// Exit with 3 if something would change.
    #[arg(long)]
    exit_code: bool,
    /// What is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Image of the sidecars of a new revision. Default: that of the operator in the cluster.
    #[arg(long, env = "VISIOBOOK_IMAGE", value_name = "IMAGE")]
    sidecar_image: Option<String>,
    #[command(flatten)]
    operator: Whereabouts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
    Yaml,
}

/// Everything that would change.
#[derive(Debug, Default, Serialize)]
struct Outlook {
    services: Vec<Foresight>,
    environments: Vec<Reach>,
}

/// What a change of an environment would reach.
#[derive(Debug, Serialize)]
struct Reach {
    name: String,
    fields: Vec<String>,
    /// Services that it releases, and how many of them at a time.
    wave: Option<Turns>,
    services: Vec<Foresight>,
}

/// How a change of an environment reaches its services.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Turns {
    services: usize,
    max_concurrent: usize,
    waves: usize,
    halts_after_failures: i32,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let files = args.files.read().map_err(Failed::unreadable)?;
    let environment = args.files.environment().map_err(Failed::unreadable)?;
    let outlook = block_on(async {
        let (client, default) = args.cluster.connect().await?;
        let namespace = args.files.namespace.as_deref().unwrap_or(&default);
        let gathered = manifest::gather(&files, environment.as_ref(), namespace);
        if gathered.services.is_empty() && gathered.environments.is_empty() {
            return Err(
                Failed::usage("the files hold no VisiobookService and no VisiobookEnvironment").into()
            );
        }
        let image = match &args.sidecar_image {
            Some(image) => image.clone(),
            None => installed_image(&client, &args.operator.operator_namespace)
                .await
                .unwrap_or_else(|| IMAGE_OF_RELEASE.into()),
        };
        let operator = args.operator.of(image);
        let mut outlook = Outlook::default();
        for placed in &gathered.environments {
            outlook.environments.push(reach(&client, placed, &operator).await?);
        }
        for placed in &gathered.services {
            let (service, findings) = manifest::examine(placed);
            // What the operator would refuse is told with the rest, under the environment of the cluster.
            let unlawful: Vec<_> =
                findings.iter().filter(|finding| finding.is_of_the_crd()).cloned().collect();
            let Some(service) = service.filter(|_| unlawful.is_empty()) else {
                validate::tell(&findings, false);
                return Err(Failed::refused(&findings).into());
            };
            // What the files say of an environment counts before what the cluster says.
            let said = (placed.environment != EnvironmentFact::Unlabelled).then_some(&placed.environment);
            outlook.services.push(foresee(&client, &service, said, &operator).await.map_err(explain)?);
        }
        Ok(outlook)
    })?;
    match args.output {
        Output::Text => outlook.tell(),
        Output::Json => println!("{}", serde_json::to_string_pretty(&outlook)?),
        Output::Yaml => print!("{}", serde_saphyr::to_string(&outlook)?),
    }
    let services = || {
        outlook
            .services
            .iter()
            .chain(outlook.environments.iter().flat_map(|environment| &environment.services))
    };
    let refused = services().filter(|service| !service.refusals.is_empty()).count();
    if refused > 0 {
        return Err(
            Failed::verdict(format!("services that would be refused, or held back: {refused}")).into()
        );
    }
    let changes = services().any(|service| !service.is_empty())
        || outlook.environments.iter().any(|environment| !environment.fields.is_empty());
    if args.exit_code && changes {
        return Err(Failed::changes().into());
    }
    Ok(())
}

/// What an environment would do to each of its services as they stand.
async fn reach(client: &Client, placed: &Placed<'_>, operator: &Installation) -> anyhow::Result<Reach> {
    let (environment, findings) = manifest::examine_environment(placed);
    let Some(environment) = environment.filter(|_| findings.is_empty()) else {
        validate::tell(&findings, false);
        return Err(Failed::refused(&findings).into());
    };
    let name = environment.name_any();
    let live = Api::<VisiobookEnvironment>::all(client.clone()).get_opt(&name).await.map_err(explain)?;
    let before = live.map(|live| serde_json::to_value(&live.spec)).transpose()?.unwrap_or_default();
    let fields = parted(&before, &serde_json::to_value(&environment.spec)?, "spec");
    let fact = EnvironmentFact::Governed { name: name.clone(), spec: Box::new(environment.spec) };
    let said = environment_waves(&fact);
    let mut services = Vec::new();
    let label = ListParams::default().labels(&format!("{}={name}", names::ENVIRONMENT));
    for namespace in Api::<Namespace>::all(client.clone()).list(&label).await.map_err(explain)? {
        let there = Api::<VisiobookService>::namespaced(client.clone(), &namespace.name_any());
        for service in there.list(&ListParams::default()).await.map_err(explain)? {
            services.push(foresee(client, &service, Some(&fact), operator).await.map_err(explain)?);
        }
    }
    let concerned = services.iter().filter(|service| service.in_wave).count();
    let wave = (concerned > 0).then(|| {
        let max_concurrent = waves::cap(said.max_concurrent.as_ref(), concerned);
        Turns {
            services: concerned,
            max_concurrent,
            waves: concerned.div_ceil(max_concurrent),
            halts_after_failures: said.halt_after_failures.unwrap_or(1),
        }
    });
    Ok(Reach { name, fields, wave, services })
}

/// What it says of its waves.
fn environment_waves(environment: &EnvironmentFact) -> Waves {
    let EnvironmentFact::Governed { spec, .. } = environment else { return Waves::default() };
    spec.rollout.as_ref().and_then(|rollout| rollout.waves.clone()).unwrap_or_default()
}

/// The image that the operator in the cluster gives its sidecars.
async fn installed_image(client: &Client, namespace: &str) -> Option<String> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let operator = deployments.get_opt("visiobook-operator").await.ok()??;
    operator.spec?.template.spec?.containers.into_iter().find_map(|container| container.image)
}

impl Outlook {
    fn tell(&self) {
        for environment in &self.environments {
            heading(&format!("VisiobookEnvironment {}", environment.name));
            lines(&environment.fields);
            let restarts = environment.services.iter().filter(|service| service.restart.restarts);
            let (services, pods) = restarts
                .fold((0, 0), |(services, pods), service| (services + 1, pods + service.restart.pods));
            anstream::println!(
                "  restarts {services} of {}, {}",
                count(environment.services.len() as i32, "service"),
                count(pods, "pod")
            );
            if let Some(wave) = &environment.wave {
                anstream::println!(
                    "  releases {} in {} of at most {} each; halts after {}",
                    count(wave.services as i32, "service"),
                    count(wave.waves as i32, "wave"),
                    wave.max_concurrent,
                    count(wave.halts_after_failures, "failure")
                );
            }
            for service in &environment.services {
                tell_service(service);
            }
        }
        for service in &self.services {
            tell_service(service);
        }
    }
}

fn tell_service(service: &Foresight) {
    heading(&format!("VisiobookService {}/{} ({})", service.namespace, service.name, service.environment));
    let red = AnsiColor::Red.on_default();
    for refusal in &service.refusals {
        anstream::println!("  {red}refused{red:#}: {refusal}");
    }
    if service.is_empty() {
        anstream::println!("  no change");
    }
    lines(&service.fields);
    for child in &service.children {
        tell_child(child);
    }
    let (answer, colour) =
        if service.restart.restarts { ("yes", AnsiColor::Yellow) } else { ("no", AnsiColor::Green) };
    let colour = colour.on_default();
    let pods = if service.restart.restarts {
        format!(", {}", count(service.restart.pods, "pod"))
    } else {
        String::new()
    };
    anstream::println!(
        "  restarts pods: {colour}{answer}{colour:#}{pods}, because {}",
        service.restart.because
    );
}

fn tell_child(child: &Foreseen) {
    let (mark, colour) = match child.fate {
        Fate::Create => ("+", AnsiColor::Green),
        Fate::Change => ("~", AnsiColor::Yellow),
        Fate::Adopt => ("~ adopts", AnsiColor::Yellow),
        Fate::Delete => ("-", AnsiColor::Red),
        Fate::Taken => ("! taken:", AnsiColor::Red),
    };
    let colour = colour.on_default();
    anstream::println!("  {colour}{mark} {} {}{colour:#}", child.kind, child.name);
    for field in &child.fields {
        anstream::println!("      {field}");
    }
}

fn count(number: i32, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn heading(text: &str) {
    let bold = Style::new().bold();
    anstream::println!("{bold}{text}{bold:#}");
}

fn lines(fields: &[String]) {
    for field in fields {
        anstream::println!("  {field}");
    }
}
