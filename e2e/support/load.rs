//! Clients that never retry: what they lose, a user loses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Requests to one address until told to stop.
pub struct Clients {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Clients {
    /// So many clients; each keeps its connection as long as the other side does, every fourth makes a new one for
    /// every request.
    pub fn start(address: SocketAddr, path: &str, count: usize) -> Clients {
        Clients::to("service", address, path, count)
    }

    /// The same, of a host by its name.
    pub fn to(host: &str, address: SocketAddr, path: &str, count: usize) -> Clients {
        let (stop, answered): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let tasks = (0..count).map(|number| {
            let (stop, answered) = (stop.clone(), answered.clone());
            let (host, path) = (host.to_string(), path.to_string());
            tokio::spawn(async move {
                let mut lost = Vec::new();
                let keeps = number % 4 != 0;
                let mut connection: Option<TcpStream> = None;
                while !stop.load(Relaxed) {
                    let kept = connection.is_some();
                    match ask(&mut connection, address, (&host, &path), keeps).await {
                        Ok(()) => drop(answered.fetch_add(1, Relaxed)),
                        Err(error) => {
                            connection = None;
                            lost.push(format!("{} connection: {error}", if kept { "kept" } else { "new" }));
                        }
                    }
                }
                lost
            })
        });
        let tasks = tasks.collect();
        Clients { stop, answered, tasks }
    }

    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Requests that were answered, and what happened to the others.
    pub async fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Relaxed);
        let mut lost = Vec::new();
        for task in self.tasks {
            lost.extend(task.await.expect("client"));
        }
        (self.answered.load(Relaxed), lost)
    }
}

async fn ask(
    connection: &mut Option<TcpStream>,
    address: SocketAddr,
    (host, path): (&str, &str),
    keeps: bool,
) -> Result<(), String> {
    let patience = Duration::from_secs(20);
    let exchange = async {
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?,
        };
        let close = if keeps { "" } else { "connection: close\r\n" };
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{close}\r\n");
        stream.write_all(request.as_bytes()).await.map_err(|error| format!("write: {error}"))?;
        let mut read = Vec::with_capacity(4096);
        let head = loop {
            if stream.read_buf(&mut read).await.map_err(|error| format!("read: {error}"))? == 0 {
                return Err(format!("closed after {} bytes", read.len()));
            }
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
        if !text.starts_with("http/1.1 200") {
            return Err(text.lines().next().unwrap_or_default().to_string());
        }
        if let Some(length) = text.lines().find_map(|line| line.strip_prefix("content-length: ")) {
            let length: usize = length.trim().parse().map_err(|_| "content-length".to_string())?;
            while read.len() < head + length {
                if stream.read_buf(&mut read).await.map_err(|error| format!("read: {error}"))? == 0 {
                    return Err("the body broke off".to_string());
                }
            }
        } else {
            while !read.ends_with(b"0\r\n\r\n") {
                if stream.read_buf(&mut read).await.map_err(|error| format!("read: {error}"))? == 0 {
                    return Err("the body broke off".to_string());
                }
            }
        }
        if keeps && !text.contains("connection: close") {
            *connection = Some(stream);
        }
        Ok(())
    };
    tokio::time::timeout(patience, exchange).await.unwrap_or_else(|_| Err("no answer within 20 s".into()))
}
