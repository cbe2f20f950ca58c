//! What becomes of the application's own errors: bare ones get the envelope (G25), failures are masked (D44).

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

use super::Outgoing;
use crate::contract::settings::Errors;
use crate::sidecar::answer::{Answer, unix_seconds};

/// What a client reads of a failure in production (D44).
pub(super) const MASKED: &str = "Une erreur interne s'est produite";
/// Bytes of an error that are read to see whether it is an envelope.
const MOST_BYTES: usize = 64 << 10;

/// The application's error, or the envelope that takes its place. Headers other than those of the body stay.
pub(super) async fn rewrite(
    response: Response<Outgoing>,
    errors: &Errors,
    correlation_id: &str,
) -> Response<Outgoing> {
    let masks = errors.mask && response.status().as_u16() >= 500;
    if masks {
        let (parts, _) = response.into_parts();
        let answer = Answer::new(parts.status, "INTERNAL_ERROR", MASKED);
        return in_place(parts, &answer, correlation_id);
    }
    if !errors.envelope {
        return response;
    }
    let json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(b"application/json") || kind.starts_with(b"application/problem+json")
    });
    if response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    let (parts, body) = response.into_parts();
    // A page or a stream that is no JSON is no envelope, whatever it says.
    let body = if json { Limited::new(body, MOST_BYTES).collect().await.ok() } else { None };
    let body = body.map(http_body_util::Collected::to_bytes);
    let value = body.as_ref().and_then(|body| serde_json::from_slice::<Value>(body).ok());
    if let (Some(body), Some(true)) = (&body, value.as_ref().map(is_envelope)) {
        return Response::from_parts(parts, Outgoing::whole(body.clone()));
    }
    let message = value.as_ref().and_then(message_of);
    let message = message.unwrap_or_else(|| reason(parts.status));
    let answer = Answer::new(parts.status, kind(parts.status), message);
    in_place(parts, &answer, correlation_id)
}

fn in_place(mut parts: http::response::Parts, answer: &Answer, correlation_id: &str) -> Response<Outgoing> {
    let body = answer.envelope(correlation_id, unix_seconds());
    let of_body: [&http::HeaderName; 3] = [&CONTENT_ENCODING, &CONTENT_LENGTH, &http::header::ETAG];
    for name in of_body {
        parts.headers.remove(name);
    }
    set_json(&mut parts.headers, body.len());
    Response::from_parts(parts, Outgoing::whole(body))
}

fn set_json(headers: &mut HeaderMap, length: usize) {
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, http::HeaderValue::from(length));
}

/// D40, and the spellings that X18 accepts.
fn is_envelope(value: &Value) -> bool {
    value.get("error").is_some_and(|error| error.get("code").is_some() && error.get("message").is_some())
}

/// What the usual frameworks say: `message`, `error` as a text, FastAPI's `detail`.
fn message_of(value: &Value) -> Option<String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_string);
    let detail = || value.get("detail").map(ToString::to_string);
    text("message").or_else(|| text("error")).or_else(|| text("detail")).or_else(detail)
}

fn reason(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or("error").to_string()
}

/// The business code of D46 that a status stands for.
fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 | 422 => "VALIDATION_ERROR",
        401 => "INVALID_CREDENTIALS",
        403 => "INSUFFICIENT_PERMISSIONS",
        404 => "RESOURCE_NOT_FOUND",
        409 => "CONFLICT",
        423 => "RESOURCE_LOCKED",
        429 => "RATE_LIMITED",
        500 => "INTERNAL_ERROR",
        _ => "UNKNOWN_ERROR",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_words_of_frameworks_become_the_message() {
        for (body, message) in [
            (json!({ "detail": "Not Found" }), Some("Not Found")),
            (json!({ "detail": [{ "loc": ["body"] }] }), Some(r#"[{"loc":["body"]}]"#)),
            (json!({ "error": "gone" }), Some("gone")),
            (json!({ "message": "no such user", "error": "Not Found" }), Some("no such user")),
            (json!({}), None),
        ] {
            assert_eq!(message_of(&body).as_deref(), message, "{body}");
            assert!(!is_envelope(&body), "{body}");
        }
        assert!(is_envelope(&json!({ "error": { "code": 404, "message": "User not found" } })));
    }

    #[test]
    fn a_status_stands_for_a_business_code() {
        for (status, code) in [
            (400, "VALIDATION_ERROR"),
            (401, "INVALID_CREDENTIALS"),
            (403, "INSUFFICIENT_PERMISSIONS"),
            (404, "RESOURCE_NOT_FOUND"),
            (409, "CONFLICT"),
            (422, "VALIDATION_ERROR"),
            (429, "RATE_LIMITED"),
            (500, "INTERNAL_ERROR"),
            (418, "UNKNOWN_ERROR"),
        ] {
            assert_eq!(kind(StatusCode::from_u16(status).unwrap()), code, "{status}");
        }
    }
}
