//! Who may call by a service's token, whom the sidecar trusts, and what the environment has copied.

use super::{Broken, Subject};

/// Services that may call are named so that somebody can have that name.
pub(super) fn callers(it: &Subject<'_>, broken: &mut Broken) {
    let Some(callers) = it.spec.sidecar.as_ref().and_then(|sidecar| sidecar.service_tokens.as_ref()) else {
        return;
    };
    if callers.required && it.spec.sidecar.as_ref().is_some_and(|sidecar| sidecar.auth.is_some()) {
        let message = "has no effect beside auth, where nobody may call without a token: take it out";
        broken.tell("service-tokens-required", "spec.sidecar.serviceTokens.required", message);
    }
    for (index, caller) in callers.allow.iter().enumerate() {
        let mut parts = caller.split('/');
        let known = match (parts.next(), parts.next(), parts.next()) {
            (Some(name), None, None) => is_label(name),
            (Some(namespace), Some(name), None) => is_label(namespace) && is_label(name),
            _ => false,
        };
        if !known {
            let message = format!(
                "\"{caller}\" is no service: write its name, or namespace/name for one of another namespace"
            );
            broken.tell("service-name", format!("spec.sidecar.serviceTokens.allow[{index}]"), message);
        }
    }
}

/// Certificates come from one place.
pub(super) fn certificates(it: &Subject<'_>, broken: &mut Broken) {
    let trusted = it.spec.sidecar.as_ref().and_then(|sidecar| sidecar.trusted_certificates.as_ref());
    if trusted.is_some_and(|trusted| trusted.config_map.is_some() == trusted.secret.is_some()) {
        broken.tell(
            "trusted-certificates",
            "spec.sidecar.trustedCertificates",
            "set exactly one of configMap and secret",
        );
    }
}

/// The environment names Secrets.
pub(super) fn copied_pull_secrets(it: &Subject<'_>, broken: &mut Broken) {
    let of = format!("VisiobookEnvironment {}: spec.defaults.copiedPullSecrets", it.environment.name);
    let copied = it.environment.said.defaults.as_ref().map(|defaults| &*defaults.copied_pull_secrets);
    for (index, name) in copied.unwrap_or_default().iter().enumerate() {
        if name.is_empty() || name.len() > 253 || !name.split('.').all(is_label) {
            let message =
                format!("\"{name}\" is no name of a Secret: lower-case letters, digits, dashes and dots");
            broken.tell("secret-name", format!("{of}[{index}]"), message);
        }
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
