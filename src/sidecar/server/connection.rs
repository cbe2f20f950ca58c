//! One client's connection, from its first byte to its end.
//!
//! A kept connection is mostly idle, and what is built upon its socket to speak HTTP/1 holds 29 KiB: after a second without
//! a request that goes, and comes back with the next bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::Server;
use super::activity::{Activity, Order};
use super::progress::Progress;
use super::watched::Watched;
use crate::contract::settings::Limits;
use crate::sidecar::client::Peer;
use crate::sidecar::stack::{Outgoing, Stack};

/// A connection that has begun.
struct Connection<'a> {
    server: &'a Server,
    activity: Arc<Activity>,
    /// Its request under way, as HTTP/1 has them: one after the other.
    request: Arc<Progress>,
    peer: Arc<Peer>,
}

/// Runs the requests of one HTTP/2 connection, each until it has been answered or is stopped: one that is dropped is
/// reset, and the others go on.
#[derive(Clone, Default)]
struct Requests {
    /// The one that begins: its work comes right after it.
    begins: Arc<Mutex<Option<Arc<Progress>>>>,
}

impl Requests {
    fn begin(&self, connection: &Arc<Activity>) -> Arc<Progress> {
        let request = Progress::new(connection.clone());
        *self.begins() = Some(request.clone());
        request
    }

    fn begins(&self) -> MutexGuard<'_, Option<Arc<Progress>>> {
        self.begins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Work: Future<Output = ()> + Send + 'static> Executor<Work> for Requests {
    fn execute(&self, work: Work) {
        let Some(request) = self.begins().take() else {
            tokio::spawn(work);
            return;
        };
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = work => {}
                () = request.stopped() => {}
            }
        });
    }
}

impl Server {
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true);
        let activity = Activity::new(self.shared.clone(), place);
        self.connections().push(Arc::downgrade(&activity));
        if self.is_left() {
            activity.leave();
        }
        let peer = Arc::new(self.stack.proxies.peer(peer.ip()));
        let request = Progress::new(activity.clone());
        let io = Watched::new(stream, request.clone());
        Connection { server: self, activity: activity.clone(), request, peer }.serve(io).await;
        activity.leave_place();
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
        let request = self.request.clone();
        let service = self.service(move || request.clone());
        let connection = self.server.http1.serve_connection(TokioIo::new(io), service);
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
        let requests = Requests::default();
        let builder = http2(&self.server.stack.settings.limits, requests.clone());
        let activity = self.activity.clone();
        let service = self.service(move || requests.begin(&activity));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
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

    /// The layers of every request; `begin` tells how it is watched.
    fn service(
        &self,
        begin: impl Fn() -> Arc<Progress>,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response<Outgoing>,
        Error = Infallible,
        Future = impl Future<Output = Result<Response<Outgoing>, Infallible>> + Send + 'static,
    > {
        let (stack, peer) = (self.server.stack.clone(), self.peer.clone());
        service_fn(move |request: Request<Incoming>| {
            let (stack, peer, progress): (Arc<Stack>, _, _) = (stack.clone(), peer.clone(), begin());
            async move { Ok(stack.answer(request, &peer, &progress).await) }
        })
    }

    fn tell(&self, ended: Result<(), hyper::Error>) {
        if let Err(error) = ended {
            tracing::debug!(%error, client = %self.peer.address(), "a client's connection ended");
        }
    }
}

fn http2(limits: &Limits, requests: Requests) -> http2::Builder<Requests> {
    let mut builder = http2::Builder::new(requests);
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(250)
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(256 << 10)
        .max_send_buf_size(32 << 10)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
