//! Whether what the service depends on answers: asked in the background, each on its own schedule, and read from
//! memory by whoever wants to know (D06, D07, D09, H11, G14).

pub mod postgres;
pub mod probe;
pub mod target;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::contract::settings::{Dependency, DependencyKind, Migrations, Settings};
use crate::sidecar::fetch::Fetch;
use probe::{Answered, Probe};
use target::{AUTHORITIES_VARIABLE, Located, locate, seconds};

/// Seconds between two checks (H11).
const INTERVAL: u64 = 30;
/// Seconds between two checks while it fails, or while migrations are awaited.
const FAILING: Duration = Duration::from_secs(5);
/// Seconds that a dependency has to answer (D07).
const TIMEOUT: u64 = 5;
/// Seconds that one has that readiness waits for (D09).
const CRITICAL_TIMEOUT: u64 = 3;
/// What is told before the first answer.
const UNASKED: &str = "not checked yet";

/// How a dependency was found last.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Whether it answers.
    pub healthy: bool,
    /// Since when that is so.
    pub since: Timestamp,
    /// Why it does not; without passwords.
    pub error: Option<String>,
}

/// Something the service depends on, with what is known of it.
pub struct Watched {
    name: String,
    kind: DependencyKind,
    critical: bool,
    interval: Duration,
    within: Duration,
    located: Located,
    state: ArcSwap<State>,
}

impl Watched {
    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is spoken to.
    pub fn kind(&self) -> DependencyKind {
        self.kind
    }

    /// Whether /ready waits for it (D09).
    pub fn critical(&self) -> bool {
        self.critical
    }

    /// How it was found last. Before the first answer it is unhealthy: nobody knows better.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    fn new(setting: &Dependency, located: Located) -> Watched {
        let timeout = if setting.critical { CRITICAL_TIMEOUT } else { TIMEOUT };
        let state = State { healthy: false, since: Timestamp::now(), error: Some(UNASKED.into()) };
        Watched {
            name: setting.name.clone(),
            kind: setting.kind,
            critical: setting.critical,
            interval: seconds(setting.interval_seconds, INTERVAL),
            within: seconds(setting.timeout_seconds, timeout),
            located,
            state: ArcSwap::from_pointee(state),
        }
    }

    /// Keep what was found, and tell it where it is something new (D23).
    fn note(&self, answer: Result<Option<u16>, String>, took: Duration) {
        let before = self.state.load();
        let is_first = before.error.as_deref() == Some(UNASKED);
        let error = answer.as_ref().err().map(|error| self.located.redact(error));
        let healthy = error.is_none();
        let since = if before.healthy == healthy && !is_first { before.since } else { Timestamp::now() };
        if before.healthy != healthy || is_first {
            self.tell(healthy, answer.ok().flatten(), error.as_deref(), took);
        }
        self.state.store(Arc::new(State { healthy, since, error }));
    }

    fn tell(&self, success: bool, status_code: Option<u16>, error: Option<&str>, took: Duration) {
        let external_service = self.name.as_str();
        let endpoint = self.located.endpoint.as_str();
        let response_time = took.as_secs_f64() * 1000.0;
        if success {
            tracing::info!(
                external_service,
                endpoint,
                response_time,
                success,
                status_code,
                "External service call"
            );
        } else {
            tracing::warn!(
                external_service,
                endpoint,
                response_time,
                success,
                error,
                "External service call"
            );
        }
    }
}

/// Everything the service depends on.
pub struct Dependencies {
    watched: Vec<Watched>,
    fetch: Fetch,
    migrations: Option<Awaited>,
}

/// Migrations that readiness waits for, once (D11). One that starts later is the next release's, on the same database:
/// it must not take what serves now out of service.
struct Awaited {
    migrations: Migrations,
    /// Which of the watched is the database.
    database: Option<usize>,
    /// Why they are not done; none: they are.
    error: ArcSwap<Option<String>>,
}

impl Dependencies {
    /// What `settings` name, where the environment's variables say that they are (`lookup`).
    pub fn new(settings: &Settings, lookup: &dyn Fn(&str) -> Option<String>) -> Dependencies {
        let trusted = settings.trusted_certificates.as_deref();
        let lookup = |name: &str| match trusted {
            Some(file) if name == AUTHORITIES_VARIABLE => Some(file.to_owned()),
            _ => lookup(name),
        };
        let watched: Vec<Watched> = settings
            .dependencies
            .iter()
            .filter_map(|setting| Some(Watched::new(setting, locate(setting, &settings.service, &lookup)?)))
            .collect();
        let migrations = settings.migrations.map(|migrations| Awaited {
            migrations,
            database: watched.iter().position(|one| one.kind == DependencyKind::Postgres),
            error: ArcSwap::from_pointee(Some(UNASKED.into())),
        });
        Dependencies { watched, fetch: Fetch::trusting(trusted), migrations }
    }

    /// All of them, as they were found last.
    pub fn iter(&self) -> impl Iterator<Item = &Watched> {
        self.watched.iter()
    }

    /// Whether the migrations are done, or why not (`checks.database_migrations`).
    pub fn migrated(&self) -> Result<(), String> {
        let Some(awaited) = &self.migrations else { return Ok(()) };
        let Some(database) = awaited.database.and_then(|index| self.watched.get(index)) else {
            return Err("migrations: there is no database to look at: set its URL's variable".into());
        };
        if !database.state.load().healthy {
            return Err(format!("migrations: {} does not answer", database.name));
        }
        match &**awaited.error.load() {
            None => Ok(()),
            Some(error) => Err(format!("migrations: {error}")),
        }
    }

    /// Ask all of them, in parallel and for ever.
    pub async fn run(&self) {
        let loops = self.watched.iter().enumerate().map(|(index, watched)| self.watch(index, watched));
        futures::future::join_all(loops).await;
    }

    async fn watch(&self, index: usize, watched: &Watched) {
        let mut probe = Probe::new(watched.located.target.clone(), &self.fetch);
        let awaited = self.migrations.as_ref().filter(|awaited| awaited.database == Some(index));
        loop {
            let waiting = awaited.filter(|awaited| awaited.error.load().is_some());
            let started = Instant::now();
            let question = probe.ask(watched.within, waiting.map(|awaited| awaited.migrations));
            let answer = match tokio::time::timeout(watched.within, question).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {} s", watched.within.as_secs_f64())),
            };
            let answer = answer.map(|Answered { status_code, migrated }| {
                if let (Some(awaited), Some(migrated)) = (waiting, migrated) {
                    awaited.error.store(Arc::new(migrated.err().map(|error| watched.located.redact(&error))));
                }
                status_code
            });
            watched.note(answer, started.elapsed());
            let settled =
                watched.state.load().healthy && awaited.is_none_or(|awaited| awaited.error.load().is_none());
            let pause = if settled { watched.interval } else { watched.interval.min(FAILING) };
            tokio::time::sleep(jittered(pause, random())).await;
        }
    }
}

/// `pause`, a tenth longer or shorter at most: a thousand pods do not ask at once.
fn jittered(pause: Duration, random: u64) -> Duration {
    let part = (random % 2001) as f64 / 10_000.0;
    pause.mul_f64(0.9 + part)
}

/// What differs from call to call; no secret hangs on it.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests;
