//! Bodies between client and application: passed on as they come, never gathered.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::{Link, Pool};
use crate::sidecar::server::progress::Progress;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How the body of a request arrives.
pub struct Arrival {
    begun: Instant,
    /// Milliseconds after that at which some of it came last.
    moved: AtomicU64,
    /// Whether the client is what is waited for.
    waits: AtomicBool,
}

impl Arrival {
    fn note(&self, waits: bool) {
        self.waits.store(waits, Relaxed);
        if !waits {
            self.moved.store(self.begun.elapsed().as_millis() as u64, Relaxed);
        }
    }

    /// Whether more of it is waited for.
    pub fn waits(&self) -> bool {
        self.waits.load(Relaxed)
    }

    /// What is left of `patience` since it moved.
    pub fn left(&self, patience: Duration) -> Duration {
        let moved = Duration::from_millis(self.moved.load(Relaxed));
        (moved + patience).saturating_sub(self.begun.elapsed())
    }
}

/// The body of a request, on its way to the application.
pub struct Upload(Option<(Incoming, Arc<Progress>, Arc<Arrival>)>);

impl Upload {
    /// A body that is still arriving.
    pub fn new(body: Incoming, progress: Arc<Progress>) -> Upload {
        let arrives = !body.is_end_stream();
        Upload(arrives.then(|| {
            progress.connection.begin_upload();
            let arrival =
                Arrival { begun: Instant::now(), moved: AtomicU64::new(0), waits: AtomicBool::new(false) };
            (body, progress, Arc::new(arrival))
        }))
    }

    /// How it arrives; none: there is nothing to arrive.
    pub fn arrival(&self) -> Option<Arc<Arrival>> {
        self.0.as_ref().map(|(.., arrival)| arrival.clone())
    }

    /// None at all.
    pub fn empty() -> Upload {
        Upload(None)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some((_, progress, _)) = &self.0 {
            progress.end_upload();
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some((body, progress, arrival)) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx).map_err(BoxError::from);
        if polled.is_pending() && progress.poll_stopped(cx).is_ready() {
            return Poll::Ready(Some(Err("the request stood still and was ended".into())));
        }
        progress.wait_for_body(polled.is_pending());
        arrival.note(polled.is_pending());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(body, ..)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |(body, ..)| body.size_hint())
    }
}

/// The body of an answer, on its way to the client. When it is complete its connection goes back to the pool.
pub struct Download {
    body: Incoming,
    link: Option<Link>,
    pool: Arc<Pool>,
    progress: Arc<Progress>,
    _permit: OwnedSemaphorePermit,
}

impl Download {
    pub(super) fn new(
        body: Incoming,
        link: Option<Link>,
        pool: Arc<Pool>,
        permit: OwnedSemaphorePermit,
        progress: Arc<Progress>,
    ) -> Download {
        let mut download = Download { body, link, pool, progress, _permit: permit };
        if download.body.is_end_stream() {
            download.finish(&mut Context::from_waker(Waker::noop()));
        }
        download
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        if let Some(idle) = self.link.take().and_then(|link| link.finish(cx)) {
            self.pool.put(idle);
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let mut polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_pending()
            && let Some(link) = &mut this.link
        {
            link.drive(cx);
            polled = Pin::new(&mut this.body).poll_frame(cx);
        }
        this.progress.wait_for_answer(polled.is_pending());
        match &polled {
            Poll::Ready(None) => this.finish(cx),
            Poll::Ready(Some(Ok(_))) if this.body.is_end_stream() => this.finish(cx),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
