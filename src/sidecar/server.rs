//! Listens, serves connections, ends those that stand still, drains at the end.

pub mod activity;
mod connection;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use activity::{Activity, Order, SWEEP, TICKS_A_SECOND, Ticks};

use super::stack::Stack;
use crate::contract::leave::PROPAGATION_SECONDS;
use crate::contract::settings::Limits;
use crate::telemetry::memory;

/// Seconds for which a stream may be silent: events, gRPC, WebSockets.
const STREAM_SECONDS: f64 = 3600.0;
/// Sweeps in which the allocator gives back what connections have freed.
const SWEEPS_UNTIL_GIVEN_BACK: u32 = 6;
/// Most headers of a request.
const MOST_HEADERS: usize = 128;

/// The connections from clients.
pub struct Server {
    stack: Arc<Stack>,
    ticks: Arc<Ticks>,
    connections: Mutex<Vec<Weak<Activity>>>,
    /// Until when whoever comes was led here by mistake, on the clock of the sweep.
    leaves_until: AtomicU32,
    permits: Arc<Semaphore>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Server {
    /// A server for the layers of `stack`.
    pub fn new(stack: Arc<Stack>) -> Arc<Server> {
        let limits = &stack.settings.limits;
        let permits = Arc::new(Semaphore::new(limits.connections));
        let (http1, http2) = (http1(limits), http2(limits));
        Arc::new(Server {
            stack,
            ticks: Arc::default(),
            connections: Mutex::default(),
            leaves_until: AtomicU32::new(0),
            permits,
            http1,
            http2,
        })
    }

    /// Accept connections until `closing`, and then those that the kernel has accepted already.
    pub async fn accept(self: &Arc<Self>, listener: TcpListener, closing: impl Future<Output = ()>) {
        let mut closing = pin!(closing.fuse());
        let mut closes = false;
        loop {
            // At the limit new ones wait in the kernel's queue.
            let Ok(permit) = self.permits.clone().acquire_owned().await else { return };
            let accepted = if closes {
                let Some(accepted) = listener.accept().now_or_never() else { return };
                accepted
            } else {
                tokio::select! {
                    biased;
                    accepted = listener.accept() => accepted,
                    () = closing.as_mut() => {
                        closes = true;
                        continue;
                    }
                }
            };
            match accepted {
                Ok((stream, peer)) => {
                    let server = self.clone();
                    tokio::spawn(async move {
                        server.serve(stream, peer).await;
                        drop(permit);
                    });
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// End connections that stand still, and have idle ones rest, until this is dropped.
    pub async fn sweep(&self) {
        let mut interval = tokio::time::interval(SWEEP);
        let (mut open, mut left) = (0, 0);
        loop {
            interval.tick().await;
            self.ticks.turn();
            self.stack.upstream.sweep();
            let (still_open, rest) = self.judge();
            let has_freed = rest || still_open < open;
            open = still_open;
            left = if has_freed { SWEEPS_UNTIL_GIVEN_BACK } else { left.saturating_sub(1) };
            if left > 0 {
                memory::give_back();
            }
        }
    }

    /// Judge all connections: how many there are, and whether some are to rest.
    fn judge(&self) -> (usize, bool) {
        let mut rest = false;
        let mut connections = self.connections();
        connections.retain(|connection| {
            let Some(activity) = connection.upgrade() else { return false };
            if let Some(limit) = activity.exceeds(&self.stack.settings.limits, STREAM_SECONDS) {
                let idles = limit == "limits.idleSeconds";
                if !idles {
                    tracing::info!(limit, "a connection stood still and was closed");
                }
                // A request may be on its way over an idle one: HTTP/2 tells which will not be answered.
                activity.order(if idles && activity.is_http2() { Order::Finish } else { Order::End });
            } else if activity.may_rest() {
                activity.order_rest();
                rest = true;
            }
            true
        });
        (connections.len(), rest)
    }

    /// Order something of all connections that `concerns`.
    pub fn order(&self, order: Order, concerns: impl Fn(&Activity) -> bool) {
        for activity in self.connections().iter().filter_map(Weak::upgrade) {
            if concerns(&activity) {
                activity.order(order);
            }
        }
    }

    /// Have all clients come back over another connection, those too that are led here in the next ten seconds. Tells how
    /// many there are, where they have not been told already.
    pub fn leave(&self) -> Option<usize> {
        let is_news = !self.is_left();
        self.ticks.turn();
        self.leaves_until.store(self.ticks.now() + PROPAGATION_SECONDS * TICKS_A_SECOND, Relaxed);
        let told = &self.stack.account.metrics.told_to_leave;
        let open: Vec<Arc<Activity>> = self.connections().iter().filter_map(Weak::upgrade).collect();
        for activity in &open {
            told.inc_by(activity.leave().into());
        }
        is_news.then_some(open.len())
    }

    fn is_left(&self) -> bool {
        self.ticks.now() < self.leaves_until.load(Relaxed)
    }

    /// Requests and tunnels under way.
    pub fn requests(&self) -> i64 {
        self.stack.account.metrics.in_flight.get()
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Weak<Activity>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // Times are watched by the sweep.
        .header_read_timeout(None)
        .half_close(true)
        .max_headers(MOST_HEADERS)
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes);
    builder
}

fn http2(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(250)
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(256 << 10)
        .max_send_buf_size(32 << 10)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Listen on all addresses, IPv6 and IPv4 where there are both.
pub async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
}

/// Whether an error of `accept` is about one connection that is gone already.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
