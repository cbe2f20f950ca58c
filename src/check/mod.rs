//! May this run, and with which values? Pure: the resource and its environment in, values or every refusal out.

mod exposure;
mod freeze;
mod governance;
pub mod image;
mod isolation;
mod monitoring;
mod promotion;
mod release;
mod resolve;
mod revision;
mod rules;
mod secret_sources;
mod secrets;
mod sidecar;
mod valid;

pub use exposure::Exposure;
pub use freeze::{Frozen, frozen, unknown_zones};
pub use governance::policies;
pub use isolation::Isolation;
pub use monitoring::{Monitoring, RUNBOOKS};
pub use release::patience;
pub use resolve::{EnvironmentRules, built_in_resources, own, rules_of};
pub use revision::{digest, is_digest};
pub use secret_sources::{External, asked};
pub use secrets::{PULL_SECRET_KEY, digest as secrets_digest, hold, mounted, references, trusted};
pub use sidecar::built_in as sidecar_resources;
pub use valid::{Account, Budget, Checked, Held, Measured, Release, Scaling, Serving, Shape, Valid};

use crate::api::VisiobookService;
use crate::facts::EnvironmentFact;

/// Why a resource may not run as it is written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Refusal {
    /// Name of the rule, stable over releases.
    pub rule: &'static str,
    /// Field of the resource that breaks it.
    pub field: String,
    /// What is wrong, and the way out.
    pub message: String,
}

impl Refusal {
    /// Whether it is about what a pod may be made from, so that an environment that has come to say so outlaws what it
    /// had allowed before.
    pub fn outlaws(&self) -> bool {
        let families = ["image-", "gpu-", "promotion-"];
        families.iter().any(|family| self.rule.starts_with(family))
            || ["environment-exists", "resource-ceiling", "secret-kind"].contains(&self.rule)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} [{}]", self.field, self.message, self.rule)
    }
}

/// Hold the resource against every rule. All refusals are returned at once, in the order of the rules.
pub fn validate(service: &VisiobookService, environment: &EnvironmentFact) -> Result<Valid, Vec<Refusal>> {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let environment = match resolve::rules_of(environment) {
        Ok(environment) => environment,
        Err(refusal) => return Err(vec![refusal]),
    };
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let mut refusals = rules::broken(name, namespace, &service.spec, &environment);
    let governed = governance::broken(name, &service.spec, &environment);
    // What is said of each part by name is not said once more of the whole.
    let parts = |whole: &Refusal| {
        let is_part =
            |told: &Refusal| told.rule == whole.rule && told.field.starts_with(&format!("{}.", whole.field));
        refusals.iter().any(is_part)
    };
    let governed: Vec<Refusal> = governed.into_iter().filter(|refusal| !parts(refusal)).collect();
    refusals.extend(governed);
    refusals.extend(promotion::broken(service, &environment));
    if refusals.is_empty() { Ok(resolve::resolve(name, &service.spec, &environment)) } else { Err(refusals) }
}
