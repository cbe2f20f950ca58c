//! The sidecar against a suite of HTTP/2 conformance that others wrote.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::json;

/// What the sidecar answers in another way, on purpose: it speaks HTTP/1.1 on the same port, so that bytes that are no
/// preface of HTTP/2 are a bad request of HTTP/1.1.
const ON_PURPOSE: [&str; 1] = ["Sends invalid connection preface"];

struct Sidecar(Child);

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An application that answers every request with some bytes.
fn application() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    port
}

fn answer(mut stream: TcpStream) {
    let body = "h".repeat(4096);
    let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut read = [0; 65536];
    while stream.read(&mut read).is_ok_and(|count| count > 0) {
        if stream.write_all(response.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn the_sidecar_speaks_http2_as_h2spec_wants_it() {
    let free = || {
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
    };
    let (port, contract_port) = (free(), free());
    let settings = json!({
        "service": "users", "port": port, "contractPort": contract_port,
        "application": { "port": application(), "metricsPath": null }, "logs": { "level": "error" },
    });
    let child = Command::new(env!("CARGO_BIN_EXE_visiobook"))
        .arg("sidecar")
        .env("VISIOBOOK_SIDECAR", settings.to_string())
        .spawn()
        .expect("sidecar");
    let _sidecar = Sidecar(child);
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "the sidecar does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = Command::new("h2spec")
        .args(["--port", &port.to_string(), "--timeout", "5"])
        .output()
        .expect("h2spec on the PATH: `make e2e` puts it there");
    let text = String::from_utf8_lossy(&output.stdout);
    let summary = text.lines().last().unwrap_or_default().to_string();
    assert!(summary.contains("145 tests"), "{text}");
    let failed: Vec<&str> = text
        .split("Failures:")
        .nth(1)
        .unwrap_or_default()
        .lines()
        .filter(|line| line.trim_start().starts_with('×'))
        .filter(|line| !ON_PURPOSE.iter().any(|known| line.contains(known)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}\n{summary}");
}
