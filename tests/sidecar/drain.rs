//! Stopping without losing a request.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Answer, Application, Sidecar};

#[test]
fn requests_under_way_are_answered_before_the_end() {
    let application = Application::start();
    let mut sidecar = Sidecar::before(application.port, json!({}));
    let address = sidecar.address();
    let client = std::thread::spawn(move || {
        Answer::parse(&crate::support::exchange(address, b"GET /slow/1500 HTTP/1.1\r\nhost: a\r\n\r\n"))
    });
    std::thread::sleep(Duration::from_millis(200));
    sidecar.terminate();
    let answer = client.join().unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "slow"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(sidecar.wait(), "it ends well");
}

#[test]
fn start_and_stop_are_told() {
    let application = Application::start();
    let mut sidecar = Sidecar::before(application.port, json!({ "environment": "staging" }));
    let listens = sidecar.wait_for_line("sidecar listens");
    for (field, value) in [
        ("port", json!(sidecar.port)),
        ("contract_port", json!(sidecar.contract_port)),
        ("application_port", json!(application.port)),
        ("service", json!("users")),
        ("version", json!("1.2.3")),
        ("environment", json!("staging")),
    ] {
        assert_eq!(listens[field], value, "{field}: {listens}");
    }
    sidecar.terminate();
    assert!(sidecar.wait());
    sidecar.wait_for_line("sidecar stops");
}

#[test]
fn while_endpoints_disappear_new_connections_are_served_and_told_to_go() {
    let application = Application::start();
    let mut sidecar = Sidecar::before(application.port, json!({ "drain": { "propagationSeconds": 1.5 } }));
    let mut kept = sidecar.connect();
    sidecar.terminate();
    std::thread::sleep(Duration::from_millis(300));
    let answer = sidecar.get("/hello");
    assert_eq!(answer.status, 200);
    kept.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut text = String::new();
    kept.read_to_string(&mut text).unwrap();
    assert_eq!(Answer::parse(text.as_bytes()).header("connection"), Some("close"), "{text}");
    assert!(sidecar.wait());
}

#[test]
fn what_takes_too_long_is_cut_off() {
    let application = Application::start();
    let mut sidecar = Sidecar::before(
        application.port,
        json!({ "drain": { "propagationSeconds": 0.1, "requestsSeconds": 1.0 } }),
    );
    let mut client = sidecar.connect();
    client.write_all(b"GET /slow/60000 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    sidecar.terminate();
    assert!(sidecar.wait());
    assert!(start.elapsed() < Duration::from_secs(5));
    sidecar.wait_for_line("requests were cut off");
}

#[test]
fn a_busy_client_that_never_retries_loses_nothing() {
    let application = Application::start();
    let mut sidecar = Sidecar::before(application.port, json!({ "drain": { "propagationSeconds": 1.0 } }));
    let address = sidecar.address();
    let clients: Vec<_> = (0..16)
        .map(|_| {
            std::thread::spawn(move || {
                let (mut served, start) = (0, Instant::now());
                // Until the listener is gone; a connection that was accepted is answered.
                'connections: while start.elapsed() < Duration::from_secs(10) {
                    let Ok(mut stream) = std::net::TcpStream::connect(address) else { break };
                    for of_connection in 0.. {
                        if stream.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").is_err() {
                            return Err(format!("a kept connection was closed unannounced after {served}"));
                        }
                        let mut answer = Vec::new();
                        while !answer.ends_with(b"hello") {
                            let mut buffer = [0; 1024];
                            match stream.read(&mut buffer) {
                                // Accepted by the kernel after the listener had been given up.
                                Ok(0) | Err(_) if answer.is_empty() && of_connection == 0 => {
                                    break 'connections;
                                }
                                Ok(0) | Err(_) => return Err(format!("an answer is missing after {served}")),
                                Ok(count) => answer.extend_from_slice(&buffer[..count]),
                            }
                        }
                        served += 1;
                        if String::from_utf8_lossy(&answer).to_lowercase().contains("connection: close") {
                            continue 'connections;
                        }
                    }
                }
                Ok(served)
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    sidecar.terminate();
    assert!(sidecar.wait());
    let served: Vec<Result<usize, String>> =
        clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert!(served.iter().all(|served| served.as_ref().is_ok_and(|count| *count > 0)), "{served:?}");
}
