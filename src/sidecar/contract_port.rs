//! The contract's own port: answers of `report`, the two ends of a drain, and the operator's word to leave.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::correlation::Correlation;
use super::drain::{Drain, Phase};
use super::headers;
use super::leave::Leave;
use super::report::Report;
use crate::contract::leave::PATH as LEAVE_PATH;
use crate::contract::{DRAIN_PATH, DRAINED_PATH};

/// Connections at a time: probes, scrapers and those who wait for the end of a drain.
const CONNECTIONS: usize = 256;
/// How long a connection may take for a head, and be idle.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long somebody may wait for a drain that has not begun.
const UNTIL_BEGUN: Duration = Duration::from_secs(2);

/// Answer until this is dropped.
pub async fn serve(listener: TcpListener, report: Arc<Report>, drain: Drain, leave: Option<Arc<Leave>>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(16 << 10);
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection to the contract's port could be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (report, drain, leave) = (report.clone(), drain.clone(), leave.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (report, drain, leave) = (report.clone(), drain.clone(), leave.clone());
            async move {
                let answered = answer(&request, peer.ip(), &report, &drain, leave.as_deref()).await;
                Ok::<_, Infallible>(answered.map(Full::new))
            }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the contract's port ended");
            }
            drop(permit);
        });
    }
}

async fn answer(
    request: &Request<Incoming>,
    peer: IpAddr,
    report: &Report,
    drain: &Drain,
    leave: Option<&Leave>,
) -> Response<Bytes> {
    match (request.method(), request.uri().path()) {
        // Only from within the pod: nobody else may take it out of service.
        (&Method::POST, DRAIN_PATH) if peer.to_canonical().is_loopback() => {
            drain.begin();
            drain.reached(Phase::Drained).await;
            said(StatusCode::OK, "drained\n")
        }
        // The kubelet waits here before it stops the application. Waiting changes nothing, so anybody may.
        (&Method::GET, DRAINED_PATH) => {
            let begun = tokio::time::timeout(UNTIL_BEGUN, drain.reached(Phase::Leaving)).await;
            if begun.is_err() {
                return said(StatusCode::OK, "not draining\n");
            }
            drain.reached(Phase::Drained).await;
            said(StatusCode::OK, "drained\n")
        }
        (method, path) => {
            let id = Correlation::default().resolve(request.headers());
            let mut response = match leave {
                Some(leave) if *method == Method::POST && path == LEAVE_PATH => {
                    leave.answer(request.headers(), !request.body().is_end_stream(), id.as_str())
                }
                _ => report.answer(method, path, id.as_str()).await,
            };
            Correlation::default().set(response.headers_mut(), &id);
            headers::secure(response.headers_mut());
            response
        }
    }
}

fn said(status: StatusCode, text: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = status;
    response
}
