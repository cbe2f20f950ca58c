//! How a service is released: what it says, else what its environment says (C10, C14, C17, C18).

use std::collections::BTreeSet;

use super::resolve::EnvironmentRules;
use super::valid::{Checked, Held, Measured, Release};
use super::{Monitoring, monitoring};
use crate::api::{EnvironmentType, Strategy, VisiobookServiceSpec};
use crate::facts::EnvironmentFact;

/// Seconds until a release is given up, in production and elsewhere.
pub(super) const DEADLINES: [i64; 2] = [900, 600];
/// Seconds after the switch in which traffic returns by itself.
const SOAK: i64 = 30;
/// Seconds after the soak for which the old pods stay.
const WARM: i64 = 600;
/// Seconds until a check has failed (C11, C15).
const CHECK: i64 = 300;
/// Per cent of errors that a release may make, where less calls nobody (I04, X39).
const ERRORS: f64 = 1.0;

/// Seconds until pods that an environment has replaced count as failed (C10, C14).
pub fn patience(environment: &EnvironmentFact) -> i64 {
    let said = match environment {
        EnvironmentFact::Governed { spec, .. } => {
            Some((spec.type_, spec.rollout.as_ref().and_then(|rollout| rollout.deadline_seconds)))
        }
        _ => None,
    };
    let (type_, said) = said.unwrap_or_default();
    said.unwrap_or(deadline(type_))
}

/// Seconds that a release has where nobody says otherwise (C10, C14).
fn deadline(type_: EnvironmentType) -> i64 {
    DEADLINES[usize::from(type_ != EnvironmentType::Production)]
}

/// How releases go; `None` where pods are replaced one by one.
pub fn release(spec: &VisiobookServiceSpec, environment: &EnvironmentRules) -> Option<Release> {
    let said = spec.rollout.clone().unwrap_or_default();
    let rules = environment.said.rollout.clone().unwrap_or_default();
    if said.strategy.or(rules.strategy).unwrap_or_default() != Strategy::BlueGreen {
        return None;
    }
    let attest: BTreeSet<String> = rules.attest.into_iter().chain(said.attest).collect();
    Some(Release {
        approval: said.approval.or(rules.approval).unwrap_or(false),
        attest: attest.into_iter().collect(),
        deadline: said.deadline_seconds.or(rules.deadline_seconds).unwrap_or(deadline(environment.type_)),
        soak: said.soak_seconds.or(rules.soak_seconds).unwrap_or(SOAK),
        warm: said.warm_seconds.or(rules.warm_seconds).unwrap_or(WARM),
        checks: checks(spec, environment).map(Box::new),
    })
}

fn checks(spec: &VisiobookServiceSpec, environment: &EnvironmentRules) -> Option<Checked> {
    let said = spec.rollout.as_ref().and_then(|rollout| rollout.checks.clone()).unwrap_or_default();
    let rules =
        environment.said.rollout.as_ref().and_then(|rollout| rollout.checks.clone()).unwrap_or_default();
    let watched = monitoring::resolve(spec.monitoring.as_deref(), environment.said.monitoring.as_ref());
    let is_held = said.objectives.or(rules.objectives).unwrap_or(false) && !spec.is_worker();
    let measured = rules.prometheus.filter(|_| is_held || !said.metrics.is_empty()).map(|prometheus| {
        let objectives = watched.as_ref().filter(|_| is_held).map(held);
        let interval = watched.as_ref().and_then(|watched| monitoring::seconds(&watched.interval));
        Measured { prometheus, objectives, metrics: said.metrics, interval: interval.map_or(0, i64::from) }
    });
    let checked = Checked {
        conformance: said.conformance.or(rules.conformance).unwrap_or(false),
        job: said.job,
        measured,
        deadline: said.deadline_seconds.unwrap_or(CHECK),
    };
    (checked.before_switch() || checked.measured.is_some()).then_some(checked)
}

fn held(watched: &Monitoring) -> Held {
    let budget = 100.0 - watched.availability_percent;
    Held {
        error_percent: ERRORS.min(watched.max_error_percent).max(budget),
        latency_milliseconds: watched.latency_milliseconds,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api;

    #[test]
    fn the_gate_lies_between_what_is_promised_and_what_calls_somebody() {
        for (objectives, percent) in [
            (json!({}), 1.0),
            (json!({ "maxErrorPercent": 0.5 }), 0.5),
            (json!({ "availabilityPercent": 95.0 }), 5.0),
            (json!({ "availabilityPercent": 95.0, "maxErrorPercent": 0.5 }), 5.0),
        ] {
            let said: api::Monitoring =
                serde_json::from_value(json!({ "objectives": objectives })).expect("monitoring");
            let watched = monitoring::resolve(Some(&said), None).expect("watched");
            assert_eq!(held(&watched).error_percent, percent, "{objectives}");
        }
    }
}
