//! Traffic has moved to the other colour, and clients with kept connections stay here by them: the operator's word sends
//! them away, each with its next answer. It is no drain: whoever is led here is served as ever.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

use super::answer::{Answer, unix_seconds};
use super::auth::operator::Operator;
use super::server::Server;
use crate::contract::leave;

/// Whose word is heard, and who is sent away by it.
pub struct Leave {
    operator: Operator,
    server: Arc<Server>,
}

impl Leave {
    /// Hears the operator that is known so.
    pub fn new(known: &leave::Operator, server: Arc<Server>) -> Result<Leave, String> {
        Ok(Leave { operator: Operator::new(known)?, server })
    }

    /// The answer to the word. It has no body, so nothing of one is read.
    pub fn answer(&self, headers: &HeaderMap, has_body: bool, correlation_id: &str) -> Response<Bytes> {
        self.hear(headers, has_body).map_or_else(
            |refused| refused.into_response(correlation_id, unix_seconds(), false),
            |()| Response::new(Bytes::from_static(b"leaving\n")),
        )
    }

    fn hear(&self, headers: &HeaderMap, has_body: bool) -> Result<(), Answer> {
        if has_body {
            return Err(Answer::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "INVALID_INPUT",
                "This call has no body: send none",
            ));
        }
        self.operator.admit(headers, unix_seconds())?;
        match self.server.leave() {
            Some(connections) => tracing::info!(
                connections,
                "traffic has moved to the other colour: clients are told to come back over other connections"
            ),
            None => tracing::debug!("told to leave again"),
        }
        Ok(())
    }

    /// Keeps the keys current for as long as it is polled; to be spawned once.
    pub async fn follow(&self) {
        self.operator.follow().await;
    }
}
