//! Clients that ask as fast as they are told.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// Writes a request.
pub type Request = Arc<dyn Fn(&mut Vec<u8>) + Send + Sync>;

/// What clients do.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub connections: usize,
    /// Each of them.
    pub request: Request,
    /// Requests a second over all connections; none: each as soon as the last is answered.
    pub rate: Option<f64>,
}

/// What came of it.
pub struct Outcome {
    pub requests: u64,
    pub seconds: f64,
    pub failed: u64,
    /// From the time at which a request was due, in microseconds, sorted; for a given rate only.
    pub latencies: Vec<u32>,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// In milliseconds.
    #[allow(dead_code)] // Of the benchmarks that share this file, one asks for it.
    pub fn mean(&self) -> f64 {
        self.latencies.iter().map(|micros| f64::from(*micros)).sum::<f64>()
            / self.latencies.len() as f64
            / 1000.0
    }

    /// In milliseconds.
    pub fn percentile(&self, part: f64) -> f64 {
        let index = ((self.latencies.len() as f64 * part).ceil() as usize).clamp(1, self.latencies.len()) - 1;
        f64::from(self.latencies[index]) / 1000.0
    }
}

impl Load {
    /// Ask for a time; `around` is called before and after the part that counts.
    pub fn run(&self, on: &Runtime, warm_up: Duration, time: Duration, mut around: impl FnMut()) -> Outcome {
        on.block_on(async {
            let counts = Arc::new(AtomicBool::new(false));
            let stop = Arc::new(AtomicBool::new(false));
            let (requests, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
            let latencies: Arc<Mutex<Vec<u32>>> = Arc::default();
            let begin = Instant::now();
            let tasks: Vec<_> = (0..self.connections)
                .map(|number| {
                    let load = self.clone();
                    let (counts, stop) = (counts.clone(), stop.clone());
                    let (requests, failed, latencies) = (requests.clone(), failed.clone(), latencies.clone());
                    tokio::spawn(async move {
                        let mut client = Client::connect(load.address).await;
                        let timer = Timer::new();
                        let interval = load.rate.map(|rate| load.connections as f64 / rate);
                        let mut due = begin
                            + Duration::from_secs_f64(
                                interval.unwrap_or(0.0) * number as f64 / load.connections as f64,
                            );
                        let mut own = Vec::new();
                        while !stop.load(Relaxed) {
                            if let Some(interval) = interval {
                                timer.wait_until(due).await;
                                let answered = client.ask(&load).await;
                                if counts.load(Relaxed) {
                                    own.push(due.elapsed().as_micros() as u32);
                                }
                                due += Duration::from_secs_f64(interval);
                                if !answered {
                                    failed.fetch_add(1, Relaxed);
                                }
                            } else if !client.ask(&load).await {
                                failed.fetch_add(1, Relaxed);
                            }
                            if counts.load(Relaxed) {
                                requests.fetch_add(1, Relaxed);
                            }
                        }
                        latencies.lock().unwrap().extend(own);
                    })
                })
                .collect();
            tokio::time::sleep(warm_up).await;
            around();
            counts.store(true, Relaxed);
            let start = Instant::now();
            tokio::time::sleep(time).await;
            counts.store(false, Relaxed);
            let seconds = start.elapsed().as_secs_f64();
            around();
            let requests = requests.load(Relaxed);
            stop.store(true, Relaxed);
            for task in tasks {
                let _ = tokio::time::timeout(Duration::from_secs(2), task).await;
            }
            let mut latencies = std::mem::take(&mut *latencies.lock().unwrap());
            latencies.sort_unstable();
            Outcome { requests, seconds, failed: failed.load(Relaxed), latencies }
        })
    }
}

/// A timer of the kernel's. One of the runtime's is late by up to a millisecond, which would be told as latency, and to
/// look at the clock until then would take the core from the application.
struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    #[allow(deprecated)] // What shall take its place is unsafe. The timer owns its file, and closes it last.
    fn new() -> Timer {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK).unwrap();
        Timer(AsyncFd::new(timer).unwrap())
    }

    async fn wait_until(&self, due: Instant) {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() },
        };
        // To set it takes back what it said before, so that nothing has to be read.
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once).unwrap();
        self.0.readable().await.unwrap().clear_ready();
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, request: Vec::new(), buffer: vec![0; 256 << 10] }
    }

    /// One request; false where it was not answered as it should be.
    pub async fn ask(&mut self, load: &Load) -> bool {
        self.request.clear();
        (load.request)(&mut self.request);
        match self.exchange().await {
            Ok(true) => true,
            _ => {
                *self = Client::connect(load.address).await;
                false
            }
        }
    }

    async fn exchange(&mut self) -> std::io::Result<bool> {
        self.stream.write_all(&self.request).await?;
        let mut read = 0;
        let head = loop {
            let count = self.stream.read(&mut self.buffer[read..]).await?;
            if count == 0 {
                return Ok(false);
            }
            read += count;
            if let Some(end) = self.buffer[..read].windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let Some(bytes) = content_length(&self.buffer[..head]) else { return Ok(false) };
        let is_good = self.buffer.starts_with(b"HTTP/1.1 200");
        let mut missing = (head + bytes).saturating_sub(read);
        while missing > 0 {
            let count = self.stream.read(&mut self.buffer).await?;
            if count == 0 {
                return Ok(false);
            }
            missing = missing.saturating_sub(count);
        }
        Ok(is_good)
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\r\ncontent-length: ";
    let at = head.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME))? + NAME.len();
    let digits = head[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

pub fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
