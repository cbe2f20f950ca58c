//! The bounded pool of connections to the application.

mod body;
mod link;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use body::Arrival;
pub use body::{Download, Upload};
use link::{Idle, Kept, Link};

use super::breaker::Breaker;
use super::server::STREAM_SECONDS;
use super::server::progress::Progress;
use crate::contract::settings::{Protocol, Settings};

/// The application, reached over a bounded number of connections.
pub struct Upstream {
    port: u16,
    protocol: Protocol,
    connect_within: Duration,
    answer_within: Duration,
    keep_alive: Duration,
    retries: u32,
    /// One for each request under way; a connection is made only while none is idle, so it bounds these too.
    permits: Arc<Semaphore>,
    /// One for each connection that becomes something else: those last, and would leave no request a permit.
    tunnels: Arc<Semaphore>,
    pool: Arc<Pool>,
    http2: Mutex<Option<http2::SendRequest<Upload>>>,
    windows: Windows,
    breaker: Mutex<Breaker>,
}

/// Connections that nobody uses, the last used last.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<Idle>>);

/// Bytes that as many requests over HTTP/2 as are usual hold together where nobody reads their answers: a quarter of what
/// a sidecar has.
const MOST_UNREAD: u32 = 16 << 20;
/// Bytes of one of them: no less than a frame, and no more than one answer needs to keep moving.
const LEAST_WINDOW: u32 = 16 << 10;
const MOST_WINDOW: u32 = 256 << 10;
/// What a connection may have at most (RFC 9113).
const LAST_WINDOW: u32 = (1 << 31) - 1;

/// Time after which a connection that nobody uses is held without buffers.
const RESTS_AFTER: Duration = Duration::from_secs(1);

/// Why the application did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The breaker is open for that long.
    #[error("the application could not be reached several times in a row and is left alone for a while")]
    Open(Duration),
    /// All connections are in use.
    #[error("all connections to the application are in use")]
    Exhausted,
    /// As many have become something else as may.
    #[error("all connections to the application that may become something else have done so")]
    Tunnels,
    /// No connection.
    #[error("the application cannot be reached on port {0}: {1}")]
    Connect(u16, std::io::Error),
    /// No answer in time.
    #[error("the application did not answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The connection broke before the answer.
    #[error("the application closed the connection without an answer")]
    Broken(hyper::Error),
    /// The client broke off in mid-request.
    #[error("the body of the request broke off")]
    Upload,
}

impl Upstream {
    /// The application of the settings; nothing is connected yet.
    pub fn new(settings: &Settings) -> Upstream {
        let application = &settings.application;
        Upstream {
            port: application.port,
            protocol: application.protocol,
            connect_within: seconds(application.connect_seconds),
            answer_within: seconds(settings.limits.write_seconds),
            keep_alive: seconds(application.keep_alive_seconds),
            retries: settings.retries,
            permits: Arc::new(Semaphore::new(application.connections)),
            tunnels: Arc::new(Semaphore::new(application.tunnels)),
            pool: Arc::default(),
            http2: Mutex::default(),
            windows: Windows::of(application.connections),
            breaker: Mutex::new(Breaker::new(&settings.breaker)),
        }
    }

    /// For how long an answer is waited for.
    pub fn answer_within(&self) -> Duration {
        self.answer_within
    }

