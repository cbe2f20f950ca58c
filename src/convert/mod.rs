//! Which VisiobookService do a team's values for the guidelines' Helm chart come to? Pure: values in, the resource out,
//! with everything that was left out or changed, and why. Reads both shapes of the chart: the one whose fields stand
//! under `deployment`, and the older one with `healthCheck` and `app`.

mod exposure;
mod pod;
mod values;
mod variables;

use serde::Serialize;
use serde_json::Value;

use crate::api::{
    Autoscaling, EnvironmentType, Gpu, Profile, Rollout, ServicePort, ServiceType, Stack, VisiobookService,
    VisiobookServiceSpec, WorkloadAccount,
};
use crate::manifest::Document;
use values::Values;

/// What the values do not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Image, in place of that of the values.
    pub image: Option<String>,
    /// Name, in place of that of the values.
    pub name: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Technology, where no variable tells.
    pub stack: Option<Stack>,
}

/// What values come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Converted {
    /// The resource.
    pub service: VisiobookService,
    /// What is not as the values say, in the order of the file.
    pub notes: Vec<Note>,
    /// The environment that the values were written for, as far as they tell.
    pub environment: Option<EnvironmentType>,
}

/// Something that is not as the values say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Line of the values.
    pub line: u64,
    /// Field of the values.
    pub field: String,
    /// What became of it.
    pub fate: Fate,
    /// Why, for people.
    pub message: String,
}

/// What became of a field of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// The operator does the same without being told.
    Given,
    /// It is said in another way, or was assumed.
    Changed,
    /// The resource has no place for it.
    NoHome,
}

impl Fate {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Fate::Given => "given",
            Fate::Changed => "changed",
            Fate::NoHome => "no home",
        }
    }
}

/// Why values cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// They are another chart's.
    #[error(
        "these are no values of the guidelines' chart: none of its fields ({0}) is there. Write the resource by hand, or give the values under which the chart was installed (helm get values RELEASE --output yaml)"
    )]
    Foreign(String),
    /// They name no image.
    #[error("the values name no image: add --image REPOSITORY:TAG")]
    NoImage,
    /// They name no service.
    #[error("the values name no service: add --name NAME")]
    NoName,
    /// A part of them cannot be read.
    #[error("line {line}: {field}: {why}")]
    Unreadable {
        /// Where.
        line: u64,
        /// The field.
        field: String,
        /// Why.
        why: String,
    },
}

/// Convert the values of one service.
pub fn convert(document: &Document, told: &Told) -> Result<Converted, Error> {
    let mut values = Values::read(document)?;
    let name = name(&mut values, told)?;
    let image = image(&mut values, told)?;
    let environment = variables::environment(&values);
    let stack = told.stack.or_else(|| variables::stack(&values));
    let (resources, gpu) = pod::resources(&mut values)?;
    let mut spec = VisiobookServiceSpec {
        stack,
        profile: gpu.is_some().then_some(Profile::Ai),
        image: Some(image),
        image_pull_policy: values.parse("image.pullPolicy")?,
        image_pull_secrets: values.parse("imagePullSecrets")?.unwrap_or_default(),
        resources,
        gpu,
        ..VisiobookServiceSpec::default()
    };
    // What Kubernetes does anyway is not said.
    spec.image_pull_policy = spec.image_pull_policy.filter(|policy| *policy != Default::default());
    scale(&mut values, &mut spec, environment)?;
    serve(&mut values, &mut spec)?;
    exposure::ingress(&mut values, &mut spec)?;
    exposure::monitoring(&mut values, &mut spec)?;
    variables::convert(&mut values, &mut spec, &name, environment)?;
    pod::probes(&mut values, &mut spec)?;
    pod::scheduling(&mut values, &mut spec)?;
    values.left_over();
    let mut service = VisiobookService::new(&name, spec);
    service.metadata.namespace = told.namespace.clone();
    Ok(Converted { service, notes: values.notes(), environment })
}

fn name(values: &mut Values<'_>, told: &Told) -> Result<String, Error> {
    let mut said = Vec::new();
    for field in ["fullnameOverride", "nameOverride"] {
        said.extend(values.text(field)?.filter(|name| !name.is_empty()));
    }
    let repository = values.peek("image.repository").and_then(Value::as_str).unwrap_or_default();
    let last = repository.rsplit('/').next().unwrap_or_default().to_string();
    let named = told.name.clone().or_else(|| said.into_iter().next());
    named.or(Some(last).filter(|last| !last.is_empty())).ok_or(Error::NoName)
}

