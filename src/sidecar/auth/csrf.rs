//! Protection of sessions that are kept in a cookie (D72, X61): a signed token, submitted twice.
//!
//! The cookie `csrf_token`, which scripts of the own origin can read, must come back as `X-CSRF-Token`. It is
//! signed together with the session, so that nobody who can set cookies can use a token of another session.

use std::sync::Arc;

use aws_lc_rs::{constant_time, hmac};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use uuid::Uuid;

use super::cookie::{self, Cookie};
use super::keys::{File, Folder, check_length};
use crate::contract::settings::{self, Environment};
use crate::sidecar::answer::Answer;

/// Cookie that holds the token.
pub const COOKIE_NAME: &str = "csrf_token";
/// Header that must hold it too (D61).
const HEADER: HeaderName = HeaderName::from_static("x-csrf-token");
/// File with the secret that signs.
const SECRET: &str = "secret";

/// Checks and issues the tokens.
pub struct Csrf {
    keys: Arc<Folder<Keys>>,
    session_cookie: String,
    /// What follows the token in the cookie.
    attributes: &'static str,
}

struct Keys {
    signing: hmac::Key,
    /// Every other file: secrets of before.
    verifying: Vec<hmac::Key>,
}

impl Csrf {
    /// Reads the secret of the settings.
    pub fn new(settings: &settings::Csrf, environment: Environment) -> Result<Csrf, String> {
        let keys = Folder::open(&settings.keys_folder, move |files| Keys::new(files, environment))
            .map_err(|error| format!("csrf.keysFolder: {error}"))?;
        let attributes = match environment {
            Environment::Development => "; Path=/; SameSite=Lax",
            Environment::Staging | Environment::Production => "; Path=/; SameSite=Lax; Secure",
        };
        Ok(Csrf { keys: Arc::new(keys), session_cookie: settings.session_cookie.clone(), attributes })
    }

    /// Refuses a request of a session that changes something without a token. For a safe one, the `Set-Cookie` of
    /// its answer if it needs a token.
    pub fn check(&self, method: &Method, headers: &HeaderMap) -> Result<Option<HeaderValue>, Answer> {
        let session = match cookie::find(headers, &self.session_cookie) {
            Cookie::Absent => return Ok(None),
            Cookie::One(session) => Some(session),
            Cookie::Several => None,
        };
        let keys = self.keys.load();
        let token = match cookie::find(headers, COOKIE_NAME) {
            Cookie::One(token) => Some(token),
            Cookie::Absent | Cookie::Several => None,
        };
        let signed = token.filter(|token| session.is_some_and(|session| keys.verify(token, session)));
        if is_safe(method) {
            let issued = session.filter(|_| signed.is_none()).map(|session| self.issue(&keys, session));
            return Ok(issued.flatten());
        }
        let mut said = headers.get_all(HEADER).iter();
        match (signed, said.next(), said.next()) {
            // A page of another origin cannot set this header without being asked first.
            _ if has_bearer(headers) => Ok(None),
            (Some(token), Some(said), None) if are_equal(said.as_bytes(), token.as_bytes()) => Ok(None),
            _ => Err(Answer::new(
                StatusCode::FORBIDDEN,
                "INSUFFICIENT_PERMISSIONS",
                "CSRF token missing or invalid: send the value of the cookie csrf_token as X-CSRF-Token",
            )),
        }
    }

    /// Keeps the secret current for as long as it is polled; to be spawned once.
    pub async fn follow(&self) {
        Arc::clone(&self.keys).follow("csrf.keysFolder").await;
    }

    fn issue(&self, keys: &Keys, session: &str) -> Option<HeaderValue> {
        let nonce = Uuid::new_v4().simple().to_string();
        let signature = sign(&keys.signing, &nonce, session);
        HeaderValue::try_from(format!("{COOKIE_NAME}={nonce}.{signature}{}", self.attributes)).ok()
    }
}

impl Keys {
    fn new(files: Vec<File>, environment: Environment) -> Result<Keys, String> {
        let (mut signing, mut verifying) = (None, Vec::new());
        for (name, bytes) in files {
            check_length(&name, &bytes, environment)?;
            let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
            match name == SECRET {
                true => signing = Some(key),
                false => verifying.push(key),
            }
        }
        let signing = signing.ok_or("the folder has no file `secret`: put the secret that signs there")?;
        Ok(Keys { signing, verifying })
    }

    fn verify(&self, token: &str, session: &str) -> bool {
        let Some((nonce, signature)) = token.split_once('.') else { return false };
        std::iter::once(&self.signing)
            .chain(&self.verifying)
            .any(|key| are_equal(sign(key, nonce, session).as_bytes(), signature.as_bytes()))
    }
}

