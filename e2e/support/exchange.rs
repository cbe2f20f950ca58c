//! One request, one answer, on a connection of its own and tried once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use visiobook::api::kinds::Kind;

use super::Site;

/// How long one may take.
const LONGEST: Duration = Duration::from_secs(20);

/// Ask `METHOD PATH`: the status and the JSON of the answer, null where there is none.
pub async fn send(
    address: SocketAddr,
    head: &str,
    token: Option<&str>,
    body: Value,
) -> std::io::Result<(u16, Value)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "{head} HTTP/1.1\r\nhost: service\r\nconnection: close\r\n{token}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        // Whatever frames the body.
        let json = body.find(['{', '[']).zip(body.rfind(['}', ']'])).map(|(from, to)| &body[from..=to]);
        Ok((status, json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()))
    };
    tokio::time::timeout(LONGEST, exchange).await?
}

/// Where a Service is reached, by port.
pub async fn address(site: &Site, name: &str, port: u16) -> SocketAddr {
    let service = site.child(Kind::Service, name).await.expect("Service");
    let ip = service["spec"]["clusterIP"].as_str().expect("a cluster IP").parse().expect("an address");
    let address = SocketAddr::new(ip, port);
    // The nodes learn of ready pods a moment after the service is Ready.
    let started = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing listens on {address}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    address
}
