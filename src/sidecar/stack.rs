//! The layers that a request passes, in order (X54, L09).
//!
//! id and trace -> account (log, metrics, KPIs) -> recovery -> contract paths -> host -> CORS -> limit by address ->
//! authentication -> limit by subject -> CSRF -> application; and back: errors -> compression -> CORS -> security
//! headers -> id. Paths of the contract stand outside of everything that may refuse (D16, G36).

mod errors;
mod outgoing;
mod tunnel;
mod well_formed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::Either;
use hyper::body::Incoming;

pub use outgoing::Outgoing;

use super::access_log::Milliseconds;
use super::answer::{Answer, unix_seconds};
use super::auth::csrf::Csrf;
use super::auth::identity::Caller;
use super::auth::{Authentication, is_unmistakable};
use super::client::{Client, Peer, TrustedProxies};
use super::compression;
use super::correlation::{Correlation, CorrelationId, Trace};
use super::cors::{self, Cors};
use super::exchange::{Account, CLIENT_CLOSED, Exchange, of_grpc};
use super::headers;
use super::hosts::Hosts;
use super::panics;
use super::rate_limit::RateLimits;
use super::report::Report;
use super::route::Routes;
use super::server::progress::Progress;
use super::upstream::{Failure, Upstream};
use crate::contract;
use crate::contract::settings::{Environment, Protocol, Settings};

const PROCESS_TIME: HeaderName = HeaderName::from_static(contract::PROCESS_TIME_HEADER);

/// Seconds after which a client may ask again for a connection that lasts.
const TUNNEL_SECONDS: u64 = 10;

/// Everything that a request may meet on its way.
pub struct Stack {
    /// What the operator said.
    pub settings: Settings,
    /// Names of paths.
    pub routes: Arc<Routes>,
    /// Where finished requests are told of.
    pub account: Arc<Account>,
    /// Whose X-Forwarded-For is believed.
    pub proxies: TrustedProxies,
    /// Ids of requests.
    pub correlation: Correlation,
    /// Hosts that are answered.
    pub hosts: Hosts,
    /// Origins that may call.
    pub cors: Option<Cors>,
    /// Requests per minute.
    pub limits: Option<RateLimits>,
    /// Who calls.
    pub authentication: Option<Authentication>,
    /// Sessions in a cookie.
    pub csrf: Option<Csrf>,
    /// Paths of the contract.
    pub report: Arc<Report>,
    /// Room for answers that are being compressed.
    pub encoders: compression::Places,
    /// The application.
    pub upstream: Upstream,
    /// Whether the process is on its way out.
    pub draining: Arc<AtomicBool>,
}

