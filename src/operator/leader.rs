//! Leader election by Lease: client-go's algorithm.
//!
//! [`decide`] is pure. It measures how long *we* have seen a record unchanged, on our own monotonic clock, and never
//! compares a remote time with a local one: skewed clocks elect nobody and depose nobody.
//!
//! A claim ends [`Config::renew_deadline`] after the moment the last successful request was *sent*, which is before
//! anyone may take the lease ([`Config::lease_duration`] after they saw it). Every write asks [`Fence::holds`], so a
//! process that was frozen finds its claim expired when it wakes. A write already on its way carries uid and
//! resourceVersion, and loses against what the new leader wrote.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{Api, Client, api::PostParams};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

/// Who competes for which Lease, and at what pace.
#[derive(Clone, Debug)]
pub struct Config {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub lease: String,
    /// Name of this process, unique among the replicas (the pod's name).
    pub identity: String,
    /// How long the others wait after the last renewal they saw.
    pub lease_duration: Duration,
    /// How long a claim outlives the last successful renewal; less than `lease_duration`.
    pub renew_deadline: Duration,
    /// Pause between two attempts, and the longest that one request may take.
    pub retry_period: Duration,
}

impl Config {
    /// The usual pace: 15 s, 10 s, 2 s.
    pub fn new(namespace: impl Into<String>, lease: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            lease: lease.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let refuse = |why| Err(Error::Config(why));
        if self.identity.is_empty() {
            // An empty holder means "released".
            return refuse("the identity is empty");
        }
        if self.lease_duration.as_secs() < 1 || self.lease_duration.subsec_nanos() != 0 {
            return refuse("the lease duration is not in whole seconds, as a Lease has it");
        }
        if self.renew_deadline >= self.lease_duration {
            return refuse("the renew deadline is not below the lease duration");
        }
        if self.retry_period.is_zero() || self.retry_period * 2 > self.renew_deadline {
            return refuse("the retry period is not between zero and half the renew deadline");
        }
        Ok(())
    }
}

/// Why the election ended other than by shutdown. The process exits on any of them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Parameters that could elect two leaders, or none.
    #[error("leader election is misconfigured: {0}")]
    Config(&'static str),
    /// Somebody else holds the lease that was ours.
    #[error("leadership lost: the lease is held by {0:?}")]
    Taken(String),
    /// No renewal succeeded before the claim ran out.
    #[error("leadership lost: not renewed within {0:?}")]
    Expired(Duration),
}

/// What a Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty when released.
    pub holder: String,
    /// When the holder renewed it, by the holder's clock: compared for change only.
    pub renew_time: Option<Timestamp>,
    /// How long the holder asked the others to wait.
    pub duration: Duration,
}

impl Record {
    /// A Lease without a duration asks for `default`.
    fn read(lease: &Lease, default: Duration) -> Self {
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|s| s.lease_duration_seconds).and_then(|s| u64::try_from(s).ok());
        Self {
            holder: spec.and_then(|s| s.holder_identity.clone()).unwrap_or_default(),
            renew_time: spec.and_then(|s| s.renew_time.as_ref()).map(|time| time.0),
            duration: seconds.map_or(default, Duration::from_secs),
        }
    }
}

/// A record, and when we first saw it so.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What was read.
    pub record: Record,
    /// The moment after the request that first returned it: the holder wrote it before.
    pub seen_at: Instant,
}

impl Observed {
    /// Keeps `seen_at` while holder and renewal stand still: a label on the Lease is no sign of life.
    fn follow(previous: Option<Observed>, record: Record, read_at: Instant) -> Self {
        let seen_at = previous
            .filter(|old| old.record.holder == record.holder && old.record.renew_time == record.renew_time)
            .map_or(read_at, |old| old.seen_at);
        Self { record, seen_at }
    }
}

/// What to do with the Lease now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is none: create it.
    Create,
    /// It is ours: renew it.
    Renew,
    /// Nobody holds it any more: take it.
    Take(Vacancy),
    /// Somebody holds it: look again after this long.
    Wait(Duration),
}

/// Why a lease of another may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vacancy {
    /// The holder gave it back.
    Released,
    /// We saw no renewal for as long as the holder asked for.
    Expired,
}

