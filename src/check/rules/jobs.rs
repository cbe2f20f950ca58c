//! What is run for a release: a migration, and checks.

use super::{Broken, Subject, variables};
use crate::check::image;

/// Variables that the operator gives to a check.
const GIVEN: &str = "VISIOBOOK_CHECK_";

pub(super) fn migration(it: &Subject<'_>, broken: &mut Broken) {
    let Some(migration) = &it.spec.migration else { return };
    if migration.command.is_empty() && migration.args.is_empty() {
        let message = "say what migrates: set command, or args for the image's own entry point";
        broken.tell("migration-command", "spec.migration", message);
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
