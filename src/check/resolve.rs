//! Which rules an environment comes to, and which values a resource comes to under them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ResourceRequirements;
use serde_json::Value;

use super::{
    Account, Budget, Refusal, Scaling, Serving, Shape, Valid, exposure, isolation, monitoring, release,
    secret_sources, sidecar,
};
use crate::api::quantity::canonical;
use crate::api::{
    Autoscaling, DisruptionBudget, EnvironmentType, GateMode, Gpu, Migration, SidecarMode,
    VisiobookEnvironmentSpec, VisiobookServiceSpec,
};
use crate::facts::EnvironmentFact;

/// The rules of an environment with its type's own filled in (B01-B03, X07, X50).
#[derive(Clone, Debug, PartialEq)]
pub struct EnvironmentRules {
    /// What people call it.
    pub name: String,
    /// Its object's words, empty for the built-in rules.
    pub said: VisiobookEnvironmentSpec,
    /// Rule book.
    pub type_: EnvironmentType,
    /// Default size (A05, A32).
    pub replicas: i32,
    /// Default of autoscaling (X17).
    pub autoscaling: bool,
    /// Fewest pods of a service (A45).
    pub min_replicas: i32,
}

/// The rules that govern a namespace, or the refusal where its label names nothing.
pub fn rules_of(environment: &EnvironmentFact) -> Result<EnvironmentRules, Refusal> {
    let (name, said) = match environment {
        EnvironmentFact::Unlabelled => {
            ("development (built in)".to_string(), VisiobookEnvironmentSpec::default())
        }
        EnvironmentFact::Governed { name, spec } => (name.clone(), (**spec).clone()),
        EnvironmentFact::Missing { name } => {
            return Err(Refusal {
                rule: "environment-exists",
                field: "metadata.namespace".into(),
                message: format!(
                    "the namespace's label platform.visiobook.com/environment names \"{name}\", which does not exist: create that VisiobookEnvironment or correct the label"
                ),
            });
        }
    };
    let development = said.type_ == EnvironmentType::Development;
    let defaults = said.defaults.as_ref();
    let min_replicas = said.limits.as_ref().and_then(|limits| limits.min_replicas).unwrap_or(0);
    Ok(EnvironmentRules {
        name,
        type_: said.type_,
        replicas: defaults
            .and_then(|d| d.replicas)
            .unwrap_or(if development { 1 } else { 3 })
            .max(min_replicas),
        autoscaling: defaults.and_then(|d| d.autoscaling.as_ref()).map_or(!development, |a| a.enabled),
        min_replicas,
        said,
    })
}

/// Requests and limits that a type gives where nobody says more (A06, A32).
pub fn built_in_resources(type_: EnvironmentType) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let of = |cpu: &str, memory: &str| {
        BTreeMap::from([("cpu".to_string(), cpu.to_string()), ("memory".to_string(), memory.to_string())])
    };
    match type_ {
        EnvironmentType::Development => (of("50m", "64Mi"), of("200m", "256Mi")),
        EnvironmentType::Staging | EnvironmentType::Production => (of("100m", "128Mi"), of("500m", "512Mi")),
    }
}

/// What resource and environment say of requests and limits, the resource first; canonical.
pub fn said_resources(
    spec: &VisiobookServiceSpec,
    environment: &EnvironmentRules,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    let of_environment = environment.said.defaults.as_ref().and_then(|defaults| defaults.resources.as_ref());
    for resources in [of_environment, spec.resources.as_ref()].into_iter().flatten() {
        let ResourceRequirements { requests: more_requests, limits: more_limits, claims: _ } = resources;
        for (into, more) in [(&mut requests, more_requests), (&mut limits, more_limits)] {
            into.extend(more.iter().flatten().map(|(key, value)| (key.clone(), canonical(&value.0))));
        }
    }
    (requests, limits)
}

/// The values of a resource that breaks no rule.
pub fn resolve(name: &str, spec: &VisiobookServiceSpec, environment: &EnvironmentRules) -> Valid {
    Valid {
        shape: shape(name, spec, environment),
        serving: serving(name, spec, environment),
        own: own(name, spec),
    }
}

/// Digest of what the resource itself says of its pods, whatever its environment says.
pub fn own(name: &str, spec: &VisiobookServiceSpec) -> String {
    shape(name, spec, &silent()).revision()
}

/// An environment that says nothing: what is left is the resource's own.
fn silent() -> EnvironmentRules {
    EnvironmentRules {
        name: String::new(),
        said: VisiobookEnvironmentSpec::default(),
        type_: EnvironmentType::default(),
        replicas: 1,
        autoscaling: false,
        min_replicas: 0,
    }
}

