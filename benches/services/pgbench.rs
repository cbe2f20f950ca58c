//! What the service asks its database, by pgbench.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use visiobook::services::page::Direction;
use visiobook::services::users::statements;

use super::CONNECTIONS;
use super::load::Outcome;
use super::servers::{Server, postgres_folder};
use super::service::{ADMIN, SESSION};

/// When the first user registered, in seconds of Unix; each later one a second later.
const SINCE: u64 = 1_767_225_600;
/// The id of a user, of its number.
const ID: &str = "lpad(to_hex((:user)::bigint), 32, '0')::uuid";

/// Statements of one request, and the request.
pub struct Script {
    pub name: &'static str,
    /// The path of the request about a user.
    pub path: fn(u64) -> String,
    text: String,
}

/// A user by id.
pub fn by_id(users: u64) -> Script {
    let statement = statements::by_id().replace("$1", ID);
    let path = |user: u64| format!("/api/v1/users/{}", id(user));
    Script { name: "users by id", path, text: script(users, ID, &statement) }
}

/// Twenty users, from anywhere in the list.
pub fn slice(users: u64) -> Script {
    let statement = statements::slice(Direction::Descending, true)
        // pgbench knows no NULL.
        .replace("$1", "NULL")
        .replace("$2", "NULL")
        .replace("$3", "21")
        .replace("$4", &format!("(({SINCE} + (:user)::bigint) * 1000000)"))
        .replace("$5::uuid", ID);
    let path = |user: u64| {
        let mut bytes = ((SINCE + user) * 1_000_000).to_be_bytes().to_vec();
        bytes.extend(u128::from(user).to_be_bytes());
        format!("/api/v1/users?limit=20&cursor={}", URL_SAFE_NO_PAD.encode(bytes))
    };
    Script { name: "pages of 20 users by cursor", path, text: script(users, "NULL", &statement) }
}

/// Each request asks first whether the session of who calls holds.
fn script(users: u64, about: &str, statement: &str) -> String {
    let admit = statements::ADMIT
        .replace("$1", &format!("'{SESSION}'"))
        .replace("$2", &format!("'{ADMIN}'"))
        .replace("$3", about);
    // pgbench takes the :MI of a format for a variable of its own.
    let statement = statement.replace("HH24:MI:SS", "HH24\":\"MI\":\"SS");
    format!("\\set user random(1, {users})\n{admit};\n{statement};\n")
}

fn id(user: u64) -> String {
    let hex = format!("{user:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Make users with profiles, and an admin who is logged in.
pub fn fill(postgres: &Server, users: u64) {
    let user = ID.replace("(:user)", "n");
    let made = format!("to_timestamp({SINCE} + n)");
    postgres.sql(&format!(
        "INSERT INTO users (id, email, username, password, created_at, updated_at) \
         SELECT {user}, 'user-' || n || '@example.com', 'user-' || n, 'none', {made}, {made} \
         FROM generate_series(1, {users}) AS n"
    ));
    postgres.sql(&format!(
        "INSERT INTO user_profiles (user_id, first_name, last_name, bio) \
         SELECT {user}, 'First ' || n, 'Last ' || n, repeat('A reader of books. ', 5) \
         FROM generate_series(1, {users}) AS n"
    ));
    postgres.sql(&format!(
        "INSERT INTO users (id, email, username, password, role) \
         VALUES ('{ADMIN}', 'admin@example.com', 'admin', 'none', 'admin')"
    ));
    postgres.sql(&format!(
        "INSERT INTO user_sessions (id, user_id, refresh_hash, expires_at) \
         VALUES ('{SESSION}', '{ADMIN}', '', now() + interval '1 day')"
    ));
    postgres.sql("VACUUM ANALYZE");
}

impl Script {
    /// Run it for a time, as often as it can or so many times a second, over connections that are kept.
    pub fn run(&self, postgres: &Server, time: Duration, rate: Option<f64>) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let script = folder.path().join("script.sql");
        fs::write(&script, &self.text).unwrap();
        let mut pgbench = Command::new(postgres_folder().join("pgbench"));
        pgbench.current_dir(folder.path()).env("PGPASSWORD", "hush");
        pgbench.args(["-h", "127.0.0.1", "-U", "books", "-n", "-M", "prepared", "-l"]);
        pgbench.args(["-p", &postgres.port.to_string(), "-c", &CONNECTIONS.to_string()]);
        pgbench.args(["-T", &time.as_secs().to_string()]).arg("-f").arg(&script);
        if let Some(rate) = rate {
            pgbench.args(["-R", &format!("{rate:.0}")]);
        }
        let ran = pgbench.arg("postgres").output().unwrap();
        assert!(ran.status.success(), "pgbench: {}", String::from_utf8_lossy(&ran.stderr));
        // A line for each: client, number, microseconds, and more.
        let mut latencies = Vec::new();
        for file in fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()) {
            if file != script {
                let log = fs::read_to_string(file).unwrap();
                latencies.extend(log.lines().map(|line| -> u32 {
                    line.split(' ').nth(2).expect("a time").parse().expect("microseconds")
                }));
            }
        }
        latencies.sort_unstable();
        Outcome { requests: latencies.len() as u64, seconds: time.as_secs_f64(), failed: 0, latencies }
    }
}
