//! A real sidecar process before a real application, and clients that write what they like.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use visiobook::plan::merge;

pub type Body = BoxBody<Bytes, std::io::Error>;

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An ordinary application on a port of its own, which knows nothing of the contract.
pub struct Application {
    pub port: u16,
    runtime: Option<tokio::runtime::Runtime>,
    pub requests: Arc<std::sync::atomic::AtomicUsize>,
}

impl Application {
    pub fn start() -> Application {
        Application::on(0)
    }

    pub fn on(port: u16) -> Application {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", port))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests: Arc<std::sync::atomic::AtomicUsize> = Arc::default();
        let counted = requests.clone();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let counted = counted.clone();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        async move { Ok::<_, Infallible>(handle(request).await) }
                    });
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection_with_upgrades(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Application { port, runtime: Some(runtime), requests }
    }

    pub fn count(&self) -> usize {
        self.requests.load(std::sync::atomic::Ordering::SeqCst)
    }

    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_millis(100));
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.stop();
    }
}

fn whole(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

async fn handle(mut request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_string();
    let number = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
    if let Some(status) = number("/status/") {
        let mut response = Response::new(whole(format!("status {status}")));
        *response.status_mut() = StatusCode::from_u16(status as u16).unwrap();
        return response;
    }
    if let Some(milliseconds) = number("/slow/") {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        return Response::new(whole("slow"));
    }
    if let Some(bytes) = number("/bytes/") {
        let chunk = Bytes::from(vec![b'x'; 1 << 16]);
        let chunks = bytes.div_ceil(1 << 16);
        let frames = futures::stream::iter(0..chunks).map(move |_| Ok(Frame::data(chunk.clone())));
        return Response::new(BodyExt::boxed(StreamBody::new(frames)));
    }
    // Text that compresses to about three quarters, so that whoever does not read it is seen.
    if let Some(bytes) = number("/noise/") {
        let mut state = 1_u32;
        let chunk: Bytes = (0..1 << 16)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                b' ' + (state >> 26) as u8
            })
            .collect();
        let frames =
            futures::stream::iter(0..bytes.div_ceil(1 << 16)).map(move |_| Ok(Frame::data(chunk.clone())));
        return Response::builder()
            .header("content-type", "text/plain")
            .body(BodyExt::boxed(StreamBody::new(frames)))
            .unwrap();
    }
    if let Some(pause) = number("/events/") {
        let frames = futures::stream::iter(0..3).then(move |event| async move {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            Ok(Frame::data(Bytes::from(format!("data: {event}\n\n"))))
        });
        return Response::builder()
            .header("content-type", "text/event-stream")
            .body(BodyExt::boxed(StreamBody::new(frames)))
            .unwrap();
    }
    match path.as_str() {
        "/collect" => {
            let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            Response::new(Full::new(body).map_err(|never| match never {}).boxed())
        }
        "/echo" => Response::new(request.into_body().map_err(std::io::Error::other).boxed()),
        "/headers" => {
            let headers: Vec<Value> = request
                .headers()
                .iter()
                .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
                .collect();
            Response::new(whole(json!({ "uri": request.uri().to_string(), "headers": headers }).to_string()))
        }
        // A head, a part of the body, and the end of the connection.
        "/dies" => {
            let parts = futures::stream::iter([0, 1]).then(|part| async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if part == 0 {
                    Ok(Frame::data(Bytes::from("half")))
                } else {
                    Err(std::io::Error::other("dead"))
                }
            });
            Response::builder()
                .header("content-length", 8)
                .body(BodyExt::boxed(StreamBody::new(parts)))
                .unwrap()
        }
        "/socket" => {
            tokio::spawn(async move {
                let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
                let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
            Response::builder()
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .body(whole(""))
                .unwrap()
        }
        "/grpc" => {
            let trailers = http::HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                http::HeaderValue::from_static("13"),
            )]);
            let frames = [Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\0"))), Ok(Frame::trailers(trailers))];
            Response::builder()
                .header("content-type", "application/grpc")
                .body(BodyExt::boxed(StreamBody::new(futures::stream::iter(frames))))
                .unwrap()
        }
        "/text" => {
            Response::builder().header("content-type", "text/plain").body(whole("x".repeat(100_000))).unwrap()
        }
        "/envelope" => Response::builder()
            .status(409)
            .header("content-type", "application/json")
            .body(whole(r#"{"error":{"code":409,"message":"mine"}}"#))
            .unwrap(),
        "/cookies" => Response::builder()
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .header("x-frame-options", "SAMEORIGIN")
            .body(whole("two cookies"))
            .unwrap(),
        _ => Response::new(whole("hello")),
    }
}

