//! Whether the application answers: looked at in the background, read from memory by `/alive` and `/health`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderMap;
use jiff::Timestamp;
use tokio::net::TcpStream;

use crate::contract::settings::Application;
use crate::sidecar::fetch::Fetch;

/// Between two looks at an application that answers.
const ALIVE: Duration = Duration::from_secs(5);
/// Between two looks at one that does not.
const FAILING: Duration = Duration::from_secs(1);
/// Between two looks at one that has not answered yet.
const STARTING: Duration = Duration::from_millis(100);
/// What it has to answer in.
const WITHIN: Duration = Duration::from_secs(2);

/// How the application was found last.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Why it does not answer; none: it does.
    pub error: Option<String>,
    /// Since when that is so.
    pub since: Timestamp,
    /// Whether it ever answered.
    pub started: bool,
}

/// Looks at the application, and remembers.
pub struct Liveness {
    port: u16,
    /// Whether there is nothing to ask: then whether it lives is the kubelet's to know.
    worker: bool,
    /// Where a path of its own is asked.
    asked: Option<(Fetch, String)>,
    state: ArcSwap<State>,
}

impl Liveness {
    /// For the application that `settings` describe.
    pub fn new(settings: &Application) -> Liveness {
        let asked = settings.health_path.as_ref().map(|path| {
            let url = format!("http://127.0.0.1:{}/{}", settings.port, path.trim_start_matches('/'));
            (Fetch::speaking(settings.protocol), url)
        });
        let worker = settings.worker;
        let error = format!("the application has not answered on port {} yet", settings.port);
        let state = State { error: (!worker).then_some(error), since: Timestamp::now(), started: worker };
        Liveness { port: settings.port, worker, asked, state: ArcSwap::from_pointee(state) }
    }

    /// How it was found last.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Look for ever; each look is told to `record` with the time that it stands for.
    pub async fn run(&self, record: impl Fn(bool, Duration)) {
        let mut last = Instant::now();
        loop {
            let answer = self.look().await;
            record(answer.is_ok(), last.elapsed());
            last = Instant::now();
            let pause = self.note(answer);
            tokio::time::sleep(pause).await;
        }
    }

    async fn look(&self) -> Result<(), String> {
        if self.worker {
            return Ok(());
        }
        let Some((fetch, url)) = &self.asked else {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
            return match tokio::time::timeout(WITHIN, TcpStream::connect(address)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => {
                    Err(format!("the application does not take connections on port {}: {error}", self.port))
                }
                Err(_) => {
                    Err(format!("the application takes no connection on port {} within 2 s", self.port))
                }
            };
        };
        match fetch.get(url, HeaderMap::new(), WITHIN).await {
            // As the kubelet reads an answer.
            Ok((status, _)) if status.is_success() || status.is_redirection() => Ok(()),
            Ok((status, _)) => Err(format!("the application answered {} to GET {url}", status.as_u16())),
            Err(error) => Err(format!("the application did not answer GET {url}: {error}")),
        }
    }

    /// Remember, tell what is new, and say when to look again.
    fn note(&self, answer: Result<(), String>) -> Duration {
        let before = self.state.load();
        let alive = answer.is_ok();
        let has_changed = alive != before.error.is_none();
        match &answer {
            Ok(()) if has_changed => tracing::info!(port = self.port, "the application answers"),
            Err(error) if has_changed => {
                tracing::warn!(port = self.port, error, "the application does not answer")
            }
            _ => {}
        }
        let started = before.started || alive;
        let since = if has_changed { Timestamp::now() } else { before.since };
        self.state.store(Arc::new(State { error: answer.err(), since, started }));
        match (alive, started) {
            (true, _) => ALIVE,
            (false, true) => FAILING,
            (false, false) => STARTING,
        }
    }
}

#[cfg(test)]
mod tests;
