//! What a connection is doing, and since when: limits are for standing still, never for taking long (H02).
//!
//! Every hook is a store into an atomic of the connection's own; one sweep every half second judges them all. A timer for
//! every read and write would cost more than the requests.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::progress::Progress;
use super::ticks::{Since, Ticks};
use crate::contract::settings::Limits;

/// Bytes of heads that may be arriving over all connections together; those of short ones are always taken.
const MOST_OF_HEADS: usize = 8 << 20;
const SHORT_HEAD: usize = 8 << 10;

/// What the connections of a server share.
#[derive(Debug, Default)]
pub struct Shared {
    /// Their clock.
    pub ticks: Ticks,
    /// Bytes of heads that are arriving.
    heads: AtomicUsize,
}

/// One connection, as the sweep sees it.
#[derive(Debug)]
pub struct Activity {
    shared: Arc<Shared>,
    /// Its place among all connections: a tunnel keeps it for longer than it is served.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    /// Its requests: of HTTP/1 the one that may be under way.
    requests: Mutex<Vec<Weak<Progress>>>,
    /// How many are under way.
    busy: AtomicUsize,
    /// Bodies of requests that are still arriving: an answer may be complete before.
    uploads: AtomicUsize,
    /// Since when there has been nothing to do.
    idle: Since,
    /// Since when a head has been arriving.
    head: Since,
    /// How much of it has.
    head_bytes: AtomicUsize,
    /// Since when the client has taken nothing.
    write: Since,
    /// Whether it has become something else, such as a WebSocket.
    tunnel: AtomicBool,
    /// Whether it speaks HTTP/2.
    http2: AtomicBool,
    /// Whether it is nothing but a socket, until its next bytes.
    rests: AtomicBool,
    /// Whether its client is to come back over another one.
    leaves: AtomicBool,
    ordered: AtomicUsize,
    signal: Notify,
}

/// What a connection is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Give buffers back, if there is still nothing under way.
    Rest = 0,
    /// Finish what is under way, take nothing new.
    Finish = 1,
    /// End at once.
    End = 2,
}

impl Activity {
    /// A connection that was just accepted.
    pub fn new(shared: Arc<Shared>, place: OwnedSemaphorePermit) -> Arc<Activity> {
        let idle = Since::default();
        idle.restart(&shared.ticks);
        Arc::new(Activity {
            shared,
            place: Mutex::new(Some(place)),
            requests: Mutex::default(),
            busy: AtomicUsize::new(0),
            uploads: AtomicUsize::new(0),
            idle,
            head: Since::default(),
            head_bytes: AtomicUsize::new(0),
            write: Since::default(),
            tunnel: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            rests: AtomicBool::new(true),
            leaves: AtomicBool::new(false),
            ordered: AtomicUsize::new(0),
            signal: Notify::new(),
        })
    }

    /// The clock.
    pub fn ticks(&self) -> &Ticks {
        &self.shared.ticks
    }

    /// Have a request judged.
    pub fn watch(&self, request: &Arc<Progress>) {
        let mut requests = self.known();
        if requests.len() == requests.capacity() {
            requests.retain(|known| known.strong_count() > 0);
        }
        requests.push(Arc::downgrade(request));
    }

    /// A request's head is complete. Tells whether its client is told just now to come back over another connection.
    pub fn begin(&self) -> bool {
        self.busy.fetch_add(1, Relaxed);
        self.end_head();
        self.is_http2() && self.leaves() && self.order(Order::Finish)
    }

    /// Have the client come back over another connection. HTTP/2 is told at once, for no stream is lost by that; HTTP/1 by
    /// its next answer, for an idle connection that is closed may just be used. Tells whether it is told just now.
    pub fn leave(&self) -> bool {
        self.leaves.store(true, Relaxed);
        self.is_http2() && self.order(Order::Finish)
    }

    /// Whether the client is to come back over another connection.
    pub fn leaves(&self) -> bool {
        self.leaves.load(Relaxed)
    }

    /// A request has been answered.
    pub fn end(&self) {
        self.busy.fetch_sub(1, Relaxed);
        self.idle.restart(self.ticks());
    }

    /// It becomes something else: there are no requests on it any longer, only bytes.
    pub fn tunnels(&self) {
        self.tunnel.store(true, Relaxed);
    }

    /// Whether it has.
    pub fn is_tunnel(&self) -> bool {
        self.tunnel.load(Relaxed)
    }

    /// Requests under way.
    pub fn requests(&self) -> usize {
        self.busy.load(Relaxed)
    }

    /// It speaks HTTP/2.
    pub fn speaks_http2(&self) {
        self.http2.store(true, Relaxed);
        self.end_head();
    }