fn shape(name: &str, spec: &VisiobookServiceSpec, environment: &EnvironmentRules) -> Shape {
    let (requests, limits) = said_resources(spec, environment);
    let defaults = environment.said.defaults.as_ref();
    let sidecar = sidecar::merge(spec, environment.said.sidecar.as_ref());
    let proxies = spec.sidecar_mode() == SidecarMode::Proxy;
    let account = spec.service_account.as_ref();
    let mut image_pull_secrets: Vec<String> = spec
        .image_pull_secrets
        .iter()
        .chain(defaults.into_iter().flat_map(|d| &d.image_pull_secrets))
        .map(|secret| secret.name.clone())
        .collect();
    image_pull_secrets.sort();
    image_pull_secrets.dedup();
    let gpu = spec.gpu.clone().map(|gpu| Gpu { count: gpu.count, resource_name: gpu.resource_name });
    Shape {
        environment: environment.type_,
        stack: spec.stack,
        profile: spec.profile,
        image: spec.image.clone().unwrap_or_default(),
        domain_service: spec.domain_service,
        image_pull_policy: spec.image_pull_policy,
        image_pull_secrets,
        copied_pull_secrets: defaults.map(|d| sorted(&d.copied_pull_secrets)).unwrap_or_default(),
        command: spec.command.clone(),
        args: spec.args.clone(),
        port: spec.port,
        worker: spec.is_worker(),
        requests,
        limits,
        gpu_node_selector: match (&gpu, defaults) {
            (Some(_), Some(defaults)) => defaults.gpu_node_selector.clone(),
            _ => BTreeMap::new(),
        },
        gpu_tolerations: match (&gpu, defaults) {
            (Some(_), Some(defaults)) => defaults.gpu_tolerations.iter().map(passed_through).collect(),
            _ => Vec::new(),
        },
        gpu,
        log_level: defaults.and_then(|d| d.log_level),
        env: spec.env.clone(),
        config: spec.config.clone(),
        config_files: spec.config_files.clone(),
        secrets: spec
            .secrets
            .iter()
            .map(|(variable, source)| (variable.clone(), secret_sources::key_of(name, variable, source)))
            .collect(),
        config_map_key_refs: spec.config_map_key_refs.clone(),
        depends_on: spec.depends_on.clone(),
        gated: spec.said_gated(),
        trusted_proxies: environment
            .said
            .sidecar
            .as_ref()
            .filter(|_| proxies)
            .map(|said| said.trusted_proxies.clone())
            .unwrap_or_default(),
        preview_hosts: match sidecar.hosts[..] {
            [] => Vec::new(),
            _ => exposure::preview_hosts(name, spec, environment),
        },
        sidecar: (sidecar != Default::default()).then(|| Box::new(sidecar)),
        probes: passed_through(&spec.probes),
        service_account: account.and_then(|account| account.name.clone()),
        automount_token: account.and_then(|account| account.automount_token).unwrap_or(false),
        pod: passed_through(&spec.pod),
        // Its command comes with the domain service, when it is rendered.
        migration: spec.migration.clone().or(spec.domain_service.map(|_| Migration::default())),
        rendering: None,
    }
}

fn sorted(names: &[String]) -> Vec<String> {
    names.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

fn serving(name: &str, spec: &VisiobookServiceSpec, environment: &EnvironmentRules) -> Serving {
    let service = spec.service.clone().unwrap_or_default();
    let rollout = spec.rollout.clone().unwrap_or_default();
    let account = spec.service_account.clone().unwrap_or_default();
    Serving {
        environment: environment.name.clone(),
        replicas: environment.replicas,
        service_type: service.type_.unwrap_or_default(),
        service_port: service.port.unwrap_or(80),
        service_annotations: service.annotations,
        scaling: scaling(&spec.autoscaling.clone().unwrap_or_default(), environment),
        budget: budget(&spec.disruption_budget.clone().unwrap_or_default()),
        account: account
            .create
            .unwrap_or(true)
            .then_some(Account { name: account.name, annotations: account.annotations }),
        external: secret_sources::external(spec, environment),
        sealed: secret_sources::sealed(environment),
        exposure: exposure::exposure(name, spec, environment),
        isolation: isolation::isolation(spec, environment),
        monitoring: monitoring::resolve(spec.monitoring.as_deref(), environment.said.monitoring.as_ref())
            .map(Box::new),
        release: release::release(spec, environment),
        continuous_gate: spec.gate.as_ref().and_then(|gate| gate.mode) == Some(GateMode::Continuous),
        max_surge: passed_through(&rollout.max_surge),
        max_unavailable: passed_through(&rollout.max_unavailable),
    }
}

/// Scaling as the resource and its environment say (A09, X08, X17).
pub fn scaling(said: &Autoscaling, environment: &EnvironmentRules) -> Option<Scaling> {
    said.enabled.unwrap_or(environment.autoscaling).then(|| Scaling {
        min: said.min_replicas.unwrap_or(environment.min_replicas.max(2)),
        max: said.max_replicas.unwrap_or(10),
        cpu: said.target_cpu_utilization_percentage.unwrap_or(70),
        memory: said.target_memory_utilization_percentage.unwrap_or(80),
        behavior: passed_through(&said.behavior),
    })
}

fn budget(said: &DisruptionBudget) -> Option<Budget> {
    said.enabled.unwrap_or(true).then(|| match (&said.min_available, &said.max_unavailable) {
        (Some(min), _) => Budget::MinAvailable(passed_through(min)),
        (None, Some(max)) => Budget::MaxUnavailable(passed_through(max)),
        (None, None) => Budget::MaxUnavailable(Value::from(1)),
    })
}

/// A part of the resource in the words of Kubernetes, without what the API server would drop: nulls and empty
/// lists, maps and texts; with quantities as it would write them. Otherwise what is stored would never equal what
/// was planned.
fn passed_through(part: &impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(part).unwrap_or_default();
    prune(&mut value);
    value
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, member) in map.iter_mut() {
                match (key.as_str(), &mut *member) {
                    ("sizeLimit" | "tolerance", Value::String(text)) => *text = canonical(text),
                    // Texts of which an empty one is a value like any other.
                    ("labels" | "annotations" | "nodeSelector" | "matchLabels" | "httpHeaders", _) => {}
                    _ => prune(member),
                }
            }
            map.retain(|key, member| match member {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(members) if ["matchLabels", "scaleUp", "scaleDown"].contains(&key.as_str()) => {
                    !members.is_empty()
                }
                Value::String(text) => !text.is_empty(),
                // The two members of ours that Kubernetes stores only where they differ from zero.
                Value::Bool(false) => key != "readOnly",
                Value::Number(number) => number.as_i64() != Some(0) || key != "initialDelaySeconds",
                _ => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}
