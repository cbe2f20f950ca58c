//! One HTTP/1.1 connection to the application.
//!
//! While a request without a body is under way, the connection is driven by the task of that request: no other task
//! is woken for a byte. A request with a body gives the connection a task of its own, because body and answer may
//! move at the same time.
//!
//! One that nobody has used for a second rests: it is a socket then, and no buffers.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Failed, Failure, Upload};

/// Bytes of an answer that are read at once, and most bytes of its head: each connection holds a buffer of them.
const BUFFER: usize = 16 << 10;

type Driver = Pin<Box<http1::Connection<TokioIo<TcpStream>, Upload>>>;

pub(in crate::sidecar) struct Link {
    sender: http1::SendRequest<Upload>,
    /// The connection, unless a task of its own drives it.
    driver: Option<Driver>,
}

/// A connection that nobody uses.
pub(super) struct Idle {
    since: Instant,
    kept: Kept,
}

pub(super) enum Kept {
    /// It can take a request.
    Ready(Link),
    /// It is a socket.
    Resting(TcpStream),
}

impl Link {
    pub(super) async fn new(stream: TcpStream) -> Result<Link, hyper::Error> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Link { sender, driver: Some(Box::pin(connection)) })
    }

    /// Whether the connection can take a request: an application that closed it has said so by now.
    fn stands(&mut self) -> bool {
        // Nobody is to be woken: whoever takes it polls it again.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.sender.is_ready()
    }

    /// No `async fn`: that would hold the place of the request for as long as its answer takes.
    pub(super) fn send(
        &mut self,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, Failed>> {
        if !request.body().is_empty()
            && let Some(driver) = self.driver.take()
        {
            tokio::spawn(async move {
                if let Err(error) = driver.await {
                    tracing::debug!(%error, "a connection to the application ended");
                }
            });
        }
        let driver = &mut self.driver;
        let sent = self.sender.try_send_request(request);
        async move {
            let mut sent = pin!(sent);
            let answered = poll_fn(|cx| {
                drive(driver, cx);
                sent.as_mut().poll(cx)
            });
            answered.await.map_err(failed)
        }
    }

    /// Move the connection on as far as it goes.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.driver, cx);
    }

    /// The answer is complete: the connection again, if it can be used again. One with a task of its own may need a
    /// moment until it can.
    pub(super) fn finish(mut self, cx: &mut Context<'_>) -> Option<Idle> {
        self.drive(cx);
        let kept = (!self.sender.is_closed()).then_some(Kept::Ready(self))?;
        Some(Idle { since: Instant::now(), kept })
    }

    /// The socket alone, if that is all there is to it.
    fn rest(self) -> Option<TcpStream> {
        let Link { sender, driver } = self;
        let mut connection = Pin::into_inner(driver?);
        // Without a sender it is done, once nothing is under way.
        drop(sender);
        let done = connection.poll_without_shutdown(&mut Context::from_waker(Waker::noop()));
        let parts = matches!(done, Poll::Ready(Ok(()))).then(|| connection.into_parts())?;
        parts.read_buf.is_empty().then(|| parts.io.into_inner())
    }
}

impl Idle {
    pub(super) fn lasts(&self) -> Duration {
        self.since.elapsed()
    }

    /// The connection, if the application has not closed it.
    pub(super) fn take(self) -> Option<Kept> {
        match self.kept {
            Kept::Ready(mut link) => link.stands().then_some(Kept::Ready(link)),
            // Whatever can be read now, the end included, is nothing that was asked for.
            Kept::Resting(stream) => match stream.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Kept::Resting(stream)),
                _ => None,
            },
        }
    }

    /// The same, without buffers.
    pub(super) fn rest(self) -> Option<Idle> {
        let kept = match self.kept {
            // Its task has the connection; it ends in its time.
            Kept::Ready(link) if link.driver.is_none() => Kept::Ready(link),
            Kept::Ready(link) => Kept::Resting(link.rest()?),
            rests => rests,
        };
        Some(Idle { kept, ..self })
    }
}

fn drive(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    if let Some(connection) = driver
        && let Poll::Ready(ended) = connection.as_mut().poll(cx)
    {
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the application ended");
        }
        // The sender is told by the connection's end.
        *driver = None;
    }
}

pub(super) fn failed(mut error: TrySendError<Request<Upload>>) -> Failed {
    let unsent = error.take_message();
    let error = error.into_error();
    let failure = if error.is_user() { Failure::Upload } else { Failure::Broken(error) };
    (failure, unsent)
}
