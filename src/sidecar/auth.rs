//! Who calls, as the token says (D64, D65).
//!
//! What a client says of its own identity is taken off ([`identity::strip`]); what its token says is put there.

pub mod cookie;
pub mod csrf;
pub mod identity;
pub mod jwks;
pub mod keys;
pub mod operator;
pub mod public;
pub mod service;
pub mod token;

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{StatusCode, request};

use self::cookie::Cookie;
use self::identity::{Caller, Identity};
use self::jwks::Jwks;
use self::keys::{Folder, Key};
use self::public::PublicRoutes;
pub use self::public::is_unmistakable;
use self::service::Services;
use self::token::{Fault, Token};
use super::answer::Answer;
use super::fetch::Fetch;
use crate::contract::service_token;
use crate::contract::settings::Settings;

/// No token where one is needed (D65).
pub const MISSING: &str = "Authorization header required";
/// An Authorization header that is no `Bearer <token>` (D65).
pub const MALFORMED: &str = "Invalid authorization format";
/// A token that does not hold (D65).
pub const INVALID: &str = "Invalid token";

/// Checks the tokens of users and services.
pub struct Authentication {
    users: Option<Users>,
    services: Option<Services>,
}

/// Tokens of users, and where none is needed.
struct Users {
    secrets: Option<Arc<Folder<Vec<Key>>>>,
    jwks: Option<Jwks>,
    issuer: Option<String>,
    audience: Option<String>,
    public: PublicRoutes,
    cookie: Option<String>,
}

