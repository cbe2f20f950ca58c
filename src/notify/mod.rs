//! How people are told of a release: one message, to one address, within a time. It knows no Kubernetes, and decides
//! only whether a message that failed may be sent again: never one that may have arrived.

mod mail;
mod post;

use std::time::Duration;

use crate::api::{Email, Encryption};
use crate::status::Notice;

/// Longest time that one message may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Where a message goes, with everything that is secret about it.
#[derive(Clone)]
pub enum Address {
    /// Slack, or what takes the same.
    Slack {
        /// Its URL.
        url: String,
    },
    /// A program.
    Webhook {
        /// Its URL.
        url: String,
    },
    /// People.
    Mail {
        /// Whom, and through which server.
        email: Box<Email>,
        /// User name and password, where the server wants them.
        credentials: Option<(String, String)>,
    },
}

/// Why a message was not delivered, in words that reveal no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing was sent, or what was sent was turned away for now: it may be sent again.
    #[error("{0}")]
    NotSent(String),
    /// It was turned away, or cannot be sent: sending it again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// It may have arrived: it is not sent again.
    #[error("{0}; it may have arrived, so it is not sent again")]
    Unknown(String),
}

/// Send a message.
pub async fn send(address: &Address, notice: &Notice) -> Result<(), Failure> {
    let sending = async {
        match address {
            Address::Slack { url } => post::post(url, notice.slack().to_string()).await,
            Address::Webhook { url } => post::post(url, notice.document().to_string()).await,
            Address::Mail { email, credentials } => mail::send(email, credentials.as_ref(), notice).await,
        }
    };
    let outcome = tokio::time::timeout(WITHIN, sending).await;
    outcome.unwrap_or_else(|_| Err(Failure::Unknown(format!("no answer within {} s", WITHIN.as_secs()))))
}

/// Port of a mail server.
fn port(email: &Email) -> u16 {
    let usual = if email.encryption == Some(Encryption::TLS) { 465 } else { 587 };
    email.port.unwrap_or(usual)
}

/// An error with its causes, innermost last.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
