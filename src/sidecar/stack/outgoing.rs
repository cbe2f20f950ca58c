//! The body of an answer, and what is learnt from it while it passes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use crate::sidecar::compression::Compressed;
use crate::sidecar::exchange::{Exchange, of_grpc};
use crate::sidecar::upstream::Download;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body on its way to the client. The request is accounted for when it is dropped.
pub struct Outgoing {
    source: Source,
    exchange: Option<Box<Exchange>>,
    grpc: bool,
}

enum Source {
    /// The sidecar's own words.
    Whole(Option<Bytes>),
    /// The application's.
    Download(Box<Download>),
    /// The application's, over a connection that nobody else uses.
    Incoming { body: Incoming, _place: OwnedSemaphorePermit },
    /// Another one, compressed on the way.
    Compressed(Box<Compressed<Outgoing>>),
}

impl Outgoing {
    /// Known as a whole.
    pub fn whole(bytes: Bytes) -> Outgoing {
        Outgoing { source: Source::Whole((!bytes.is_empty()).then_some(bytes)), exchange: None, grpc: false }
    }

    /// None at all.
    pub fn empty() -> Outgoing {
        Outgoing::whole(Bytes::new())
    }

    /// The application's.
    pub fn download(body: Download) -> Outgoing {
        Outgoing { source: Source::Download(Box::new(body)), exchange: None, grpc: false }
    }

    /// The application's, over a connection of its own, which has a place until then.
    pub fn incoming(body: Incoming, place: OwnedSemaphorePermit) -> Outgoing {
        Outgoing { source: Source::Incoming { body, _place: place }, exchange: None, grpc: false }
    }

    /// Compressed on the way.
    pub fn compressed(body: Compressed<Outgoing>) -> Outgoing {
        Outgoing { source: Source::Compressed(Box::new(body)), exchange: None, grpc: false }
    }

    /// Tell of the request when all of this has passed.
    pub fn account(mut self, exchange: Box<Exchange>, grpc: bool) -> Outgoing {
        self.exchange = Some(exchange);
        self.grpc = grpc;
        self
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(exchange) = &this.exchange {
            exchange.progress.wait_for_room(false);
        }
        let polled = match &mut this.source {
            Source::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Download(body) => Pin::new(body.as_mut()).poll_frame(cx).map_err(Into::into),
            Source::Incoming { body, .. } => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Source::Compressed(body) => Pin::new(body.as_mut()).poll_frame(cx),
        };
        if let (Some(exchange), Poll::Ready(Some(frame))) = (&mut this.exchange, &polled) {
            match frame {
                Ok(frame) => {
                    // Of the last one too: whoever has no room for it keeps all that belongs to the request.
                    exchange.progress.wait_for_room(true);
                    if let Some(data) = frame.data_ref() {
                        exchange.bytes += data.len() as u64;
                    } else if let Some(trailers) = frame.trailers_ref()
                        && this.grpc
                    {
                        exchange.grpc = trailers.get("grpc-status").map(of_grpc);
                    }
                }
                Err(_) => exchange.broken = Some("the application's answer broke off"),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes) => bytes.is_none(),
            Source::Download(body) => body.is_end_stream(),
            Source::Incoming { body, .. } => body.is_end_stream(),
            Source::Compressed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Source::Download(body) => body.size_hint(),
            Source::Incoming { body, .. } => body.size_hint(),
            Source::Compressed(body) => body.size_hint(),
        }
    }
}
