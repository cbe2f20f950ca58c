//! One request over HTTP or HTTPS, within a time: for checks of other services, key sets and the application's metrics.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

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
    /// The certificates of authorities cannot be used.
    #[error("trustedCertificates: {0}")]
    Trust(String),
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

/// A client, and the certificates it was made with.
type Made = (Vec<u8>, HttpsClient);
type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client for such requests. Cheap to clone.
///
/// Each request has a connection of its own: they are seconds apart, and servers close idle ones at just that time.
#[derive(Clone)]
pub struct Fetch {
    protocol: Protocol,
    /// File with certificates of authorities beside the public ones.
    trusted: Option<Arc<Path>>,
    /// Made by the first request: most sidecars have nobody to ask, and the roots of TLS take memory and time. With it
    /// what the file held: another content makes another client.
    client: Arc<Mutex<Option<Made>>>,
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
        Fetch { protocol, trusted: None, client: Arc::default(), most_bytes: MOST_BYTES }
    }

    /// A client that trusts the authorities of a PEM file too, where there is one.
    pub fn trusting(file: Option<&str>) -> Fetch {
        Fetch { trusted: file.map(|file| PathBuf::from(file).into()), ..Fetch::default() }
    }

    async fn client(&self) -> Result<HttpsClient, Error> {
        let certificates = match &self.trusted {
            None => Vec::new(),
            Some(file) => tokio::fs::read(file)
                .await
                .map_err(|error| Error::Trust(format!("{} cannot be read: {error}", file.display())))?,
        };
        let mut made = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, client)) = &*made
            && *of == certificates
        {
            return Ok(client.clone());
        }
        let tls = tls(&certificates).map_err(Error::Trust)?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .http2_only(self.protocol == Protocol::Http2)
            .build(connector.build());
        *made = Some((certificates, client.clone()));
        Ok(client)
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
        self.ask(Method::GET, url, headers, Bytes::new(), within).await
    }

    /// Status and body of what answers a POST of `body`.
    pub async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        within: Duration,
    ) -> Result<(StatusCode, Bytes), Error> {
        self.ask(Method::POST, url, headers, body, within).await
    }

    async fn ask(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        within: Duration,
    ) -> Result<(StatusCode, Bytes), Error> {
        let uri: Uri = url.parse().map_err(|_| Error::Url(url.into()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(Error::Url(url.into()));
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        tokio::time::timeout(within, self.send(request)).await.map_err(|_| Error::Timeout(within))?
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Error> {
        let client = self.client().await?;
        let answer = client.request(request).await.map_err(|error| Error::Connection(told(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), self.most_bytes).collect().await;
        match body {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(Error::TooLarge(self.most_bytes)),
            Err(error) => Err(Error::Body(error.to_string())),
        }
    }
}

/// TLS that trusts the public authorities, and those of `certificates`, PEM.
fn tls(certificates: &[u8]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let mut found = 0;
    for certificate in CertificateDer::pem_slice_iter(certificates) {
        let certificate = certificate.map_err(|error| format!("no PEM certificates: {error}"))?;
        roots.add(certificate).map_err(|error| format!("a certificate cannot be used: {error}"))?;
        found += 1;
    }
    if found == 0 && !certificates.is_empty() {
        return Err("the file holds no PEM certificate".into());
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
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
