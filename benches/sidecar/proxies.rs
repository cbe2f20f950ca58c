//! nginx and the sidecar, each on the first core, with a JSON log of the same fields; everything else is on the second.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::Value;

/// A proxy that runs.
pub struct Proxy {
    child: Child,
    /// The process that does the work.
    pub pid: u32,
    pub address: SocketAddr,
    /// From its start until it took a connection.
    pub start: Duration,
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// nginx with one worker and connections to the application that it keeps.
pub fn nginx(folder: &Path, application: u16) -> Proxy {
    let port = free_port();
    let at = folder.display();
    let config = format!(
        r#"
daemon off; worker_processes 1; pid {at}/nginx.pid; error_log {at}/nginx.error.log; user root;
events {{ worker_connections 4096; }}
http {{
  log_format json escape=json '{{"timestamp":"$time_iso8601","level":"info","message":"HTTP Request","service":"users","version":"1.2.3","environment":"production","method":"$request_method","url":"$request_uri","route":"unmatched","status_code":$status,"response_time":$request_time,"bytes":$body_bytes_sent,"ip":"$remote_addr","user_agent":"$http_user_agent","correlation_id":"$request_id","trace_id":"$request_id"}}';
  access_log {at}/nginx.log json;
  client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
  proxy_buffers 16 8k; proxy_max_temp_file_size 0;
  upstream application {{ server 127.0.0.1:{application}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    keepalive_requests 1000000000;
    location / {{
      proxy_pass http://application;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header x-correlation-id $request_id;
    }}
  }}
}}
"#
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-e").arg(folder.join("nginx.error.log")).arg("-c").arg(file);
    let mut proxy = started(command, port);
    proxy.pid = child_of(proxy.pid);
    proxy
}

/// The sidecar, as `make image` builds it: the program that pods run.
pub fn sidecar(folder: &Path, name: &str, settings: &Value, port: u16) -> Proxy {
    let binary = std::env::var("VISIOBOOK_BIN").expect("VISIOBOOK_BIN is the binary to measure");
    let mut command = Command::new(PathBuf::from(binary).with_file_name("visiobook-sidecar"));
    command
        .env("VISIOBOOK_SIDECAR", settings.to_string())
        .stdout(File::create(folder.join(format!("{name}.log"))).unwrap());
    started(command, port)
}

fn started(mut command: Command, port: u16) -> Proxy {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    command.stderr(Stdio::inherit());
    let begin = Instant::now();
    // What a thread starts has its core.
    let child = std::thread::scope(|scope| {
        let starts = scope.spawn(|| {
            stay_on(0);
            command.spawn().expect("nginx, or the sidecar beside VISIOBOOK_BIN")
        });
        starts.join().expect("a process")
    });
    while TcpStream::connect(address).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(10), "nothing listens on {address}");
        std::thread::sleep(Duration::from_micros(200));
    }
    let pid = child.id();
    Proxy { child, pid, address, start: begin.elapsed() }
}

/// Keep this thread, and what it starts from now on, on one core.
pub fn stay_on(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).expect("two cores");
}

/// The worker of an nginx, which may not be there yet when its port is.
fn child_of(parent: u32) -> u32 {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    for _ in 0..100 {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        if let Some(child) = pids.find(|pid| parent_of(*pid) == Some(parent)) {
            return child;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("nginx has no worker");
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
