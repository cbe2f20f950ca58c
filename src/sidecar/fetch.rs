//! One GET over HTTP or HTTPS, within a time: for checks of other services, key sets and the application's metrics.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

/// Most bytes of an answer that are read.
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
    /// The body broke off or was too large.
    #[error("its body: {0}")]
    Body(String),
}

/// A client for such requests. Cheap to clone.
#[derive(Clone)]
pub struct Fetch(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Default for Fetch {
    fn default() -> Self {
        let connector =
            HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
        Fetch(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector))
    }
}

impl Fetch {
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
        let answer = self.0.request(request).await.map_err(|error| Error::Connection(told(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        Ok((status, body.map_err(|error| Error::Body(error.to_string()))?.to_bytes()))
    }
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
