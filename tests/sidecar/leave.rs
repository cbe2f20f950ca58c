//! Traffic has moved to the other colour: who kept a connection leaves with its next answer, and nobody loses anything.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tempfile::TempDir;
use visiobook::contract::leave::{LIFETIME_SECONDS, PROPAGATION_SECONDS, mint};
use visiobook::contract::service_token::{self, Grant};

use crate::support::{Answer, Application, Sidecar, exchange, wait};

const SERVICE: &str = "shop/users";
const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn now() -> u64 {
    jiff::Timestamp::now().as_second().unsigned_abs()
}

/// A sidecar that knows an operator by the keys in a folder.
struct Scene {
    application: Application,
    sidecar: Sidecar,
    operator: KeyPair,
    keys: TempDir,
}

fn scene(settings: Value) -> Scene {
    let (operator, keys) = (key(), tempfile::tempdir().unwrap());
    std::fs::write(keys.path().join("k1"), operator.public_key_pem()).unwrap();
    before(settings, operator, keys)
}

fn before(settings: Value, operator: KeyPair, keys: TempDir) -> Scene {
    let application = Application::start();
    let known = json!({ "keysFolder": keys.path(), "service": SERVICE }).to_string();
    let sidecar = Sidecar::with(application.port, settings, &[("VISIOBOOK_SIDECAR_OPERATOR", &known)]);
    Scene { application, sidecar, operator, keys }
}

impl Scene {
    /// The operator's word, as it mints it.
    fn word(&self) -> String {
        mint(&self.operator.serialize_pem(), "k1", SERVICE, now()).unwrap()
    }

    fn leave(&self) {
        let answer = tell(&self.sidecar, Some(&self.word()));
        assert_eq!((answer.status, answer.body.as_str()), (200, "leaving\n"));
    }

    fn told(&self) -> u64 {
        let text = self.sidecar.contract("/metrics").body;
        let name = "visiobook_sidecar_connections_told_to_leave_total ";
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
    }
}

fn tell(sidecar: &Sidecar, token: Option<&str>) -> Answer {
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    post(sidecar, &format!("{authorization}content-length: 0\r\n\r\n"))
}

fn post(sidecar: &Sidecar, rest: &str) -> Answer {
    let address = SocketAddr::from(([127, 0, 0, 1], sidecar.contract_port));
    let head = "POST /leave HTTP/1.1\r\nhost: users\r\nconnection: close\r\n";
    Answer::parse(&exchange(address, format!("{head}{rest}").as_bytes()))
}

/// One request over a kept connection, whose answer ends with `hello`.
fn hello(stream: &mut TcpStream) -> Answer {
    stream.write_all(REQUEST).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "a kept connection was closed unannounced");
        answer.extend_from_slice(&buffer[..count]);
    }
    Answer::parse(&answer)
}

fn is_kept(stream: &mut TcpStream) -> bool {
    let answer = hello(stream);
    assert_eq!(answer.status, 200);
    answer.header("connection") != Some("close")
}

fn ends(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; 16]).unwrap() == 0
}

