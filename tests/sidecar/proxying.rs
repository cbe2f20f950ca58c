//! What goes through, in every way that HTTP offers.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Collected, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;

use crate::support::{Answer, Application, Sidecar, exchange, run};

#[test]
fn an_answer_comes_as_the_application_gave_it() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let answer = sidecar.get("/cookies");
    assert_eq!((answer.status, answer.body.as_str()), (200, "two cookies"));
    let cookies: Vec<&str> = answer
        .headers
        .iter()
        .filter(|(name, _)| name == "set-cookie")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(sidecar.get("/status/418").status, 418);
}

/// D20, D21, D30, E18, G24, X20, X31: what each line tells, and what that of a request tells beside it, on stdout.
#[test]
fn an_access_line_has_the_fields_of_the_contract() {
    let application = Application::start();
    let sidecar =
        Sidecar::before(application.port, json!({ "environment": "staging", "routes": ["/status/{code}"] }));
    sidecar.ask("GET /status/404?a=b HTTP/1.1\r\nhost: users\r\nuser-agent: \"probe\"\r\nx-correlation-id: abc\r\nconnection: close\r\n\r\n");
    let line = sidecar.wait_for_request("/status/404?a=b");
    for (field, value) in [
        ("level", json!("warn")),
        ("message", json!("HTTP Request")),
        ("service", json!("users")),
        ("version", json!("1.2.3")),
        ("environment", json!("staging")),
        ("method", json!("GET")),
        ("route", json!("/status/{code}")),
        ("status_code", json!(404)),
        ("user_agent", json!("\"probe\"")),
        ("ip", json!("127.0.0.1")),
        ("bytes", json!(10)),
        ("correlation_id", json!("abc")),
    ] {
        assert_eq!(line[field], value, "{field}: {line}");
    }
    assert!(line["response_time"].as_f64().unwrap() > 0.0, "X20, in milliseconds: {line}");
    let timestamp = line["timestamp"].as_str().unwrap();
    let age = jiff::Timestamp::now().duration_since(timestamp.parse().unwrap());
    assert!(timestamp.ends_with('Z') && age.as_secs().abs() < 60, "D14, X56: {timestamp}");
}

#[test]
fn errors_and_slow_requests_are_told_where_nothing_else_is() {
    let application = Application::start();
    let logs = json!({ "logs": { "sampleRate": 0.0, "slowMilliseconds": 200 } });
    let sidecar = Sidecar::before(application.port, logs);
    for path in ["/hello", "/status/404", "/slow/300"] {
        sidecar.get(path);
    }
    for path in ["/status/404", "/slow/300"] {
        let line = sidecar.wait_for_request(path);
        assert_eq!(line["level"], "warn", "{line}");
    }
    assert!(sidecar.requests("/hello").is_empty());
}

#[test]
fn connections_are_kept_on_both_sides() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let mut client = sidecar.connect();
    for _ in 0..50 {
        client.write_all(b"GET /hello HTTP/1.1\r\nhost: users\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            let mut buffer = [0; 4096];
            let count = client.read(&mut buffer).unwrap();
            assert!(count > 0, "the connection was closed");
            answer.extend_from_slice(&buffer[..count]);
        }
    }
    assert_eq!(application.count(), 50);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let requests = "GET /slow/100 HTTP/1.1\r\nhost: a\r\n\r\nGET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let text = String::from_utf8(exchange(sidecar.address(), requests.as_bytes())).unwrap();
    let (slow, hello) = (text.find("slow").unwrap(), text.find("hello").unwrap());
    assert!(slow < hello, "{text}");
}

#[test]
fn bodies_pass_in_both_directions_without_being_gathered() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let before = sidecar.resident();
    let mut client = sidecar.connect();
    client
        .write_all(
            b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        )
        .unwrap();
    // The echo of the first chunk is here before the second is sent.
    client.write_all(b"5\r\nfirst\r\n").unwrap();
    let mut seen = Vec::new();
    while !seen.windows(5).any(|window| window == b"first") {
        let mut buffer = [0; 4096];
        let count = client.read(&mut buffer).unwrap();
        assert!(count > 0);
        seen.extend_from_slice(&buffer[..count]);
    }
    client.write_all(b"0\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();

    let answer =
        exchange(sidecar.address(), b"GET /bytes/268435456 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(answer.len() >= 256 << 20);
    let grown = sidecar.resident().saturating_sub(before);
    assert!(grown < 20 << 10, "{grown} KiB more after a body of 256 MiB");
}

#[test]
fn a_client_that_reads_slowly_slows_the_application_down() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let before = sidecar.resident();
    let mut client = sidecar.connect();
    client.write_all(b"GET /bytes/268435456 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let grown = sidecar.resident().saturating_sub(before);
    assert!(grown < 10 << 10, "{grown} KiB are held for a client that reads nothing");
    let mut buffer = vec![0; 1 << 20];
    client.read_exact(&mut buffer).unwrap();
}

#[test]
fn events_arrive_one_by_one() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({ "compression": true }));
    let mut client = sidecar.connect();
    client
        .write_all(
            b"GET /events/300 HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n",
        )
        .unwrap();
    let (start, mut seen, mut times) = (Instant::now(), String::new(), Vec::new());
    let mut buffer = [0; 4096];
    loop {
        let count = client.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        let known = seen.matches("data:").count();
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        times.extend((known..seen.matches("data:").count()).map(|_| start.elapsed()));
    }
    assert_eq!(times.len(), 3, "{seen}");
    assert!(times[2] - times[0] > Duration::from_millis(400), "{times:?}");
}

