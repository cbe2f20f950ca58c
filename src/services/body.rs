//! Bodies of JSON. They are read strictly: no unknown fields, no second value of one (X23), no surprises in size or
//! coding.

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::failure::{Detail, Failure};

/// Bytes of a body at most, where a route does not say otherwise.
pub const MOST_BYTES: usize = 64 << 10;
/// What is told of a body that is not what was asked for (D49).
pub const INVALID: &str = "Invalid request data";

/// A body of at most so many bytes that was read.
pub struct Body<T, const MOST: usize = MOST_BYTES>(pub T);

/// An answer of JSON.
pub fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => Failure::internal("Failed to write the answer", error).into_response(),
    }
}

/// A whole number, which JSON may write with a fraction of nothing. One that no `i32` holds is the nearest that it does.
pub fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i32>, D::Error> {
    f64::deserialize(deserializer).and_then(as_whole).map(Some)
}

/// The same, or null.
pub fn whole_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i32>, D::Error> {
    Option::<f64>::deserialize(deserializer)?.map(as_whole).transpose()
}

fn as_whole<E: serde::de::Error>(number: f64) -> Result<i32, E> {
    if number.fract() == 0.0 { Ok(number as i32) } else { Err(E::custom("is no whole number")) }
}

impl<T: DeserializeOwned, S: Send + Sync, const MOST: usize> FromRequest<S> for Body<T, MOST> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Body<T, MOST>, Failure> {
        let (head, body) = request.into_parts();
        check(&head.headers)?;
        let bytes = match Limited::new(body, MOST).collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(Failure::refused(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("The body has more than {MOST} bytes"),
                ));
            }
            Err(_) => return Err(Failure::invalid("The body ended too early")),
        };
        read(&bytes).map(Body)
    }
}

/// What a body says of itself. A coded one is refused: what it grows to is not known before.
fn check(headers: &HeaderMap) -> Result<(), Failure> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Failure::refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Send the body without a content encoding",
        ));
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Failure::refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Send the body as application/json",
        ));
    }
    Ok(())
}

/// The value of a body, or what is wrong with which field.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let refuse = |field: String, message: String| Failure {
        details: vec![Detail { field, message }],
        ..Failure::invalid(INVALID)
    };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let is_of_a_field = error.inner().is_data() && path != "." && path != "?";
        let field = if is_of_a_field { path } else { named(error.inner()) };
        refuse(field, told(error.inner()))
    })?;
    reader.end().map_err(|error| refuse("body".into(), told(&error)))?;
    Ok(value)
}

/// The field that an error about the whole names; else the whole.
fn named(error: &serde_json::Error) -> String {
    let text = if error.is_data() { error.to_string() } else { String::new() };
    let is_of_a_field = text.starts_with("missing field") || text.starts_with("duplicate field");
    let name = text.split('`').nth(1).filter(|_| is_of_a_field);
    name.unwrap_or("body").to_owned()
}

/// What is wrong, without what was sent: a password in the wrong place must not come back, nor get into logs.
fn told(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => "is no JSON".into(),
        Category::Data => {
            let text = error.to_string();
            let rule = ["unknown field", "missing field", "duplicate field"];
            // Names of fields are the caller's own words or the service's; values are never told.
            match rule.iter().find(|rule| text.starts_with(**rule)) {
                Some(_) => text.split(" at line ").next().unwrap_or_default().chars().take(200).collect(),
                None => "is not of the type that is asked for".into(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Book {
        title: String,
        #[serde(default, alias = "page_count")]
        page_count: u32,
    }

    #[test]
    fn a_body_is_read_in_either_case() {
        for text in [r#"{"title":"x","pageCount":3}"#, r#" {"title":"x","page_count":3} "#] {
            assert_eq!(read::<Book>(text.as_bytes()).unwrap(), Book { title: "x".into(), page_count: 3 });
        }
    }

    #[test]
    fn whatever_is_wrong_is_told_with_its_field_and_without_its_value() {
        for (text, field, told) in [
            ("{", "body", "no JSON"),
            ("", "body", "no JSON"),
            (r#"{"title":"x"} {}"#, "body", "no JSON"),
            (r#"{"title":"x","hush":1}"#, "hush", "unknown field"),
            (r#"{"title":"x","title":"y"}"#, "title", "duplicate field"),
            (r#"{"title":"x","pageCount":1,"page_count":2}"#, "pageCount", "duplicate field"),
            (r#"{}"#, "title", "missing field"),
            (r#"{"title":"x","pageCount":"secret"}"#, "pageCount", "not of the type"),
            (r#"{"title":"x","pageCount":-1}"#, "pageCount", "not of the type"),
            (r#"{"title":"\ud800"}"#, "body", "no JSON"),
            ("[]", "body", ""),
        ] {
            let failure = read::<Book>(text.as_bytes()).unwrap_err();
            assert_eq!(failure.status, 400);
            assert_eq!(failure.message, INVALID);
            assert_eq!(failure.details[0].field, field, "{text}: {:?}", failure.details);
            assert!(failure.details[0].message.contains(told), "{text}: {:?}", failure.details);
            assert!(!failure.details[0].message.contains("secret"));
        }
    }

    #[test]
    fn another_type_or_coding_is_refused() {
        let headers = |pairs: &[(http::HeaderName, &'static str)]| {
            let pairs =
                pairs.iter().map(|(name, value)| (name.clone(), http::HeaderValue::from_static(value)));
            pairs.collect::<HeaderMap>()
        };
        for (pairs, ok) in [
            (vec![(CONTENT_TYPE, "application/json")], true),
            (vec![(CONTENT_TYPE, "Application/JSON; charset=utf-8")], true),
            (vec![(CONTENT_TYPE, "text/plain")], false),
            (vec![], false),
            (vec![(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")], false),
        ] {
            assert_eq!(
                check(&headers(&pairs)).map_err(|failure| failure.status.as_u16()).err(),
                (!ok).then_some(415)
            );
        }
    }
}
