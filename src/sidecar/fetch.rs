//! One GET over HTTP or HTTPS, within a time: for checks of other services, key sets and the application's metrics.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

use crate::contract::settings::Protocol;

/// Most bytes of an answer that are read, unless told otherwise.
const MOST_BYTES: usize = 16 << 20;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("{0:?} is no http(s) URL")]
    Url(String),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The connection failed.
    #[error("{0}")]
    Connection(String),
    /// The body broke off.
    #[error("its body: {0}")]
    Body(String),
    /// The body was larger than wanted.
    #[error("its body is larger than {0} bytes")]
    TooLarge(usize),
}

/// A client for such requests. Cheap to clone.
///
/// Each request has a connection of its own: they are seconds apart, and servers close idle ones at just that time.
#[derive(Clone)]
pub struct Fetch {
    protocol: Protocol,
    /// Made by the first request: most sidecars have nobody to ask, and the roots of TLS take memory and time.
    client: Arc<OnceLock<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>>>,
    most_bytes: usize,
}

impl Default for Fetch {
    fn default() -> Self {
        Fetch::speaking(Protocol::Http1)
    }
}

impl Fetch {
    /// A client for servers that speak `protocol`.
    pub fn speaking(protocol: Protocol) -> Fetch {
        Fetch { protocol, client: Arc::default(), most_bytes: MOST_BYTES }
    }

    fn client(&self) -> &Client<HttpsConnector<HttpConnector>, Empty<Bytes>> {
        self.client.get_or_init(|| {
            let connector =
                HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
            Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .http2_only(self.protocol == Protocol::Http2)
                .build(connector)
        })
    }

    /// The same for answers of at most `bytes`.
    pub fn at_most(self, bytes: usize) -> Fetch {
        Fetch { most_bytes: bytes, ..self }
    }

    /// Status and body of a GET.
    pub async fn get(
        &self,
        url: &str,
        headers: HeaderMap,
        within: Duration,
    ) -> Result<(StatusCode, Bytes), Error> {
        let uri: Uri = url.parse().map_err(|_| Error::Url(url.into()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(Error::Url(url.into()));
        }
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        tokio::time::timeout(within, self.send(request)).await.map_err(|_| Error::Timeout(within))?
    }

    async fn send(&self, request: Request<Empty<Bytes>>) -> Result<(StatusCode, Bytes), Error> {
        let answer = self.client().request(request).await.map_err(|error| Error::Connection(told(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), self.most_bytes).collect().await;
        match body {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(Error::TooLarge(self.most_bytes)),
            Err(error) => Err(Error::Body(error.to_string())),
        }
    }
}

/// An error with its causes, innermost last.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
