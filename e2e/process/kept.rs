//! Clients that keep their connections, through the Service of pods that are released: they leave the colour that has lost
//! its traffic, and lose no request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use visiobook::api::kinds::Kind;
use visiobook::api::names::{self, Colour};
use visiobook::api::{Outcome, ReleaseState};
use visiobook::contract::leave::PROPAGATION_SECONDS;

use super::rollout::{ended, order, selects, stage, state};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, Site, podinfo};

/// Clients that ask all the time, and those that idle at the switch.
const CLIENTS: usize = 8;
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(50);
/// What the nodes have to follow the Service, as clients that come meanwhile are told to leave for so long.
const WITHIN: Duration = Duration::from_secs(PROPAGATION_SECONDS as u64);

/// A connection that is kept as long as the other side keeps it.
struct Kept {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Kept {
    fn to(address: SocketAddr) -> Kept {
        Kept { address, stream: None }
    }

    /// Ask once, and tell which colour has answered. What was closed unannounced is an error: it is not asked again.
    async fn ask(&mut self) -> Result<Colour, String> {
        let told = |error: std::io::Error| error.to_string();
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await.map_err(told)?,
        };
        stream.write_all(b"GET /api/info HTTP/1.1\r\nhost: users\r\n\r\n").await.map_err(told)?;
        let mut read = Vec::new();
        // A small answer, in one piece or with chunks: its last field is there when all of it is.
        let ends = |read: &[u8]| {
            let text = String::from_utf8_lossy(read).to_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            length.map_or_else(|| body.ends_with("0\r\n\r\n"), |length: usize| body.len() >= length)
        };
        while !ends(&read) {
            if stream.read_buf(&mut read).await.map_err(told)? == 0 {
                return Err(format!("closed after {} bytes", read.len()));
            }
        }
        let text = String::from_utf8_lossy(&read);
        if !text.starts_with("HTTP/1.1 200") {
            return Err(text.lines().next().unwrap_or_default().to_string());
        }
        if !text.to_lowercase().contains("connection: close") {
            self.stream = Some(stream);
        }
        let colour = Colour::ALL.into_iter().find(|colour| text.contains(&names::coloured("users", *colour)));
        colour.ok_or_else(|| format!("nobody's answer: {text}"))
    }
}

/// When a request was begun, and who has answered it.
type Answers = Vec<(Instant, Result<Colour, String>)>;

fn clients(address: SocketAddr, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<Answers>> {
    let client = |_| {
        let stop = stop.clone();
        tokio::spawn(async move {
            let (mut kept, mut answers) = (Kept::to(address), Answers::new());
            while !stop.load(Relaxed) {
                let begun = Instant::now();
                let answer = tokio::time::timeout(PATIENCE, kept.ask()).await;
                answers.push((begun, answer.unwrap_or_else(|_| Err("no answer".into()))));
                tokio::time::sleep(PAUSE).await;
            }
            answers
        })
    };
    (0..CLIENTS).map(client).collect()
}

/// When the Service selects a colour. Asked all the time: what it says may be a moment old.
async fn moves(site: &Site, colour: Colour) -> Instant {
    let started = Instant::now();
    loop {
        let asked = Instant::now();
        if selects(site, "users").await == Some(colour) {
            return asked;
        }
        assert!(started.elapsed() < PATIENCE, "traffic never moves to {}", colour.as_str());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Clients that have idled are answered once more where they are, for nothing was closed under them, and go where traffic is.
async fn follow(waiting: &mut [Kept], colour: Colour) {
    tokio::time::sleep(Duration::from_secs(1)).await;
    for kept in waiting {
        kept.ask().await.expect("an idle connection was closed unannounced");
        let asked = Instant::now();
        while kept.ask().await.expect("an answer") != colour {
            assert!(asked.elapsed() < WITHIN, "a client stays away from {}", colour.as_str());
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connections_leave_the_colour_that_has_lost_its_traffic_and_lose_no_request() {
    let stage = stage("kept", json!({ "soakSeconds": 45 })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", podinfo(0)).await;
    site.ready("users").await;
    let service = site.existing(Kind::Service, "users").await;
    let ip = service["spec"]["clusterIP"].as_str().and_then(|ip| ip.parse().ok()).expect("an address");
    let address = SocketAddr::new(ip, 80);
    crate::support::eventually("the node to route", || async { Kept::to(address).ask().await.map(drop) })
        .await;

    let mut moved = BTreeMap::new();
    let stop = Arc::new(AtomicBool::new(false));
    let busy = clients(address, &stop);
    let idle = async || {
        let mut idle: Vec<Kept> = (0..CLIENTS).map(|_| Kept::to(address)).collect();
        for kept in &mut idle {
            kept.ask().await.expect("an answer");
        }
        idle
    };

    let mut waiting = idle().await;
    site.apply("users", podinfo(1)).await;
    moved.insert(moves(site, Colour::Green).await, Colour::Green);
    follow(&mut waiting, Colour::Green).await;
    let soaking = state(site, "users", ReleaseState::Soaking).await;

    // An operator that starts anew tells once more, and what serves stays.
    drop(operator);
    let operator = stage.operator(&proxy);
    operator.leads().await;
    let promoted = state(site, "users", ReleaseState::Retiring).await;
    assert_eq!((promoted.colour, &promoted.attempt), (Colour::Green, &soaking.attempt));
    let text = operator.metrics().await;
    let told = text
        .lines()
        .find(|line| line.starts_with(r#"visiobook_pods_told_to_leave_total{outcome="leaving"}"#));
    assert!(told.is_some_and(|told| told.ends_with(" 2")), "told again: {told:?} in {text}");
    // Nothing more is asked of anybody.
    proxy.quiet(Duration::from_secs(4)).await;

    let mut waiting = idle().await;
    order(site, "users", names::UNDO, promoted.attempt.as_deref()).await;
    moved.insert(moves(site, Colour::Blue).await, Colour::Blue);
    follow(&mut waiting, Colour::Blue).await;
    ended(site, "users", Outcome::RolledBack).await;
    tokio::time::sleep(WITHIN).await;
    stop.store(true, Relaxed);

    let (mut asked, mut latest) = (0, BTreeMap::new());
    for client in busy {
        for (begun, answer) in client.await.expect("a client") {
            asked += 1;
            let colour = answer.unwrap_or_else(|lost| panic!("a request was lost: {lost}"));
            let Some((since, now)) = moved.range(..=begun).next_back() else { continue };
            if colour != *now {
                let after = latest.entry(now.as_str()).or_insert(Duration::ZERO);
                *after = (*after).max(begun - *since);
            }
        }
    }
    println!("{asked} requests; last ones of the colour that lost its traffic, after the switch: {latest:?}");
    assert!(asked > 100 * CLIENTS, "only {asked} requests");
    assert!(latest.values().all(|after| *after <= WITHIN), "clients stay: {latest:?}");
}
