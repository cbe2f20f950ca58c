//! Requests that share a connection are judged each for itself; streams that are quiet, and clients that leave them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use crate::support::{Application, Sidecar, run, wait};

type Sender = http2::SendRequest<BoxBody<Bytes, std::io::Error>>;
type Messages = mpsc::Sender<Bytes>;

/// Limits of a second, before an application of that protocol.
fn strict(protocol: &str) -> Value {
    let limits = json!({ "headSeconds": 1.0, "readSeconds": 1.0, "writeSeconds": 1.0, "idleSeconds": 60.0 });
    json!({ "limits": limits, "application": { "protocol": protocol } })
}

async fn connect(sidecar: &Sidecar) -> Sender {
    let stream = tokio::net::TcpStream::connect(sidecar.address()).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// One that has room for so many bytes of each answer.
async fn connect_with_room(sidecar: &Sidecar, bytes: u32) -> Sender {
    let stream = tokio::net::TcpStream::connect(sidecar.address()).await.unwrap();
    let mut client = http2::Builder::new(TokioExecutor::new());
    let (sender, connection) =
        client.initial_stream_window_size(bytes).handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn get(sender: &Sender, path: &str) -> Response<Incoming> {
    let request = Request::get(format!("http://users{path}"));
    let body = Empty::new().map_err(|never| match never {}).boxed();
    sender.clone().send_request(request.body(body).unwrap()).await.unwrap()
}

/// A request whose body is what is sent, and does not end by itself.
async fn stream(sender: &Sender, path: &str, kind: &str) -> (Messages, Response<Incoming>) {
    let (mut messages, body) = mpsc::channel(1);
    let request = Request::post(format!("http://users{path}")).header("content-type", kind);
    let body = BodyExt::boxed(StreamBody::new(body.map(|bytes| Ok(Frame::data(bytes)))));
    messages.send(Bytes::from_static(b"first")).await.unwrap();
    let response = sender.clone().send_request(request.body(body).unwrap()).await.unwrap();
    (messages, response)
}

async fn next(body: &mut Incoming) -> Bytes {
    body.frame().await.unwrap().unwrap().into_data().unwrap()
}

#[test]
fn of_the_requests_of_one_connection_those_that_stand_still_end_alone() {
    for protocol in ["HTTP1", "HTTP2"] {
        stand_still_beside_others(protocol);
    }
}

fn stand_still_beside_others(protocol: &str) {
    let application = Application::start();
    let mut settings = strict(protocol);
    settings["application"]["connections"] = 3.into();
    let sidecar = Sidecar::before(application.port, settings);
    run(async {
        let sender = connect(&sidecar).await;
        let unread = get(&sender, "/bytes/1073741824").await;
        let (_messages, half) = stream(&sender, "/echo", "text/plain").await;
        let mut half = half.into_body();
        assert_eq!(next(&mut half).await, "first");
        // Quiet for longer than an ordinary answer may be.
        let events = get(&sender, "/events/1500").await.into_body();
        let events = tokio::spawn(events.collect());
        assert!(half.frame().await.unwrap().is_err(), "half a request is an answer");
        let events = events.await.unwrap().expect("the events, whole").to_bytes();
        assert_eq!(String::from_utf8_lossy(&events).matches("data:").count(), 3);
        for _ in 0..3 {
            let answer = get(&sender, "/hello").await;
            assert_eq!(answer.status(), 200, "over the same connection");
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        }
        drop(unread);
    });
    let told = |limit: &str| {
        let ended = |line: &Value| line["message"] == "a request stood still and was ended";
        let lines = sidecar.lines().into_iter().filter(ended);
        lines.filter(|line| line["limit"].as_str().unwrap().contains(limit)).count()
    };
    assert_eq!(
        (told("the client takes nothing"), told("the body of a request")),
        (1, 1),
        "once for each, {protocol}"
    );
}

#[test]
fn whoever_reads_nothing_over_http2_leaves_the_application_to_others() {
    let application = Application::start();
    let mut settings = strict("HTTP1");
    settings["application"]["connections"] = 1.into();
    let sidecar = Sidecar::before(application.port, settings);
    run(async {
        let sender = connect(&sidecar).await;
        let unread = get(&sender, "/bytes/1073741824").await;
        assert_eq!(get(&sender, "/hello").await.status(), 200);
        drop(unread);

        // Nor does one who has no room for a single byte.
        let closed = connect_with_room(&sidecar, 0).await;
        let unread = get(&closed, "/hello").await;
        assert_eq!(get(&sender, "/hello").await.status(), 200);
        drop(unread);
    });
}

#[test]
fn grpc_in_both_directions_may_be_quiet_and_may_begin_so() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, strict("HTTP2"));
    run(async {
        let sender = connect(&sidecar).await;
        let (mut messages, response) = stream(&sender, "/echo", "application/grpc").await;
        let mut answers = response.into_body();
        assert_eq!(next(&mut answers).await, "first");
        let (_, late) = stream(&sender, "/slow/2500", "application/grpc").await;
        assert_eq!(late.into_body().collect().await.unwrap().to_bytes(), "slow");
        messages.send(Bytes::from_static(b"second")).await.unwrap();
        assert_eq!(next(&mut answers).await, "second");
    });
}

