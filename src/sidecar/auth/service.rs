//! Tokens between services (B22, D79): `sub: service/<namespace>/<name>`, `aud: visiobook-services`.

use std::sync::Arc;

use http::StatusCode;

use super::identity::Identity;
use super::keys::{Folder, Key, open_service_keys};
use super::token::Token;
use super::{INVALID, refuse};
use crate::contract::service_token::SUBJECT_PREFIX;
use crate::contract::settings::{Environment, ServiceTokens};
use crate::sidecar::answer::Answer;

/// Which services may call, and the keys of their tokens.
pub struct Services {
    keys: Arc<Folder<Vec<Key>>>,
    namespace: Option<String>,
    allow: Vec<String>,
}

impl Services {
    /// Reads the keys of the settings.
    pub fn new(settings: &ServiceTokens, environment: Environment) -> Result<Services, String> {
        let keys = open_service_keys(&settings.keys_folder, environment)
            .map_err(|error| format!("serviceTokens.keysFolder: {error}"))?;
        Ok(Services {
            keys: Arc::new(keys),
            namespace: settings.namespace.clone(),
            allow: settings.allow.clone(),
        })
    }

    /// The folder, to be followed.
    pub(super) fn folder(&self) -> Arc<Folder<Vec<Key>>> {
        Arc::clone(&self.keys)
    }

    /// The service that a token names: 401 where it does not hold, 403 where that service may not call.
    pub(super) fn identify(&self, token: &Token<'_>, now: u64) -> Result<Identity, Answer> {
        let claims = &token.claims;
        let subject = claims.sub.as_deref().unwrap_or_default();
        let (namespace, name) = parse(subject).ok_or_else(|| refuse(INVALID))?;
        if !claims.is_current(now) || token.verify(&self.keys.load()).is_err() {
            return Err(refuse(INVALID));
        }
        let is_neighbour = self.namespace.as_deref().is_none_or(|own| own == namespace);
        if !self.is_allowed(namespace, name, is_neighbour) {
            // One of ours is told that it may not; a foreign one is nobody.
            return Err(if is_neighbour { forbid() } else { refuse(INVALID) });
        }
        Identity::of_service(subject).ok_or_else(|| refuse(INVALID))
    }

    fn is_allowed(&self, namespace: &str, name: &str, is_neighbour: bool) -> bool {
        if self.allow.is_empty() {
            return is_neighbour;
        }
        self.allow.iter().any(|allowed| match allowed.split_once('/') {
            Some(allowed) => allowed == (namespace, name),
            None => is_neighbour && allowed == name,
        })
    }
}

/// Namespace and name of `service/<namespace>/<name>`.
fn parse(subject: &str) -> Option<(&str, &str)> {
    let (namespace, name) = subject.strip_prefix(SUBJECT_PREFIX)?.split_once('/')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains('/')).then_some((namespace, name))
}

fn forbid() -> Answer {
    Answer::new(
        StatusCode::FORBIDDEN,
        "INSUFFICIENT_PERMISSIONS",
        "This service may not call: add its name to serviceTokens.allow",
    )
}