/// A token, and where it was.
enum Presented<'a> {
    Nothing,
    Malformed,
    Bearer(&'a str),
    Cookie(&'a str),
}

impl Authentication {
    /// Reads the keys; none where the settings ask for no tokens.
    pub fn new(settings: &Settings, fetch: Fetch) -> Result<Option<Authentication>, String> {
        let services = match &settings.service_tokens {
            Some(tokens) => Some(Services::new(&settings.service, tokens)?),
            None => None,
        };
        let users = match &settings.auth {
            Some(auth) => {
                if auth.keys_folder.is_none() && auth.jwks.is_none() {
                    return Err(
                        "auth: no keys: give keysFolder for HS256, or jwks for RS256 and ES256".into()
                    );
                }
                let secrets =
                    auth.keys_folder.as_deref().map(|path| keys::open_secrets(path, settings.environment));
                Some(Users {
                    secrets: secrets
                        .transpose()
                        .map_err(|error| format!("auth.keysFolder: {error}"))?
                        .map(Arc::new),
                    jwks: auth.jwks.as_deref().map(|source| Jwks::new(source, fetch)).transpose()?,
                    issuer: auth.issuer.clone(),
                    audience: auth.audience.clone(),
                    public: PublicRoutes::new(&auth.public_routes)?,
                    cookie: auth.cookie.clone(),
                })
            }
            None => None,
        };
        Ok((users.is_some() || services.is_some()).then_some(Authentication { users, services }))
    }

    /// Who sends a request, whose path is as the application will see it; `now` in Unix time.
    ///
    /// Waits only where a key is not known yet, and then at most once in 30 s.
    pub async fn authenticate(&self, request: &request::Parts, now: u64) -> Result<Caller, Answer> {
        let is_public = || self.users.as_ref().is_none_or(|users| users.public.contain(request));
        let cookie = self.users.as_ref().and_then(|users| users.cookie.as_deref());
        match presented(&request.headers, cookie) {
            Presented::Nothing if is_public() && !self.services_only() => Ok(Caller::Anonymous),
            Presented::Nothing => Err(refuse(MISSING)),
            // Without tokens of users, what is no token of a service is the application's.
            Presented::Malformed if self.users.is_none() && !self.services_only() => Ok(Caller::Anonymous),
            Presented::Malformed => Err(refuse(MALFORMED)),
            Presented::Bearer(token) => self.identify(token, now).await,
            Presented::Cookie(token) => match self.identify(token, now).await {
                // A browser sends an expired cookie by itself, to the public login route too.
                Err(_) if is_public() => Ok(Caller::Anonymous),
                outcome => outcome,
            },
        }
    }

    async fn identify(&self, token: &str, now: u64) -> Result<Caller, Answer> {
        let token = match (Token::parse(token), &self.users) {
            (Ok(token), _) => token,
            (Err(_), None) if !self.services_only() => return Ok(Caller::Anonymous),
            (Err(_), _) => return Err(refuse(INVALID)),
        };
        // Told apart by what is signed: no key of users makes a service, and none of services a user.
        if token.claims.is_for(service_token::AUDIENCE) {
            let services = self.services.as_ref().ok_or_else(|| refuse(INVALID))?;
            return services.identify(&token, now).map(Caller::Service);
        }
        match &self.users {
            Some(users) => users.identify(&token, now).await.map(Caller::User).ok_or_else(|| refuse(INVALID)),
            None if self.services_only() => Err(refuse(INVALID)),
            None => Ok(Caller::Anonymous),
        }
    }

    /// Whether nobody but other services may call.
    fn services_only(&self) -> bool {
        self.users.is_none() && self.services.as_ref().is_some_and(|services| services.required)
    }

    /// Keeps the keys current for as long as it is polled; to be spawned once.
    pub async fn follow(&self) {
        let secrets = self.users.as_ref().and_then(|users| users.secrets.clone());
        let jwks = self.users.as_ref().and_then(|users| users.jwks.as_ref());
        let services = self.services.as_ref().map(Services::folder);
        tokio::join!(
            async {
                if let Some(folder) = secrets {
                    folder.follow("auth.keysFolder").await;
                }
            },
            async {
                if let Some(folder) = services {
                    folder.follow("serviceTokens.keysFolder").await;
                }
            },
            async {
                if let Some(jwks) = jwks {
                    jwks.follow().await;
                }
            },
        );
    }
}

impl Users {
    async fn identify(&self, token: &Token<'_>, now: u64) -> Option<Identity> {
        if !self.accept(token, now) {
            return None;
        }
        match self.verify(token) {
            Ok(()) => {}
            Err(Fault::UnknownKey) => {
                // Rare and large: every request would hold the place for it.
                Box::pin(self.jwks.as_ref()?.refresh()).await;
                self.verify(token).ok()?;
            }
            Err(Fault::Invalid) => return None,
        }
        Identity::of_user(&token.claims)
    }

    /// Whether its claims hold, whoever signed them.
    fn accept(&self, token: &Token<'_>, now: u64) -> bool {
        let claims = &token.claims;
        claims.is_current(now)
            && self.issuer.as_ref().is_none_or(|issuer| claims.iss.as_ref() == Some(issuer))
            && self.audience.as_ref().is_none_or(|audience| claims.is_for(audience))
    }

    fn verify(&self, token: &Token<'_>) -> Result<(), Fault> {
        if token.is_symmetric() {
            let secrets = self.secrets.as_ref().ok_or(Fault::Invalid)?;
            return token.verify(&secrets.load()).map_err(|_| Fault::Invalid);
        }
        token.verify(&self.jwks.as_ref().ok_or(Fault::Invalid)?.keys())
    }
}

/// The token of a request. Two Authorization headers, or two cookies of the name, are none that anybody can trust.
fn presented<'a>(headers: &'a HeaderMap, cookie: Option<&str>) -> Presented<'a> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => bearer(line).map_or(Presented::Malformed, Presented::Bearer),
        (Some(_), Some(_)) => Presented::Malformed,
        (None, _) => match cookie.map(|name| cookie::find(headers, name)) {
            None | Some(Cookie::Absent) => Presented::Nothing,
            Some(Cookie::One(token)) => Presented::Cookie(token),
            // No token at all, and so never a valid one.
            Some(Cookie::Several) => Presented::Cookie(""),
        },
    }
}

/// The token of `Bearer <token>`.
fn bearer(line: &HeaderValue) -> Option<&str> {
    let (scheme, token) = line.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty() && !token.contains(' ')).then_some(token)
}

fn refuse(message: &'static str) -> Answer {
    Answer::new(StatusCode::UNAUTHORIZED, "INVALID_CREDENTIALS", message)
        .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

#[cfg(test)]
mod tests;
