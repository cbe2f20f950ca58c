//! One POST of JSON.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

use super::{Failure, told};

/// Longest time until somebody takes the connection: nothing has been sent until then.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Most bytes of an answer that are read, and told.
const ANSWER: usize = 200;

type Poster = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

static CLIENT: LazyLock<Result<Poster, String>> = LazyLock::new(|| {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_WITHIN));
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| error.to_string())?
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    // A connection that was kept may be closed by the other side at the very moment: what was sent is unknown then.
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
});

pub(super) async fn post(url: &str, body: String) -> Result<(), Failure> {
    let uri: Option<Uri> = url.trim().parse().ok();
    let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    // The URL is a secret: it is in no message.
    let uri = uri.ok_or_else(|| Failure::Refused("what the Secret holds is no http(s) URL".into()))?;
    let client = CLIENT.as_ref().map_err(|error| Failure::NotSent(error.clone()))?;
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("visiobook-operator"));
    let answer = client.request(request).await.map_err(|error| match error.is_connect() {
        true => Failure::NotSent(told(&error)),
        false => Failure::Unknown(told(&error)),
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let said = Limited::new(answer.into_body(), ANSWER).collect().await;
    let said = said.map(|said| String::from_utf8_lossy(&said.to_bytes()).into_owned()).unwrap_or_default();
    let message = format!("answered {status} {said}").trim_end().to_string();
    Err(match status {
        StatusCode::TOO_MANY_REQUESTS => Failure::NotSent(message),
        // A server behind the one that answers may have taken it.
        status if status.is_server_error() => Failure::Unknown(message),
        _ => Failure::Refused(message),
    })
}