    /// Whether it speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.http2.load(Relaxed)
    }

    /// The body of a request arrives.
    pub fn begin_upload(&self) {
        self.uploads.fetch_add(1, Relaxed);
    }

    /// It has arrived, or nobody waits for it any longer.
    pub fn end_upload(&self) {
        self.uploads.fetch_sub(1, Relaxed);
    }

    /// It is nothing but a socket now, or no longer.
    pub fn rest(&self, rests: bool) {
        self.rests.store(rests, Relaxed);
    }

    /// Whether it is nothing but a socket.
    pub fn rests(&self) -> bool {
        self.rests.load(Relaxed)
    }

    /// Whether it holds buffers that nobody has needed for a second. Only HTTP/1 can be taken up again where it was left.
    pub fn may_rest(&self) -> bool {
        !self.rests()
            && !self.is_http2()
            && !self.is_tunnel()
            && self.requests() == 0
            && self.uploads.load(Relaxed) == 0
            && !self.head.is_set()
            && !self.write.is_set()
            && self.idle.exceeds(self.ticks(), 1.0)
    }

    /// Have it give its buffers back.
    pub fn order_rest(&self) {
        self.signal.notify_one();
    }

    /// Tell the connection something; a lesser order never takes back a greater one. Tells whether it is news.
    pub fn order(&self, order: Order) -> bool {
        let is_news = self.ordered.fetch_max(order as usize, Relaxed) < order as usize;
        if is_news {
            self.signal.notify_one();
        }
        is_news
    }

    /// Wait for an order.
    pub async fn ordered(&self) -> Order {
        self.signal.notified().await;
        match self.ordered.load(Relaxed) {
            0 => Order::Rest,
            1 => Order::Finish,
            _ => Order::End,
        }
    }

    /// Which limit the connection exceeds, if any. Of HTTP/1 its request is a part.
    pub fn exceeds(&self, limits: &Limits, stream_seconds: f64) -> Option<&'static str> {
        let over = |since: &Since, seconds| since.exceeds(self.ticks(), seconds);
        if over(&self.write, limits.write_seconds) {
            return Some("limits.writeSeconds: the client takes nothing");
        }
        if self.is_tunnel() {
            return over(&self.idle, stream_seconds).then_some("nothing passes a WebSocket");
        }
        if self.requests() == 0 {
            if over(&self.head, limits.head_seconds) {
                return Some("limits.headSeconds: the head of a request does not arrive");
            }
            let idles = !self.head.is_set();
            return (idles && over(&self.idle, limits.idle_seconds)).then_some("limits.idleSeconds");
        }
        if self.is_http2() {
            return None;
        }
        self.still(limits, stream_seconds).first().map(|(_, limit)| *limit)
    }

    /// Whether there has been nothing to do for so long.
    pub fn idles_for(&self, seconds: f64) -> bool {
        self.idle.exceeds(self.ticks(), seconds)
    }

    /// Requests that stand still, and the limits that they exceed.
    pub fn still(&self, limits: &Limits, stream_seconds: f64) -> Vec<(Arc<Progress>, &'static str)> {
        let known = self.known();
        let requests = known.iter().filter_map(Weak::upgrade);
        requests
            .filter_map(|request| {
                let limit = request.exceeds(limits, stream_seconds)?;
                Some((request, limit))
            })
            .collect()
    }

    /// Bytes have come: while no request is under way those of a head, or of a tunnel.
    pub fn arrive(&self, count: usize) {
        if self.requests() > 0 || self.uploads.load(Relaxed) > 0 {
            return;
        }
        if self.is_tunnel() {
            self.idle.restart(self.ticks());
        } else if !self.is_http2() {
            // Of HTTP/2 it may be anything: an answer to a ping, room for more.
            self.head.note(self.ticks(), true);
            self.head_bytes.fetch_add(count, Relaxed);
            self.shared.heads.fetch_add(count, Relaxed);
        }
    }

    /// Whether no more of a head is read: it is long, has not ended yet, and others hold enough already.
    pub fn is_refused(&self) -> bool {
        let own = self.head_bytes.load(Relaxed);
        let is_refused = own > SHORT_HEAD && self.shared.heads.load(Relaxed) > MOST_OF_HEADS;
        if is_refused {
            tracing::info!(
                bytes = own,
                "the heads of requests that arrive are too many, so a long one was refused"
            );
        }
        is_refused
    }

    /// The client has taken bytes, or has no room for them.
    pub fn write(&self, waits: bool) {
        self.write.note(self.ticks(), waits);
        if !waits && self.is_tunnel() {
            self.idle.restart(self.ticks());
        }
    }

    /// Nobody serves it any longer.
    pub fn leave_place(&self) {
        if !self.is_tunnel() {
            *lock(&self.place) = None;
        }
    }

    fn end_head(&self) {
        self.head.clear();
        self.shared.heads.fetch_sub(self.head_bytes.swap(0, Relaxed), Relaxed);
    }

    fn known(&self) -> MutexGuard<'_, Vec<Weak<Progress>>> {
        lock(&self.requests)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.end_head();
    }
}
