//! Connections that become something else, such as a WebSocket: joined byte by byte once the application agrees.

use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::{Outgoing, Stack, refused};
use crate::sidecar::answer::Answer;
use crate::sidecar::exchange::Exchange;
use crate::sidecar::headers;
use crate::sidecar::server::activity::Order;
use crate::sidecar::upstream::Failure;

/// The protocol that a client wants to change to. What brings a body is an ordinary request.
pub(super) fn wanted(request: &Parts) -> Option<HeaderValue> {
    // First: few have it.
    let protocol = request.headers.get(UPGRADE)?;
    let has_body = [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| request.headers.contains_key(name));
    if request.version != Version::HTTP_11 || request.method != Method::GET || has_body {
        return None;
    }
    let asks = |list: &HeaderValue| {
        let list = list.to_str().unwrap_or_default();
        list.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
    };
    // HTTP/2 is spoken with prior knowledge, or not at all.
    let other = !protocol.as_bytes().eq_ignore_ascii_case(b"h2c");
    (other && request.headers.get_all(CONNECTION).iter().any(asks)).then(|| protocol.clone())
}

/// Ask the application over a connection of its own, and join the two if it agrees.
pub(super) async fn open(
    stack: &Arc<Stack>,
    mut request: Request<Incoming>,
    exchange: &mut Exchange,
) -> Result<Response<Outgoing>, Answer> {
    let place = stack.upstream.tunnel().map_err(|failure| refused(failure, exchange))?;
    let client = hyper::upgrade::on(&mut request);
    let asked = async {
        let stream = stack.upstream.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(Failure::Broken)?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(Failure::Broken)
    };
    let within = stack.upstream.answer_within();
    let asked = tokio::time::timeout(within, asked).await.unwrap_or(Err(Failure::Timeout(within)));
    let mut response = asked.map_err(|failure| refused(failure, exchange))?;
    exchange.progress.streams();
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        headers::strip_hop_by_hop(response.headers_mut());
        return Ok(response.map(|body| Outgoing::incoming(body, place)));
    }
    let application = hyper::upgrade::on(&mut response);
    let tunnel = exchange.account.metrics.in_flight.clone();
    let activity = exchange.progress.connection.clone();
    activity.tunnels();
    tunnel.inc();
    tokio::spawn(async move {
        if let (Ok(client), Ok(application)) = tokio::join!(client, application) {
            let (mut client, mut application) = (TokioIo::new(client), TokioIo::new(application));
            let ended = async { while activity.ordered().await != Order::End {} };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut application) => {}
                () = ended => {}
            }
        }
        tunnel.dec();
        drop(place);
    });
    let protocol = response.headers().get(UPGRADE).cloned();
    headers::strip_hop_by_hop(response.headers_mut());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        response.headers_mut().insert(UPGRADE, protocol);
    }
    Ok(response.map(|_| Outgoing::empty()))
}
