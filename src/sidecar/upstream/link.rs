//! One HTTP/1.1 connection to the application.
//!
//! While a request without a body is under way, the connection is driven by the task of that request: no other task
//! is woken for a byte. A request with a body gives the connection a task of its own, because body and answer may
//! move at the same time.

use std::future::{Future, poll_fn};
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
    idle_since: Instant,
}

impl Link {
    pub(super) async fn new(stream: TcpStream) -> Result<Link, hyper::Error> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Link { sender, driver: Some(Box::pin(connection)), idle_since: Instant::now() })
    }

    pub(super) fn idle_for(&self) -> Duration {
        self.idle_since.elapsed()
    }

    /// Whether the connection can take a request: an application that closed it has said so by now.
    pub(super) fn stands(&mut self) -> bool {
        // Nobody is to be woken: whoever takes it polls it again.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.sender.is_ready()
    }

    pub(super) async fn send(&mut self, request: Request<Upload>) -> Result<Response<Incoming>, Failed> {
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
        let mut sent = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            drive(driver, cx);
            sent.as_mut().poll(cx)
        })
        .await
        .map_err(failed)
    }

    /// Move the connection on as far as it goes.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.driver, cx);
    }

    /// The answer is complete: the connection again, if it can be used again. One with a task of its own may need a
    /// moment until it can.
    pub(super) fn finish(mut self, cx: &mut Context<'_>) -> Option<Link> {
        self.drive(cx);
        self.idle_since = Instant::now();
        (!self.sender.is_closed()).then_some(self)
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
