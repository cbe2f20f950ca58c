//! Whether the secrets that a revision needs are there.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::wrong_length;
use super::{Refusal, Shape, Valid};
use crate::api::{EnvironmentType, KeyRef, Sidecar};
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

/// What holds a resource back; empty if nothing does.
pub fn hold(valid: &Valid, facts: &Facts) -> Vec<Refusal> {
    let (shape, secrets) = (&valid.shape, &facts.secrets);
    let mut held = Vec::new();
    let fetched = |name: &str, variable: &str| {
        let external = valid.serving.external.as_ref()?;
        let remote = external.keys.get(variable).filter(|_| shape.secrets[variable].name == name)?;
        Some(format!(
            "waits for ExternalSecret \"{name}\" to fetch \"{}\" from {}: kubectl describe externalsecret {name} says why it has not",
            remote.key, external.store.name
        ))
    };
    let variables = shape
        .secrets
        .iter()
        .map(|(variable, reference)| (variable.as_str(), format!("spec.secrets.{variable}"), reference));
    // Whatever it is called there, it is what JWT_SECRET is.
    let mounted = mounted(shape.sidecar.as_deref())
        .map(|reference| ("JWT_SECRET", "spec.sidecar.auth.secret".to_string(), reference));
    let trusted = trusted(shape.sidecar.as_deref())
        .map(|reference| ("", "spec.sidecar.trustedCertificates.secret".to_string(), reference));
    for (variable, field, reference) in variables.chain(mounted).chain(trusted) {
        let told = match secrets.get(&(reference.name.clone(), reference.key.clone())) {
            None | Some(SecretFact::SecretMissing) => Some((
                "secret-exists",
                fetched(&reference.name, variable).unwrap_or_else(|| {
                    format!(
                        "waits for Secret \"{}\": create it, with key \"{}\"",
                        reference.name, reference.key
                    )
                }),
            )),
            Some(SecretFact::KeyMissing) => Some((
                "secret-key-exists",
                fetched(&reference.name, variable).unwrap_or_else(|| {
                    format!(
                        "waits for key \"{}\" of Secret \"{}\": add it, or correct the key",
                        reference.key, reference.name
                    )
                }),
            )),
            Some(SecretFact::Present { .. })
                if valid.serving.sealed && !facts.sealed_secrets.contains(&reference.name) =>
            {
                Some((
                    "secret-sealed",
                    format!(
                        "Secret \"{0}\" is made by no SealedSecret, which the environment asks for: seal it under the same name and delete it, so that the SealedSecret makes it anew",
                        reference.name
                    ),
                ))
            }
            Some(SecretFact::Present { length, .. }) if shape.environment == EnvironmentType::Production => {
                wrong_length(variable, *length).map(|wrong| {
                    (
                        "secret-length",
                        format!("key \"{}\" of Secret \"{}\" {wrong}", reference.key, reference.name),
                    )
                })
            }
            Some(SecretFact::Present { .. }) => None,
        };
        if let Some((rule, message)) = told {
            held.push(Refusal { rule, field, message });
        }
    }
    held.extend(hold_pulls(shape, &facts.pull_secrets));
    held
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
