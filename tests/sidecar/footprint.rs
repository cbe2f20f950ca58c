//! What a connection holds, and that clients notice nothing of what it gives back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::Incoming;
use serde_json::json;
use visiobook::sidecar::client::Peer;
use visiobook::sidecar::server::progress::Progress;
use visiobook::sidecar::stack::Stack;

use crate::support::{Answer, Application, Sidecar};

/// Longer than a connection may be idle before it rests, and the sweep that sees to it.
const UNTIL_REST: Duration = Duration::from_millis(2200);

const HELLO: &[u8] = b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";

/// Read one answer of `hello`.
fn read(client: &mut TcpStream) -> Answer {
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut buffer = [0; 1024];
        let count = client.read(&mut buffer).unwrap();
        assert!(count > 0, "closed after {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..count]);
    }
    Answer::parse(&answer)
}

fn ask(client: &mut TcpStream) -> Answer {
    client.write_all(HELLO).unwrap();
    read(client)
}

/// Kibibytes of memory that is no file's.
fn own(sidecar: &Sidecar) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_layers_of_a_request_take_less_than_5_kib() {
    fn bytes<'a, F>(
        _: impl Fn(&'a Arc<Stack>, Request<Incoming>, &'a Peer, &'a Arc<Progress>) -> F,
    ) -> usize {
        size_of::<F>()
    }
    let bytes = bytes(Stack::answer);
    assert!(bytes < 5 << 10, "{bytes} bytes: box the step that is rare and large");
}

#[test]
fn clients_that_keep_their_connections_hold_little() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let mut first = sidecar.connect();
    ask(&mut first);
    let before = own(&sidecar);
    let mut clients: Vec<TcpStream> = (0..200).map(|_| sidecar.connect()).collect();
    // At once, so that there are as many connections to the application.
    for client in &mut clients {
        client.write_all(b"GET /slow/500 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    }
    for client in &mut clients {
        let mut buffer = [0; 1024];
        assert!(client.read(&mut buffer).unwrap() > 0);
    }
    // With its buffers a connection takes 30 KiB; the allocator takes its time to give them back.
    let start = Instant::now();
    loop {
        let each = own(&sidecar).saturating_sub(before) / 200;
        if each <= 12 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(15), "{each} KiB each");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_connection_that_rested_goes_on() {
    let application = Application::start();
    let mut sidecar = Sidecar::before(application.port, json!({}));
    let mut client = sidecar.connect();
    for _ in 0..3 {
        assert_eq!(ask(&mut client).status, 200);
        std::thread::sleep(UNTIL_REST);
    }
    // The drain ends it as any other.
    let mut kept = sidecar.connect();
    ask(&mut kept);
    sidecar.terminate();
    assert_eq!(ask(&mut kept).header("connection"), Some("close"));
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
    assert!(sidecar.wait());
}

#[test]
fn a_request_of_which_a_part_came_early_is_answered() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let mut client = sidecar.connect();
    client.write_all(&[HELLO, &HELLO[..9]].concat()).unwrap();
    read(&mut client);
    std::thread::sleep(UNTIL_REST);
    client.write_all(&HELLO[9..]).unwrap();
    assert_eq!(read(&mut client).status, 200);
}

#[test]
fn a_body_that_arrives_after_its_answer_is_no_request() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let mut client = sidecar.connect();
    // Answered before its body is there.
    client.write_all(b"POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: 60\r\n\r\n").unwrap();
    assert_eq!(read(&mut client).status, 200);
    std::thread::sleep(UNTIL_REST);
    let mut smuggled = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n".to_vec();
    smuggled.resize(60, b' ');
    let _ = client.write_all(&smuggled);
    std::thread::sleep(Duration::from_millis(300));
    assert!(sidecar.requests("/smuggled").is_empty());
}
