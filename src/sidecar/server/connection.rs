//! One client's connection, from its first byte to its end.
//!
//! A kept connection is mostly idle, and what is built upon its socket to speak HTTP/1 holds 29 KiB: after a second without
//! a request that goes, and comes back with the next bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use futures::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Server;
use super::activity::{Activity, Order, Watched};
use crate::sidecar::client::Peer;
use crate::sidecar::stack::{Outgoing, Stack};

/// A connection that has begun.
struct Connection<'a> {
    server: &'a Server,
    activity: Arc<Activity>,
    peer: Arc<Peer>,
}

impl Server {
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let activity = Activity::new(self.ticks.clone());
        self.connections().push(Arc::downgrade(&activity));
        if self.is_left() {
            activity.leave();
        }
        let peer = Arc::new(self.stack.proxies.peer(peer.ip()));
        let io = Watched::new(stream, activity.clone());
        Connection { server: self, activity, peer }.serve(io).await;
    }
}

impl Connection<'_> {
    async fn serve(&self, mut io: Watched) {
        let begun = self.unless_ended(io.begins_as_http2()).await;
        match begun {
            Some(Ok(true)) => return Box::pin(self.serve_http2(io)).await,
            Some(Ok(false)) => {}
            Some(Err(_)) | None => return,
        }
        while let Some(Ok(())) = self.unless_ended(io.arrives()).await {
            match self.serve_http1(io).await {
                Some(rests) => io = rests,
                None => return,
            }
        }
    }

    /// What `work` comes to, unless the connection is to end. Nothing is under way that could be finished.
    async fn unless_ended<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = work.as_mut() => return Some(done),
                order = self.activity.ordered() => if order != Order::Rest { return None },
            }
        }
    }

    /// Serve until the end of the connection, or until it rests: what remains of it then.
    async fn serve_http1(&self, io: Watched) -> Option<Watched> {
        self.activity.rest(false);
        let connection = self.server.http1.serve_connection(TokioIo::new(io), self.service());
        let mut connection = Box::new(connection.with_upgrades());
        loop {
            let order = tokio::select! {
                // The connection first: nearly every wake-up is for it.
                biased;
                ended = &mut *connection => {
                    self.tell(ended);
                    return None;
                }
                order = self.activity.ordered() => order,
            };
            match order {
                Order::Rest if self.activity.may_rest() => {
                    // An idle connection is done at once when it is to finish; its socket stays as it is.
                    self.activity.rest(true);
                    Pin::new(&mut *connection).graceful_shutdown();
                    if let Some(ended) = (&mut *connection).now_or_never() {
                        ended.ok()?;
                        let parts = connection.into_parts()?;
                        return Some(parts.io.into_inner().after(parts.read_buf));
                    }
                    self.activity.rest(false);
                }
                Order::Rest => {}
                Order::Finish => Pin::new(&mut *connection).graceful_shutdown(),
                Order::End => return None,
            }
        }
    }

    async fn serve_http2(&self, io: Watched) {
        self.activity.speaks_http2();
        let mut connection = pin!(self.server.http2.serve_connection(TokioIo::new(io), self.service()));
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return self.tell(ended),
                order = self.activity.ordered() => match order {
                    Order::Rest => {}
                    Order::Finish => connection.as_mut().graceful_shutdown(),
                    Order::End => return,
                }
            }
        }
    }

    /// The layers of every request.
    fn service(
        &self,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response<Outgoing>,
        Error = Infallible,
        Future = impl Future<Output = Result<Response<Outgoing>, Infallible>> + Send + 'static,
    > {
        let (stack, activity, peer) = (self.server.stack.clone(), self.activity.clone(), self.peer.clone());
        service_fn(move |request: Request<Incoming>| {
            let (stack, activity, peer): (Arc<Stack>, _, _) = (stack.clone(), activity.clone(), peer.clone());
            async move { Ok(stack.answer(request, &peer, &activity).await) }
        })
    }

    fn tell(&self, ended: Result<(), hyper::Error>) {
        if let Err(error) = ended {
            tracing::debug!(%error, client = %self.peer.address(), "a client's connection ended");
        }
    }
}
