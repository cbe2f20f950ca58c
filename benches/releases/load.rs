//! Clients of a Service that ask which release it is, all the time. Who keeps a connection notices when it was closed
//! between two requests, as every client with a pool does; nobody asks twice for what broke off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Clients that keep their connection, and those that make one for each request.
const CLIENTS: [(bool, usize); 2] = [(true, 6), (false, 2)];
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);

/// One request.
pub struct Answer {
    pub begun: Instant,
    /// Whether its client keeps its connection.
    pub keeps: bool,
    /// The release that answered, or what went wrong.
    pub said: Result<u32, String>,
}

/// See the module.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Answer>>>,
}

impl Load {
    pub fn start(address: SocketAddr) -> Load {
        let stop = Arc::<AtomicBool>::default();
        let each = CLIENTS.into_iter().flat_map(|(keeps, count)| std::iter::repeat_n(keeps, count));
        let clients = each.map(|keeps| tokio::spawn(client(address, keeps, stop.clone()))).collect();
        Load { stop, clients }
    }

    /// All requests, in no order.
    pub async fn stop(self) -> Vec<Answer> {
        self.stop.store(true, Relaxed);
        let mut all = Vec::new();
        for client in self.clients {
            all.extend(client.await.expect("a client"));
        }
        all
    }
}

async fn client(address: SocketAddr, keeps: bool, stop: Arc<AtomicBool>) -> Vec<Answer> {
    let (mut connection, mut answers) = (None, Vec::new());
    while !stop.load(Relaxed) {
        let begun = Instant::now();
        let said = tokio::time::timeout(PATIENCE, ask(&mut connection, address, keeps)).await;
        answers.push(Answer { begun, keeps, said: said.unwrap_or_else(|_| Err("no answer".into())) });
        tokio::time::sleep(PAUSE).await;
    }
    answers
}

/// Ask once which release answers.
pub async fn release(address: SocketAddr) -> Result<u32, String> {
    tokio::time::timeout(PATIENCE, ask(&mut None, address, false)).await.map_err(|late| late.to_string())?
}

type Kept = Option<SendRequest<Empty<Bytes>>>;

async fn ask(connection: &mut Kept, address: SocketAddr, keeps: bool) -> Result<u32, String> {
    let told = |error: hyper::Error| format!("{error:?}");
    let request = || {
        let word = if keeps { "keep-alive" } else { "close" };
        let request = Request::get("/api/info").header(HOST, "users").header(CONNECTION, word);
        request.body(Empty::new()).expect("a request")
    };
    // What a closed connection never sent is sent over another one.
    let mut answer = None;
    if let Some(mut kept) = connection.take()
        && kept.ready().await.is_ok()
    {
        answer = match kept.send_request(request()).await {
            Err(error) if error.is_canceled() => None,
            answer => Some((answer.map_err(told)?, kept)),
        };
    }
    let (answer, sender) = match answer {
        Some(answered) => answered,
        None => {
            let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
            let (mut sender, driver) = handshake(TokioIo::new(stream)).await.map_err(told)?;
            tokio::spawn(driver);
            (sender.send_request(request()).await.map_err(told)?, sender)
        }
    };
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(told)?.to_bytes();
    if !status.is_success() {
        return Err(status.to_string());
    }
    if keeps {
        *connection = Some(sender);
    }
    let body: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    body["message"].as_str().and_then(|number| number.parse().ok()).ok_or_else(|| format!("nobody's: {body}"))
}
