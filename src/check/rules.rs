//! The rules, one function each, in the order in which their refusals are told.

mod domain_service;
mod exposure;
mod jobs;
mod monitoring;
mod origin;
mod pod;
mod resources;
mod secret_sources;
mod sidecar;
mod trust;
mod variables;

pub(super) use variables::wrong_length;

use super::Refusal;
use super::resolve::EnvironmentRules;
use crate::api::{SidecarMode, VisiobookServiceSpec};

/// One rule: it looks at a resource under an environment and tells every way in which it is broken.
type Rule = fn(&Subject<'_>, &mut Broken);

struct Subject<'a> {
    name: &'a str,
    namespace: &'a str,
    spec: &'a VisiobookServiceSpec,
    environment: &'a EnvironmentRules,
}

impl Subject<'_> {
    fn says(&self, variable: &str) -> bool {
        variables::sources(self.spec).iter().any(|(_, variables)| variables.contains(variable))
    }

    fn mode(&self) -> SidecarMode {
        self.spec.sidecar_mode()
    }
}

#[derive(Default)]
struct Broken(Vec<Refusal>);

impl Broken {
    fn tell(&mut self, rule: &'static str, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Refusal { rule, field: field.into(), message: message.into() });
    }
}

const RULES: [Rule; 33] = [
    origin::name,
    origin::image_or_domain_service,
    origin::image_reference,
    origin::ports,
    variables::variable_names,
    variables::variables_once,
    variables::variables_reserved,
    variables::metrics_port,
    variables::config_size,
    variables::literal_values,
    resources::quantities,
    resources::requests,
    resources::autoscaling,
    resources::pace,
    pod::probes,
    pod::pod,
    sidecar::mode,
    sidecar::worker,
    sidecar::keys,
    sidecar::routes,
    sidecar::words,
    sidecar::resources,
    sidecar::dependencies,
    exposure::ingress,
    exposure::isolation,
    monitoring::monitoring,
    trust::callers,
    trust::certificates,
    trust::copied_pull_secrets,
    secret_sources::sources,
    jobs::migration,
    jobs::check,
    jobs::measured,
];

/// Every refusal, in order.
pub(super) fn broken(
    name: &str,
    namespace: &str,
    spec: &VisiobookServiceSpec,
    environment: &EnvironmentRules,
) -> Vec<Refusal> {
    let subject = Subject { name, namespace, spec, environment };
    let mut broken = Broken::default();
    for rule in RULES {
        rule(&subject, &mut broken);
    }
    broken.0
}
