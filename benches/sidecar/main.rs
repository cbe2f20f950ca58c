//! The sidecar beside nginx, in one run: one thread against one worker, the same application, the same fields in the
//! log. `make bench-sidecar`. Results go to `target/bench.json`; `docs/performance.md` tells the story.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod application;
mod figures;
mod load;
mod proxies;
mod usage;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use figures::Figure;
use futures::future::join_all;
use load::{Client, Load, Outcome};
use proxies::Proxy;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Rounds of which the middle one counts.
const ROUNDS: usize = 3;
/// Starts of which the middle one counts.
const STARTS: usize = 10;
/// Clients that memory is measured with.
const CLIENTS: usize = 500;

fn main() {
    proxies::stay_on(1);
    let folder = tempfile::tempdir().unwrap();
    let runtime = load::one_thread();
    let application = application::start(&runtime);
    let seconds: f64 =
        std::env::var("VISIOBOOK_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4.0);

    let (bare_port, full_port) = (proxies::free_port(), proxies::free_port());
    let mut figures = starts(folder.path(), &bare_settings(application, bare_port), bare_port);
    let nginx = proxies::nginx(folder.path(), application);
    let bare = proxies::sidecar(folder.path(), "bare", &bare_settings(application, bare_port), bare_port);
    let (settings, token) = full_settings(folder.path(), application, full_port);
    let full = proxies::sidecar(folder.path(), "full", &settings, full_port);
    let sides = [
        Side { proxy: nginx, headers: String::new() },
        Side { proxy: bare, headers: String::new() },
        Side { proxy: full, headers: token },
    ];
    let bench = Bench { runtime, sides, seconds };
    std::thread::sleep(Duration::from_secs(1));
    figures.extend(bench.memory());
    let (costs, most) = bench.costs();
    figures.extend(costs);
    figures.extend(bench.latencies(most / 2.0));
    figures::record(&figures);
    for figure in figures.iter().filter(|figure| !figure.holds) {
        println!("goal missed: {} is {:.2} {}, goal {}", figure.name, figure.value, figure.unit, figure.goal);
    }
}

/// The first start, which may read the program from its disk, and those after it.
fn starts(folder: &Path, settings: &Value, port: u16) -> Vec<Figure> {
    let mut settings = settings.clone();
    settings["drain"] = json!({ "propagationSeconds": 0.0, "requestsSeconds": 0.0 });
    let start = || proxies::sidecar(folder, "start", &settings, port).start.as_secs_f64() * 1000.0;
    let first = start();
    let others: Vec<f64> = (0..STARTS).map(|_| start()).collect();
    let start = median(&others, |start| *start);
    vec![
        Figure::absolute("sidecar start to listening, the first", first, "ms", "-", true),
        Figure::absolute("sidecar start to listening", start, "ms", "<= 20 ms", start <= 20.0),
    ]
}

/// A proxy, and what its clients send beside the usual headers.
struct Side {
    proxy: Proxy,
    headers: String,
}

/// nginx, and the sidecar with features off and on.
struct Bench {
    runtime: Runtime,
    sides: [Side; 3],
    seconds: f64,
}

const FEATURES: [&str; 2] = ["features off", "features on"];

impl Bench {
    /// What processes hold that have not been under load: alone, with clients that keep their connections, and with all
    /// of their requests under way.
    fn memory(&self) -> Vec<Figure> {
        let [nginx, bare, full] = self.sides.each_ref().map(|side| self.held(side));
        println!(
            "resident memory of nginx: {:.1} MiB idle, {:.1} MiB with {CLIENTS} connections, {:.1} MiB with requests",
            nginx[0], nginx[1], nginx[2]
        );
        let idle = full[0];
        let mut figures =
            vec![Figure::absolute("sidecar resident memory, idle", idle, "MiB", "<= 8 MiB", idle <= 8.0)];
        for (features, held) in FEATURES.into_iter().zip([bare, full]) {
            for (step, name) in [(1, "connections kept idle"), (2, "requests of 1 KiB under way")] {
                let name = format!("sidecar resident memory, {CLIENTS} {name}, {features}");
                let holds = held[step] <= 20.0;
                figures.push(Figure {
                    against: format!("{:.1} MiB of nginx", nginx[step]),
                    ratio: Some(held[step] / nginx[step]),
                    ..Figure::absolute(&name, held[step], "MiB", "<= 20 MiB", holds)
                });
            }
        }
        figures
    }

    fn held(&self, side: &Side) -> [f64; 3] {
        let pid = side.proxy.pid;
        let idle = usage::resident_mib(pid);
        let [once, slow] = ["1024", "1024/3000"].map(|path| side.get(path, CLIENTS, None));
        self.runtime.block_on(async {
            let mut clients = Vec::new();
            for _ in 0..CLIENTS {
                let mut client = Client::connect(once.address).await;
                assert!(client.ask(&once).await);
                clients.push(client);
            }
            // Until they rest, and the allocator has given back what that freed.
            tokio::time::sleep(Duration::from_secs(6)).await;
            let kept = usage::resident_mib(pid);
            let asked = join_all(clients.iter_mut().map(|client| client.ask(&slow)));
            let measured = async {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                usage::resident_mib(pid)
            };
            let (answered, under_way) = tokio::join!(asked, measured);
            assert!(answered.into_iter().all(|answered| answered));
            [idle, kept, under_way]
        })
    }

    /// CPU and throughput, and the most that nginx does in a second.
    fn costs(&self) -> (Vec<Figure>, f64) {
        let (mut figures, mut most) = (Vec::new(), 0.0_f64);
        for (bytes, size) in [("1024", "1 KiB"), ("102400", "100 KiB")] {
            for connections in [50, 500] {
                let mut rounds: [Vec<(f64, f64)>; 3] = Default::default();
                for _ in 0..ROUNDS {
                    for (side, rounds) in self.sides.iter().zip(&mut rounds) {
                        rounds.push(self.cost(side, bytes, connections));
                    }
                }
                let [nginx, bare, full] =
                    rounds.map(|rounds| (median(&rounds, |r| r.0), median(&rounds, |r| r.1)));
                if connections == 50 && bytes == "1024" {
                    most = nginx.1;
                }
                let goals = [("<= 1.0x nginx", 1.0), ("<= 1.5x nginx", 1.5)];
                for ((name, (micros, rate)), (goal, limit)) in
                    FEATURES.into_iter().zip([bare, full]).zip(goals)
                {
                    let case = format!("{size}, {connections} connections, {name}");
                    let ratio = micros / nginx.0;
                    println!(
                        "{case}: {micros:.1} us of CPU a request, nginx {:.1}: {ratio:.2}x; {rate:.0}/s, nginx {:.0}/s",
                        nginx.0, nginx.1
                    );
                    figures.push(Figure {
                        name: format!("sidecar CPU per request, {case}"),
                        value: micros,
                        unit: "us",
                        against: format!("{:.1} us of nginx", nginx.0),
                        ratio: Some(ratio),
                        goal,
                        holds: ratio <= limit,
                    });
                    figures.push(Figure {
                        name: format!("sidecar throughput, {case}"),
                        value: rate,
                        unit: "requests/s",
                        against: format!("{:.0} requests/s of nginx", nginx.1),
                        ratio: Some(rate / nginx.1),
                        goal: "-",
                        holds: true,
                    });
                }
            }
        }
        (figures, most)
    }

    /// Microseconds of CPU a request, and requests a second.
    fn cost(&self, side: &Side, bytes: &str, connections: usize) -> (f64, f64) {
        let mut cpu = Vec::new();
        let load = side.get(bytes, connections, None);
        let time = Duration::from_secs_f64(self.seconds);
        let outcome = load.run(&self.runtime, Duration::from_secs(1), time, || {
            cpu.push(usage::cpu_seconds(side.proxy.pid))
        });
        check(&outcome);
        ((cpu[1] - cpu[0]) * 1e6 / outcome.requests as f64, outcome.rate())
    }

    /// At half of what nginx can do, sent when it is due and not when the last answer is there. What the machine does
    /// meanwhile concerns all three of a round, so it is their differences of which the middle one counts.
    fn latencies(&self, rate: f64) -> Vec<Figure> {
        let mut rounds: [Vec<[f64; 2]>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for (side, rounds) in self.sides.iter().zip(&mut rounds) {
                let load = side.get("1024", 50, Some(rate));
                let time = Duration::from_secs_f64(self.seconds * 2.0);
                let outcome = load.run(&self.runtime, Duration::from_secs(1), time, || ());
                check(&outcome);
                rounds.push([outcome.percentile(0.5), outcome.percentile(0.99)]);
            }
        }
        let [nginx, bare, full] = rounds;
        let mut figures = Vec::new();
        for (features, sidecar) in FEATURES.into_iter().zip([bare, full]) {
            for (part, name, most) in [(0, "p50", None), (1, "p99", Some(0.5))] {
                let (ours, theirs) =
                    (median(&sidecar, |round| round[part]), median(&nginx, |round| round[part]));
                let pairs: Vec<f64> =
                    sidecar.iter().zip(&nginx).map(|(ours, theirs)| ours[part] - theirs[part]).collect();
                let more = median(&pairs, |more| *more);
                println!(
                    "latency {name} at {rate:.0}/s, {features}: {ours:.3} ms, nginx {theirs:.3} ms, {more:+.3} ms"
                );
                figures.push(Figure {
                    name: format!("sidecar latency {name} at half of nginx's maximum, {features}"),
                    value: ours,
                    unit: "ms",
                    against: format!("{theirs:.3} ms of nginx, {more:+.3} ms in the middle round"),
                    ratio: Some(ours / theirs),
                    goal: most.map_or("-", |_| "<= 0.5 ms more"),
                    holds: most.is_none_or(|most| more <= most),
                });
            }
        }
        figures
    }
}

impl Side {
    /// Clients that ask for a path of the application.
    fn get(&self, path: &str, connections: usize, rate: Option<f64>) -> Load {
        let request = format!(
            "GET /{path} HTTP/1.1\r\nhost: users\r\nuser-agent: bench/1.0\r\naccept: */*\r\n{}\r\n",
            self.headers
        );
        let request = Arc::new(move |bytes: &mut Vec<u8>| bytes.extend_from_slice(request.as_bytes()));
        Load { address: self.proxy.address, connections, request, rate }
    }
}

fn check(outcome: &Outcome) {
    assert!(outcome.requests > 0 && outcome.failed == 0, "{} of {} failed", outcome.failed, outcome.requests);
}

/// What nginx does, and nothing more: a log line, a correlation id, metrics.
fn bare_settings(application: u16, port: u16) -> Value {
    json!({
        "service": "users", "serviceVersion": "1.2.3", "environment": "production",
        "port": port, "contractPort": proxies::free_port(),
        "application": { "port": application, "metricsPath": null },
        "securityHeaders": false, "retries": 0, "breaker": { "failures": 0 },
    })
}

/// Everything that applies to an ordinary request, with limits that are not reached.
fn full_settings(folder: &Path, application: u16, port: u16) -> (Value, String) {
    let secret = "a secret of more than thirty-two characters";
    let keys = folder.join("keys");
    std::fs::create_dir_all(&keys).unwrap();
    std::fs::write(keys.join("current"), secret).unwrap();
    let claims = json!({ "user_id": "42", "role": "user", "exp": 4_102_444_800_u64 });
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let settings = json!({
        "service": "users", "serviceVersion": "1.2.3", "environment": "production",
        "port": port, "contractPort": proxies::free_port(),
        "application": { "port": application, "metricsPath": null },
        "routes": ["/{size}"],
        "rateLimit": { "requestsPerMinute": 4_000_000_000_u32, "burst": 4_000_000_000_u32 },
        "trustedProxies": ["10.0.0.0/8"],
        "corsOrigins": ["https://www.visiobook.com"],
        "hosts": ["users"],
        "auth": { "keysFolder": keys },
        "compression": true,
        "errors": { "envelope": true, "mask": true },
    });
    (settings, format!("authorization: Bearer {token}\r\norigin: https://www.visiobook.com\r\n"))
}

fn median<T>(rounds: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