/// Whether nothing at all comes for so long.
fn is_quiet(stream: &mut TcpStream, time: Duration) -> bool {
    stream.set_read_timeout(Some(time)).unwrap();
    let quiet = stream.read(&mut [0; 16]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    quiet
}

#[test]
fn a_kept_connection_ends_with_its_next_answer_and_later_ones_are_kept_again() {
    let scene = scene(json!({}));
    let (mut used, mut unused) = (scene.sidecar.connect(), scene.sidecar.connect());
    let mut long = scene.sidecar.connect();
    assert!(is_kept(&mut used) && is_kept(&mut long));
    let ready = scene.sidecar.contract("/ready").status;
    let left = Instant::now();
    scene.leave();
    scene.leave();

    // It may just be used: whoever never asks again loses nothing, and whoever does is answered.
    assert!(is_quiet(&mut used, Duration::from_secs(1)), "an idle connection was closed under its client");
    for kept in [&mut used, &mut unused] {
        assert!(!is_kept(kept), "its client stays");
        assert!(ends(kept));
    }
    // Somebody whom a node led here that has not followed yet.
    let mut misled = scene.sidecar.connect();
    assert!(!is_kept(&mut misled) && ends(&mut misled));
    assert_eq!(scene.told(), 3);
    assert_eq!(scene.sidecar.contract("/ready").status, ready, "it is no drain");
    let lines = scene.sidecar.lines();
    let told = |line: &&Value| line["message"].as_str().is_some_and(|text| text.contains("clients are told"));
    assert_eq!(lines.iter().filter(told).count(), 1, "{lines:?}");

    let over = Duration::from_secs(PROPAGATION_SECONDS.into()) + Duration::from_millis(1200);
    std::thread::sleep(over.saturating_sub(left.elapsed()));
    let mut back = scene.sidecar.connect();
    assert!(is_kept(&mut back) && is_kept(&mut back), "traffic that came back is sent away");
    // What was told waits for its answer as long as it takes.
    assert!(!is_kept(&mut long) && ends(&mut long));
    assert_eq!(scene.told(), 4);
}

#[test]
fn an_answer_under_way_is_completed_and_the_next_one_is_the_last() {
    let scene = scene(json!({}));
    let mut client = scene.sidecar.connect();
    client.write_all(b"GET /events/300 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut seen = vec![0; 4096];
    let first = client.read(&mut seen).unwrap();
    scene.leave();
    let mut text = seen[..first].to_vec();
    while !text.ends_with(b"0\r\n\r\n") {
        let count = client.read(&mut seen).unwrap();
        assert!(count > 0, "the answer broke off: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&seen[..count]);
    }
    assert!(String::from_utf8_lossy(&text).contains("data: 2"));
    assert!(!is_kept(&mut client) && ends(&mut client));
}

#[test]
fn http2_is_told_by_goaway_and_loses_no_stream() {
    let scene = scene(json!({}));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connect = async || {
            let stream = tokio::net::TcpStream::connect(scene.sidecar.address()).await.unwrap();
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            (sender, tokio::spawn(connection))
        };
        let get =
            |path: &str| Request::get(format!("http://users{path}")).body(Full::<Bytes>::default()).unwrap();
        let ((mut busy, busy_end), (mut idle, idle_end)) = (connect().await, connect().await);
        assert_eq!(idle.send_request(get("/hello")).await.unwrap().status(), 200);
        let running = busy.send_request(get("/events/400")).await.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], scene.sidecar.contract_port));
        let head = format!(
            "POST /leave HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
            scene.word()
        );
        let told = tokio::task::spawn_blocking(move || exchange(address, head.as_bytes())).await.unwrap();
        assert_eq!(Answer::parse(&told).status, 200);

        let patience = Duration::from_secs(10);
        tokio::time::timeout(patience, idle_end).await.expect("an idle connection stays").unwrap().unwrap();
        let body = running.into_body().collect().await.expect("a stream is lost").to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("data: 2"), "{body:?}");
        tokio::time::timeout(patience, busy_end).await.expect("a busy connection stays").unwrap().unwrap();

        // Whoever is led here within ten seconds is answered first.
        let (mut misled, misled_end) = connect().await;
        let answer = misled.send_request(get("/hello")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        tokio::time::timeout(patience, misled_end).await.expect("it stays").unwrap().unwrap();
    });
    assert_eq!(scene.told(), 3);
}

#[test]
fn tunnels_go_on_and_can_still_be_opened() {
    let scene = scene(json!({}));
    let open = || {
        let (client, head) = scene.sidecar.websocket();
        assert!(head.contains("connection: upgrade"), "{head}");
        client
    };
    let ping = |client: &mut TcpStream| {
        client.write_all(b"ping").unwrap();
        let mut buffer = [0; 16];
        let count = client.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"ping");
    };
    let mut before = open();
    ping(&mut before);
    scene.leave();
    let mut after = open();
    for _ in 0..2 {
        ping(&mut before);
        ping(&mut after);
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(scene.told(), 0);
}

