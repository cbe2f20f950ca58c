//! A domain service that runs, as `make image` builds it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::CONNECTIONS;
use super::servers::Server;

const SECRET: &str = "a secret of more than thirty-two characters";
/// The admin who asks, and the session.
pub const ADMIN: &str = "00000000-0000-4000-8000-000000000001";
/// The admin's session.
pub const SESSION: &str = "00000000-0000-4000-8000-000000000002";

/// It ends with this.
pub struct Service {
    child: Child,
    pub address: SocketAddr,
}

impl Service {
    /// On a database that it has migrated.
    pub fn start(name: &str, postgres: &Server) -> Service {
        let binary = std::env::var("VISIOBOOK_BIN").expect("VISIOBOOK_BIN is the binary to measure");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let command = || {
            let mut command = Command::new(&binary);
            command.args(["service", name]).env_clear().env("DATABASE_URL", postgres.url());
            command.env("JWT_SECRET", SECRET).env("PORT", port.to_string()).env("LOG_LEVEL", "warn");
            command.env("DB_MAX_OPEN_CONNS", CONNECTIONS.to_string());
            command.env("DB_MAX_IDLE_CONNS", CONNECTIONS.to_string());
            command
        };
        assert!(command().arg("migrate").stdout(Stdio::null()).status().unwrap().success());
        let child = command().stdout(Stdio::null()).spawn().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(10), "{name} does not listen on {address}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Service { child, address }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A token of the admin, for a quarter of an hour.
pub fn token() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "user_id": ADMIN, "role": "admin", "sid": SESSION, "iat": now, "exp": now + 900 });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}
