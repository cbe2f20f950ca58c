//! Who calls: access tokens, signed here and verified here, whatever headers say (D64-D66, X49).

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::failure::Failure;
use crate::sidecar::answer::unix_seconds;
use crate::sidecar::auth::{INVALID, MALFORMED, MISSING};

/// Seconds that an access token holds. Not the 24 hours of D66: a suspension must be felt everywhere, and other
/// services cannot ask whether a token was revoked.
pub const ACCESS_SECONDS: u64 = 900;
/// Bytes of a token at most.
const LONGEST: usize = 4 << 10;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Whose it is (D64).
    pub user_id: Uuid,
    /// What that user was when it was signed (D64).
    pub role: String,
    /// The session that it is of.
    pub sid: Uuid,
    /// Since when it holds, in Unix seconds.
    pub iat: u64,
    /// Until when it holds, in Unix seconds.
    pub exp: u64,
}

/// Signs and verifies tokens.
pub struct Tokens {
    signs: EncodingKey,
    verify: Vec<DecodingKey>,
    validation: Validation,
}

impl Tokens {
    /// With the secret in use first, and the one before it.
    pub fn new(secrets: &[String]) -> Tokens {
        let newest = secrets.first().map(String::as_str).unwrap_or_default();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.validate_aud = false;
        Tokens {
            signs: EncodingKey::from_secret(newest.as_bytes()),
            verify: secrets.iter().map(|secret| DecodingKey::from_secret(secret.as_bytes())).collect(),
            validation,
        }
    }

    /// A token of a session.
    pub fn sign(&self, user_id: Uuid, role: &str, sid: Uuid) -> Result<String, Failure> {
        let iat = unix_seconds();
        let claims = Claims { user_id, role: role.to_owned(), sid, iat, exp: iat + ACCESS_SECONDS };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signs)
            .map_err(|error| Failure::internal("Failed to sign a token", error))
    }

    /// What the token of a request says; whether its session still holds is for the service to ask.
    pub fn verify(&self, headers: &HeaderMap) -> Result<Claims, Failure> {
        self.read(bearer(headers)?)
    }

    /// What a token says, if it holds.
    pub fn read(&self, token: &str) -> Result<Claims, Failure> {
        let invalid = || Failure::unauthorized(INVALID);
        if token.len() > LONGEST {
            return Err(invalid());
        }
        let read = |key| jsonwebtoken::decode::<Claims>(token, key, &self.validation).ok();
        let claims = self.verify.iter().find_map(read).ok_or_else(invalid)?.claims;
        // One that is signed for longer than ours are was signed by nobody we know.
        let is_ours =
            claims.iat <= unix_seconds() + 30 && claims.exp.saturating_sub(claims.iat) <= ACCESS_SECONDS;
        if is_ours { Ok(claims) } else { Err(invalid()) }
    }
}

/// The token of a request (D65).
pub fn bearer(headers: &HeaderMap) -> Result<&str, Failure> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) => return Err(Failure::unauthorized(MISSING)),
        (Some(line), None) => line.to_str().ok(),
        (Some(_), Some(_)) => None,
    };
    let (scheme, token) =
        line.and_then(|line| line.split_once(' ')).ok_or_else(|| Failure::unauthorized(MALFORMED))?;
    let token = token.trim_matches(' ');
    match scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty() && !token.contains(' ') {
        true => Ok(token),
        false => Err(Failure::unauthorized(MALFORMED)),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn bearer(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(text).unwrap())])
    }

    fn refusal(tokens: &Tokens, headers: &HeaderMap) -> String {
        let failure = tokens.verify(headers).unwrap_err();
        assert_eq!(failure.status, 401);
        failure.message.into_owned()
    }

    #[test]
    fn a_token_outlives_one_change_of_the_secret() {
        let old = Tokens::new(&["one".into()]);
        let token = old.sign(Uuid::from_u128(1), "user", Uuid::from_u128(2)).unwrap();
        let headers = bearer(&format!("Bearer {token}"));
        assert_eq!(old.verify(&headers).unwrap().user_id, Uuid::from_u128(1));
        assert_eq!(
            Tokens::new(&["two".into(), "one".into()]).verify(&headers).unwrap().sid,
            Uuid::from_u128(2)
        );
        assert_eq!(refusal(&Tokens::new(&["three".into(), "two".into()]), &headers), INVALID);
    }

    #[test]
    fn what_is_no_token_of_ours_is_refused_in_the_words_of_the_contract() {
        let tokens = Tokens::new(&["secret".into()]);
        assert_eq!(refusal(&tokens, &HeaderMap::new()), MISSING);
        for malformed in ["Basic eA==", "Bearer", "Bearer a b", "token"] {
            assert_eq!(refusal(&tokens, &bearer(malformed)), MALFORMED, "{malformed}");
        }
        let mut twice = bearer("Bearer a");
        twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        assert_eq!(refusal(&tokens, &twice), MALFORMED);
        let now = unix_seconds();
        let (id, sid) = (Uuid::nil(), Uuid::nil());
        let good = json!({ "user_id": id, "role": "user", "sid": sid, "iat": now, "exp": now + 60 });
        let signed = |algorithm, claims: &serde_json::Value, secret: &str| {
            let key = EncodingKey::from_secret(secret.as_bytes());
            format!("Bearer {}", jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap())
        };
        assert!(tokens.verify(&bearer(&signed(Algorithm::HS256, &good, "secret"))).is_ok());
        let with = |field: &str, value: serde_json::Value| {
            let mut claims = good.clone();
            claims[field] = value;
            claims
        };
        let unsigned = "Bearer eyJhbGciOiJub25lIn0.e30.".to_owned();
        for refused in [
            signed(Algorithm::HS256, &good, "another"),
            signed(Algorithm::HS512, &good, "secret"),
            signed(Algorithm::HS256, &with("exp", json!(now - 1)), "secret"),
            signed(Algorithm::HS256, &with("exp", json!(now + 86_400)), "secret"),
            signed(Algorithm::HS256, &with("iat", json!(now + 600)), "secret"),
            signed(Algorithm::HS256, &with("user_id", json!("admin")), "secret"),
            signed(Algorithm::HS256, &with("sid", json!(null)), "secret"),
            unsigned,
        ] {
            assert_eq!(refusal(&tokens, &bearer(&refused)), INVALID, "{refused}");
        }
    }
}
