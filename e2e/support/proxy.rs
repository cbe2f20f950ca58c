//! A proxy between an operator and the API server: it notes every request, and breaks those that a test names.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::Stream;
use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING,
};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::client::{Body, ClientBuilder};
use kube::config::AuthInfo;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use visiobook::telemetry::calls;

use super::operator::signal;

type Answer = Response<UnsyncBoxBody<Bytes, Broken>>;
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// One request of the operator.
#[derive(Clone, Debug)]
pub struct Call {
    /// Counts the writes since the last [`Proxy::rule`], from 1; zero for what only reads, and for the lease.
    pub write: usize,
    /// Kubernetes' verb, such as `apply`.
    pub verb: &'static str,
    /// The resource with its subresource, such as `visiobookservices/status`.
    pub kind: String,
    /// The path of the request.
    pub path: String,
    /// When it came.
    pub at: Instant,
    /// What was answered, whether the operator heard it or not; zero if nothing was.
    pub status: u16,
}

impl Call {
    /// Whether it changes what is stored, the lease apart.
    pub fn writes(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb) && self.kind != "leases"
    }

    /// Whether the operator makes it in any case: the lease, and watches that begin anew.
    pub fn is_upkeep(&self) -> bool {
        self.kind == "leases" || self.verb == "watch"
    }

    /// Whether it is about this object, or about a child that is named after it.
    pub fn concerns(&self, name: &str) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| part.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')))
    }
}

/// What becomes of a request.
pub enum Verdict {
    /// It goes on to the API server.
    Forward,
    /// It is answered with this status, and the API server never hears of it.
    Answer(u16),
    /// The connection is cut before anything is sent.
    CutBefore,
    /// It is sent, but the answer is lost: this happens first, then the connection is cut.
    CutAfter(Box<dyn FnOnce() + Send>),
    /// It goes on once it is let go.
    Hold(Arc<Notify>),
}

type Rule = Arc<dyn Fn(&Call) -> Verdict + Send + Sync>;

struct State {
    upstream: kube::Client,
    lag: Duration,
    rule: Mutex<Rule>,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    all: Vec<Call>,
    writes: usize,
}

/// See the module.
pub struct Proxy {
    /// Where the operator finds it.
    pub address: SocketAddr,
    state: Arc<State>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// In front of the API server of the kubeconfig.
    pub async fn start() -> Proxy {
        Proxy::lagging(Duration::ZERO).await
    }

