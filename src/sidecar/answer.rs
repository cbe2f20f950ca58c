//! What the sidecar answers itself: the error envelope (D40), as JSON or as a grpc-status.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

/// An answer in place of the application's.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// The business code, such as `RATE_LIMITED` (D46, X18).
    pub kind: &'static str,
    /// What a person reads.
    pub message: Cow<'static, str>,
    /// Headers beside those of the envelope.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    /// An error: its status, its business code, and what a person reads.
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<Cow<'static, str>>) -> Answer {
        Answer { status, kind, message: message.into(), headers: Vec::new() }
    }

    /// The same with one header more.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Answer {
        self.headers.push((name, value));
        self
    }

    /// The envelope of D40; `seconds` is now, in Unix time.
    pub fn envelope(&self, correlation_id: &str, seconds: u64) -> Bytes {
        let error = json!({ "error": {
            "code": self.status.as_u16(),
            "type": self.kind,
            "message": self.message,
            "correlationId": correlation_id,
            "timestamp": seconds,
        } });
        Bytes::from(error.to_string())
    }

    /// The answer as JSON, or, to a gRPC client, as the trailers of an empty stream.
    pub fn into_response(self, correlation_id: &str, seconds: u64, grpc: bool) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        if grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from(grpc_status(self.status)));
            if let Ok(message) = HeaderValue::from_str(&percent_encoded(&self.message)) {
                headers.insert("grpc-message", message);
            }
        } else {
            let body = self.envelope(correlation_id, seconds);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            *response.body_mut() = body;
            *response.status_mut() = self.status;
        }
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Now, as envelopes and tokens tell the time.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The gRPC code of an HTTP status, as gRPC's own mapping has it, with 429 and 504 told apart.
pub fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        200 => 0,
        400 | 413 | 431 => 3,
        401 => 16,
        403 => 7,
        404 => 12,
        409 => 10,
        429 => 8,
        502 | 503 => 14,
        504 => 4,
        500 => 13,
        _ => 2,
    }
}

/// gRPC's percent-encoding of messages: what is no printable ASCII, and the percent sign.
fn percent_encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' => encoded.push_str("%25"),
            b' '..=b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_the_envelope_of_the_contract() {
        let answer = Answer::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", "slow down");
        let response = answer.into_response("c-1", 1_700_000_000, false);
        assert_eq!(response.status(), 429);
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(
            body,
            json!({ "error": { "code": 429, "type": "RATE_LIMITED", "message": "slow down", "correlationId": "c-1", "timestamp": 1_700_000_000 } })
        );
    }

    #[test]
    fn a_grpc_client_reads_a_status() {
        let answer = Answer::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "é 100%");
        let response = answer.into_response("c-1", 0, true);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "%C3%A9 100%25");
        assert!(response.body().is_empty());
    }
}