    /// Send a request; the answer's body is still on its way.
    pub async fn send(
        &self,
        request: Request<Incoming>,
        progress: &Arc<Progress>,
    ) -> Result<Response<Download>, Failure> {
        lock(&self.breaker).admit(Instant::now()).map_err(Failure::Open)?;
        let permit = match self.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let permit = self.permits.clone().acquire_owned();
                let permit = Box::pin(tokio::time::timeout(self.connect_within, permit)).await;
                permit.ok().and_then(Result::ok).ok_or(Failure::Exhausted)?
            }
        };
        let request = request.map(|body| Upload::new(body, progress.clone()));
        let arrival = request.body().arrival();
        // A stream may begin with a long silence as well; who calls by gRPC says itself for how long it waits.
        let patience = if progress.is_stream() { seconds(STREAM_SECONDS) } else { self.answer_within };
        let sent = in_time(patience, arrival, pin!(self.try_repeatedly(request))).await;
        match &sent {
            Ok(_) | Err(Failure::Upload) => {
                if lock(&self.breaker).succeed() {
                    tracing::info!("the application answers again");
                }
            }
            Err(failure) => {
                if lock(&self.breaker).fail(Instant::now()) {
                    tracing::warn!(error = %failure, "the application is left alone for a while");
                }
            }
        }
        let (parts, (body, link)) = sent?.into_parts();
        let body = Download::new(body, link, self.pool.clone(), permit, progress.clone());
        Ok(Response::from_parts(parts, body))
    }

    /// A request that changes nothing and has no body is sent again where the connection failed (H08); any other
    /// only where nothing of it had been sent.
    async fn try_repeatedly(
        &self,
        mut request: Request<Upload>,
    ) -> Result<Response<(Incoming, Option<Link>)>, Failure> {
        let idempotent = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let mut left = self.retries;
        loop {
            let copy = (idempotent && left > 0 && request.body().is_empty()).then(|| copy_of(&request));
            let sent = match self.protocol {
                Protocol::Http1 => self.send_http1(request).await,
                Protocol::Http2 => Box::pin(self.send_http2(request)).await,
            };
            let (failure, unsent) = match sent {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            let again = unsent.or(copy).filter(|_| left > 0 && !matches!(failure, Failure::Upload));
            let Some(again) = again else { return Err(failure) };
            if matches!(failure, Failure::Connect(..)) {
                // An application that is just starting, or starting anew.
                tokio::time::sleep(Duration::from_millis(100) * (self.retries - left + 1)).await;
            }
            left -= 1;
            request = again;
        }
    }

    async fn send_http1(
        &self,
        request: Request<Upload>,
    ) -> Result<Response<(Incoming, Option<Link>)>, Failed> {
        let mut link = match self.pool.take(self.keep_alive) {
            Some(Kept::Ready(link)) => link,
            rests => match Box::pin(self.open(rests)).await {
                Ok(link) => link,
                Err(failure) => return Err((failure, Some(request))),
            },
        };
        let response = link.send(request).await?;
        Ok(response.map(|body| (body, Some(link))))
    }

    /// A connection for a request: one that rests, or a new one.
    async fn open(&self, kept: Option<Kept>) -> Result<Link, Failure> {
        let stream = match kept {
            Some(Kept::Ready(link)) => return Ok(link),
            Some(Kept::Resting(stream)) => stream,
            None => self.connect().await?,
        };
        Link::new(stream).await.map_err(Failure::Broken)
    }

    async fn send_http2(
        &self,
        request: Request<Upload>,
    ) -> Result<Response<(Incoming, Option<Link>)>, Failed> {
        let known = lock(&self.http2).clone().filter(|sender| !sender.is_closed());
        let mut sender = match known {
            Some(sender) => sender,
            None => {
                let stream = match self.connect().await {
                    Ok(stream) => stream,
                    Err(failure) => return Err((failure, Some(request))),
                };
                let made = self.windows.builder().handshake(TokioIo::new(stream)).await;
                let (sender, connection) = match made {
                    Ok(made) => made,
                    Err(error) => return Err((Failure::Broken(error), Some(request))),
                };
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "a connection to the application ended");
                    }
                });
                *lock(&self.http2) = Some(sender.clone());
                sender
            }
        };
        if let Err(error) = sender.ready().await {
            return Err((Failure::Broken(error), Some(request)));
        }
        let sent = sender.try_send_request(request).await;
        sent.map(|response| response.map(|body| (body, None))).map_err(link::failed)
    }

    /// A place for a request that may become something else, such as a WebSocket: nobody waits for what may last for hours.
    pub fn tunnel(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.tunnels.clone().try_acquire_owned().map_err(|_| Failure::Tunnels)
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Result<TcpStream, Failure> {
        let mut error = None;
        // An application that listens on `localhost` alone may mean either.
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let stream = TcpStream::connect(SocketAddr::new(address, self.port));
            match tokio::time::timeout(self.connect_within, stream).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(failed)) => error = error.or(Some(failed)),
                Err(_) => return Err(Failure::Timeout(self.connect_within)),
            }
        }
        let error = error.unwrap_or_else(|| std::io::ErrorKind::NotConnected.into());
        Err(Failure::Connect(self.port, error))
    }

    /// Close connections that have been idle for too long, and have others rest.
    pub fn sweep(&self) {
        let mut pool = self.pool.lock();
        let kept = std::mem::take(&mut *pool).into_iter().filter(|idle| idle.lasts() < self.keep_alive);
        *pool = kept
            .filter_map(|idle| if idle.lasts() < RESTS_AFTER { Some(idle) } else { idle.rest() })
            .collect();
    }
}

/// Bytes that an application may send over HTTP/2 before somebody reads them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Windows {
    stream: u32,
    connection: u32,
}

impl Windows {
    /// For so many requests at once: together they have room for what each of them may be sent, so that whoever reads
    /// slowly takes none of what the others have.
    fn of(requests: usize) -> Windows {
        let requests = u32::try_from(requests).unwrap_or(u32::MAX).max(1);
        let stream = (MOST_UNREAD / requests).clamp(LEAST_WINDOW, MOST_WINDOW);
        Windows { stream, connection: stream.saturating_mul(requests).min(LAST_WINDOW) }
    }

    fn builder(self) -> http2::Builder<TokioExecutor> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(self.stream).initial_connection_window_size(self.connection);
        builder
    }
}

/// Why a request failed, and the request itself if nothing of it was sent.
type Failed = (Failure, Option<Request<Upload>>);

impl Pool {
    /// The connection that was used last, if it still stands.
    fn take(&self, keep_alive: Duration) -> Option<Kept> {
        loop {
            let idle = self.lock().pop()?;
            if idle.lasts() < keep_alive
                && let Some(kept) = idle.take()
            {
                return Some(kept);
            }
        }
    }

    fn put(&self, idle: Idle) {
        self.lock().push(idle);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        lock(&self.0)
    }
}

/// What `work` comes to, within the time for an answer. It begins when the last of the request has come: an upload may
/// take as long as it moves.
async fn in_time<T>(
    patience: Duration,
    arrival: Option<Arc<Arrival>>,
    mut work: Pin<&mut impl Future<Output = Result<T, Failure>>>,
) -> Result<T, Failure> {
    let mut left = patience;
    loop {
        if let Ok(done) = tokio::time::timeout(left, work.as_mut()).await {
            return done;
        }
        left = arrival.as_ref().map_or(Duration::ZERO, |arrival| arrival.left(patience));
        if left.is_zero() {
            // A client that stands still is not the application's fault.
            let of_client = arrival.is_some_and(|arrival| arrival.waits());
            return Err(if of_client { Failure::Upload } else { Failure::Timeout(patience) });
        }
    }
}

fn copy_of(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_room_for_all_of_its_requests() {
        for (requests, stream, connection) in [
            (1, 256 << 10, 256 << 10),
            (64, 256 << 10, 16 << 20),
            (512, 32 << 10, 16 << 20),
            (2048, 16 << 10, 32 << 20),
            (usize::MAX, 16 << 10, LAST_WINDOW),
        ] {
            assert_eq!(Windows::of(requests), Windows { stream, connection }, "{requests}");
        }
    }
}
