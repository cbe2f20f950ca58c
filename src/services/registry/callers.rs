//! Who calls: a service, by the token that the operator signed for it (D79), or a person, by an access token (D64).

use std::sync::Arc;

use http::HeaderMap;

use crate::contract::service_token::{AUDIENCE, KEYS_VARIABLE, service_of};
use crate::services::configuration::Configuration;
use crate::services::failure::Failure;
use crate::services::tokens::{Tokens, bearer};
use crate::sidecar::answer::unix_seconds;
use crate::sidecar::auth::INVALID;
use crate::sidecar::auth::keys::{Folder, Key, open_service_keys};
use crate::sidecar::auth::token::Token;

/// Who calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Caller {
    /// A service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A person, with a role.
    Person(String),
}

impl Caller {
    /// Whether it may see what every service has told.
    pub fn sees_all(&self) -> bool {
        match self {
            Caller::Service { .. } => true,
            Caller::Person(role) => role == "moderator" || role == "admin",
        }
    }

    /// Whether it may forget a service.
    pub fn is_admin(&self) -> bool {
        *self == Caller::Person("admin".into())
    }
}

/// Verifies tokens of both kinds.
pub struct Callers {
    people: Tokens,
    keys: Arc<Folder<Vec<Key>>>,
}

impl Callers {
    /// With the keys of the configuration.
    pub fn new(configuration: &Configuration) -> Result<Callers, String> {
        let keys = open_service_keys(&configuration.service_keys).map_err(|error| {
            format!("{KEYS_VARIABLE} names a folder with the public keys of services' tokens: {error}")
        })?;
        Ok(Callers { people: Tokens::new(&configuration.jwt_secrets), keys: Arc::new(keys) })
    }

    /// Who sent a request; else 401.
    pub fn identify(&self, headers: &HeaderMap) -> Result<Caller, Failure> {
        let text = bearer(headers)?;
        let invalid = || Failure::unauthorized(INVALID);
        let token = Token::parse(text).map_err(|_| invalid())?;
        // Told apart by what is signed: no secret of people makes a service, and no key of services a person.
        if !token.claims.is_for(AUDIENCE) {
            return Ok(Caller::Person(self.people.read(text)?.role));
        }
        let holds = token.claims.is_current(unix_seconds()) && token.verify(&self.keys.load()).is_ok();
        let subject = token.claims.sub.as_deref().filter(|_| holds).and_then(service_of);
        let (namespace, name) = subject.ok_or_else(invalid)?;
        Ok(Caller::Service { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// Read the keys again when they change, for ever.
    pub async fn follow(&self) {
        self.keys.clone().follow(KEYS_VARIABLE).await;
    }
}