#[test]
fn nobody_but_the_operator_is_heard() {
    let scene = scene(json!({}));
    let mut kept = scene.sidecar.connect();
    assert!(is_kept(&mut kept));
    let (ours, theirs) = (scene.operator.serialize_pem(), key().serialize_pem());
    let calls = [SERVICE.to_string()];
    let grant =
        |namespace, name| Grant { namespace, name, calls: &calls, issued: now(), expires: now() + 600 };
    let service = |namespace, name| service_token::mint(&ours, "k1", &grant(namespace, name)).unwrap();
    let with = |typ: &str, claims: Value| {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        (header.typ, header.kid) = (Some(typ.into()), Some("k1".into()));
        let key = jsonwebtoken::EncodingKey::from_ec_pem(ours.as_bytes()).unwrap();
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    };
    let good = json!({ "sub": "operator", "aud": SERVICE, "iat": now(), "exp": now() + 60 });
    let changed = |field: &str, value: Value| {
        let mut claims = good.clone();
        claims[field] = value;
        with("visiobook-leave+jwt", claims)
    };
    for (what, token) in [
        ("nothing", None),
        ("no token", Some("opaque".to_string())),
        ("another's key", Some(mint(&theirs, "k1", SERVICE, now()).unwrap())),
        ("another service", Some(mint(&ours, "k1", "shop/orders", now()).unwrap())),
        ("one that has run out", Some(mint(&ours, "k1", SERVICE, now() - LIFETIME_SECONDS - 1).unwrap())),
        ("a token of a service", Some(service("shop", "orders"))),
        ("a token of this service", Some(service("shop", "users"))),
        ("another type", Some(with("JWT", good.clone()))),
        ("a service as the operator", Some(changed("sub", json!("service/shop/orders")))),
        ("for ever", Some(changed("exp", Value::Null))),
        ("for all", Some(changed("aud", Value::Null))),
    ] {
        let answer = tell(&scene.sidecar, token.as_deref());
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        assert_eq!(answer.json()["error"]["type"], "INVALID_CREDENTIALS", "{what}");
    }
    let heavy = post(
        &scene.sidecar,
        &format!("authorization: Bearer {}\r\ncontent-length: 4\r\n\r\nfull", scene.word()),
    );
    assert_eq!(heavy.status, 413, "{heavy:?}");
    assert_eq!(scene.sidecar.contract("/leave").status, 404);
    // Traffic has no such door: the application gets it.
    let asked = format!(
        "POST /leave HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        scene.word()
    );
    let calls = scene.application.count();
    assert_eq!(scene.sidecar.ask(&asked).body, "hello");
    assert_eq!(scene.application.count(), calls + 1);
    assert!(is_kept(&mut kept), "somebody else was heard");
    assert_eq!(scene.told(), 0);
    // What is refused is refused for its own sake.
    assert_eq!(tell(&scene.sidecar, Some(&with("visiobook-leave+jwt", good))).status, 200);
}

#[test]
fn the_word_opens_no_other_door() {
    let (operator, keys) = (key(), tempfile::tempdir().unwrap());
    std::fs::write(keys.path().join("k1"), operator.public_key_pem()).unwrap();
    let tokens =
        json!({ "keysFolder": keys.path(), "namespace": "shop", "required": true, "allow": ["operator"] });
    let scene = before(json!({ "serviceTokens": tokens }), operator, keys);
    let calls = scene.application.count();
    let word = scene.word();
    let asked = format!(
        "GET /hello HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {word}\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(scene.sidecar.ask(&asked).status, 401);
    assert_eq!(scene.application.count(), calls);
}

#[test]
fn without_keys_nobody_is_heard_until_they_come() {
    let application = Application::start();
    let ignorant = Sidecar::before(application.port, json!({}));
    let early = before(json!({}), key(), tempfile::tempdir().unwrap());
    let mut kept = early.sidecar.connect();
    assert!(is_kept(&mut kept));
    assert_eq!(tell(&ignorant, Some(&early.word())).status, 404);
    assert_eq!(tell(&early.sidecar, Some(&early.word())).status, 401);
    assert!(is_kept(&mut kept));
    std::fs::write(early.keys.path().join("k1"), early.operator.public_key_pem()).unwrap();
    wait("the keys to be read", || (tell(&early.sidecar, Some(&early.word())).status == 200).then_some(()));
    assert!(!is_kept(&mut kept));
}
