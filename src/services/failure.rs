//! What a service answers in place of what was asked for: status, business code, message (D40, D46-D49).

use std::borrow::Cow;
use std::fmt::Display;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use utoipa::ToSchema;

use super::database;

/// A field of a request, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Detail {
    /// The field, as it is spelled in the request.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// An error, before it is put into its envelope.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its status.
    pub status: StatusCode,
    /// Its business code (D46).
    pub kind: &'static str,
    /// What a person reads.
    pub message: Cow<'static, str>,
    /// What is wrong with which field.
    pub details: Vec<Detail>,
    /// A header beside it.
    pub header: Option<Box<(HeaderName, HeaderValue)>>,
    /// What only the log is told.
    pub cause: Option<String>,
}

impl Failure {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure { status, kind, message: message.into(), details: Vec::new(), header: None, cause: None }
    }

    /// 400: the request itself is wrong.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", message)
    }

    /// 400: fields of the request are wrong; the first is what the message says.
    pub fn of_fields(details: Vec<Detail>) -> Failure {
        let message =
            details.first().map_or("Invalid request data".to_owned(), |first| first.message.clone());
        Failure { details, ..Failure::invalid(message) }
    }

    /// 401: nobody knows who calls.
    pub fn unauthorized(message: &'static str) -> Failure {
        let header = Some(Box::new((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))));
        Failure { header, ..Failure::new(StatusCode::UNAUTHORIZED, "INVALID_CREDENTIALS", message) }
    }

    /// 403: who calls may not.
    pub fn forbidden(message: &'static str) -> Failure {
        Failure::new(StatusCode::FORBIDDEN, "INSUFFICIENT_PERMISSIONS", message)
    }

    /// 404.
    pub fn not_found(kind: &'static str, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, kind, message)
    }

    /// 409: it stands against what is there.
    pub fn conflict(message: &'static str) -> Failure {
        Failure::new(StatusCode::CONFLICT, "CONFLICT", message)
    }

    /// 412: `If-Match` names another version.
    pub fn precondition(message: &'static str) -> Failure {
        Failure::new(StatusCode::PRECONDITION_FAILED, "CONFLICT", message)
    }

    /// Any other status of a request that is wrong.
    pub fn refused(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(status, "INVALID_INPUT", message)
    }

    /// 429: come back after so many seconds.
    pub fn limited(message: &'static str, seconds: u64) -> Failure {
        let header = Some(Box::new((RETRY_AFTER, HeaderValue::from(seconds.max(1)))));
        Failure { header, ..Failure::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message) }
    }

    /// 503: come back in a second.
    pub fn unavailable(message: &'static str) -> Failure {
        let header = Some(Box::new((RETRY_AFTER, HeaderValue::from_static("1"))));
        Failure { header, ..Failure::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message) }
    }

    /// 500: something that nobody foresaw, which only the log is told.
    pub fn internal(message: &'static str, cause: impl Display) -> Failure {
        let cause = Some(cause.to_string());
        Failure { cause, ..Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", message) }
    }

    /// What the database says, where `message` tells what came to nothing: 503 in an outage, else 500.
    pub fn of_database(message: &'static str, error: database::Error) -> Failure {
        if let database::Error::Forbidden(rule) = error {
            return Failure::forbidden(rule);
        }
        let failure = match error.is_outage() {
            true => Failure::unavailable(message),
            false => Failure::internal(message, ""),
        };
        Failure { cause: Some(error.to_string()), ..failure }
    }
}

/// Refuse who may not, with the rule that says so.
pub fn permit(may: bool, rule: &'static str) -> Result<(), Failure> {
    if may { Ok(()) } else { Err(Failure::forbidden(rule)) }
}

/// It waits in the response until the envelope is made, by who knows the id of the request.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// An error as it is documented (D40, X18).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// What went wrong.
    pub error: EnvelopeError,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvelopeError {
    /// The status.
    pub code: u16,
    /// The business code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What a person reads.
    pub message: String,
    /// The id of the request, in every log line about it.
    pub correlation_id: String,
    /// Unix seconds.
    pub timestamp: u64,
    /// What is wrong with which field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
}
