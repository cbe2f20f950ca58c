//! What one request waits for, and since when. HTTP/1 has one at a time on a connection, HTTP/2 many, each of which is
//! judged and ended for itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use tokio::sync::Notify;

use super::activity::Activity;
use super::ticks::Since;
use crate::contract::settings::Limits;

/// One request, as the sweep sees it.
#[derive(Debug)]
pub struct Progress {
    /// Its connection.
    pub connection: Arc<Activity>,
    /// Since when more of its body has been waited for.
    body: Since,
    /// Since when the application has sent nothing of its answer.
    silence: Since,
    /// Since when the client has had no room for more of it.
    room: Since,
    /// Whether it is a stream, which may be silent for longer.
    stream: AtomicBool,
    is_stopped: AtomicBool,
    stopped: Notify,
    /// Whoever passes its body on, which may outlast the answer.
    upload: AtomicWaker,
}

impl Progress {
    /// A request on `connection`, or those that follow one another there.
    pub fn new(connection: Arc<Activity>) -> Arc<Progress> {
        let progress = Arc::new(Progress {
            connection,
            body: Since::default(),
            silence: Since::default(),
            room: Since::default(),
            stream: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            stopped: Notify::new(),
            upload: AtomicWaker::new(),
        });
        progress.connection.watch(&progress);
        progress
    }

    /// Its head is complete. Tells whether the client is told just now to come back over another connection.
    pub fn begin(&self) -> bool {
        self.clear();
        self.body.clear();
        self.stream.store(false, Ordering::Relaxed);
        self.connection.begin()
    }

    /// It has been answered. Its body may go on for a while.
    pub fn end(&self) {
        self.connection.end();
        self.clear();
    }

    /// Nobody passes its body on any longer.
    pub fn end_upload(&self) {
        self.connection.end_upload();
        self.body.clear();
    }

    fn clear(&self) {
        self.silence.clear();
        self.room.clear();
    }

    /// More of the request's body is waited for, or has come.
    pub fn wait_for_body(&self, waits: bool) {
        self.body.note(self.connection.ticks(), waits);
    }

    /// More of the application's answer is waited for, or has come.
    pub fn wait_for_answer(&self, waits: bool) {
        self.silence.note(self.connection.ticks(), waits);
    }

    /// The client, which speaks HTTP/2, has been handed some of the answer and is to take it; or it wants more.
    pub fn wait_for_room(&self, waits: bool) {
        self.room.note(self.connection.ticks(), waits && self.connection.is_http2());
    }

    /// It is a stream: events, messages of gRPC or of a WebSocket.
    pub fn streams(&self) {
        self.stream.store(true, Ordering::Relaxed);
    }

    /// Whether it is a stream.
    pub fn is_stream(&self) -> bool {
        self.stream.load(Ordering::Relaxed)
    }

    /// End it, whatever it is at; its connection goes on. Tells whether that is news.
    pub fn stop(&self) -> bool {
        let is_news = !self.is_stopped.swap(true, Ordering::AcqRel);
        self.stopped.notify_one();
        self.upload.wake();
        is_news
    }

    /// Whether its body is to go no further; whoever asks is woken when it is.
    pub fn poll_stopped(&self, cx: &Context<'_>) -> Poll<()> {
        // Of HTTP/1 the connection ends.
        if !self.connection.is_http2() {
            return Poll::Pending;
        }
        self.upload.register(cx.waker());
        if self.is_stopped.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Wait for that.
    pub async fn stopped(&self) {
        self.stopped.notified().await;
    }

    /// Which limit it exceeds, if any.
    pub fn exceeds(&self, limits: &Limits, stream_seconds: f64) -> Option<&'static str> {
        let patience = |usual| if self.is_stream() { stream_seconds } else { usual };
        let over = |since: &Since, usual| since.exceeds(self.connection.ticks(), patience(usual));
        if over(&self.body, limits.read_seconds) {
            Some("limits.readSeconds: the body of a request does not arrive")
        } else if over(&self.silence, limits.write_seconds) {
            Some("limits.writeSeconds: the application sends nothing")
        } else {
            over(&self.room, limits.write_seconds).then_some("limits.writeSeconds: the client takes nothing")
        }
    }
}
