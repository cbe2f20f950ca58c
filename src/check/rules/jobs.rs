//! What is run for a release: a migration, and checks.

use super::{Broken, Subject, variables};
use crate::check::{image, monitoring};

/// Variables that the operator gives to a check.
const GIVEN: &str = "VISIOBOOK_CHECK_";

pub(super) fn migration(it: &Subject<'_>, broken: &mut Broken) {
    let Some(migration) = &it.spec.migration else { return };
    if migration.command.is_empty() && migration.args.is_empty() {
        let message = "say what migrates: set command, or args for the image's own entry point";
        broken.tell("migration-command", "spec.migration", message);
    }
}

/// What is asked of Prometheus: it has to be somewhere, and to know the pods.
pub(super) fn measured(it: &Subject<'_>, broken: &mut Broken) {
    let checks = it.spec.rollout.as_ref().and_then(|rollout| rollout.checks.as_ref());
    let rules = it.environment.said.rollout.as_ref().and_then(|rollout| rollout.checks.as_ref());
    let asked = checks.and_then(|checks| checks.objectives);
    const OBJECTIVES: &str = "spec.rollout.checks.objectives";
    let metrics = checks.into_iter().flat_map(|checks| &checks.metrics);
    let queries = metrics.clone().map(|(name, _)| format!("spec.rollout.checks.metrics.{name}"));
    if rules.is_none_or(|rules| rules.prometheus.is_none()) {
        for field in (asked == Some(true)).then(|| OBJECTIVES.to_string()).into_iter().chain(queries) {
            let message = format!(
                "VisiobookEnvironment {} names no Prometheus to ask: set spec.rollout.checks.prometheus there, or take this out",
                it.environment.name
            );
            broken.tell("checks-prometheus", field, message);
        }
    }
    for (name, limit) in metrics {
        let field = format!("spec.rollout.checks.metrics.{name}");
        if limit.max.is_none() && limit.min.is_none() {
            broken.tell(
                "metric-limit",
                &field,
                "a query without a limit checks nothing: set max, min or both",
            );
        }
        if name.is_empty() || name.contains('=') {
            broken.tell("metric-name", field, "name it, without \"=\"");
        }
    }
    if asked == Some(true) && it.spec.is_worker() {
        let message = "a worker answers no requests: take this out, and say in spec.rollout.checks.metrics what it has to keep";
        broken.tell("checks-objectives", OBJECTIVES, message);
    }
    let is_held = asked.or(rules.and_then(|rules| rules.objectives)) == Some(true) && !it.spec.is_worker();
    let watched = monitoring::resolve(it.spec.monitoring.as_deref(), it.environment.said.monitoring.as_ref());
    if is_held && watched.is_none() {
        let message = "nothing is known of its requests where nobody watches them: take this out, or spec.rollout.checks.objectives";
        broken.tell("checks-objectives", "spec.monitoring.enabled", message);
    }
}

pub(super) fn check(it: &Subject<'_>, broken: &mut Broken) {
    let checks = it.spec.rollout.as_ref().and_then(|rollout| rollout.checks.as_ref());
    let Some(job) = checks.and_then(|checks| checks.job.as_ref()) else { return };
    const JOB: &str = "spec.rollout.checks.job";
    if let Some(image) = job.image.as_ref().filter(|image| image::parse(image).is_none()) {
        let message =
            format!("\"{image}\" is not an image: write registry/path:tag or registry/path@sha256:digest");
        broken.tell("image-reference", format!("{JOB}.image"), message);
    }
    let plain = job.env.keys().map(|variable| ("env", variable));
    let secret = job.secrets.keys().map(|variable| ("secrets", variable));
    for (part, variable) in plain.chain(secret) {
        let field = format!("{JOB}.{part}.{variable}");
        if !variables::is_name(variable) {
            let message = "a variable is letters, digits and underscores, and starts with no digit";
            broken.tell("variable-name", &field, message);
        }
        if variable.starts_with(GIVEN) {
            let message = format!("variables that begin with {GIVEN} tell a check what to check: rename it");
            broken.tell("variable-reserved", &field, message);
        }
        if part == "secrets" && job.env.contains_key(variable) {
            let message = format!("{JOB}.env defines {variable} too: keep one of them");
            broken.tell("variable-once", field, message);
        }
    }
}
