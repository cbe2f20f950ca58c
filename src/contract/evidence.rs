//! Evidence that an environment has verified an image (C12, G09): a few words, signed, that travel beside the image from
//! one cluster to the next. Who has the private key says which environment can speak; whoever has the public half checks.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// Who evidence is for, by which it is told from other signed words.
const AUDIENCE: &str = "visiobook-promotion";

/// What evidence says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Name of the service.
    pub service: String,
    /// Digest of its image.
    pub digest: String,
    /// Environment in which it was promoted.
    pub environment: String,
    /// The release that promoted it.
    pub attempt: String,
    /// When, in Unix seconds.
    #[serde(rename = "iat")]
    pub at: i64,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    #[serde(flatten)]
    evidence: Evidence,
}

/// Sign evidence with a P-256 key as PEM (PKCS #8). Fails only where the key is none.
pub fn sign(key: &[u8], evidence: &Evidence) -> Result<String, jsonwebtoken::errors::Error> {
    let claims = Claims { aud: AUDIENCE.into(), evidence: evidence.clone() };
    jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &EncodingKey::from_ec_pem(key)?)
}

/// What evidence says, if it was signed with the private half of this public key, PEM.
pub fn verify(key: &str, text: &str) -> Option<Evidence> {
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_audience(&[AUDIENCE]);
    // What was verified stays so.
    rules.validate_exp = false;
    rules.set_required_spec_claims(&["aud"]);
    let key = DecodingKey::from_ec_pem(key.as_bytes()).ok()?;
    let read = jsonwebtoken::decode::<Claims>(text.trim(), &key, &rules);
    read.ok().map(|read| read.claims.evidence)
}
