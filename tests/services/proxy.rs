//! A line to a store that can be made slow, and lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Passes on what is sent, each piece after a while.
pub struct Proxy {
    pub port: u16,
    milliseconds: Arc<AtomicU64>,
    lost: tokio::sync::watch::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub async fn new(to: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let milliseconds = Arc::new(AtomicU64::new(0));
        let delay = milliseconds.clone();
        let (lost, _) = tokio::sync::watch::channel(());
        let lines = lost.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut lost = lines.subscribe();
                let passing = pass(client, SocketAddr::from(([127, 0, 0, 1], to)), delay.clone());
                tokio::spawn(async move {
                    let mut passing = std::pin::pin!(passing);
                    tokio::select! {
                        () = passing.as_mut() => {}
                        // It stays open, and nothing ever comes through.
                        _ = lost.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Proxy { port, milliseconds, lost, task }
    }

    /// Have what is sent over the connections that stand be lost, without a word to either side. Others are as ever.
    pub fn lose(&self) {
        self.lost.send_replace(());
    }

    /// What each piece waits, there and back.
    pub fn delay(&self, milliseconds: u64) {
        self.milliseconds.store(milliseconds, Ordering::Relaxed);
    }
}

async fn pass(client: TcpStream, to: SocketAddr, delay: Arc<AtomicU64>) {
    let Ok(server) = TcpStream::connect(to).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::join!(copy(from_client, to_server, &delay), copy(from_server, to_client, &delay));
}

async fn copy(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, delay: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer).await {
        tokio::time::sleep(Duration::from_millis(delay.load(Ordering::Relaxed))).await;
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
