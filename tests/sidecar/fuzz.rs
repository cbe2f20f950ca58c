//! Requests that were bent by chance: whatever comes in, the sidecar goes on, and nothing but HTTP goes out.
//! `VISIOBOOK_FUZZ_SECONDS` says for how long.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::json;

use crate::support::{Application, Sidecar};

/// What is bent: requests that reach every parser.
const SEEDS: [&[u8]; 9] = [
    b"GET /api/v1/users/42?a=b HTTP/1.1\r\nhost: users\r\nx-correlation-id: abc\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nhost: users\r\ncontent-length: 11\r\n\r\nhello world",
    b"POST /echo HTTP/1.1\r\nhost: users\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nx-t: 1\r\n\r\n",
    b"GET /hello HTTP/1.1\r\nhost: users\r\nauthorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln\r\ncookie: a=b; session=c\r\n\r\n",
    b"OPTIONS /hello HTTP/1.1\r\nhost: users\r\norigin: https://www.visiobook.com\r\naccess-control-request-method: PUT\r\n\r\n",
    b"GET /text HTTP/1.1\r\nhost: users\r\naccept-encoding: gzip;q=0.5, br\r\nx-forwarded-for: 1.2.3.4, [::1]:80, 10.0.0.1\r\n\r\n",
    b"GET http://users/hello HTTP/1.1\r\nhost: users\r\nconnection: upgrade, x\r\nupgrade: websocket\r\n\r\n",
    b"GET /health HTTP/1.0\r\nexpect: 100-continue\r\nte: trailers\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x04\x01\x05\x00\x00\x00\x01\x82\x84\x86\x41",
];
/// Pieces that parsers stumble over.
const PIECES: [&[u8]; 12] = [
    b"\r\n",
    b"\n",
    b"\0",
    b": ",
    b",",
    b"chunked",
    b"content-length: 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b"\xff\xfe",
    b"%2e%2e/",
    b"99999999999999999999",
    b"host: b\r\n",
];

#[test]
fn bent_requests_neither_stop_nor_swell_the_sidecar() {
    let seconds =
        std::env::var("VISIOBOOK_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let keys = tempfile::tempdir().unwrap();
    std::fs::write(keys.path().join("current"), "a secret of at least thirty-two characters").unwrap();
    std::fs::write(keys.path().join("secret"), "a secret of at least thirty-two characters").unwrap();
    let application = Application::start();
    let settings = json!({
        "routes": ["/api/v1/users/{id}"],
        "trustedProxies": ["127.0.0.0/8", "10.0.0.0/8"],
        "corsOrigins": ["https://www.visiobook.com"],
        "auth": { "keysFolder": keys.path(), "publicRoutes": ["/hello", "/echo", "/text", "/api/v1/users/{id}"] },
        "csrf": { "keysFolder": keys.path(), "sessionCookie": "session" },
        "compression": true,
        "errors": { "envelope": true },
        "logs": { "level": "warn" },
        "limits": { "headSeconds": 1.0, "readSeconds": 1.0, "idleSeconds": 1.0 },
    });
    let sidecar = Sidecar::before(application.port, settings);
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::XorShift);
    let (start, mut sent, mut warm) = (Instant::now(), 0u64, 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        let mut streams = Vec::new();
        for _ in 0..32 {
            let mut stream = sidecar.connect();
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let _ = stream.write_all(&bent(&mut rng));
            let _ = stream.shutdown(std::net::Shutdown::Write);
            streams.push(stream);
            sent += 1;
        }
        for mut stream in streams {
            let mut answer = [0; 16];
            let count = stream.read(&mut answer).unwrap_or(0);
            let is_http = answer.starts_with(b"HTTP/1.") || count >= 9 && answer[3] <= 9;
            assert!(count == 0 || is_http, "{:?}", String::from_utf8_lossy(&answer[..count]));
        }
        if warm == 0 {
            warm = sidecar.resident();
        }
    }
    assert_eq!(sidecar.get("/hello").status, 200, "it goes on after {sent} requests");
    let panics: Vec<_> = sidecar.lines().into_iter().filter(|line| line["message"] == "Panic").collect();
    assert!(panics.is_empty(), "{panics:?}");
    let grown = sidecar.resident().saturating_sub(warm);
    assert!(grown < 16 << 10, "{grown} KiB more after {sent} requests");
    println!("{sent} bent requests");
}

/// A seed with some bytes changed, pieces put in, parts taken out or repeated.
fn bent(rng: &mut TestRng) -> Vec<u8> {
    let mut below = |limit: usize| (rng.next_u64() % limit.max(1) as u64) as usize;
    let mut bytes = SEEDS[below(SEEDS.len())].to_vec();
    for _ in 0..below(6) {
        let at = below(bytes.len());
        match below(5) {
            0 => bytes[at] = below(256) as u8,
            1 => drop(bytes.splice(at..at, PIECES[below(PIECES.len())].iter().copied())),
            2 => drop(bytes.drain(at..(at + below(16)).min(bytes.len()))),
            3 => {
                let part = bytes[at..(at + below(64)).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let other = SEEDS[below(SEEDS.len())];
                bytes.extend_from_slice(&other[below(other.len())..]);
            }
        }
        if bytes.is_empty() {
            bytes.push(b'G');
        }
    }
    bytes
}