/// The signature as hexadecimal digits. The dot is in no nonce, so that no other pair signs alike.
fn sign(key: &hmac::Key, nonce: &str, session: &str) -> String {
    let mut context = hmac::Context::with_key(key);
    for part in [nonce.as_bytes(), b".", session.as_bytes()] {
        context.update(part);
    }
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let tag = context.sign();
    let digits = tag.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn are_equal(one: &[u8], other: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}

fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

fn has_bearer(headers: &HeaderMap) -> bool {
    headers.get(AUTHORIZATION).is_some_and(|value| {
        value.as_bytes().get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Bearer "))
    })
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;
    use proptest::prelude::*;

    use super::*;

    fn csrf(secrets: &[(&str, &str)], environment: Environment) -> Result<Csrf, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, secret) in secrets {
            std::fs::write(folder.path().join(name), secret).unwrap();
        }
        let keys_folder = folder.path().to_str().unwrap().to_string();
        Csrf::new(&settings::Csrf { keys_folder, session_cookie: "sid".into() }, environment)
    }

    fn ours() -> Csrf {
        csrf(&[("secret", "s-1")], Environment::Development).unwrap()
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn token(csrf: &Csrf, session: &str) -> String {
        let issued =
            csrf.check(&Method::GET, &headers(&[(COOKIE, &format!("sid={session}"))])).unwrap().unwrap();
        let pair = issued.to_str().unwrap().split(';').next().unwrap();
        pair.strip_prefix("csrf_token=").unwrap().to_string()
    }

    fn post(csrf: &Csrf, cookies: &str, header: &str) -> u16 {
        let request = headers(&[(COOKIE, cookies), (HEADER, header)]);
        csrf.check(&Method::POST, &request).map_or_else(|answer| answer.status.as_u16(), |_| 200)
    }

    #[test]
    fn a_session_gets_a_token_and_changes_things_with_it() {
        let csrf = ours();
        let token = token(&csrf, "one");
        let cookies = format!("sid=one; csrf_token={token}");
        assert_eq!(post(&csrf, &cookies, &token), 200);
        assert_eq!(csrf.check(&Method::GET, &headers(&[(COOKIE, &cookies)])), Ok(None), "no second one");
    }

    #[test]
    fn anything_else_is_refused() {
        let csrf = ours();
        let (mine, theirs) = (token(&csrf, "one"), token(&csrf, "two"));
        let forged = token(&self::csrf(&[("secret", "other")], Environment::Development).unwrap(), "one");
        for (cookies, header) in [
            ("sid=one".to_string(), mine.as_str()),
            (format!("sid=one; csrf_token={mine}"), ""),
            (format!("sid=one; csrf_token={mine}"), &theirs),
            (format!("sid=one; csrf_token={theirs}"), &theirs),
            (format!("sid=one; csrf_token={forged}"), &forged),
            ("sid=one; csrf_token=a".to_string(), "a"),
            ("sid=one; csrf_token=a.b".to_string(), "a.b"),
            (format!("sid=one; sid=two; csrf_token={mine}"), &mine),
            (format!("sid=one; csrf_token={mine}; csrf_token={theirs}"), &mine),
        ] {
            assert_eq!(post(&csrf, &cookies, header), 403, "{cookies} {header}");
        }
        for method in [Method::PUT, Method::PATCH, Method::DELETE, Method::from_bytes(b"PURGE").unwrap()] {
            assert!(csrf.check(&method, &headers(&[(COOKIE, "sid=one")])).is_err());
        }
    }

    #[test]
    fn requests_without_the_session_or_with_a_bearer_token_are_not_asked() {
        let csrf = ours();
        assert_eq!(csrf.check(&Method::POST, &HeaderMap::new()), Ok(None));
        assert_eq!(csrf.check(&Method::GET, &HeaderMap::new()), Ok(None));
        assert_eq!(post(&csrf, "other=1", ""), 200);
        for (scheme, passes) in
            [("Bearer t", true), ("bearer t", true), ("Basic t", false), ("Bearer", false)]
        {
            let request = headers(&[(COOKIE, "sid=one"), (AUTHORIZATION, scheme)]);
            assert_eq!(csrf.check(&Method::POST, &request).is_ok(), passes, "{scheme}");
        }
    }

    #[test]
    fn a_rotated_secret_still_verifies() {
        let before = token(&ours(), "one");
        let after = csrf(&[("secret", "s-2"), ("previous", "s-1")], Environment::Development).unwrap();
        assert_eq!(post(&after, &format!("sid=one; csrf_token={before}"), &before), 200);
        let fresh = token(&after, "one");
        assert_eq!(post(&ours(), &format!("sid=one; csrf_token={fresh}"), &fresh), 403);
    }

    #[test]
    fn production_wants_a_long_secret_and_sets_secure() {
        assert!(csrf(&[("secret", "short")], Environment::Production).err().unwrap().contains("at least 32"));
        assert!(
            csrf(&[("other", "x")], Environment::Development).err().unwrap().contains("no file `secret`")
        );
        let long = csrf(&[("secret", "0123456789abcdef0123456789abcdef")], Environment::Production).unwrap();
        let issued = long.check(&Method::GET, &headers(&[(COOKIE, "sid=one")])).unwrap().unwrap();
        assert!(issued.to_str().unwrap().ends_with("; Path=/; SameSite=Lax; Secure"));
    }

    proptest! {
        #[test]
        fn nobody_guesses_a_token(cookie in "[ -:<-~]{0,60}", header in "[ -~]{0,60}") {
            let cookies = format!("sid=one; csrf_token={cookie}");
            prop_assert_eq!(post(&ours(), &cookies, &header), 403);
        }

        #[test]
        fn what_is_issued_breaks_no_line(session in proptest::collection::vec(32_u8..=255, 1..40)) {
            let mut request = HeaderMap::new();
            let line = [b"sid=", session.as_slice()].concat();
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                request.insert(COOKIE, value);
            }
            if let Ok(Some(issued)) = ours().check(&Method::GET, &request) {
                prop_assert!(issued.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)));
            }
        }
    }
}
