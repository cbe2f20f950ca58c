//! Tokens by which services know each other (B22, D79): what the operator mints, and a sidecar verifies.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

/// Who the tokens are for: their `aud`, by which they are told from those of users.
pub const AUDIENCE: &str = "visiobook-services";
/// What a `sub` begins with: `service/<namespace>/<name>`.
pub const SUBJECT_PREFIX: &str = "service/";
/// Role of a caller with such a token.
pub const ROLE: &str = "service";

#[derive(Serialize)]
struct Claims {
    sub: String,
    aud: &'static str,
    iat: u64,
    exp: u64,
}

/// A token of the service `name`, signed with the key `kid`; `now` in Unix time, `lifetime` in seconds.
///
/// Fails only where the signature does.
pub fn mint(
    key: &[u8],
    kid: &str,
    namespace: &str,
    name: &str,
    now: u64,
    lifetime: u64,
) -> Result<String, jsonwebtoken::errors::Error> {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(kid.into());
    let sub = format!("{SUBJECT_PREFIX}{namespace}/{name}");
    let claims = Claims { sub, aud: AUDIENCE, iat: now, exp: now.saturating_add(lifetime) };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(key))
}
