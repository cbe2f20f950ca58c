//! The layers that a request passes, in order (X54, L09).

mod outgoing;
mod tunnel;
mod well_formed;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

pub use outgoing::Outgoing;

use super::answer::Answer;
use super::exchange::{Account, CLIENT_CLOSED, Exchange};
use super::route::Routes;
use super::server::activity::Activity;
use super::upstream::{Failure, Upstream};
use crate::contract;
use crate::contract::settings::Settings;

const PROCESS_TIME: HeaderName = HeaderName::from_static(contract::PROCESS_TIME_HEADER);

/// Everything that a request may meet on its way.
pub struct Stack {
    /// What the operator said.
    pub settings: Settings,
    /// Names of paths.
    pub routes: Arc<Routes>,
    /// Where finished requests are told of.
    pub account: Arc<Account>,
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
        peer: IpAddr,
        activity: &Arc<Activity>,
    ) -> Response<Outgoing> {
        let mut exchange = self.begin(&request, peer, activity);
        let (http1, grpc) = (request.version() < Version::HTTP_2, is_grpc(request.headers()));
        // A panic of ours is an answer, not a closed connection (H04).
        let passed = AssertUnwindSafe(self.pass(request, &mut exchange)).catch_unwind().await;
        let passed = passed.unwrap_or_else(|_| {
            Err(Answer::new(StatusCode::INTERNAL_SERVER_ERROR, "PANIC", "the sidecar failed on this request"))
        });
        let mut response = passed.unwrap_or_else(|answer| {
            let id = exchange.correlation_id.to_str().unwrap_or_default();
            answer.into_response(id, unix_seconds(), grpc).map(Outgoing::whole)
        });
        self.sign(&mut response, &exchange, http1);
        exchange.status = response.status().as_u16();
        response.map(|body| body.account(exchange, grpc))
    }

    fn begin(&self, request: &Request<Incoming>, peer: IpAddr, activity: &Arc<Activity>) -> Box<Exchange> {
        activity.begin(request.version() == Version::HTTP_2);
        self.account.metrics.in_flight.inc();
        Box::new(Exchange {
            account: self.account.clone(),
            activity: activity.clone(),
            started: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            route: self.routes.find(request.method(), request.uri().path()),
            correlation_id: HeaderValue::from_static("-"),
            trace_id: None,
            client: peer,
            user_id: None,
            user_agent: request.headers().get(http::header::USER_AGENT).cloned(),
            status: CLIENT_CLOSED,
            bytes: 0,
            of_contract: false,
            grpc: None,
            broken: None,
        })
    }

    /// The layers, outermost first.
    async fn pass(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        exchange: &mut Exchange,
    ) -> Result<Response<Outgoing>, Answer> {
        well_formed::check(&mut request)?;
        self.proxy(request, exchange).await
    }

    async fn proxy(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        exchange: &mut Exchange,
    ) -> Result<Response<Outgoing>, Answer> {
        let upgrade = tunnel::wanted(&request);
        well_formed::forward(&mut request, upgrade.as_ref());
        if upgrade.is_some() {
            return tunnel::open(self, request, exchange).await;
        }
        let answered = self.upstream.send(request, &exchange.activity).await;
        let mut response = answered.map_err(|failure| refused(&failure))?;
        well_formed::returned(response.headers_mut());
        if is_stream(response.headers()) {
            exchange.activity.streams();
        }
        Ok(response.map(Outgoing::download))
    }

    /// Headers that every answer has.
    fn sign(&self, response: &mut Response<Outgoing>, exchange: &Exchange, http1: bool) {
        let headers = response.headers_mut();
        headers.insert(PROCESS_TIME, milliseconds(exchange.elapsed()));
        if http1 && self.draining.load(Relaxed) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// What a client is told where the application did not answer.
pub(super) fn refused(failure: &Failure) -> Answer {
    let (status, kind) = match failure {
        Failure::Open(_) | Failure::Exhausted | Failure::Connect(..) => {
            (StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE")
        }
        Failure::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "GATEWAY_TIMEOUT"),
        Failure::Broken(_) => (StatusCode::BAD_GATEWAY, "BAD_GATEWAY"),
        Failure::Upload => (StatusCode::BAD_REQUEST, "INVALID_INPUT"),
    };
    let answer = Answer::new(status, kind, failure.to_string());
    match failure {
        Failure::Open(left) => answer.with(RETRY_AFTER, HeaderValue::from(left.as_secs() + 1)),
        _ => answer,
    }
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
    let micros = elapsed.as_micros();
    let mut text = [0u8; 32];
    let mut rest = &mut text[..];
    let _ = write!(rest, "{}.{:03}", micros / 1000, micros % 1000);
    let left = rest.len();
    HeaderValue::from_bytes(&text[..32 - left]).unwrap_or(HeaderValue::from_static("0"))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
