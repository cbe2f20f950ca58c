//! A JWT: read, then verified with keys that are bound to their algorithm (D64).

use jsonwebtoken::{Algorithm, Header};
use serde::Deserialize;
use serde_json::Value;

use super::keys::Key;

/// Bytes that a token may have.
const LONGEST: usize = 8 << 10;
/// Seconds by which the clock of an issuer may be ahead.
const LEEWAY: f64 = 30.0;

/// A token that has been read, and not yet verified.
pub struct Token<'a> {
    header: Header,
    /// What it says, if its signature holds.
    pub claims: Claims,
    signed: &'a [u8],
    signature: &'a str,
}

/// What a token says.
#[derive(Debug, Deserialize)]
pub struct Claims {
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    aud: Option<Audience>,
    pub(super) iss: Option<String>,
    /// Whom it is of.
    pub sub: Option<String>,
    pub(super) user_id: Option<Value>,
    pub(super) role: Option<Value>,
    calls: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Why a token does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never will.
    Invalid,
    /// It names a key that is not known.
    UnknownKey,
}

impl Claims {
    /// Whether `audience` is in its `aud`.
    pub fn is_for(&self, audience: &str) -> bool {
        match &self.aud {
            Some(Audience::One(one)) => one == audience,
            Some(Audience::Several(several)) => several.iter().any(|one| one == audience),
            None => false,
        }
    }

    /// Whether the caller says that it calls `service` (B22).
    pub fn calls(&self, service: &str) -> bool {
        let calls = self.calls.as_ref().and_then(Value::as_array);
        calls.is_some_and(|calls| calls.iter().any(|call| call == service))
    }

    /// Whether it holds at `now`, in Unix time: `exp` is there and to come, `nbf` and `iat` have been.
    pub fn is_current(&self, now: u64) -> bool {
        let now = now as f64;
        self.exp.is_some_and(|exp| exp > now)
            && [self.nbf, self.iat].into_iter().flatten().all(|since| since <= now + LEEWAY)
    }
}

impl<'a> Token<'a> {
    /// Reads a token of HS256, RS256 or ES256, of at most 8 KiB.
    pub fn parse(text: &'a str) -> Result<Token<'a>, Fault> {
        if text.len() > LONGEST {
            return Err(Fault::Invalid);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Fault::Invalid)?;
        let header = jsonwebtoken::decode_header(text).map_err(|_| Fault::Invalid)?;
        let is_ours = matches!(header.alg, Algorithm::HS256 | Algorithm::RS256 | Algorithm::ES256);
        // `crit` names extensions that must be understood: none is (RFC 7515 4.1.11).
        if !is_ours || header.crit.is_some() {
            return Err(Fault::Invalid);
        }
        let claims = jsonwebtoken::dangerous::insecure_decode_claims(text).map_err(|_| Fault::Invalid)?;
        Ok(Token { header, claims, signed: signed.as_bytes(), signature })
    }

    /// Whether its `typ` is this.
    pub fn is_of_type(&self, kind: &str) -> bool {
        self.header.typ.as_deref() == Some(kind)
    }

    /// Whether it is signed with a shared secret.
    pub fn is_symmetric(&self) -> bool {
        self.header.alg == Algorithm::HS256
    }

    /// Whether one of `keys` signed it: the one that it names; else one without a name; else, unnamed, any secret
    /// or the only key.
    pub fn verify(&self, keys: &[Key]) -> Result<(), Fault> {
        let fitting = || keys.iter().filter(|key| key.algorithm == self.header.alg);
        let kid = self.header.kid.as_deref();
        let is_named = kid.is_some() && fitting().any(|key| key.kid.as_deref() == kid);
        let takes_any = kid.is_none() && (self.is_symmetric() || fitting().count() == 1);
        let mut candidates = fitting().filter(|key| match is_named {
            true => key.kid.as_deref() == kid,
            false => takes_any || key.kid.is_none(),
        });
        let Some(first) = candidates.next() else { return Err(Fault::UnknownKey) };
        let signed_by = |key: &Key| {
            jsonwebtoken::crypto::verify(self.signature, self.signed, &key.decoding, key.algorithm)
                .unwrap_or(false)
        };
        (signed_by(first) || candidates.any(signed_by)).then_some(()).ok_or(Fault::Invalid)
    }
}
