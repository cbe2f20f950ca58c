//! The operator's word to the sidecars of a colour that has lost its traffic: have your clients come back over another
//! connection. It is signed with the key that signs tokens of services, and is none of them: it has another type and
//! another audience, so that neither opens the other's door.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};

/// Where it is told, on the port of the contract.
pub const PATH: &str = "/leave";
/// Its `typ`, by which it is told from all other tokens.
pub const TYPE: &str = "visiobook-leave+jwt";
/// Its `sub`: no service, for those begin with `service/`.
pub const SUBJECT: &str = "operator";
/// Seconds that it holds.
pub const LIFETIME_SECONDS: u64 = 60;
/// Seconds for which new connections may still be led to the colour that has lost its traffic: until every node routes by
/// the new selector. Connections that are accepted within this time are told as well.
pub const PROPAGATION_SECONDS: u32 = 10;
/// Variable with what a sidecar knows the operator by, as JSON. Not a part of its settings: a sidecar of an earlier release,
/// which an environment may name, refuses settings that it does not know.
pub const VARIABLE: &str = "VISIOBOOK_SIDECAR_OPERATOR";

/// What a sidecar knows the operator by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operator {
    /// Folder with the operator's public keys, PEM, one a file, named by `kid`.
    pub keys_folder: String,
    /// The service that the word has to be for, as `<namespace>/<name>`.
    pub service: String,
}

/// The `aud` of a word for a service.
pub fn audience(namespace: &str, service: &str) -> String {
    format!("{namespace}/{service}")
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'static str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

/// A word for the service that `audience` names, said at `now`, in Unix seconds, and signed with the private key `kid`, a
/// P-256 key as PEM (PKCS #8).
///
/// Fails only where the key is none.
pub fn mint(key: &str, kid: &str, audience: &str, now: u64) -> Result<String, jsonwebtoken::errors::Error> {
    let mut header = Header::new(Algorithm::ES256);
    header.typ = Some(TYPE.into());
    header.kid = Some(kid.into());
    let claims = Claims { sub: SUBJECT, aud: audience, iat: now, exp: now + LIFETIME_SECONDS };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_pem(key.as_bytes())?)
}
