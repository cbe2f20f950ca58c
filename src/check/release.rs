//! How a service is released: what it says, else what its environment says (C10, C14, C17, C18).

use super::resolve::EnvironmentRules;
use super::{Checked, Release};
use crate::api::{Checks, EnvironmentChecks, EnvironmentType, Strategy, VisiobookServiceSpec};

/// Seconds until a release is given up, in production and elsewhere.
pub(super) const DEADLINES: [i64; 2] = [900, 600];
/// Seconds after the switch in which traffic returns by itself.
const SOAK: i64 = 30;
/// Seconds after the soak for which the old pods stay.
const WARM: i64 = 600;
/// Seconds until a check has failed (C11, C15).
const CHECK: i64 = 300;

/// How releases go; `None` where pods are replaced one by one.
pub fn release(spec: &VisiobookServiceSpec, environment: &EnvironmentRules) -> Option<Release> {
    let said = spec.rollout.clone().unwrap_or_default();
    let rules = environment.said.rollout.clone().unwrap_or_default();
    if said.strategy.or(rules.strategy).unwrap_or_default() != Strategy::BlueGreen {
        return None;
    }
    let built_in = DEADLINES[usize::from(environment.type_ != EnvironmentType::Production)];
    Some(Release {
        approval: said.approval.or(rules.approval).unwrap_or(false),
        deadline: said.deadline_seconds.or(rules.deadline_seconds).unwrap_or(built_in),
        soak: said.soak_seconds.or(rules.soak_seconds).unwrap_or(SOAK),
        warm: said.warm_seconds.or(rules.warm_seconds).unwrap_or(WARM),
        checks: checks(said.checks.unwrap_or_default(), rules.checks.unwrap_or_default()),
    })
}

fn checks(said: Checks, rules: EnvironmentChecks) -> Option<Box<Checked>> {
    let conformance = said.conformance.or(rules.conformance).unwrap_or(false);
    let deadline = said.deadline_seconds.unwrap_or(CHECK);
    (conformance || said.job.is_some()).then(|| Box::new(Checked { conformance, job: said.job, deadline }))
}
