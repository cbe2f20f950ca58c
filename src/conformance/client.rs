//! One request and what came back, within a time. Redirects are answers, and nothing is asked twice.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as Pool, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::verdict::cut;

/// Most bytes of a body that are read.
const MOST_BYTES: usize = 16 << 20;

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Milliseconds it took.
    pub milliseconds: f64,
}

/// An answer, or why there is none.
pub type Asked = Result<Answer, String>;

impl Answer {
    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, where it is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status and body on one line.
    pub fn told(&self) -> String {
        cut(format!("{} {}", self.status, self.text()).trim())
    }
}

/// Asks over HTTP/1.1, plain or with TLS.
pub struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    timeout: Duration,
}

impl Client {
    /// One that waits so long for each answer.
    pub fn new(timeout: Duration) -> Client {
        let connector =
            HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
        Client { pool: Pool::builder(TokioExecutor::new()).build(connector), timeout }
    }

    /// Ask once.
    pub async fn ask(&self, method: Method, url: &str, headers: &[(&str, &str)]) -> Asked {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        match tokio::time::timeout(self.timeout, self.send(request)).await {
            Ok(asked) => asked,
            Err(_) => Err(format!("no answer within {} s", self.timeout.as_secs_f64())),
        }
    }

    async fn send(&self, request: Request<Empty<Bytes>>) -> Asked {
        let start = Instant::now();
        let answer = self.pool.request(request).await.map_err(|error| innermost(&error))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await;
        let body = body.map_err(|error| format!("the body broke off: {error}"))?.to_bytes();
        let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body, milliseconds })
    }
}

/// The cause of an error, which says more than the error.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
