//! One e-mail.

use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::{Failure, port, told};
use crate::api::{Email, Encryption};
use crate::status::Notice;

pub(super) async fn send(
    email: &Email,
    credentials: Option<&(String, String)>,
    notice: &Notice,
) -> Result<(), Failure> {
    let refused = |error: &dyn std::error::Error| Failure::Refused(told(error));
    let (subject, text) = notice.mail();
    let mut message = Message::builder().from(mailbox("from", &email.from)?).subject(subject);
    for to in &email.to {
        message = message.to(mailbox("to", to)?);
    }
    let message = message.header(ContentType::TEXT_PLAIN).body(text).map_err(|error| refused(&error))?;
    let parameters = || TlsParameters::new(email.host.clone()).map_err(|error| refused(&error));
    let tls = match email.encryption.unwrap_or_default() {
        Encryption::StartTLS => Tls::Required(parameters()?),
        Encryption::TLS => Tls::Wrapper(parameters()?),
        Encryption::None => Tls::None,
    };
    let mut server =
        AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&email.host).port(port(email)).tls(tls);
    if let Some((user, password)) = credentials {
        server = server.credentials(Credentials::new(user.clone(), password.clone()));
    }
    let sent = server.build::<Tokio1Executor>().send(message).await;
    sent.map(|_| ()).map_err(|error| failure(&error))
}

fn mailbox(field: &str, text: &str) -> Result<Mailbox, Failure> {
    text.parse().map_err(|error| Failure::Refused(format!("email.{field}: {text:?} is no address: {error}")))
}

/// Whether a message may have arrived: not where nobody took the connection, nor where the server said no.
fn failure(error: &lettre::transport::smtp::Error) -> Failure {
    let message = told(error);
    // A server that lacks what is asked for, such as encryption, was told nothing.
    if error.is_permanent() || error.is_client() {
        Failure::Refused(message)
    } else if error.is_transient() || is_refused(error) {
        Failure::NotSent(message)
    } else {
        Failure::Unknown(message)
    }
}

fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if kind == Some(std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}
