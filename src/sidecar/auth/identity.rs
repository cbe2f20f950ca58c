//! What the application is told of who calls: `x-user-id` and `x-user-role` (D64).

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use serde_json::Value;

use super::token::Claims;
use crate::contract::service_token;
use crate::sidecar::headers::{spells, strip as strip_headers};

const USER_ID: HeaderName = HeaderName::from_static("x-user-id");
const USER_ROLE: HeaderName = HeaderName::from_static("x-user-role");
/// What other headers of identity begin with.
const AUTH_PREFIX: &str = "x-auth-";
/// Bytes that an identity may have.
const LONGEST: usize = 256;

/// Who sends a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Caller {
    /// Nobody that is known, on a public route.
    Anonymous,
    /// A user.
    User(Identity),
    /// Another service: exempt from limits.
    Service(Identity),
}

/// What a token says, fit for headers.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    id: HeaderValue,
    role: Option<HeaderValue>,
}

impl Caller {
    /// Whom limits count and logs name (`user_id`); none: nobody.
    pub fn subject(&self) -> Option<&str> {
        match self {
            Caller::Anonymous => None,
            Caller::User(identity) | Caller::Service(identity) => identity.id.to_str().ok(),
        }
    }

    /// Tell the application, in the place of what the client said; to be called for every request.
    pub fn announce(&self, headers: &mut HeaderMap) {
        strip(headers);
        if let Caller::User(identity) | Caller::Service(identity) = self {
            headers.insert(USER_ID, identity.id.clone());
            if let Some(role) = &identity.role {
                headers.insert(USER_ROLE, role.clone());
            }
        }
    }
}

impl Identity {
    /// `user_id`, else `sub`, and `role`. None where one cannot be a header, or would name a service.
    pub(super) fn of_user(claims: &Claims) -> Option<Identity> {
        let id = match &claims.user_id {
            Some(Value::String(id)) => safe(id)?,
            Some(Value::Number(id)) => safe(&id.to_string())?,
            Some(_) => return None,
            None => safe(claims.sub.as_deref()?)?,
        };
        let role = match &claims.role {
            Some(Value::String(role)) => Some(safe(role)?),
            Some(_) => return None,
            None => None,
        };
        let is_service = role
            .as_ref()
            .is_some_and(|role| role.as_bytes().eq_ignore_ascii_case(service_token::ROLE.as_bytes()))
            || id.as_bytes().starts_with(service_token::SUBJECT_PREFIX.as_bytes());
        (!is_service).then_some(Identity { id, role })
    }

    /// The service that a `sub` names.
    pub(super) fn of_service(subject: &str) -> Option<Identity> {
        Some(Identity { id: safe(subject)?, role: Some(HeaderValue::from_static(service_token::ROLE)) })
    }
}

/// Take off what a client says of its identity, in whatever spelling.
pub fn strip(headers: &mut HeaderMap) {
    strip_headers(headers, |name| {
        name.first() == Some(&b'x')
            && (spells(name, USER_ID.as_str())
                || spells(name, USER_ROLE.as_str())
                || name.get(..AUTH_PREFIX.len()).is_some_and(|start| spells(start, AUTH_PREFIX)))
    });
}

/// Printable ASCII without spaces around.
fn safe(value: &str) -> Option<HeaderValue> {
    let is_safe = (1..=LONGEST).contains(&value.len())
        && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && value.trim_matches(' ').len() == value.len();
    is_safe.then(|| HeaderValue::from_str(value).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn identity(claims: Value) -> Option<Identity> {
        Identity::of_user(&serde_json::from_value(claims).unwrap())
    }

    #[test]
    fn every_spelling_of_our_identity_headers_is_taken_off() {
        let mut headers = HeaderMap::new();
        for name in [
            "X-User-Id",
            "x-user-role",
            "X_USER_ID",
            "x-user_id",
            "x_user-role",
            "X.User.Id",
            "x!user~role",
            "X-Auth-Token",
            "x_auth_user",
            "X-Auth-",
        ] {
            for value in ["admin", "root"] {
                headers.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_static(value),
                );
            }
        }
        let stay = ["x-user-identity", "x-user", "x-users-id", "x-authority", "authorization", "user-id"];
        for name in stay {
            headers.append(name, HeaderValue::from_static("1"));
        }
        Caller::Anonymous.announce(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        let mut stay = stay.to_vec();
        stay.sort_unstable();
        assert_eq!(left, stay);
    }

    #[test]
    fn the_application_reads_what_the_token_says_once() {
        let mut headers = HeaderMap::new();
        headers.append("x-user-id", HeaderValue::from_static("forged"));
        headers.append("x-user-role", HeaderValue::from_static("admin"));
        let caller = Caller::User(identity(json!({ "user_id": "u-1", "sub": "other" })).unwrap());
        caller.announce(&mut headers);
        assert_eq!(headers.get_all("x-user-id").iter().collect::<Vec<_>>(), ["u-1"]);
        assert!(!headers.contains_key("x-user-role"));
        assert_eq!(caller.subject(), Some("u-1"));
    }

    #[test]
    fn claims_become_an_identity_or_are_refused() {
        for (claims, id, role) in [
            (json!({ "user_id": "u-1", "role": "admin" }), "u-1", Some("admin")),
            (json!({ "user_id": 42 }), "42", None),
            (json!({ "sub": "u-2", "role": null }), "u-2", None),
        ] {
            let identity = identity(claims).unwrap();
            assert_eq!(identity.id, id);
            assert_eq!(identity.role.as_ref().map(|role| role.to_str().unwrap()), role);
        }
        for claims in [
            json!({}),
            json!({ "user_id": "" }),
            json!({ "user_id": "a\r\nx-user-role: admin" }),
            json!({ "user_id": "a\u{0}" }),
            json!({ "user_id": "é" }),
            json!({ "user_id": " a" }),
            json!({ "user_id": ["a"] }),
            json!({ "user_id": "a".repeat(257) }),
            json!({ "user_id": "a", "role": "b\nc" }),
            json!({ "user_id": "a", "role": ["admin"] }),
            json!({ "user_id": "a", "role": "service" }),
            json!({ "user_id": "service/prod/users" }),
        ] {
            assert_eq!(identity(claims.clone()), None, "{claims}");
        }
    }

    proptest! {
        #[test]
        fn no_spelling_gets_through(marks in proptest::collection::vec("[-_.!#$%&'*+^`|~]", 2), upper in any::<bool>(), role in any::<bool>()) {
            let name = format!("x{}user{}{}", marks[0], marks[1], if role { "role" } else { "id" });
            let name = if upper { name.to_uppercase() } else { name };
            let mut headers = HeaderMap::new();
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("admin"));
            strip(&mut headers);
            prop_assert!(headers.is_empty());
        }

        #[test]
        fn no_identity_breaks_a_line(id in any::<String>(), role in any::<String>()) {
            if let Some(identity) = identity(json!({ "user_id": id, "role": role })) {
                let mut headers = HeaderMap::new();
                Caller::User(identity).announce(&mut headers);
                prop_assert!(headers.values().all(|value| value.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte))));
            }
        }
    }
}
