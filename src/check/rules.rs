//! The rules, one function each, in the order in which their refusals are told.

mod origin;
mod pod;
mod resources;
mod variables;

pub(super) use variables::wrong_length;

use super::Refusal;
use super::resolve::EnvironmentRules;
use crate::api::VisiobookServiceSpec;

/// One rule: it looks at a resource under an environment and tells every way in which it is broken.
type Rule = fn(&Subject<'_>, &mut Broken);

struct Subject<'a> {
    name: &'a str,
    spec: &'a VisiobookServiceSpec,
    environment: &'a EnvironmentRules,
}

#[derive(Default)]
struct Broken(Vec<Refusal>);

impl Broken {
    fn tell(&mut self, rule: &'static str, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Refusal { rule, field: field.into(), message: message.into() });
    }
}

const RULES: [Rule; 17] = [
    origin::name,
    origin::image_or_domain_service,
    origin::image_reference,
    origin::image_origin,
    origin::ports,
    variables::variable_names,
    variables::variables_once,
    variables::variables_reserved,
    variables::config_size,
    variables::literal_values,
    resources::quantities,
    resources::ceilings,
    resources::gpu,
    resources::replicas,
    resources::pace,
    pod::probes,
    pod::pod,
];

/// Every refusal, in order.
pub(super) fn broken(
    name: &str,
    spec: &VisiobookServiceSpec,
    environment: &EnvironmentRules,
) -> Vec<Refusal> {
    let subject = Subject { name, spec, environment };
    let mut broken = Broken::default();
    for rule in RULES {
        rule(&subject, &mut broken);
    }
    broken.0
}
