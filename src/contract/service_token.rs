//! Tokens by which services know each other (B22, D79): what the operator mints, and a sidecar verifies.
//!
//! They are signed with a private key that the operator alone holds (ES256). Who verifies them has its public half, and
//! with that nobody can mint.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

/// Who the tokens are for: their `aud`, by which they are told from those of users.
pub const AUDIENCE: &str = "visiobook-services";
/// What a `sub` begins with: `service/<namespace>/<name>`.
pub const SUBJECT_PREFIX: &str = "service/";
/// Role of a caller with such a token.
pub const ROLE: &str = "service";
/// Variable with the token as it was when the container started (D79).
pub const VARIABLE: &str = "SERVICE_TOKEN";
/// Variable that names the file with the token as it is now.
pub const FILE_VARIABLE: &str = "SERVICE_TOKEN_FILE";
/// Folder in which the application finds its token.
pub const FOLDER: &str = "/var/run/visiobook/service-token";
/// Name of that file, and the key of the Secret it comes from.
pub const FILE: &str = "token";
/// Variable that names the folder with the public keys of these tokens, one a file named by its `kid`, for an
/// application that verifies them itself.
pub const KEYS_VARIABLE: &str = "SERVICE_KEYS_FOLDER";
/// Where such an application finds them unless told otherwise.
pub const KEYS_FOLDER: &str = "/var/run/visiobook/service-keys";

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// Namespace of the caller.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Services that it says it calls, as `<namespace>/<name>`.
    pub calls: &'a [String],
    /// Since when it holds, in Unix seconds.
    pub issued: u64,
    /// Until when it holds, in Unix seconds.
    pub expires: u64,
}

/// Namespace and name of the service that a `sub` names.
pub fn service_of(subject: &str) -> Option<(&str, &str)> {
    let (namespace, name) = subject.strip_prefix(SUBJECT_PREFIX)?.split_once('/')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains('/')).then_some((namespace, name))
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: String,
    aud: &'static str,
    iat: u64,
    exp: u64,
    calls: &'a [String],
}

/// A token that says `grant`, signed with the private key `kid`, a P-256 key as PEM (PKCS #8).
///
/// Fails only where the key is none.
pub fn mint(key: &str, kid: &str, grant: &Grant<'_>) -> Result<String, jsonwebtoken::errors::Error> {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(kid.into());
    let Grant { namespace, name, calls, issued, expires } = *grant;
    let sub = format!("{SUBJECT_PREFIX}{namespace}/{name}");
    let claims = Claims { sub, aud: AUDIENCE, iat: issued, exp: expires, calls };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_pem(key.as_bytes())?)
}