    /// The same, but everything that a watch tells comes this much later.
    pub async fn lagging(lag: Duration) -> Proxy {
        let mut config = kube::Config::infer().await.expect("a cluster");
        // Every request carries the operator's own token.
        config.auth_info = AuthInfo::default();
        config.default_retry = false;
        let upstream = ClientBuilder::try_from(config).expect("client").build();
        let forward: Rule = Arc::new(|_| Verdict::Forward);
        let state = Arc::new(State { upstream, lag, rule: Mutex::new(forward), calls: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("address");
        let listening = tokio::spawn(listen(listener, state.clone()));
        Proxy { address, state, listening }
    }

    /// From now on every request goes by this rule, and writes are counted from 1 again.
    pub fn rule(&self, rule: impl Fn(&Call) -> Verdict + Send + Sync + 'static) {
        lock(&self.state.calls).writes = 0;
        *lock(&self.state.rule) = Arc::new(rule);
    }

    /// Kill a process at one of its writes: before it is sent, or once it is done and not yet answered.
    pub fn kill_at(&self, write: usize, pid: u32, before: bool) {
        let fired = AtomicBool::new(false);
        self.rule(move |call| {
            if call.write != write || fired.swap(true, Ordering::SeqCst) {
                return Verdict::Forward;
            }
            if before {
                signal(pid, "KILL");
                return Verdict::CutBefore;
            }
            Verdict::CutAfter(Box::new(move || signal(pid, "KILL")))
        });
    }

    /// From now on every request is forwarded.
    pub fn forward(&self) {
        self.rule(|_| Verdict::Forward);
    }

    /// A place in the record, to ask for what came after it.
    pub fn mark(&self) -> usize {
        lock(&self.state.calls).all.len()
    }

    /// The requests since a mark.
    pub fn since(&self, mark: usize) -> Vec<Call> {
        lock(&self.state.calls).all[mark..].to_vec()
    }

    /// The writes since a mark.
    pub fn writes(&self, mark: usize) -> Vec<Call> {
        self.since(mark).into_iter().filter(Call::writes).collect()
    }

    /// Wait until nothing but upkeep was asked for this long.
    pub async fn quiet(&self, long: Duration) {
        let started = Instant::now();
        loop {
            let last =
                lock(&self.state.calls).all.iter().rev().find(|call| !call.is_upkeep()).map(|call| call.at);
            let silent = last.map_or(started, |last| last.max(started)).elapsed();
            if silent >= long {
                return;
            }
            assert!(
                started.elapsed() < super::PATIENCE,
                "it never falls silent: {:#?}",
                tail(&self.since(0))
            );
            tokio::time::sleep(long - silent).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        if std::thread::panicking() {
            eprintln!("last requests through the proxy: {:#?}", tail(&self.since(0)));
        }
    }
}

/// The last requests, for people.
pub fn tail(calls: &[Call]) -> Vec<String> {
    let told = calls.iter().filter(|call| !call.is_upkeep());
    let mut told: Vec<String> =
        told.map(|call| format!("{} {} -> {}", call.verb, call.path, call.status)).collect();
    told.split_off(told.len().saturating_sub(30))
}

async fn listen(listener: TcpListener, state: Arc<State>) {
    while let Ok((connection, _)) = listener.accept().await {
        let state = state.clone();
        tokio::spawn(async move {
            let serve = hyper::service::service_fn(move |request| pass(state.clone(), request));
            // An error is a connection that was cut, by a rule or by the operator's end.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(connection), serve)
                .await;
        });
    }
}

async fn pass(state: Arc<State>, request: Request<Incoming>) -> Result<Answer, Broken> {
    let (index, verdict) = note(&state, &request);
    if let Verdict::CutBefore = verdict {
        return Err(cut());
    }
    if let Verdict::Hold(gate) = &verdict {
        gate.notified().await;
    }
    let answered = match verdict {
        Verdict::Answer(status) => answer(status),
        _ => forward(&state, request).await?,
    };
    lock(&state.calls).all[index].status = answered.status().as_u16();
    if let Verdict::CutAfter(then) = verdict {
        then();
        return Err(cut());
    }
    Ok(answered)
}

fn note(state: &State, request: &Request<Incoming>) -> (usize, Verdict) {
    let uri = request.uri();
    let content_type =
        request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (verb, kind) =
        calls::classify(request.method(), uri.path(), uri.query().unwrap_or_default(), content_type);
    let rule = lock(&state.rule).clone();
    let mut calls = lock(&state.calls);
    let mut call = Call { write: 0, verb, kind, path: uri.path().to_string(), at: Instant::now(), status: 0 };
    if call.writes() {
        calls.writes += 1;
        call.write = calls.writes;
    }
    calls.all.push(call.clone());
    let index = calls.all.len() - 1;
    drop(calls);
    (index, rule(&call))
}

async fn forward(state: &State, request: Request<Incoming>) -> Result<Answer, Broken> {
    let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let (mut head, body) = request.into_parts();
    for header in [HOST, CONNECTION, ACCEPT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING] {
        head.headers.remove(header);
    }
    let body = body.collect().await?.to_bytes();
    let response = state.upstream.send(Request::from_parts(head, Body::from(body))).await?;
    let (mut head, body) = response.into_parts();
    for header in [CONNECTION, TRANSFER_ENCODING] {
        head.headers.remove(header);
    }
    let body = if watches && !state.lag.is_zero() {
        StreamBody::new(late(body, state.lag)).boxed_unsync()
    } else {
        body.map_err(Into::into).boxed_unsync()
    };
    Ok(Response::from_parts(head, body))
}

/// What the API server would say with this status.
fn answer(status: u16) -> Answer {
    let reason = match status {
        403 => "Forbidden",
        409 => "Conflict",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let told = serde_json::json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": status, "reason": reason,
        "message": format!("the test answers {status}"),
    });
    let mut response = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    if status == 429 {
        response = response.header(RETRY_AFTER, "1");
    }
    let body =
        Full::new(Bytes::from(told.to_string())).map_err(|never: Infallible| match never {}).boxed_unsync();
    response.body(body).expect("response")
}

fn cut() -> Broken {
    Box::new(io::Error::new(io::ErrorKind::ConnectionAborted, "cut by the test"))
}

/// A body whose parts come late, each as much as the others.
fn late(mut body: Body, lag: Duration) -> Late {
    let (parts, arriving) = unbounded();
    tokio::spawn(async move {
        while let Some(part) = body.frame().await {
            if parts.unbounded_send((Instant::now() + lag, part.map_err(Into::into))).is_err() {
                return;
            }
        }
    });
    Late { arriving, next: None }
}

type Part = Result<Frame<Bytes>, Broken>;

struct Late {
    arriving: UnboundedReceiver<(Instant, Part)>,
    next: Option<(Pin<Box<tokio::time::Sleep>>, Part)>,
}

impl Stream for Late {
    type Item = Part;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Part>> {
        if self.next.is_none() {
            match Pin::new(&mut self.arriving).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some((due, part))) => {
                    self.next = Some((Box::pin(tokio::time::sleep_until(due.into())), part))
                }
            }
        }
        match self.next.as_mut().map(|(due, _)| due.as_mut().poll(context)) {
            Some(Poll::Ready(())) => Poll::Ready(self.next.take().map(|(_, part)| part)),
            _ => Poll::Pending,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
