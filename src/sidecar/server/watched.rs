//! A client's socket, whose reads and writes are noted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::activity::Activity;
use super::progress::Progress;

/// What a client that speaks HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A socket whose reads and writes are noted.
pub struct Watched {
    io: TcpStream,
    /// What was read already, and not yet understood.
    start: Bytes,
    /// Its request under way, as HTTP/1 has them: one after the other.
    request: Arc<Progress>,
}

impl Watched {
    /// Note what happens on `io`.
    pub fn new(io: TcpStream, request: Arc<Progress>) -> Watched {
        Watched { io, start: Bytes::new(), request }
    }

    fn activity(&self) -> &Activity {
        &self.request.connection
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
        if self.activity().is_refused() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let count = self.start.len().min(buffer.remaining());
        if count > 0 {
            let start = self.start.split_to(count);
            buffer.put_slice(&start);
        }
        let before = buffer.filled().len();
        // What follows comes with it: of two pieces, the second would make the reader's buffer twice as large.
        let polled = match Pin::new(&mut self.io).poll_read(cx, buffer) {
            _ if count > 0 => Poll::Ready(Ok(())),
            polled => polled,
        };
        let came = buffer.filled().len() - before;
        if came > 0 {
            self.activity().arrive(came);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.activity().write(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, buffers);
        self.activity().write(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // While an answer is sent nobody reads, and a stream may have nothing to send for an hour: of a client that leaves
        // meanwhile this is the only sign. One that only closes its half does not read events.
        let activity = self.activity();
        if self.request.is_stream() && !activity.is_http2() && !activity.is_tunnel() {
            let mut byte = [0];
            let peeked = self.io.poll_peek(cx, &mut ReadBuf::new(&mut byte));
            if matches!(peeked, Poll::Ready(Ok(0) | Err(_))) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection goes on, without what was built upon it.
        if self.activity().rests() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
