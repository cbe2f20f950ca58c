//! Servers in a folder and on a port of their own, gone with the test.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// Debian's name of an account without privileges: PostgreSQL does not run as root.
const ACCOUNT: &str = "nobody";

/// A server that runs.
pub struct Server {
    kind: Kind,
    tls: bool,
    host: IpAddr,
    pub port: u16,
    folder: TempDir,
    child: Option<Child>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Postgres,
    Redis,
}

impl Server {
    pub fn postgres(tls: bool) -> Server {
        Server::new(Kind::Postgres, tls, Ipv4Addr::LOCALHOST.into()).with_database().started()
    }

    pub fn redis(tls: bool) -> Server {
        Server::new(Kind::Redis, tls, Ipv4Addr::LOCALHOST.into()).started()
    }

    /// A PostgreSQL that others than this machine reach under its address `host`.
    pub fn postgres_on(host: IpAddr) -> Server {
        Server::new(Kind::Postgres, false, host).with_database().started()
    }

    /// Such a Redis.
    pub fn redis_on(host: IpAddr) -> Server {
        Server::new(Kind::Redis, false, host).started()
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        match self.kind {
            Kind::Postgres => format!("postgres://books:hush@{}:{}/postgres", self.host, self.port),
            Kind::Redis => format!("redis://:hush@{}:{}", self.host, self.port),
        }
    }

    fn with_database(self) -> Server {
        let server = self;
        let data = server.path("data");
        let password = server.path("password");
        fs::write(&password, "hush").unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
        let mut initdb = server.command(&postgres_folder().join("initdb"));
        initdb.args(["--auth=scram-sha-256", "--no-sync", "--username=books", "--pwfile"]);
        let made = initdb.arg(&password).arg("-D").arg(&data).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        fs::write(data.join("pg_hba.conf"), "host all all all scram-sha-256\n").unwrap();
        server
    }

    fn new(kind: Kind, tls: bool, host: IpAddr) -> Server {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let port = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port();
        if tls {
            write_certificates(folder.path());
        }
        let server = Server { kind, tls, host, port, folder, child: None };
        if tls && is_root() {
            let owned = Command::new("chown").arg(ACCOUNT).arg(server.path("server.key")).status().unwrap();
            assert!(owned.success());
        }
        server
    }

    /// The authority that its certificate is of.
    pub fn authority(&self) -> PathBuf {
        self.path("ca.crt")
    }

    pub fn start(&mut self) {
        let command = match self.kind {
            Kind::Postgres => self.postgres_command(),
            Kind::Redis => self.redis_command(),
        };
        let log = fs::File::create(self.path("log")).unwrap();
        let mut command = command;
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program())));
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect((self.host, self.port)).is_err() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "it does not start:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// End it at once, as a node's failure does.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A server that sleeps takes no other signal.
            signal(child.id(), "CONT");
            signal(child.id(), if self.kind == Kind::Postgres { "QUIT" } else { "KILL" });
            child.wait().unwrap();
        }
    }

    /// Let it take connections, for the kernel does, and answer nothing.
    pub fn freeze(&self) {
        self.signal_all("STOP");
    }

    /// Its first process, which all others of it are children of.
    #[allow(dead_code)] // Of those that share this file, one needs it.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Wake it.
    pub fn thaw(&self) {
        self.signal_all("CONT");
    }

    /// Run SQL in its database.
    pub fn sql(&self, sql: &str) {
        self.answer(sql);
    }

    /// Wait until it takes connections.
    #[allow(dead_code)] // Of the suites that share this file, one needs it.
    pub fn wait(&self) {
        self.answer("SELECT 1");
    }

    /// What its database answers, a row a line and its fields between bars.
    pub fn answer(&self, sql: &str) -> String {
        let mut psql = Command::new(postgres_folder().join("psql"));
        psql.env("PGPASSWORD", "hush")
            .arg("-h")
            .arg(self.host.to_string())
            .args(["-U", "books", "-d", "postgres", "-q", "-A", "-t", "-c", sql]);
        // The port is there before the database is.
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let ran = psql.arg("-p").arg(self.port.to_string()).output().unwrap();
            if ran.status.success() {
                return String::from_utf8_lossy(&ran.stdout).trim_end().to_owned();
            }
            let told = String::from_utf8_lossy(&ran.stderr).into_owned();
            let starts = told.contains("starting up") || told.contains("not yet accepting");
            assert!(starts && Instant::now() < deadline, "{told}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn started(mut self) -> Server {
        self.start();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn signal_all(&self, name: &str) {
        let Some(child) = &self.child else { panic!("it does not run") };
        // The server's own children hold the connections.
        let children = children(child.id());
        signal(child.id(), name);
        children.into_iter().for_each(|id| signal(id, name));
    }

    fn postgres_command(&self) -> Command {
        let mut command = self.command(&postgres_folder().join("postgres"));
        command
            .arg("-D")
            .arg(self.path("data"))
            .args(["-c", "fsync=off"])
            .arg("-h")
            .arg(self.host.to_string());
        command.arg("-p").arg(self.port.to_string());
        command.arg("-c").arg(format!("unix_socket_directories={}", self.folder.path().display()));
        if self.tls {
            command.args(["-c", "ssl=on"]);
            command.arg("-c").arg(format!("ssl_cert_file={}", self.path("server.crt").display()));
            command.arg("-c").arg(format!("ssl_key_file={}", self.path("server.key").display()));
        }
        command
    }

    fn redis_command(&self) -> Command {
        let mut command = self.command(Path::new("redis-server"));
        let port = self.port.to_string();
        command
            .arg("--bind")
            .arg(self.host.to_string())
            .args(["--requirepass", "hush", "--save", "", "--dir"])
            .arg(self.folder.path());
        match self.tls {
            false => command.args(["--port", &port]),
            true => command
                .args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no", "--tls-cert-file"])
                .arg(self.path("server.crt"))
                .arg("--tls-key-file")
                .arg(self.path("server.key"))
                .arg("--tls-ca-cert-file")
                .arg(self.path("ca.crt")),
        };
        command
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", ACCOUNT, "--regid", "nogroup", "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.folder.path());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The children of a process.
pub fn children(id: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    children.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

fn signal(id: u32, name: &str) {
    // It may have ended by itself.
    let _ = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status();
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0)
}

/// The newest of Debian's.
pub fn postgres_folder() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("apt-get install postgresql");
    let newest = versions.map(|version| version.unwrap().path()).max().expect("apt-get install postgresql");
    newest.join("bin")
}

fn write_certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    fs::write(folder.join("server.crt"), server.pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
    fs::set_permissions(folder.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
}
