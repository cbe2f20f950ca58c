//! What a connection is doing, and since when: limits are for standing still, never for taking long (H02).
//!
//! Every hook is a store into an atomic of the connection's own; one sweep every half second judges them all. A timer for
//! every read and write would cost more than the requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::contract::settings::Limits;

/// Ticks of the clock in a second.
pub const TICKS_A_SECOND: u32 = 10;
/// What a client that speaks HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A clock in tenths of a second, moved by the sweep. Zero is never shown: it means "not since any time".
#[derive(Debug)]
pub struct Ticks {
    start: Instant,
    now: AtomicU32,
}

impl Default for Ticks {
    fn default() -> Self {
        Ticks { start: Instant::now(), now: AtomicU32::new(1) }
    }
}

impl Ticks {
    /// The time, as of the last turn.
    pub fn now(&self) -> u32 {
        self.now.load(Relaxed)
    }

    /// Move the clock to the present.
    pub fn turn(&self) {
        let tenths = self.start.elapsed().as_millis() / 100 + 1;
        self.now.store(u32::try_from(tenths).unwrap_or(u32::MAX), Relaxed);
    }
}

/// One connection, as the sweep sees it.
#[derive(Debug)]
pub struct Activity {
    ticks: Arc<Ticks>,
    /// Requests under way.
    busy: AtomicUsize,
    /// Bodies of requests that are still arriving: an answer may be complete before.
    uploads: AtomicUsize,
    /// Since when there has been nothing to do.
    idle: AtomicU32,
    /// Since when a head has been arriving.
    head: AtomicU32,
    /// Since when the client has taken nothing.
    write: AtomicU32,
    /// Since when the body of a request has been waited for.
    body: AtomicU32,
    /// Since when the application has sent nothing of its answer.
    silence: AtomicU32,
    /// Whether that answer is a stream, which may be silent for longer.
    stream: AtomicBool,
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
    pub fn new(ticks: Arc<Ticks>) -> Arc<Activity> {
        let now = ticks.now();
        Arc::new(Activity {
            ticks,
            busy: AtomicUsize::new(0),
            uploads: AtomicUsize::new(0),
            idle: AtomicU32::new(now),
            head: AtomicU32::new(0),
            write: AtomicU32::new(0),
            body: AtomicU32::new(0),
            silence: AtomicU32::new(0),
            stream: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            rests: AtomicBool::new(true),
            leaves: AtomicBool::new(false),
            ordered: AtomicUsize::new(0),
            signal: Notify::new(),
        })
    }

