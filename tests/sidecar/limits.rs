//! Clients and applications that stand still, and those that merely take long.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Application, Sidecar};

fn limits(field: &str) -> Value {
    json!({ "limits": { field: 1.0 } })
}

/// Seconds until the sidecar closes a connection on which this was sent.
fn until_closed(sidecar: &Sidecar, sent: &[u8]) -> f64 {
    let mut client = sidecar.connect();
    client.write_all(sent).unwrap();
    let start = Instant::now();
    let _ = client.read_to_end(&mut Vec::new());
    start.elapsed().as_secs_f64()
}

#[test]
fn a_head_that_does_not_arrive_ends_the_connection() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, limits("headSeconds"));
    let seconds = until_closed(&sidecar, b"GET / HTTP/1.1\r\nhost:");
    assert!((0.5..4.0).contains(&seconds), "{seconds}");
}

#[test]
fn a_head_that_drips_ends_the_connection_too() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, limits("headSeconds"));
    let mut client = sidecar.connect();
    let start = Instant::now();
    // A byte now and then is no progress: the limit is for the whole head.
    let closed = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        client.write_all(b"G").is_err()
    });
    assert!(closed && start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_body_that_does_not_arrive_ends_the_connection() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, limits("readSeconds"));
    let seconds = until_closed(&sidecar, b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    assert!((0.5..4.0).contains(&seconds), "{seconds}");
}

#[test]
fn a_client_that_reads_nothing_is_left() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, limits("writeSeconds"));
    let mut client = sidecar.connect();
    client.write_all(b"GET /bytes/1073741824 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let line = sidecar.wait_for_line("a connection stood still");
    assert!(line["limit"].as_str().unwrap().contains("the client takes nothing"), "{line}");
}

#[test]
fn an_idle_connection_is_closed_in_its_time() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, limits("idleSeconds"));
    let seconds = until_closed(&sidecar, b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!((0.5..4.0).contains(&seconds), "{seconds}");
}

#[test]
fn what_moves_may_take_as_long_as_it_likes() {
    let application = Application::start();
    let all = json!({ "limits": { "headSeconds": 1.0, "readSeconds": 1.0, "writeSeconds": 1.0, "idleSeconds": 1.0 } });
    let sidecar = Sidecar::before(application.port, all);
    // 3 events, each later than every limit allows an ordinary answer to pause.
    let answer = sidecar.get("/events/1500");
    assert_eq!(answer.body.matches("data:").count(), 3, "{answer:?}");
    // An application that answers at once, and one that reads all of it first.
    for path in ["/echo", "/collect"] {
        let mut client = sidecar.connect();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\nconnection: close\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        for byte in b"patience" {
            client.write_all(&[*byte]).unwrap();
            std::thread::sleep(Duration::from_millis(400));
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("patience"), "{path}: {answer}");
    }
}

#[test]
fn a_client_that_stands_still_is_told_so_and_leaves_the_application_to_others() {
    let application = Application::start();
    let settings =
        json!({ "limits": { "readSeconds": 60.0, "writeSeconds": 1.0 }, "breaker": { "failures": 2 } });
    let sidecar = Sidecar::before(application.port, settings);
    for _ in 0..3 {
        let mut client = sidecar.connect();
        client
            .write_all(
                b"POST /collect HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\nconnection: close\r\n\r\nhalf",
            )
            .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert_eq!(sidecar.get("/hello").status, 200, "it is not left alone");
}

#[test]
fn an_application_that_stops_in_mid_answer_is_left() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({ "limits": { "writeSeconds": 1.0 } }));
    let mut client = sidecar.connect();
    // The echo waits for the rest of a body that does come, but for seconds not.
    client
        .write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        .unwrap();
    let line = sidecar.wait_for_line("a connection stood still");
    assert!(line["limit"].as_str().unwrap().contains("the application sends nothing"), "{line}");
}
