//! An application that answers at once.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::load::one_thread;

/// Serve bodies of so many bytes at `/<bytes>`, from a thread of its own.
pub fn start() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        one_thread().block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let _ = answer(stream).await;
                });
            }
        });
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
        let wanted: usize = std::str::from_utf8(&wanted[1..]).unwrap().parse().unwrap_or(0);
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