    /// A request's head is complete. Tells whether its client is told just now to come back over another connection.
    pub fn begin(&self, http2: bool) -> bool {
        self.busy.fetch_add(1, Relaxed);
        self.head.store(0, Relaxed);
        self.body.store(0, Relaxed);
        self.silence.store(0, Relaxed);
        self.stream.store(false, Relaxed);
        http2 && self.leaves() && self.order(Order::Finish)
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

    /// It has been answered.
    pub fn end(&self) {
        self.busy.fetch_sub(1, Relaxed);
        self.idle.store(self.ticks.now(), Relaxed);
        self.body.store(0, Relaxed);
        self.silence.store(0, Relaxed);
    }

    /// More of a request's body is waited for, or has come.
    pub fn wait_for_body(&self, waits: bool) {
        self.since(&self.body, waits);
    }

    /// More of the application's answer is waited for, or has come.
    pub fn wait_for_answer(&self, waits: bool) {
        self.since(&self.silence, waits);
    }

    /// The answer is a stream: events, messages of gRPC or of a WebSocket.
    pub fn streams(&self) {
        self.stream.store(true, Relaxed);
    }

    /// It becomes something else: there are no requests on it any longer, only bytes.
    pub fn tunnels(&self) {
        self.tunnel.store(true, Relaxed);
    }

    fn is_tunnel(&self) -> bool {
        self.tunnel.load(Relaxed)
    }

    /// Requests under way.
    pub fn requests(&self) -> usize {
        self.busy.load(Relaxed)
    }

    /// It speaks HTTP/2.
    pub fn speaks_http2(&self) {
        self.http2.store(true, Relaxed);
        self.head.store(0, Relaxed);
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

    /// Whether it holds buffers that nobody has needed for a second. Only HTTP/1 can be taken up again where it was left.
    pub fn may_rest(&self) -> bool {
        let is_set = |since: &AtomicU32| since.load(Relaxed) != 0;
        !self.rests.load(Relaxed)
            && !self.is_http2()
            && !self.is_tunnel()
            && self.requests() == 0
            && self.uploads.load(Relaxed) == 0
            && !is_set(&self.head)
            && !is_set(&self.write)
            && self.ticks.now().saturating_sub(self.idle.load(Relaxed)) > TICKS_A_SECOND
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

    /// Which limit the connection exceeds, if any.
    pub fn exceeds(&self, limits: &Limits, stream_seconds: f64) -> Option<&'static str> {
        let now = self.ticks.now();
        let over = |since: &AtomicU32, seconds: f64| {
            let since = since.load(Relaxed);
            since != 0 && f64::from(now.saturating_sub(since)) > seconds * 10.0
        };
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
            let idles = self.head.load(Relaxed) == 0;
            return (idles && over(&self.idle, limits.idle_seconds)).then_some("limits.idleSeconds");
        }
        if over(&self.body, limits.read_seconds) {
            return Some("limits.readSeconds: the body of a request does not arrive");
        }
        let patience = if self.stream.load(Relaxed) { stream_seconds } else { limits.write_seconds };
        over(&self.silence, patience).then_some("limits.writeSeconds: the application sends nothing")
    }

    /// Bytes have come while no request is under way: those of a head, or of a tunnel.
    fn arrive(&self) {
        if self.is_tunnel() {
            self.idle.store(self.ticks.now(), Relaxed);
        } else if !self.is_http2() {
            // Of HTTP/2 it may be anything: an answer to a ping, room for more.
            self.since(&self.head, true);
        }
    }

    /// The client has taken bytes, or has no room for them.
    fn write(&self, waits: bool) {
        self.since(&self.write, waits);
        if !waits && self.is_tunnel() {
            self.idle.store(self.ticks.now(), Relaxed);
        }
    }

    fn since(&self, field: &AtomicU32, starts: bool) {
        let value = match (starts, field.load(Relaxed)) {
            (true, 0) => self.ticks.now(),
            (true, _) => return,
            (false, _) => 0,
        };
        field.store(value, Relaxed);
    }
}

/// A socket whose reads and writes are noted.
pub struct Watched {
    io: TcpStream,
    /// What was read already, and not yet understood.
    start: Bytes,
    activity: Arc<Activity>,
}

impl Watched {
    /// Note what happens on `io`.
    pub fn new(io: TcpStream, activity: Arc<Activity>) -> Watched {
        Watched { io, start: Bytes::new(), activity }
    }

    /// The same, with bytes that come first.
    pub fn after(self, start: Bytes) -> Watched {
        Watched { start, ..self }
    }

    /// Wait until there is something to read, or the end.
    pub async fn arrives(&self) -> io::Result<()> {
        if self.start.is_empty() { self.io.readable().await } else { Ok(()) }
    }

    /// Whether the client begins as HTTP/2 does. What was read for that is read again.
    pub async fn begins_as_http2(&mut self) -> io::Result<bool> {
        let (mut start, mut filled) = ([0; PREFACE.len()], 0);
        while filled < start.len() && PREFACE.starts_with(&start[..filled]) {
            match self.read(&mut start[filled..]).await? {
                0 => break,
                count => filled += count,
            }
        }
        self.start = Bytes::copy_from_slice(&start[..filled]);
        Ok(start[..filled] == *PREFACE)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let count = self.start.len().min(buffer.remaining());
        if count > 0 {
            let start = self.start.split_to(count);
            buffer.put_slice(&start);
        }
        // What follows comes with it: of two pieces, the second would make the reader's buffer twice as large.
        let polled = match Pin::new(&mut self.io).poll_read(cx, buffer) {
            _ if count > 0 => Poll::Ready(Ok(())),
            polled => polled,
        };
        if buffer.filled().len() > before && self.activity.requests() == 0 {
            self.activity.arrive();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.activity.write(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, buffers);
        self.activity.write(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection goes on, without what was built upon it.
        if self.activity.rests.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// How often the clock is moved and the connections are judged.
pub const SWEEP: Duration = Duration::from_millis(500);
