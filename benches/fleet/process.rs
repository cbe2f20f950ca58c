//! The operator under measurement: the release binary, as a process beside the cluster.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

const ADMIN: &str = "127.0.0.1:18089";

pub struct Operator {
    child: Child,
}

impl Operator {
    /// Start it, with a short lease so that a restart measures the restart.
    pub async fn start() -> Operator {
        let binary = std::env::var("VISIOBOOK_BIN")
            .expect("VISIOBOOK_BIN: the release binary, as `make bench` sets it");
        let child = Command::new(binary)
            .args([
                "operator",
                "--admin-address",
                ADMIN,
                "--own-namespace",
                "default",
                "--log",
                "warn",
                "--identity",
                "bench",
            ])
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("operator");
        Operator { child }
    }

    /// Resident memory, from the kernel.
    pub fn resident_mib(&self) -> f64 {
        super::usage::resident_mib(self.child.id())
    }

    /// What it has used of the processors.
    #[allow(dead_code)] // Of the benchmarks that share this file, one needs it.
    pub fn cpu_seconds(&self) -> f64 {
        super::usage::cpu_seconds(self.child.id())
    }

    /// Wait until it leads and nothing waits.
    pub async fn settled(&self, services: usize) {
        self.until("nothing to wait", |metrics| {
            sum(metrics, "visiobook_leader", "") >= 1.0
                && sum(metrics, "visiobook_queue_depth", "") == 0.0
                && sum(metrics, "visiobook_service_condition", "condition=\"Ready\"") >= services as f64
        })
        .await;
    }

    /// Wait until it has looked at this many services.
    #[allow(dead_code)] // Of the benchmarks that share this file, one needs it.
    pub async fn reconciled(&self, services: usize) {
        self.until("every service to be looked at", |metrics| {
            sum(metrics, "visiobook_reconcile_total", "") >= services as f64
        })
        .await;
    }

    async fn until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let started = Instant::now();
        while !metrics().await.is_some_and(|metrics| holds(&metrics)) {
            assert!(started.elapsed() < Duration::from_secs(300), "waited too long for {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Writing requests so far.
    pub async fn writes(&self) -> Writes {
        let metrics = metrics().await.expect("metrics");
        let of = |kind: &str| {
            let verbs = ["create", "update", "patch", "apply", "delete"].iter();
            let sum = verbs.map(|verb| {
                sum_of(&metrics, "visiobook_kube_requests_total", &[&format!("verb=\"{verb}\""), kind])
            });
            sum.sum::<f64>() as u64
        };
        let (pods, events) = (of("kind=\"pods/status\""), of("kind=\"events\""));
        Writes { pods, events, others: of("") - pods - events - of("kind=\"leases\"") }
    }

    /// Stop it as Kubernetes would.
    pub async fn stop(self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = tokio::task::spawn_blocking(move || {
            let mut operator = self;
            operator.child.wait()
        })
        .await;
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writing requests, without those of the lease.
pub struct Writes {
    /// Of the gate.
    #[allow(dead_code)] // Of the benchmarks that share this file, one tells them apart.
    pub pods: u64,
    #[allow(dead_code)]
    pub events: u64,
    pub others: u64,
}

async fn metrics() -> Option<String> {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.get(format!("http://{ADMIN}/metrics").parse().ok()?).await.ok()?;
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    String::from_utf8(body.to_vec()).ok()
}

fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    sum_of(metrics, name, &[label])
}

fn sum_of(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    metrics
        .lines()
        .filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