impl Stack {
    /// Answer a request, by the application or in its place.
    pub async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: &Peer,
        progress: &Arc<Progress>,
    ) -> Response<Outgoing> {
        let mut passage = self.begin(&request, peer, progress);
        // A panic of ours is an answer, not a closed connection (H04).
        let passed = panics::caught(self.pass(request, &mut passage, peer)).await;
        let passed = passed.unwrap_or_else(|said| {
            passage.exchange.failure = Some(said);
            Err(excuse(self.settings.environment))
        });
        let mut response = passed.unwrap_or_else(|answer| {
            answer.into_response(passage.id.as_str(), unix_seconds(), passage.grpc).map(Outgoing::whole)
        });
        self.sign(&mut response, &passage);
        let Passage { mut exchange, grpc, .. } = passage;
        if grpc {
            // Without a message the outcome is said at once.
            exchange.grpc = response.headers().get("grpc-status").map(of_grpc);
        }
        exchange.status = response.status().as_u16();
        response.map(|body| body.account(exchange, grpc))
    }

    fn begin(&self, request: &Request<Incoming>, peer: &Peer, progress: &Arc<Progress>) -> Passage {
        let headers = request.headers();
        if progress.begin() {
            self.account.metrics.told_to_leave.inc();
        }
        self.account.metrics.in_flight.inc();
        let client = self.proxies.resolve(peer, headers);
        let id = self.correlation.resolve(headers);
        let exchange = Box::new(Exchange {
            account: self.account.clone(),
            progress: progress.clone(),
            started: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            route: self.routes.find(request.method(), request.uri().path()),
            correlation_id: id.value().clone(),
            trace: None,
            client: client.address,
            user_id: None,
            user_agent: headers.get(http::header::USER_AGENT).cloned(),
            status: CLIENT_CLOSED,
            bytes: 0,
            of_contract: false,
            grpc: None,
            failure: None,
            broken: None,
        });
        let is_http2 = request.version() == Version::HTTP_2;
        let grpc = request.method() == Method::POST && is_http2 && is_grpc(headers);
        if grpc && self.settings.application.protocol == Protocol::Http2 {
            progress.streams();
        }
        Passage {
            exchange,
            id,
            client,
            http1: request.version() < Version::HTTP_2,
            grpc,
            preflight: false,
            origin: self.cors.as_ref().and_then(|_| headers.get(ORIGIN).cloned()),
            encoding: self
                .settings
                .compression
                .then(|| compression::negotiate(request.method(), headers))
                .flatten(),
        }
    }

    /// The layers, outermost first.
    async fn pass(
        self: &Arc<Self>,
        request: Request<Incoming>,
        passage: &mut Passage,
        peer: &Peer,
    ) -> Result<Response<Outgoing>, Answer> {
        if let Some(answer) = self.of_contract(&request, passage) {
            return Ok(answer);
        }
        let (mut request, body) = request.into_parts();
        well_formed::check(&request)?;
        // First: what follows looks for headers under their own names only.
        headers::strip_spellings(&mut request.headers);
        self.hosts.admit(&request.uri, &request.headers)?;
        if let Some(answer) =
            self.cors.as_ref().and_then(|cors| cors.preflight(&request.method, &request.headers))
        {
            passage.preflight = true;
            return Ok(answer.map(|()| Outgoing::empty()));
        }
        if let Some(limits) = &self.limits {
            limits.check_address(&passage.client)?;
        }
        let caller = match &self.authentication {
            // A browser asks without a token whether it may call; here the application tells it.
            _ if cors::is_preflight(&request.method, &request.headers) && is_unmistakable(&request) => {
                Caller::Anonymous
            }
            Some(authentication) => authentication.authenticate(&request, unix_seconds()).await?,
            None => Caller::Anonymous,
        };
        if let Some(subject) = caller.subject() {
            passage.exchange.user_id = HeaderValue::from_str(subject).ok();
            if let (Some(limits), Caller::User(_)) = (&self.limits, &caller) {
                limits.check_subject(subject)?;
            }
        }
        let cookie = match &self.csrf {
            Some(csrf) => csrf.check(&request.method, &request.headers)?,
            None => None,
        };

        let upgrade = tunnel::wanted(&request);
        well_formed::forward(&mut request, upgrade.as_ref());
        caller.announce(&mut request.headers);
        self.correlation.set(&mut request.headers, &passage.id);
        passage.exchange.trace = Some(Trace::admit(&mut request.headers));
        peer.forward(&passage.client, &mut request.headers);
        let request = Request::from_parts(request, body);

        let response = if upgrade.is_some() {
            Box::pin(tunnel::open(self, request, &mut passage.exchange)).await?
        } else {
            self.ask(request, passage).await?
        };
        let mut response = self.dress(response, passage).await;
        if let Some(cookie) = cookie {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        Ok(response)
    }

    /// Paths of the contract on the port for traffic: peers ask them (D07, C31), scrapers have a port of their own.
    fn of_contract(&self, request: &Request<Incoming>, passage: &mut Passage) -> Option<Response<Outgoing>> {
        let path = request.uri().path();
        let answer = self.report.answer_peer(request.method(), path, passage.id.as_str())?;
        passage.exchange.of_contract = true;
        Some(answer.map(Outgoing::whole))
    }

    async fn ask(
        &self,
        request: Request<Incoming>,
        passage: &mut Passage,
    ) -> Result<Response<Outgoing>, Answer> {
        let answered = self.upstream.send(request, &passage.exchange.progress).await;
        let mut response = answered.map_err(|failure| refused(failure, &mut passage.exchange))?;
        headers::strip_hop_by_hop(response.headers_mut());
        if is_stream(response.headers()) {
            passage.exchange.progress.streams();
        }
        Ok(response.map(Outgoing::download))
    }

    /// An answer of the application as it goes out.
    async fn dress(&self, mut response: Response<Outgoing>, passage: &mut Passage) -> Response<Outgoing> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return response;
        }
        if response.status().as_u16() >= 400 && !is_grpc(response.headers()) {
            let rewritten = errors::rewrite(response, &self.settings.errors, passage.id.as_str());
            response = Box::pin(rewritten).await;
        }
        if !self.settings.compression {
            return response;
        }
        compression::compress(passage.encoding, &self.encoders, response).map(|body| match body {
            Either::Left(body) => body,
            Either::Right(body) => Outgoing::compressed(body),
        })
    }

    /// Headers that every answer has.
    fn sign(&self, response: &mut Response<Outgoing>, passage: &Passage) {
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        if let Some(cors) = self.cors.as_ref().filter(|_| !passage.preflight) {
            cors.allow(passage.origin.as_ref(), headers);
        }
        if self.settings.security_headers {
            headers::secure(headers);
        }
        self.correlation.set(headers, &passage.id);
        headers.insert(PROCESS_TIME, milliseconds(passage.exchange.elapsed()));
        // Of a connection that becomes a tunnel nothing follows that could go elsewhere.
        let leaves = passage.exchange.progress.connection.leaves();
        if passage.http1 && !switches && (leaves || self.draining.load(Relaxed)) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            self.account.metrics.told_to_leave.inc_by(leaves.into());
        }
    }
}

