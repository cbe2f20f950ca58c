//! The operator, by the word it sends to those who have lost their traffic (decision 0049).

use std::sync::Arc;

use http::HeaderMap;

use super::keys::{Folder, Key, open_operator_keys};
use super::token::Token;
use super::{INVALID, MALFORMED, MISSING, Presented, presented, refuse};
use crate::contract::leave;
use crate::sidecar::answer::Answer;

/// What the operator is known by.
pub struct Operator {
    keys: Arc<Folder<Vec<Key>>>,
    service: String,
}

impl Operator {
    /// Reads the keys, if there are any yet.
    pub fn new(known: &leave::Operator) -> Result<Operator, String> {
        let keys = open_operator_keys(&known.keys_folder)
            .map_err(|error| format!("{}: keysFolder: {error}", leave::VARIABLE))?;
        Ok(Operator { keys: Arc::new(keys), service: known.service.clone() })
    }

    /// Whether it is the operator that asks, and of this service; `now` in Unix time.
    pub fn admit(&self, headers: &HeaderMap, now: u64) -> Result<(), Answer> {
        let token = match presented(headers, None) {
            Presented::Bearer(token) => Token::parse(token).map_err(|_| refuse(INVALID))?,
            Presented::Nothing => return Err(refuse(MISSING)),
            Presented::Malformed | Presented::Cookie(_) => return Err(refuse(MALFORMED)),
        };
        let claims = &token.claims;
        // Everything that costs little first.
        let is_meant = token.is_of_type(leave::TYPE)
            && claims.sub.as_deref() == Some(leave::SUBJECT)
            && claims.is_for(&self.service)
            && claims.is_current(now);
        let holds = is_meant && token.verify(&self.keys.load()).is_ok();
        holds.then_some(()).ok_or_else(|| refuse(INVALID))
    }

    /// Keeps the keys current for as long as it is polled; to be spawned once.
    pub async fn follow(&self) {
        Arc::clone(&self.keys).follow("the operator").await;
    }
}
