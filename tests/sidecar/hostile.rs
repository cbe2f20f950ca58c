//! Malformed and smuggled requests, and applications that misbehave.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Application, Sidecar, exchange, free_port, wait};

#[test]
fn what_could_be_smuggled_is_refused_and_never_reaches_the_application() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let rest = "connection: close\r\n\r\n";
    for (request, what) in [
        (
            format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 5\r\n{rest}body!"),
            "two lengths",
        ),
        (format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +4\r\n{rest}body"), "a signed length"),
        (
            format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n{rest}"),
            "chunked not last",
        ),
        (
            format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n{rest}"),
            "an unknown encoding",
        ),
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx-a: b\0c\r\n{rest}"), "a null byte"),
        (format!("GET / HTTP/1.1\r\nhost : a\r\n{rest}"), "a space before the colon"),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n folded: b\r\n{rest}"), "a folded header"),
        (format!("GET / HTTP/1.1\r\n{rest}"), "no host"),
        (format!("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n{rest}"), "two hosts"),
        (format!("GET /\0 HTTP/1.1\r\nhost: a\r\n{rest}"), "a null byte in the target"),
        (format!("GET / HTTP/3.7\r\nhost: a\r\n{rest}"), "an unknown version"),
        (format!("CONNECT b:80 HTTP/1.1\r\nhost: b:80\r\n{rest}"), "a tunnel"),
        ("nonsense\r\n\r\n".to_string(), "nonsense"),
    ] {
        let answer = sidecar.ask(&request);
        assert!((400..500).contains(&answer.status) || answer.status == 505, "{what}: {answer:?}");
    }
    assert_eq!(application.count(), 0);
    assert_eq!(sidecar.get("/hello").status, 200, "it goes on");
}

#[test]
fn of_two_lengths_the_chunks_count_and_the_application_sees_one() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    for lengths in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
    ] {
        let head = format!("POST /headers HTTP/1.1\r\nhost: a\r\n{lengths}connection: close\r\n\r\n");
        let seen =
            sidecar.ask(&format!("{head}1\r\nx\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")).body;
        assert!(!seen.contains("content-length"), "{seen}");
    }
    assert_eq!(application.count(), 2, "the rest was no request");
}

#[test]
fn an_absolute_target_is_served_and_a_second_host_is_refused() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let ask = |host: &str| {
        sidecar
            .ask(&format!("GET http://one/headers?x=1 HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"))
    };
    let seen = ask("one").json();
    assert_eq!(seen["uri"], "/headers?x=1");
    assert!(seen["headers"].as_array().unwrap().contains(&json!(["host", "one"])), "{seen}");
    assert_eq!(ask("two").status, 400);
}

#[test]
fn heads_that_are_too_large_are_refused() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(80 << 10));
    assert_eq!(sidecar.ask(&long).status, 431);
    let many: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    assert_eq!(sidecar.ask(&format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n")).status, 431);
    assert_eq!(application.count(), 0);
}

#[test]
fn an_application_that_dies_in_mid_answer_breaks_the_answer_off() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let answer = sidecar.get("/dies");
    assert_eq!(answer.status, 200);
    assert!(answer.body.len() < 8, "the client must see that a part is missing: {answer:?}");
    let line = sidecar.wait_for_request("/dies");
    assert_eq!(line["level"], "error", "{line}");
    assert!(line["error"].as_str().unwrap().contains("broke off"), "{line}");
}

#[test]
fn an_application_that_never_starts_is_answered_for() {
    let sidecar = Sidecar::before(
        free_port(),
        json!({ "breaker": { "failures": 2, "openSeconds": 1.0 }, "retries": 0 }),
    );
    for _ in 0..2 {
        let answer = sidecar.get("/");
        assert_eq!(answer.status, 503);
        let error = &answer.json()["error"];
        assert_eq!((&error["code"], &error["type"]), (&json!(503), &json!("SERVICE_UNAVAILABLE")), "{error}");
    }
    let answer = sidecar.get("/");
    assert_eq!(answer.header("retry-after"), Some("1"), "the breaker is open: {answer:?}");
}

#[test]
fn the_breaker_closes_when_the_application_is_back() {
    let port = free_port();
    let sidecar =
        Sidecar::before(port, json!({ "breaker": { "failures": 1, "openSeconds": 1.0 }, "retries": 0 }));
    assert_eq!(sidecar.get("/").status, 503);
    let _application = Application::on(port);
    wait("the application behind a closed breaker", || (sidecar.get("/").status == 200).then_some(()));
    sidecar.wait_for_line("the application answers again");
}

#[test]
fn answers_of_500_do_not_open_the_breaker() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({ "breaker": { "failures": 1 } }));
    for _ in 0..5 {
        assert_eq!(sidecar.get("/status/500").status, 500);
    }
    assert_eq!(sidecar.get("/hello").status, 200);
}

#[test]
fn an_application_that_never_answers_is_a_504() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sidecar =
        Sidecar::before(listener.local_addr().unwrap().port(), json!({ "limits": { "writeSeconds": 1.0 } }));
    let start = Instant::now();
    assert_eq!(sidecar.get("/").status, 504);
    assert!(start.elapsed() < Duration::from_secs(3));
}

/// An application by hand: it answers the first request of a connection and closes the connection at the second.
fn closes_at_the_second_request() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                let _ = stream.read(&mut buffer);
            });
        }
    });
    port
}

#[test]
fn a_request_that_changes_nothing_is_sent_again_and_no_other() {
    let sidecar = Sidecar::before(closes_at_the_second_request(), json!({}));
    for _ in 0..6 {
        assert_eq!(sidecar.get("/").status, 200);
    }
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx";
    let statuses: Vec<u16> = (0..4).map(|_| sidecar.ask(post).status).collect();
    assert!(statuses.contains(&502), "a second POST over a used connection is not sent twice: {statuses:?}");
}

#[test]
fn answers_that_are_no_http_are_a_502() {
    for words in ["garbage\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", ""]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(words.as_bytes());
            }
        });
        let sidecar = Sidecar::before(port, json!({ "retries": 0 }));
        assert_eq!(sidecar.get("/").status, 502, "{words:?}");
    }
}

#[test]
fn a_flood_of_paths_makes_one_series() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({ "logs": { "level": "error" } }));
    let before = sidecar.resident();
    let mut requests = String::new();
    for number in 0..5000 {
        requests.push_str(&format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"));
    }
    requests.push_str("GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let address = sidecar.address();
    let answer = exchange(address, requests.as_bytes());
    assert_eq!(String::from_utf8_lossy(&answer).matches("HTTP/1.1 200").count(), 5001);
    assert!(sidecar.resident() < before + (8 << 10));
}