#[test]
fn a_client_that_leaves_a_quiet_stream_leaves_its_place_to_others() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({ "application": { "connections": 1 } }));
    let mut client = sidecar.connect();
    client.write_all(b"GET /events/60000 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert!(client.read(&mut [0; 4096]).unwrap() > 0, "a head");
    drop(client);
    sidecar.wait_for_request("/events/60000");
    assert_eq!(sidecar.get("/hello").status, 200);

    // One that goes without a word of its own: what it had not read resets the connection.
    let mut client = sidecar.connect();
    client.write_all(b"GET /events/60001 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    drop(client);
    sidecar.wait_for_request("/events/60001");
}

#[test]
fn a_tunnel_whose_client_closes_its_half_passes_the_rest() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let mut client = sidecar.websocket().0;
    let sent = vec![b'x'; 1 << 20];
    let mut writes = client.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        writes.write_all(&sent).unwrap();
        writes.shutdown(std::net::Shutdown::Write).unwrap();
    });
    // The echo is read only once the half is closed, as far as sockets hold it.
    std::thread::sleep(Duration::from_millis(500));
    let mut echo = Vec::new();
    client.read_to_end(&mut echo).unwrap();
    writer.join().unwrap();
    assert_eq!(echo.len(), 1 << 20);
}

#[test]
fn a_websocket_keeps_its_place_among_the_connections() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({ "limits": { "connections": 2 } }));
    let sockets = [sidecar.websocket().0, sidecar.websocket().0];
    let mut third = sidecar.connect();
    third.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    third.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let kind = third.read(&mut [0; 16]).expect_err("no place is left").kind();
    assert_eq!(kind, ErrorKind::WouldBlock);
    drop(sockets);
    third.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    third.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}

#[test]
fn more_websockets_than_may_be_are_refused_and_leave_requests_alone() {
    let application = Application::start();
    let bounds = json!({ "application": { "connections": 1, "tunnels": 2 } });
    let sidecar = Sidecar::before(application.port, bounds);
    let mut sockets = vec![sidecar.websocket().0, sidecar.websocket().0];
    let wish = "GET /socket HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, close\r\nupgrade: websocket\r\n\r\n";
    let refused = sidecar.ask(wish);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")), "{refused:?}");
    assert_eq!(application.count(), 2, "it is not asked");
    assert_eq!(sidecar.get("/hello").status, 200, "a request has a connection of its own");
    // One that ends leaves its place; so does one that the application does not agree to.
    sockets.pop();
    wait("the end of a tunnel", || sidecar.contract("/metrics").body.contains("in_flight 1").then_some(()));
    for _ in 0..3 {
        let declined = wish.replace("/socket", "/hello");
        assert_eq!(sidecar.ask(&declined).body, "hello");
    }
    sockets.push(sidecar.websocket().0);
    assert_eq!(sidecar.ask(wish).status, 503);
}

#[test]
fn readers_that_stand_still_hold_up_nobody_else_over_http2_to_the_application() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({ "application": { "protocol": "HTTP2" } }));
    let before = sidecar.resident();
    run(async {
        // So that the heads of all come, whoever reads.
        let slow = connect_with_room(&sidecar, 1024).await;
        let mut unread = Vec::new();
        for _ in 0..40 {
            unread.push(get(&slow, "/bytes/1073741824").await);
        }
        // Until the application has sent each of them what it may.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        let other = connect(&sidecar).await;
        for _ in 0..5 {
            let answer = get(&other, "/bytes/262144").await;
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 1 << 18);
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        drop(unread);
    });
    let grown = sidecar.resident().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB for 40 answers that nobody reads");
}

#[test]
fn answers_are_compressed_in_bounded_memory_and_others_go_out_as_they_are() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({ "compression": true }));
    let before = sidecar.resident();
    let ask = |bytes: u32| {
        let mut client = sidecar.connect();
        let head = format!(
            "GET /noise/{bytes} HTTP/1.1\r\nhost: a\r\naccept-encoding: br\r\nconnection: close\r\n\r\n"
        );
        client.write_all(head.as_bytes()).unwrap();
        let mut seen = [0; 1024];
        let count = client.read(&mut seen).unwrap();
        (client, String::from_utf8_lossy(&seen[..count]).contains("content-encoding: br"))
    };
    let (mut compressed, others): (Vec<_>, Vec<_>) =
        (0..40).map(|_| ask(1 << 30)).partition(|(_, is_compressed)| *is_compressed);
    assert_eq!((compressed.len(), others.len()), (16, 24));
    let grown = sidecar.resident().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB for 40 clients that read nothing");

    // One that goes leaves its place, and so does one that has read everything.
    compressed.pop();
    wait("the place of a client that is gone", || ask(1 << 16).1.then_some(()));
    for _ in 0..3 {
        let (mut client, is_compressed) =
            wait("the place of the one before", || Some(ask(1 << 16)).filter(|(_, is)| *is));
        client.read_to_end(&mut Vec::new()).unwrap();
        assert!(is_compressed);
    }
}

#[test]
fn long_heads_that_do_not_end_are_refused_before_they_fill_the_memory() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let before = sidecar.resident();
    let head = format!("GET /hello HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(60 << 10));
    let mut clients: Vec<TcpStream> = (0..600).map(|_| sidecar.connect()).collect();
    for client in &mut clients {
        // One that is refused may notice while it writes.
        let _ = client.write_all(head.as_bytes());
    }
    sidecar.wait_for_line("the heads of requests that arrive are too many");
    assert_eq!(sidecar.get("/hello").status, 200, "a short one is always taken");
    let grown = sidecar.resident().saturating_sub(before);
    assert!(grown < 40 << 10, "{grown} KiB for 600 heads of 60 KiB");
    drop(clients);
    let whole = format!("{head}\r\nconnection: close\r\n\r\n");
    wait("a long head that is taken", || (sidecar.ask(&whole).status == 200).then_some(()));
}