/// A sidecar process, with what it logs.
pub struct Sidecar {
    child: Child,
    pub port: u16,
    pub contract_port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Sidecar {
    /// Before an application, with settings laid over the default ones.
    pub fn before(application: u16, settings: Value) -> Sidecar {
        Sidecar::with(application, settings, &[])
    }

    pub fn with(application: u16, settings: Value, variables: &[(&str, &str)]) -> Sidecar {
        let (port, contract_port) = (free_port(), free_port());
        let mut all = json!({
            "service": "users", "serviceVersion": "1.2.3", "port": port, "contractPort": contract_port,
            "application": { "port": application, "metricsPath": null },
            "drain": { "propagationSeconds": 0.3, "requestsSeconds": 5.0 },
        });
        merge(&mut all, settings);
        let mut child = Command::new(env!("CARGO_BIN_EXE_visiobook"))
            .arg("sidecar")
            .env("VISIOBOOK_SIDECAR", all.to_string())
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (written, stdout) = (lines.clone(), child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                written.lock().unwrap().push(line);
            }
        });
        let sidecar = Sidecar { child, port, contract_port, lines };
        let listens = if all["mode"] == "Observe" { contract_port } else { port };
        wait("a listening sidecar", || std::net::TcpStream::connect(("127.0.0.1", listens)).ok());
        sidecar
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Log lines so far, as JSON.
    pub fn lines(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }

    pub fn wait_for_line(&self, message: &str) -> Value {
        wait(&format!("the line {message:?}"), || {
            self.lines()
                .into_iter()
                .find(|line| line["message"].as_str().unwrap_or_default().contains(message))
        })
    }

    /// Access lines of a path.
    pub fn requests(&self, path: &str) -> Vec<Value> {
        self.lines()
            .into_iter()
            .filter(|line| line["message"] == "HTTP Request" && line["url"] == path)
            .collect()
    }

    pub fn wait_for_request(&self, path: &str) -> Value {
        wait(&format!("the access line of {path}"), || self.requests(path).pop())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: users\r\nconnection: close\r\n\r\n"))
    }

    /// Send bytes, read everything until the end.
    pub fn ask(&self, request: &str) -> Answer {
        Answer::parse(&exchange(self.address(), request.as_bytes()))
    }

    /// Ask the contract's port.
    pub fn contract(&self, path: &str) -> Answer {
        let address = SocketAddr::from(([127, 0, 0, 1], self.contract_port));
        let request = format!("GET {path} HTTP/1.1\r\nhost: users\r\nconnection: close\r\n\r\n");
        Answer::parse(&exchange(address, request.as_bytes()))
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// A WebSocket to the application's echo, and the head of the answer in lower case.
    pub fn websocket(&self) -> (TcpStream, String) {
        let mut client = self.connect();
        let wish = b"GET /socket HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
        client.write_all(wish).unwrap();
        let mut answer = [0; 4096];
        let count = client.read(&mut answer).unwrap();
        let head = String::from_utf8_lossy(&answer[..count]).to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        (client, head)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn terminate(&self) {
        let done = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Wait for its end; tells whether it ended well.
    pub fn wait(&mut self) -> bool {
        wait("the end of the process", || self.child.try_wait().unwrap()).success()
    }

    /// Resident kibibytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came back over a raw connection.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Answer {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_string()))
            .collect();
        Answer { status: status.unwrap_or(0), headers, body: body.to_string() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end like any other.
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Wait until something is there, for at most 20 s.
pub fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What becomes of it, in less time than would be an end of its own.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let within = async { tokio::time::timeout(Duration::from_secs(20), future).await };
    runtime.block_on(within).expect("an end within 20 s")
}