/// The next step of `me`, given what was seen of the Lease.
pub fn decide(observed: Option<&Observed>, me: &str, now: Instant, retry_period: Duration) -> Step {
    let Some(Observed { record, seen_at }) = observed else { return Step::Create };
    if record.holder == me {
        return Step::Renew;
    }
    if record.holder.is_empty() {
        return Step::Take(Vacancy::Released);
    }
    let left = record.duration.saturating_sub(now.saturating_duration_since(*seen_at));
    if left.is_zero() { Step::Take(Vacancy::Expired) } else { Step::Wait(left.min(retry_period)) }
}

/// Until when this process leads, by its own monotonic clock; `None` when it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The first instant at which the claim no longer holds.
    pub until: Option<Instant>,
}

impl Claim {
    fn holds(self) -> bool {
        // std's clock, at each use: it ran on while the process was stopped.
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

/// Asked before every write; cheap to clone.
#[derive(Clone, Debug)]
pub struct Fence(watch::Receiver<Claim>);

impl Fence {
    /// For a process that has no rivals, such as a test: it always leads.
    pub fn alone() -> Self {
        let until = Instant::now().checked_add(Duration::from_secs(100 * 365 * 24 * 3600));
        Self(watch::channel(Claim { until }).1)
    }

    /// Whether this process leads at this instant.
    pub fn holds(&self) -> bool {
        self.0.borrow().holds()
    }

    /// Returns once this process leads; never, if the election ended before that.
    pub async fn acquired(&mut self) {
        if self.0.wait_for(|claim| claim.holds()).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Settings of the election's own client, whose calls must fail early: kube's retry sleeps far past a lease.
pub fn tune_client(mut kube: kube::Config, config: &Config) -> kube::Config {
    kube.default_retry = false;
    kube.connect_timeout = Some(config.retry_period);
    kube.write_timeout = Some(config.retry_period);
    kube
}

/// One candidate of the election.
pub struct Election {
    api: Api<Lease>,
    config: Config,
    claim: watch::Sender<Claim>,
    /// The Lease as last read or written; its resourceVersion guards the next write.
    lease: Option<Lease>,
    observed: Option<Observed>,
    stale: bool,
}

impl Election {
    /// A candidate, and the fence that tells whether it leads. Build the client from [`tune_client`].
    pub fn new(client: Client, config: Config) -> (Self, Fence) {
        let (claim, receiver) = watch::channel(Claim::default());
        let api = Api::namespaced(client, &config.namespace);
        (Self { api, config, claim, lease: None, observed: None, stale: true }, Fence(receiver))
    }

    /// Competes, then holds, until `cancel` fires or leadership is lost.
    ///
    /// Fire `cancel` after the writers have stopped: the lease is given back at once.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<(), Error> {
        self.config.check()?;
        let lost = tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            lost = self.compete() => Some(lost),
        };
        let led = self.claim.send_replace(Claim::default()).until.is_some();
        if let Some(lost) = lost {
            return Err(lost);
        }
        if led {
            match timeout(self.config.retry_period * 2, self.release()).await {
                Ok(Ok(())) => tracing::info!(lease = self.config.lease, "leadership released"),
                Ok(Err(error)) => tracing::warn!(%error, "lease not released: it will expire"),
                Err(_) => tracing::warn!("lease not released in time: it will expire"),
            }
        }
        Ok(())
    }

    /// Returns only by losing what it once held.
    async fn compete(&mut self) -> Error {
        let retry_period = self.config.retry_period;
        loop {
            let until = self.claim.borrow().until;
            if until.is_some_and(|until| until <= Instant::now()) {
                return Error::Expired(self.config.renew_deadline);
            }
            let pause = match timeout(left(until, retry_period), self.attempt(until.is_some())).await {
                Ok(Ok(Step::Wait(_) | Step::Take(_))) if until.is_some() => {
                    return Error::Taken(self.holder());
                }
                Ok(Ok(Step::Wait(pause))) => pause,
                Ok(Ok(step)) => {
                    if until.is_none() {
                        tracing::info!(
                            lease = self.config.lease,
                            identity = self.config.identity,
                            ?step,
                            "leading"
                        );
                    }
                    retry_period
                }
                Ok(Err(error)) => {
                    // An answer's own words: all of it would fill the line.
                    let error = match error {
                        kube::Error::Api(status) => status.message,
                        other => other.to_string(),
                    };
                    tracing::warn!(lease = self.config.lease, error, "lease request failed");
                    retry_period
                }
                Err(_) => {
                    tracing::warn!(lease = self.config.lease, "lease request timed out");
                    retry_period
                }
            };
            // Bound to a name, or its lock would be held while waiting.
            let until = self.claim.borrow().until;
            tokio::time::sleep(left(until, pause)).await;
        }
    }

    /// At most one read, one decision, at most one write. `held`: a lease that went through other hands since is
    /// not taken back, for what those hands did is unknown here.
    async fn attempt(&mut self, held: bool) -> Result<Step, kube::Error> {
        // Stale until a write succeeds: a request that failed or was dropped may have landed.
        if std::mem::replace(&mut self.stale, true) {
            let lease = self.api.get_opt(&self.config.lease).await?;
            self.see(lease);
        }
        // The claim counts from here, and the others count from when they see what we write.
        let sent = Instant::now();
        let step = decide(self.observed.as_ref(), &self.config.identity, sent, self.config.retry_period);
        if matches!(step, Step::Wait(_)) || (held && matches!(step, Step::Take(_))) {
            return Ok(step);
        }
        let wanted = claim(self.lease.as_ref(), &self.config, step, Timestamp::now());
        let params = writer();
        let written = match step {
            Step::Create => self.api.create(&params, &wanted).await?,
            _ => self.api.replace(&self.config.lease, &params, &wanted).await?,
        };
        self.see(Some(written));
        self.stale = false;
        self.claim.send_replace(Claim { until: Some(sent + self.config.renew_deadline) });
        Ok(step)
    }

    fn see(&mut self, lease: Option<Lease>) {
        let record = lease.as_ref().map(|lease| Record::read(lease, self.config.lease_duration));
        self.observed = record.map(|record| Observed::follow(self.observed.take(), record, Instant::now()));
        self.lease = lease;
    }

    fn holder(&self) -> String {
        self.observed.as_ref().map(|o| o.record.holder.clone()).unwrap_or_default()
    }

    /// Gives the lease back, if it is still ours.
    async fn release(&mut self) -> Result<(), kube::Error> {
        // Read first: a renewal that was cut short may have landed.
        let lease = self.api.get_opt(&self.config.lease).await?;
        self.see(lease);
        if let Some(lease) = self.lease.as_ref().filter(|_| self.holder() == self.config.identity) {
            self.api.replace(&self.config.lease, &writer(), &vacate(lease, Timestamp::now())).await?;
        }
        Ok(())
    }
}

fn writer() -> PostParams {
    PostParams { field_manager: Some("visiobook-operator/leader".into()), ..PostParams::default() }
}

/// `pause`, cut at the end of the claim.
fn left(until: Option<Instant>, pause: Duration) -> Duration {
    until.map_or(pause, |until| until.saturating_duration_since(Instant::now()).min(pause))
}

/// The Lease as this candidate wants it; keeps what it does not own, such as labels and the resourceVersion.
fn claim(lease: Option<&Lease>, config: &Config, step: Step, now: Timestamp) -> Lease {
    let mut lease = lease.cloned().unwrap_or_default();
    lease.metadata.name = Some(config.lease.clone());
    let spec = lease.spec.get_or_insert_default();
    if step != Step::Renew {
        spec.acquire_time = Some(MicroTime(now));
    }
    if matches!(step, Step::Take(_)) {
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
    }
    spec.holder_identity = Some(config.identity.clone());
    spec.lease_duration_seconds = i32::try_from(config.lease_duration.as_secs()).ok();
    spec.renew_time = Some(MicroTime(now));
    lease
}

/// The Lease without a holder, so that the next candidate need not wait.
fn vacate(lease: &Lease, now: Timestamp) -> Lease {
    let mut lease = lease.clone();
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = None;
    // The API allows no zero.
    spec.lease_duration_seconds = Some(1);
    spec.renew_time = Some(MicroTime(now));
    lease
}

#[cfg(test)]
mod tests;