/// What is known of a request while it passes.
struct Passage {
    exchange: Box<Exchange>,
    id: CorrelationId,
    client: Client,
    http1: bool,
    grpc: bool,
    origin: Option<HeaderValue>,
    /// Whether a preflight was answered, which says all about origins itself.
    preflight: bool,
    encoding: Option<compression::Encoding>,
}

/// What a client is told where the application did not answer; the log is told more.
fn refused(failure: Failure, exchange: &mut Exchange) -> Answer {
    let (status, kind, message) = match &failure {
        Failure::Open(_) => {
            (503, "SERVICE_UNAVAILABLE", "the application is left alone for a while: come back later")
        }
        Failure::Exhausted => {
            (503, "SERVICE_UNAVAILABLE", "the application is at its limit: come back later")
        }
        Failure::Tunnels => (
            503,
            "SERVICE_UNAVAILABLE",
            "the application has as many lasting connections as it may: come back later",
        ),
        Failure::Connect(..) => (503, "SERVICE_UNAVAILABLE", "the application cannot be reached"),
        Failure::Timeout(_) => (504, "GATEWAY_TIMEOUT", "the application did not answer in time"),
        Failure::Broken(_) => (502, "BAD_GATEWAY", "the application did not answer"),
        Failure::Upload => (400, "INVALID_INPUT", "the body of the request broke off"),
    };
    exchange.failure = Some(failure.to_string());
    let answer = Answer::new(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), kind, message);
    match failure {
        Failure::Open(left) => answer.with(RETRY_AFTER, HeaderValue::from(left.as_secs() + 1)),
        Failure::Tunnels => answer.with(RETRY_AFTER, HeaderValue::from(TUNNEL_SECONDS)),
        _ => answer,
    }
}

/// What a client is told of a panic of ours (H04): never its words.
fn excuse(environment: Environment) -> Answer {
    let kind = if environment == Environment::Production { "INTERNAL_ERROR" } else { "PANIC" };
    Answer::new(StatusCode::INTERNAL_SERVER_ERROR, kind, errors::MASKED)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Whether an answer may pause for long: events, and messages of gRPC.
fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.starts_with(b"text/event-stream") || kind.starts_with(b"application/grpc")
}

/// X29: milliseconds, with three decimals.
fn milliseconds(elapsed: Duration) -> HeaderValue {
    use std::io::Write;
    let mut text = [0u8; 32];
    let mut rest = &mut text[..];
    let _ = write!(rest, "{}", Milliseconds(elapsed));
    let left = rest.len();
    HeaderValue::from_bytes(&text[..32 - left]).unwrap_or(HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_answered_with_500_and_without_its_words() {
        for (environment, kind) in
            [(Environment::Production, "INTERNAL_ERROR"), (Environment::Staging, "PANIC")]
        {
            let response = excuse(environment).into_response("one", 0, false);
            assert_eq!(response.status(), 500);
            let envelope: serde_json::Value =
                serde_json::from_slice(&excuse(environment).envelope("one", 0)).unwrap();
            assert_eq!(envelope["error"]["type"], kind, "{envelope}");
            assert_eq!(envelope["error"]["message"], errors::MASKED, "{envelope}");
        }
    }
}
