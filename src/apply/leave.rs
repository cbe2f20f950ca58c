//! The sidecars of a colour that has lost its traffic: where they are, and how they are told that their clients are to
//! leave. What is said goes to the address of a pod and nowhere else: by no proxy, and after no redirect.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, ListParams, Object};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::gated::Unread;
use super::{Error, Writer};
use crate::api::names::{self, Colour};
use crate::contract::METRICS_PORT;
use crate::contract::leave::PATH;
use crate::plan::Owner;

/// Time that a sidecar has to hear and to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is read of the status of a pod.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
}

/// Addresses of the pods of a colour that run, ready or not. One that has ended has given its address back, and one in the
/// network of its node has none of its own.
pub async fn addresses(writer: &Writer, owner: &Owner, colour: Colour) -> Result<Vec<IpAddr>, Error> {
    let labels = format!("{}={},{}={}", names::NAME, owner.name, names::VERSION, colour.as_str());
    let kind = ApiResource::erase::<Pod>(&());
    let pods: Api<Object<Unread, Place>> = Api::namespaced_with(writer.claimed()?, &owner.namespace, &kind);
    let pods = pods.list(&ListParams::default().labels(&labels)).await.map_err(|error| Error::Refused {
        what: format!("list the pods of {}", owner.name),
        source: Box::new(error),
    })?;
    Ok(pods.items.iter().filter_map(|pod| pod.status.as_ref()).filter_map(address).collect())
}

fn address(place: &Place) -> Option<IpAddr> {
    let own = place.pod_ip.as_ref().filter(|own| Some(*own) != place.host_ip.as_ref())?;
    own.parse().ok().filter(|_| place.phase.as_deref() == Some("Running"))
}

/// What became of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Clients leave.
    Leaving,
    /// The sidecar does not know the operator: it is of an earlier release, or has no keys yet.
    Refused(StatusCode),
    /// Nobody answered.
    Unanswered(String),
}

impl Heard {
    /// The word in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Heard::Leaving => "leaving",
            Heard::Refused(_) => "refused",
            Heard::Unanswered(_) => "unanswered",
        }
    }
}

/// Tell the sidecar at an address that its clients are to leave; once more where nobody answers.
pub async fn tell_to_leave(address: IpAddr, word: &str) -> Heard {
    match tell(address, word).await {
        Heard::Unanswered(_) => tell(address, word).await,
        heard => heard,
    }
}

async fn tell(address: IpAddr, word: &str) -> Heard {
    match timeout(PATIENCE, ask(SocketAddr::from((address, METRICS_PORT)), word)).await {
        Ok(Ok(status)) if status.is_success() => Heard::Leaving,
        Ok(Ok(status)) => Heard::Refused(status),
        Ok(Err(error)) => Heard::Unanswered(error.to_string()),
        Err(_) => Heard::Unanswered("no answer in time".into()),
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn ask(address: SocketAddr, word: &str) -> Result<StatusCode, BoxError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::post(PATH)
        .header("host", address.to_string())
        .header("authorization", format!("Bearer {word}"))
        .header("connection", "close")
        .body(Empty::<Bytes>::new())?;
    let mut answer = pin!(sender.send_request(request));
    let ended = tokio::select! {
        answer = answer.as_mut() => return Ok(answer?.status()),
        ended = connection => ended,
    };
    // The last thing that it did may have been to bring the answer.
    match answer.now_or_never() {
        Some(answer) => Ok(answer?.status()),
        None => Err(ended.map_or_else(Into::into, |()| "the connection ended".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pods_that_run_at_an_address_of_their_own_are_told() {
        let place = |phase: &str, pod: Option<&str>| Place {
            phase: Some(phase.into()),
            pod_ip: pod.map(str::to_string),
            host_ip: Some("10.0.0.1".into()),
        };
        assert_eq!(address(&place("Running", Some("10.1.0.7"))), "10.1.0.7".parse().ok());
        assert_eq!(address(&place("Running", Some("fd00::7"))), "fd00::7".parse().ok());
        for nobody in [
            place("Running", Some("10.0.0.1")),
            place("Running", None),
            place("Running", Some("nowhere")),
            place("Pending", Some("10.1.0.7")),
            place("Succeeded", Some("10.1.0.7")),
            place("Failed", Some("10.1.0.7")),
            Place::default(),
        ] {
            assert_eq!(address(&nobody), None, "{nobody:?}");
        }
    }
}
