//! Listens, serves connections, ends those that stand still, drains at the end.

pub mod activity;
mod connection;
pub mod progress;
mod ticks;
mod watched;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt;
use hyper::server::conn::http1;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use activity::{Activity, Order, Shared};
use ticks::{SWEEP, TICKS_A_SECOND};

use super::stack::Stack;
use crate::contract::leave::PROPAGATION_SECONDS;
use crate::contract::settings::Limits;
use crate::telemetry::memory;

/// Seconds for which a stream may be silent: events, gRPC, WebSockets.
pub const STREAM_SECONDS: f64 = 3600.0;
/// Sweeps in which the allocator gives back what connections have freed.
const SWEEPS_UNTIL_GIVEN_BACK: u32 = 6;
/// Most headers of a request.
const MOST_HEADERS: usize = 128;

/// The connections from clients.
pub struct Server {
    stack: Arc<Stack>,
    shared: Arc<Shared>,
    connections: Mutex<Vec<Weak<Activity>>>,
    /// Until when whoever comes was led here by mistake, on the clock of the sweep.
    leaves_until: AtomicU32,
    permits: Arc<Semaphore>,
    http1: http1::Builder,
}

impl Server {
    /// A server for the layers of `stack`.
    pub fn new(stack: Arc<Stack>) -> Arc<Server> {
        let limits = &stack.settings.limits;
        let permits = Arc::new(Semaphore::new(limits.connections));
        let http1 = http1(limits);
        Arc::new(Server {
            stack,
            shared: Arc::default(),
            connections: Mutex::default(),
            leaves_until: AtomicU32::new(0),
            permits,
            http1,
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
                    tokio::spawn(async move { server.serve(stream, peer, permit).await });
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
            self.shared.ticks.turn();
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
            let limits = &self.stack.settings.limits;
            if activity.is_http2() {
                for (request, limit) in activity.still(limits, STREAM_SECONDS) {
                    if request.stop() {
                        tracing::info!(limit, "a request stood still and was ended");
                    }
                }
            }
            if let Some(limit) = activity.exceeds(limits, STREAM_SECONDS) {
                let idles = limit == "limits.idleSeconds";
                if !idles {
                    tracing::info!(limit, "a connection stood still and was closed");
                }
                // A request may be on its way over an idle one: HTTP/2 tells which will not be answered, in as much time again.
                let may_finish =
                    idles && activity.is_http2() && !activity.idles_for(2.0 * limits.idle_seconds);
                activity.order(if may_finish { Order::Finish } else { Order::End });
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
        self.shared.ticks.turn();
        self.leaves_until.store(self.shared.ticks.now() + PROPAGATION_SECONDS * TICKS_A_SECOND, Relaxed);
        let told = &self.stack.account.metrics.told_to_leave;
        let open: Vec<Arc<Activity>> = self.connections().iter().filter_map(Weak::upgrade).collect();
        for activity in &open {
            told.inc_by(activity.leave().into());
        }
        is_news.then_some(open.len())
    }

    fn is_left(&self) -> bool {
        self.shared.ticks.now() < self.leaves_until.load(Relaxed)
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