fn image(values: &mut Values<'_>, told: &Told) -> Result<String, Error> {
    let number = values.peek("image.tag").is_some_and(Value::is_number);
    let (repository, tag) = (values.text("image.repository")?, values.text("image.tag")?);
    if let Some(image) = &told.image {
        return Ok(image.clone());
    }
    let repository = repository.filter(|repository| !repository.is_empty()).ok_or(Error::NoImage)?;
    if number {
        let message = "a number loses its last zero: check the tag, and write it in quotes";
        values.note("image.tag", Fate::Changed, message);
    }
    let tag = tag.filter(|tag| !tag.is_empty()).unwrap_or_else(|| {
        values.note(
            "image",
            Fate::Changed,
            "no tag is named: the chart's own, latest, is taken. Name a version",
        );
        "latest".to_string()
    });
    let mark = if tag.starts_with("sha256:") { '@' } else { ':' };
    Ok(format!("{repository}{mark}{tag}"))
}

/// How many pods, by whom, and how they are replaced (A05, A09, A25, X17).
fn scale(
    values: &mut Values<'_>,
    spec: &mut VisiobookServiceSpec,
    environment: Option<EnvironmentType>,
) -> Result<(), Error> {
    let older = values.is_older();
    let replicas_field = if older { "replicaCount" } else { "deployment.replicaCount" };
    let replicas: Option<i32> = values.parse(replicas_field)?;
    let said: Option<bool> = values.parse("autoscaling.enabled")?;
    let differs = |value: Option<i32>, default: i32| value.filter(|value| *value != default);
    let scaling = Autoscaling {
        enabled: said,
        min_replicas: differs(values.parse("autoscaling.minReplicas")?, 2),
        max_replicas: differs(values.parse("autoscaling.maxReplicas")?, 10),
        target_cpu_utilization_percentage: differs(
            values.parse("autoscaling.targetCPUUtilizationPercentage")?,
            70,
        ),
        target_memory_utilization_percentage: differs(
            values.parse("autoscaling.targetMemoryUtilizationPercentage")?,
            80,
        ),
        behavior: values.parse("autoscaling.behavior")?,
    };
    if scaling != Autoscaling::default() {
        spec.autoscaling = Some(Box::new(scaling));
    }
    // The chart scales unless it is told not to; here development does not.
    let scales = said.unwrap_or(environment != Some(EnvironmentType::Development));
    if !scales {
        spec.replicas = replicas;
    } else if replicas.is_some() {
        let message = "the autoscaler decides, as it did under the chart, which left this number out";
        values.note(replicas_field, Fate::Given, message);
    }
    let strategy: Option<String> = values.text("deployment.strategy.type")?;
    if strategy.as_deref().is_some_and(|strategy| strategy != "RollingUpdate") {
        values.note("deployment.strategy.type", Fate::NoHome, "pods are replaced step by step only");
    }
    let mut rollout = Rollout {
        strategy: None,
        max_surge: values.parse("deployment.strategy.rollingUpdate.maxSurge")?,
        max_unavailable: values.parse("deployment.strategy.rollingUpdate.maxUnavailable")?,
        ..Rollout::default()
    };
    let one = |said: &Option<_>| serde_json::to_value(said).is_ok_and(|said| said == 1);
    // One more and one less is the default.
    if one(&rollout.max_surge) {
        rollout.max_surge = None;
    }
    if one(&rollout.max_unavailable) {
        rollout.max_unavailable = None;
    }
    spec.rollout = (rollout != Rollout::default()).then(|| Box::new(rollout));
    Ok(())
}

/// Service and ServiceAccount (A04, A15).
fn serve(values: &mut Values<'_>, spec: &mut VisiobookServiceSpec) -> Result<(), Error> {
    let service = ServicePort {
        enabled: None,
        type_: values.parse("service.type")?.filter(|type_| *type_ != ServiceType::ClusterIP),
        port: values.parse("service.port")?.filter(|port| *port != 80),
        annotations: values.parse("service.annotations")?.unwrap_or_default(),
    };
    spec.service = (service != ServicePort::default()).then_some(service);
    let account = WorkloadAccount {
        create: values.parse("serviceAccount.create")?.filter(|create| !create),
        name: values.text("serviceAccount.name")?.filter(|name| !name.is_empty()),
        annotations: values.parse("serviceAccount.annotations")?.unwrap_or_default(),
        automount_token: values.parse("serviceAccount.automount")?.filter(|automount| *automount),
    };
    spec.service_account = (account != WorkloadAccount::default()).then_some(account);
    Ok(())
}

/// GPUs of a resource list: name and number.
fn gpus(name: &str, count: i32) -> Gpu {
    Gpu { count, resource_name: (name != "nvidia.com/gpu").then(|| name.to_string()) }
}
