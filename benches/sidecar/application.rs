//! An application that answers at once, or when it is told to.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Serve bodies of so many bytes at `/<bytes>`, and after a while at `/<bytes>/<milliseconds>`: by the thread of the
/// clients, for two would take turns on their core.
pub fn start(on: &Runtime) -> u16 {
    let listener = on.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    on.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = answer(stream).await;
            });
        }
    });
    port
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut read, mut size, mut response) = (Vec::with_capacity(8192), 0, Vec::new());
    loop {
        while !read.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        let wanted = read.split(|byte| *byte == b' ').nth(1).unwrap();
        let wanted = std::str::from_utf8(&wanted[1..]).unwrap();
        let (wanted, pause) = wanted.split_once('/').unwrap_or((wanted, ""));
        if let Ok(pause) = pause.parse() {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let wanted: usize = wanted.parse().unwrap_or(0);
        if wanted != size || response.is_empty() {
            size = wanted;
            response = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n"
            )
            .into_bytes();
            response.resize(response.len() + size, b'x');
        }
        read.clear();
        stream.write_all(&response).await?;
    }
}
