//! Tokens between services (B22, D79): `sub: service/<namespace>/<name>`, `aud: visiobook-services`.

use std::sync::Arc;

use http::StatusCode;

use super::identity::Identity;
use super::keys::{Folder, Key, open_service_keys};
use super::token::Token;
use super::{INVALID, refuse};
use crate::contract::service_token::service_of;
use crate::contract::settings::ServiceTokens;
use crate::sidecar::answer::Answer;

/// A service of the same namespace that never said that it calls this one.
const UNDECLARED: &str = "This service may not call: name the service it calls in its spec.dependsOn";
/// A service of another namespace.
const FOREIGN: &str = "A service of another namespace may not call: name it in spec.sidecar.serviceTokens.allow of the service it calls";

/// Which services may call, and the keys of their tokens.
pub struct Services {
    keys: Arc<Folder<Vec<Key>>>,
    namespace: String,
    /// The service itself, as tokens name it.
    own: String,
    allow: Vec<String>,
    /// Whether nobody may call without a token.
    pub(super) required: bool,
}

impl Services {
    /// Reads the keys of the settings.
    pub fn new(service: &str, settings: &ServiceTokens) -> Result<Services, String> {
        let keys = open_service_keys(&settings.keys_folder)
            .map_err(|error| format!("serviceTokens.keysFolder: {error}"))?;
        Ok(Services {
            keys: Arc::new(keys),
            own: format!("{}/{service}", settings.namespace),
            namespace: settings.namespace.clone(),
            allow: settings.allow.clone(),
            required: settings.required,
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
        let (namespace, name) = service_of(subject).ok_or_else(|| refuse(INVALID))?;
        if !claims.is_current(now) || token.verify(&self.keys.load()).is_err() {
            return Err(refuse(INVALID));
        }
        let is_neighbour = namespace == self.namespace;
        let may = self.allows(namespace, name) || is_neighbour && claims.calls(&self.own);
        if !may {
            return Err(forbid(if is_neighbour { UNDECLARED } else { FOREIGN }));
        }
        Identity::of_service(subject).ok_or_else(|| refuse(INVALID))
    }

    fn allows(&self, namespace: &str, name: &str) -> bool {
        self.allow.iter().any(|allowed| match allowed.split_once('/') {
            Some(allowed) => allowed == (namespace, name),
            None => namespace == self.namespace && allowed == name,
        })
    }
}

fn forbid(message: &'static str) -> Answer {
    Answer::new(StatusCode::FORBIDDEN, "INSUFFICIENT_PERMISSIONS", message)
}
