//! A service that runs, and a client of it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::servers::Server;

/// What signs tokens in these tests; no log may tell it.
pub const SECRET: &str = "a-secret-of-tests-that-is-long-enough-for-production";
/// A password that everybody here has; no log may tell it.
pub const PASSWORD: &str = "correct-horse-battery";

/// Its stores, and how it is started.
pub struct Platform {
    pub postgres: Server,
    pub redis: Option<Server>,
    service: &'static str,
    variables: Vec<(String, String)>,
}

impl Platform {
    /// Of users, with both stores, and the schema in place.
    pub fn new() -> Platform {
        Platform::of("users")
    }

    /// The same of another service.
    pub fn of(service: &'static str) -> Platform {
        let platform = Platform { service, ..Platform::bare(Some(Server::redis(false))) };
        platform.migrate();
        platform
    }

    /// Without a schema.
    pub fn bare(redis: Option<Server>) -> Platform {
        Platform { postgres: Server::postgres(false), redis, service: "users", variables: Vec::new() }
    }

    pub fn with(mut self, name: &str, value: &str) -> Platform {
        self.variables.push((name.into(), value.into()));
        self
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_visiobook"));
        command.args(["service", self.service]).args(arguments).env_clear();
        command.env("DATABASE_URL", self.postgres.url()).env("JWT_SECRET", SECRET).env("PORT", "0");
        command.env("BCRYPT_ROUNDS", "4").env("SERVICE_VERSION", "1.2.3");
        command.envs(self.redis.as_ref().map(|redis| ("REDIS_URL", redis.url())));
        command.envs(self.variables.clone());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn migrate(&self) {
        let output = self.run(&["migrate"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub async fn start(&self) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let out = File::create(&log).unwrap();
        let child =
            self.command(&[]).stdout(out.try_clone().unwrap()).stderr(out).stdin(Stdio::null()).spawn();
        let mut running = Running {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            child: Some(child.unwrap()),
            log,
            client: Client::builder(TokioExecutor::new()).build_http(),
            _folder: Some(folder),
        };
        running.address = running.until_it_listens().await;
        running
    }
}

/// A service that runs.
pub struct Running {
    pub address: SocketAddr,
    child: Option<Child>,
    log: PathBuf,
    client: Client<HttpConnector, Full<Bytes>>,
    _folder: Option<TempDir>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Running {
    async fn until_it_listens(&mut self) -> SocketAddr {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = self.log();
            let line = log.lines().find(|line| line.contains("service listens"));
            if let Some(line) = line {
                let line: Value = serde_json::from_str(line).unwrap();
                return line["address"].as_str().unwrap().parse().unwrap();
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The same by another port, which is somebody else's who stands in front.
    pub fn at(&self, port: u16) -> Running {
        let (log, client) = (self.log.clone(), self.client.clone());
        let address = SocketAddr::new(self.address.ip(), port);
        Running { address, child: None, log, client, _folder: None }
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Tell it to stop, and wait until it has: how long it took, and whether it went well.
    pub fn stop(&mut self) -> (Duration, bool) {
        let mut child = self.child.take().unwrap();
        let begun = Instant::now();
        let told = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
        assert!(told.success());
        let status = child.wait().unwrap();
        (begun.elapsed(), status.success())
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn ask(&self, method: Method, path: &str) -> Ask<'_> {
        Ask {
            running: self,
            request: Request::builder().method(method).uri(self.url(path)),
            body: Bytes::new(),
        }
    }

    pub fn get(&self, path: &str) -> Ask<'_> {
        self.ask(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: Value) -> Ask<'_> {
        self.ask(Method::POST, path).json(body)
    }

    pub fn put(&self, path: &str, body: Value) -> Ask<'_> {
        self.ask(Method::PUT, path).json(body)
    }

    pub fn delete(&self, path: &str) -> Ask<'_> {
        self.ask(Method::DELETE, path)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Wait until it answers `/ready` with 200.
    pub async fn until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.get("/ready").send().await;
            if answer.status == 200 {
                return;
            }
            assert!(Instant::now() < deadline, "{}\n{}", answer.body, self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Somebody registered, and logged in.
    pub async fn somebody(&self) -> Person {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("somebody-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.person(&name).await
    }

    pub async fn person(&self, name: &str) -> Person {
        let email = format!("{name}@example.com");
        let body = json!({ "email": email, "username": name, "password": PASSWORD });
        let id = self.post("/api/v1/users", body).send().await.expect(201)["id"].as_str().unwrap().to_owned();
        self.log_in(id, email).await
    }

    pub async fn log_in(&self, id: String, email: String) -> Person {
        let body = json!({ "email": email, "password": PASSWORD });
        let granted = self.post("/api/v1/users/sessions", body).send().await.expect(201);
        let text = |name: &str| granted[name].as_str().unwrap().to_owned();
        let (token, refresh, session) = (text("accessToken"), text("refreshToken"), text("sessionId"));
        Person { id, email, token, refresh, session }
    }

    /// Somebody who is an admin.
    pub async fn admin(&self, platform: &Platform) -> Person {
        let person = self.somebody().await;
        let granted = platform.run(&["grant", &person.email, "admin"]);
        assert!(granted.status.success(), "{}", String::from_utf8_lossy(&granted.stderr));
        person
    }
}

/// Somebody who is logged in.
pub struct Person {
    pub id: String,
    pub email: String,
    pub token: String,
    pub refresh: String,
    pub session: String,
}

impl Person {
    pub fn path(&self) -> String {
        format!("/api/v1/users/{}", self.id)
    }
}

/// A request to be sent.
pub struct Ask<'a> {
    running: &'a Running,
    request: http::request::Builder,
    body: Bytes,
}

impl Ask<'_> {
    pub fn json(self, body: Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn by(self, person: &Person) -> Self {
        self.bearing(&person.token)
    }

    /// With a token.
    pub fn bearing(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub async fn try_send(self) -> Result<Answer, String> {
        let request = self.request.body(Full::new(self.body)).unwrap();
        let response = self.running.client.request(request).await.map_err(|error| format!("{error:?}"))?;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    pub async fn send(self) -> Answer {
        self.try_send().await.unwrap()
    }
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The body of an answer of this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// An error of this status and message, in its envelope (D40).
    #[track_caller]
    pub fn refuses(&self, status: u16, message: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        let error = &self.body["error"];
        assert_eq!(error["message"], message, "{}", self.body);
        assert_eq!(error["code"], status);
        assert_eq!(self.headers["content-type"], "application/json");
        assert_eq!(error["correlationId"].as_str(), self.headers["x-correlation-id"].to_str().ok());
        assert!(error["timestamp"].is_u64() && error["type"].is_string(), "{error}");
    }
}
