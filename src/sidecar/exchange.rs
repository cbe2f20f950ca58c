//! One request on its way: what layers, logs and metrics know of it. It is accounted for when it is dropped, however
//! it ended.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Uri};

use super::access_log::AccessLog;
use super::correlation::Trace;
use super::http_metrics::HttpMetrics;
use super::report::kpis::Collector;
use super::route::Route;
use super::server::progress::Progress;

/// Where a finished request is told of.
pub struct Account {
    /// Metrics of the contract.
    pub metrics: HttpMetrics,
    /// KPIs of the contract.
    pub kpis: Arc<Collector>,
    /// One line for each.
    pub log: AccessLog,
}

/// One request, from the arrival of its head to the last byte of its answer.
pub struct Exchange {
    /// Where it is accounted for.
    pub account: Arc<Account>,
    /// What it waits for.
    pub progress: Arc<Progress>,
    /// When its head had arrived.
    pub started: Instant,
    /// Its method.
    pub method: Method,
    /// Its path and query, as the client wrote them.
    pub uri: Uri,
    /// The route it fits.
    pub route: Route,
    /// Its correlation id.
    pub correlation_id: HeaderValue,
    /// Its trace, where it has one.
    pub trace: Option<Trace>,
    /// Who calls, by address.
    pub client: IpAddr,
    /// Who calls, as the token says.
    pub user_id: Option<HeaderValue>,
    /// With which program.
    pub user_agent: Option<HeaderValue>,
    /// The answer's status; 499 while there is none: the client went away.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// Whether it asks the contract itself: such requests are neither logged nor counted (D16).
    pub of_contract: bool,
    /// What the grpc-status comes to, as an HTTP status.
    pub grpc: Option<u16>,
    /// Why the application did not answer, for the log.
    pub failure: Option<String>,
    /// Why the answer broke off.
    pub broken: Option<&'static str>,
}

/// Status of a request whose client did not wait for the answer; nginx's number.
pub const CLIENT_CLOSED: u16 = 499;

impl Exchange {
    /// How long it has taken.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The status that metrics and KPIs count: what gRPC says in its trailers, else HTTP's.
    pub fn outcome(&self) -> u16 {
        match (self.broken, self.grpc) {
            (Some(_), _) if self.status < 500 => 502,
            (_, Some(status)) => status,
            _ => self.status,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.progress.end();
        self.account.metrics.in_flight.dec();
        if self.of_contract {
            return;
        }
        let elapsed = self.elapsed();
        self.account.metrics.finish(self, elapsed);
        if self.status != CLIENT_CLOSED {
            self.account.kpis.record(elapsed.as_secs_f64() * 1000.0, self.outcome());
        }
        self.account.log.write(self, elapsed);
    }
}

/// The HTTP status that a grpc-status comes to in metrics: failures of the server, and errors of the client.
pub fn of_grpc(status: &HeaderValue) -> u16 {
    match status.as_bytes() {
        b"0" => 200,
        // Unknown, deadline exceeded, unimplemented, internal, unavailable, data loss.
        b"2" | b"4" | b"12" | b"13" | b"14" | b"15" => 500,
        _ => 400,
    }
}
