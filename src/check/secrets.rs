//! Whether the secrets that a revision needs are there.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::wrong_length;
use super::secret_sources::volumes;
use super::{Refusal, Shape, Valid};
use crate::api::{EnvironmentType, KeyRef, Pod, Sidecar};
use crate::facts::{Facts, SecretFact, SecretKey};

/// Key of registry credentials in a Secret of type kubernetes.io/dockerconfigjson.
pub const PULL_SECRET_KEY: &str = ".dockerconfigjson";

/// Every key of a Secret that the pods of a shape read at their start: a new value replaces them.
pub fn references(shape: &Shape) -> BTreeSet<SecretKey> {
    shape.secrets.values().map(|key| (key.name.clone(), key.key.clone())).collect()
}

/// The key of a Secret that is mounted for the sidecar alone, which reads it again: a new value replaces no pod.
pub fn mounted(sidecar: Option<&Sidecar>) -> Option<&KeyRef> {
    sidecar?.auth.as_ref()?.secret.as_ref()
}

/// The key of a Secret with the certificates that the sidecar trusts, mounted like a key.
pub fn trusted(sidecar: Option<&Sidecar>) -> Option<&KeyRef> {
    sidecar?.trusted_certificates.as_ref()?.secret.as_ref()
}

/// A key that something of a resource reads.
struct Needed<'a> {
    /// Where it says so.
    field: String,
    /// The variable whose rules it keeps to; empty for none.
    variable: &'a str,
    key: KeyRef,
    /// Whether pods start without it.
    optional: bool,
}

/// Everything that pods and Jobs of a resource read of Secrets.
fn needed(valid: &Valid) -> Vec<Needed<'_>> {
    let shape = &valid.shape;
    let needs =
        |field: String, variable, key: &KeyRef| Needed { field, variable, key: key.clone(), optional: false };
    let variables = shape
        .secrets
        .iter()
        .map(|(variable, key)| needs(format!("spec.secrets.{variable}"), variable.as_str(), key));
    // Whatever it is called there, it is what JWT_SECRET is.
    let mounted = mounted(shape.sidecar.as_deref())
        .map(|key| needs("spec.sidecar.auth.secret".to_string(), "JWT_SECRET", key));
    let trusted = trusted(shape.sidecar.as_deref())
        .map(|key| needs("spec.sidecar.trustedCertificates.secret".to_string(), "", key));
    let pod: Option<Pod> = serde_json::from_value(shape.pod.clone()).unwrap_or_default();
    let volumes = volumes(pod.as_ref()).into_iter().map(|mounted| Needed {
        field: format!("spec.pod.volumes[name={}]", mounted.volume),
        variable: "",
        key: mounted.key,
        optional: mounted.optional,
    });
    let checks = valid.serving.release.as_ref().and_then(|release| release.checks.as_ref());
    let job = checks.and_then(|checks| checks.job.as_ref()).into_iter().flat_map(|job| &job.secrets);
    let job =
        job.map(|(variable, key)| needs(format!("spec.rollout.checks.job.secrets.{variable}"), "", key));
    variables.chain(mounted).chain(trusted).chain(volumes).chain(job).collect()
}

/// What holds a resource back; empty if nothing does.
pub fn hold(valid: &Valid, facts: &Facts) -> Vec<Refusal> {
    let held = needed(valid).into_iter().filter_map(|needed| {
        let (rule, message) = lacks(&needed, valid, facts)?;
        Some(Refusal { rule, field: needed.field, message })
    });
    held.chain(hold_pulls(&valid.shape, &facts.pull_secrets)).collect()
}

/// What a key lacks, by the rule that asks for it; `None` if nothing.
fn lacks(needed: &Needed<'_>, valid: &Valid, facts: &Facts) -> Option<(&'static str, String)> {
    let KeyRef { name, key } = &needed.key;
    let fetched = || {
        let external = valid.serving.external.as_ref()?;
        let remote = external.keys.get(key).filter(|_| valid.shape.secrets[key].name == *name)?;
        Some(format!(
            "waits for ExternalSecret \"{name}\" to fetch \"{}\" from {}: kubectl describe externalsecret {name} says why it has not",
            remote.key, external.store.name
        ))
    };
    match facts.secrets.get(&(name.clone(), key.clone())) {
        None | Some(SecretFact::SecretMissing) if needed.optional => None,
        Some(SecretFact::KeyMissing) if needed.optional => unsealed(name, valid, facts),
        None | Some(SecretFact::SecretMissing) => {
            let with = if key.is_empty() { String::new() } else { format!(", with key \"{key}\"") };
            let told = || format!("waits for Secret \"{name}\": create it{with}");
            Some(("secret-exists", fetched().unwrap_or_else(told)))
        }
        // What is mounted whole has no key that could be missing.
        Some(SecretFact::KeyMissing) if !key.is_empty() => {
            let told = || format!("waits for key \"{key}\" of Secret \"{name}\": add it, or correct the key");
            Some(("secret-key-exists", fetched().unwrap_or_else(told)))
        }
        Some(SecretFact::KeyMissing) => unsealed(name, valid, facts),
        Some(SecretFact::Present { length, .. }) => unsealed(name, valid, facts).or_else(|| {
            let is_production = valid.shape.environment == EnvironmentType::Production;
            let wrong = wrong_length(needed.variable, *length).filter(|_| is_production)?;
            Some(("secret-length", format!("key \"{key}\" of Secret \"{name}\" {wrong}")))
        }),
    }
}

/// What is wrong with a Secret that is there, under an environment whose Secrets are sealed.
fn unsealed(name: &str, valid: &Valid, facts: &Facts) -> Option<(&'static str, String)> {
    let is_wrong = valid.serving.sealed && !facts.sealed_secrets.contains(name);
    is_wrong.then(|| {
        (
            "secret-sealed",
            format!(
                "Secret \"{name}\" is made by no SealedSecret, which the environment asks for: seal it under the same name and delete it, so that the SealedSecret makes it anew"
            ),
        )
    })
}

/// What holds a shape back of the registry credentials that its environment has copied; empty if nothing does.
fn hold_pulls(shape: &Shape, originals: &BTreeMap<String, SecretFact>) -> Vec<Refusal> {
    let missing = shape
        .copied_pull_secrets
        .iter()
        .filter(|name| !matches!(originals.get(*name), Some(SecretFact::Present { .. })));
    missing
        .map(|name| Refusal {
            rule: "pull-secret-exists",
            field: "spec.defaults.copiedPullSecrets".into(),
            message: format!(
                "of the environment waits for Secret \"{name}\" of the operator's namespace, with key \"{PULL_SECRET_KEY}\": create it there with `kubectl create secret docker-registry`"
            ),
        })
        .collect()
}

/// One digest over all the secrets a shape reads; `None` if it reads none, or one is missing.
pub fn digest(shape: &Shape, secrets: &BTreeMap<SecretKey, SecretFact>) -> Option<Vec<(SecretKey, String)>> {
    let references = references(shape);
    if references.is_empty() {
        return None;
    }
    references
        .into_iter()
        .map(|reference| match secrets.get(&reference) {
            Some(SecretFact::Present { digest, .. }) => Some((reference, digest.clone())),
            _ => None,
        })
        .collect()
}