#[test]
fn a_websocket_passes_and_outlives_the_limits_of_requests() {
    let application = Application::start();
    let limits = json!({ "limits": { "headSeconds": 1.0, "readSeconds": 1.0, "writeSeconds": 1.0, "idleSeconds": 1.0 } });
    let sidecar = Sidecar::before(application.port, limits);
    let (mut client, head) = sidecar.websocket();
    assert!(head.contains("upgrade: websocket"), "{head}");
    let mut buffer = [0; 4096];
    for pause in [0, 3] {
        std::thread::sleep(Duration::from_secs(pause));
        client.write_all(b"ping").unwrap();
        let count = client.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"ping", "after {pause} s");
    }
}

#[test]
fn a_client_that_closes_its_half_gets_its_answer() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let mut client = sidecar.connect();
    client.write_all(b"GET /slow/500 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(Answer::parse(&answer).body, "slow");
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let mut client = sidecar.connect();
    client
        .write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut buffer = [0; 4096];
    let count = client.read(&mut buffer).unwrap();
    assert!(
        buffer[..count].starts_with(b"HTTP/1.1 100 Continue"),
        "{}",
        String::from_utf8_lossy(&buffer[..count])
    );
    client.write_all(b"body").unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer).ends_with("body"), "{}", String::from_utf8_lossy(&answer));
}

/// One request over a connection of its own; its answer as a whole.
fn over_http2(sidecar: &Sidecar, request: Request<Full<Bytes>>) -> http::Response<Collected<Bytes>> {
    run(async {
        let (parts, body) = send_over_http2(sidecar, request).await.into_parts();
        http::Response::from_parts(parts, body.collect().await.unwrap())
    })
}

async fn send_over_http2(
    sidecar: &Sidecar,
    request: Request<Full<Bytes>>,
) -> http::Response<hyper::body::Incoming> {
    let stream = tokio::net::TcpStream::connect(sidecar.address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

#[test]
fn http2_clients_reach_http1_and_http2_applications() {
    let application = Application::start();
    for protocol in ["HTTP1", "HTTP2"] {
        let sidecar = Sidecar::before(application.port, json!({ "application": { "protocol": protocol } }));
        let request = Request::post("http://users/echo").body(Full::new(Bytes::from("over two"))).unwrap();
        let response = over_http2(&sidecar, request);
        assert_eq!(response.status(), 200, "{protocol}");
        assert_eq!(response.into_body().to_bytes(), "over two", "{protocol}");
        let request = Request::get("http://users.visiobook.com/headers").body(Full::default()).unwrap();
        let body = over_http2(&sidecar, request).into_body().to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        assert!(text.contains("users.visiobook.com"), "{protocol}: {text}");
    }
}

#[test]
fn grpc_trailers_pass_and_are_what_counts() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({ "application": { "protocol": "HTTP2" } }));
    let request = Request::post("http://users/grpc")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::default())
        .unwrap();
    let body = over_http2(&sidecar, request).into_body();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "13");
    let line = sidecar.wait_for_request("/grpc");
    assert_eq!((&line["status_code"], &line["level"]), (&json!(200), &json!("error")), "{line}");
}

#[test]
fn a_grpc_client_is_refused_in_its_own_words() {
    let sidecar =
        Sidecar::before(crate::support::free_port(), json!({ "application": { "protocol": "HTTP2" } }));
    let request = Request::post("http://users/grpc")
        .header("content-type", "application/grpc")
        .body(Full::default())
        .unwrap();
    let response = over_http2(&sidecar, request);
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "14");
    drop(response);
    assert_eq!(sidecar.wait_for_request("/grpc")["level"], "error", "it counts as what it is");
}

#[test]
fn an_idle_http2_connection_lives_on_while_it_is_pinged() {
    let application = Application::start();
    let limits = json!({ "limits": { "headSeconds": 1.0, "idleSeconds": 60.0 } });
    let sidecar = Sidecar::before(application.port, limits);
    let statuses = run(async {
        let stream = tokio::net::TcpStream::connect(sidecar.address()).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(hyper_util::rt::TokioTimer::new())
            .keep_alive_interval(Duration::from_millis(300))
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut statuses = Vec::new();
        for pause in [0, 2500] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            sender.ready().await.unwrap();
            let request = Request::get("http://users/hello").body(Empty::<Bytes>::new()).unwrap();
            statuses.push(sender.send_request(request).await.unwrap().status().as_u16());
        }
        statuses
    });
    assert_eq!(statuses, [200, 200]);
}

#[test]
fn a_thousand_streams_share_a_bounded_number_of_connections() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({ "application": { "connections": 4 } }));
    let statuses = run(async {
        let stream = tokio::net::TcpStream::connect(sidecar.address()).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let requests = (0..1000).map(|_| {
            let mut sender = sender.clone();
            async move {
                sender.ready().await.unwrap();
                let request = Request::get("http://users/hello").body(Empty::<Bytes>::new()).unwrap();
                let response = sender.send_request(request).await.unwrap();
                let status = response.status();
                response.into_body().collect().await.unwrap();
                status
            }
        });
        futures::future::join_all(requests).await
    });
    assert!(statuses.iter().all(|status| *status == 200));
    assert_eq!(application.count(), 1000);
}
