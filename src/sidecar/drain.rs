//! Stopping without losing a request.
//!
//! 1. `/ready` answers 503. Connections are still accepted while endpoints disappear; every answer tells its client
//!    to come back over another connection, and HTTP/2 clients are told at once.
//! 2. Nothing new is accepted; what is under way ends, idle connections are closed last.
//! 3. What is still not done by then is cut off.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::server::Server;
use super::server::activity::{Activity, Order};
use super::upstream::seconds;
use crate::contract::settings;

/// How far the stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// At work.
    Serving,
    /// Still accepting, while endpoints disappear.
    Leaving,
    /// Accepting nothing, while requests end.
    Closing,
    /// Done.
    Drained,
}

/// The stop, as all that takes part in it sees it.
#[derive(Clone)]
pub struct Drain {
    wanted: Arc<watch::Sender<bool>>,
    phase: Arc<watch::Sender<Phase>>,
    /// Whether it has begun, for the path of every request.
    pub begun: Arc<AtomicBool>,
}

impl Default for Drain {
    fn default() -> Self {
        Drain {
            wanted: Arc::new(watch::Sender::new(false)),
            phase: Arc::new(watch::Sender::new(Phase::Serving)),
            begun: Arc::default(),
        }
    }
}

impl Drain {
    /// Begin, unless it has begun.
    pub fn begin(&self) {
        self.wanted.send_replace(true);
    }

    /// Wait until a phase is reached.
    pub async fn reached(&self, phase: Phase) {
        // Fails only once nobody drains any more.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    /// Wait for the wish to stop, then carry it out.
    pub async fn carry_out(&self, server: &Server, settings: &settings::Drain) {
        let _ = self.wanted.subscribe().wait_for(|wanted| *wanted).await;
        self.begun.store(true, Relaxed);
        self.phase.send_replace(Phase::Leaving);
        tracing::info!(propagation_seconds = settings.propagation_seconds, "draining");
        server.order(Order::Finish, Activity::is_http2);
        sleep(seconds(settings.propagation_seconds)).await;

        self.phase.send_replace(Phase::Closing);
        let deadline = Instant::now() + seconds(settings.requests_seconds);
        // Those that are busy first: an idle connection may be about to be used, and is told by its next answer.
        server.order(Order::Finish, |connection| connection.requests() > 0);
        let ended = async {
            while server.requests() > 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let all = timeout_at(deadline, ended).await.is_ok();
        server.order(Order::Finish, |_| true);
        let cut = server.requests();
        if all {
            tracing::info!("drained");
        } else {
            tracing::warn!(requests = cut, "requests were cut off: drain.requestsSeconds is over");
            server.order(Order::End, |_| true);
        }
        self.phase.send_replace(Phase::Drained);
    }
}

/// Ask the sidecar that listens on this machine to drain, and wait until it has.
pub async fn ask(port: u16) -> io::Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request =
        Request::post(crate::contract::DRAIN_PATH).header("host", "localhost").body(Empty::<Bytes>::new());
    let answer = sender.send_request(request.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(io::Error::other(format!("the sidecar answers {status}"))),
    }
}
