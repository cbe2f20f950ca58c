//! Jobs of releases: what became of those that ran, which one is to run, and which stay.

use std::collections::{BTreeMap, BTreeSet};

use super::release::time;
use super::{Wanted, recall};
use crate::api::{PastJob, Phase, RolloutStatus, names};
use crate::check::Serving;
use crate::facts::{ContainerFact, Facts, JobFact, Spot, ending, trouble};

/// Longest word of a Job that is recorded, in characters.
const LONGEST: usize = 500;
/// Seconds that the pods of a Job may take to start before anybody asks.
const FIRST: i64 = 10;
/// Seconds from one look to the next.
const PAUSE: i64 = 15;

/// What is to become of Jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Jobs {
    /// The one that is to run.
    pub run: Option<Run>,
    /// The revision whose pods wait for its migration, where it is not on its way to the other colour.
    pub waiting: Option<Wanted>,
    /// Stored revisions whose migrations have ended, with what stood around their pods: that is recorded on them.
    pub ended: Vec<(Wanted, Option<Serving>)>,
    /// Jobs that stay though none is to run, by name.
    pub kept: Vec<String>,
}

/// A Job that is to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// What it is for.
    pub phase: Phase,
    /// The attempt that it is run for.
    pub attempt: String,
    /// The revision that it is run for.
    pub revision: Wanted,
}

/// What a Job comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There is none.
    Missing,
    /// It runs; why it does not get on, and when to look again, in Unix seconds.
    Runs(Option<String>, i64),
    /// It has ended.
    Ended(PastJob),
}

/// What is seen of Jobs.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Those that exist.
    pub jobs: &'a [JobFact],
    /// What became of the migrations of revisions, as is recorded.
    pub recorded: &'a BTreeMap<String, PastJob>,
    /// Containers that were looked at.
    pub looked: &'a BTreeMap<Spot, Vec<ContainerFact>>,
    /// The time, in Unix seconds.
    pub now: i64,
}

impl<'a> Seen<'a> {
    /// What one pass saw.
    pub fn of(facts: &'a Facts) -> Seen<'a> {
        Seen { jobs: &facts.jobs, recorded: &facts.migrations, looked: &facts.looked, now: facts.now }
    }

    /// What the Job of an attempt comes to.
    pub fn state(&self, phase: Phase, attempt: &str) -> State {
        let Some(job) = self.find(phase, attempt) else { return State::Missing };
        match self.past(job) {
            Some(past) => State::Ended(past),
            None => {
                let next = if job.ready { job.deadline } else { (self.now + PAUSE).min(job.deadline) };
                State::Runs(self.containers(job).and_then(trouble), next.max(self.now + 1))
            }
        }
    }

    /// Pods of the Job of an attempt that have to be looked at: it has ended, or does not get on.
    pub fn spot(&self, phase: Phase, attempt: &str) -> Option<Spot> {
        let job = self.find(phase, attempt)?;
        let asks = self.past(job).is_some() || !job.ready && self.now >= job.made + FIRST;
        let spot = Spot::Job(job.name.clone());
        (asks && !self.looked.contains_key(&spot)).then_some(spot)
    }

    /// What became of the migration of a revision: one that succeeded counts for ever, else the last one that ended.
    pub fn migration(&self, revision: &str) -> Option<PastJob> {
        let number = |past: &PastJob| number(&past.attempt);
        let ran = self.jobs.iter().filter(|job| job.phase == Phase::Migration && job.revision == revision);
        let ran = ran.filter_map(|job| self.past(job));
        let recorded = self.recorded.get(revision).cloned();
        // What is recorded counts before what is seen of the same attempt: its words stay.
        recorded.into_iter().chain(ran).reduce(|best, other| {
            let better = other.succeeded && !best.succeeded
                || other.succeeded == best.succeeded && number(&other) > number(&best);
            if better { other } else { best }
        })
    }

    /// A migration of another attempt that still runs: two at once could hinder each other.
    pub fn beside(&self, attempt: &str) -> Option<&'a JobFact> {
        let is_other = |job: &&JobFact| job.phase == Phase::Migration && job.attempt != attempt;
        self.jobs.iter().filter(is_other).find(|job| self.past(job).is_none())
    }

    /// Migrations that have ended, by revision, where that is not recorded yet.
    pub fn unrecorded(&self) -> BTreeMap<String, PastJob> {
        let revisions: BTreeSet<&String> = self.jobs.iter().map(|job| &job.revision).collect();
        let ended = |revision: &String| {
            let past = self.migration(revision)?;
            let is_known = self
                .recorded
                .get(revision)
                .is_some_and(|known| known.attempt == past.attempt && known.succeeded == past.succeeded);
            (!is_known).then(|| (revision.clone(), past))
        };
        revisions.into_iter().filter_map(ended).collect()
    }

    /// Jobs that stay though none is to run, by name: a migration that was begun, for stopped half-way it could leave
    /// anything behind; and what failed for this attempt or this revision, for whoever wants to read its log.
    pub fn kept(&self, attempt: Option<&str>, revision: Option<&str>) -> Vec<String> {
        let is_current =
            |job: &JobFact| attempt == Some(job.attempt.as_str()) || revision == Some(job.revision.as_str());
        let stays = |job: &&JobFact| match &job.end {
            None => job.phase == Phase::Migration && self.past(job).is_none(),
            Some(end) => !end.succeeded && is_current(job),
        };
        self.jobs.iter().filter(stays).map(|job| job.name.clone()).collect()
    }

    fn find(&self, phase: Phase, attempt: &str) -> Option<&'a JobFact> {
        self.jobs.iter().find(|job| job.phase == phase && job.attempt == attempt)
    }

    fn containers(&self, job: &JobFact) -> Option<&'a [ContainerFact]> {
        self.looked.get(&Spot::Job(job.name.clone())).map(Vec::as_slice)
    }

    /// How a Job ended; `None` while it runs in time.
    fn past(&self, job: &JobFact) -> Option<PastJob> {
        let containers = self.containers(job).unwrap_or_default();
        let why = trouble(containers);
        let (succeeded, message) = match &job.end {
            Some(end) if end.succeeded => {
                let said = containers.iter().find(|container| container.name == "conformance");
                (true, said.and_then(|container| container.said.as_deref()).map(ending).unwrap_or_default())
            }
            Some(end) => (false, why.unwrap_or_else(|| end.message.clone())),
            // Its pod has done its work, and the Job is about to say so.
            None if !containers.is_empty() && containers.iter().all(|it| it.ended == Some(0)) => return None,
            None if self.now >= job.deadline => {
                let late = format!("it did not end within {} s", job.deadline - job.made);
                (false, why.map_or(late.clone(), |why| format!("{late}; {why}")))
            }
            None => return None,
        };
        Some(PastJob {
            phase: job.phase,
            attempt: job.attempt.clone(),
            succeeded,
            message: message.chars().take(LONGEST).collect(),
            ended: Some(time(self.now)),
        })
    }
}

fn number(attempt: &str) -> i64 {
    attempt.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}

/// Whether a revision has a migration that has not succeeded yet. Pods of it would not run if it had not.
pub fn migrates(wanted: &Wanted, facts: &Facts) -> bool {
    let runs = facts.deployments.values().any(|deployment| deployment.revision == wanted.hash);
    let done = || Seen::of(facts).migration(&wanted.hash).is_some_and(|past| past.succeeded);
    wanted.shape.migration.is_some() && !runs && !done()
}

/// What holds the pods of a revision back that replaces another in place, or is the first.
pub struct Held {
    /// The migration that is to run, if any: one that failed is not tried again unless somebody asks for it.
    pub run: Option<Run>,
    /// Whether nothing goes on by itself.
    pub failed: bool,
    /// Whether it has begun.
    pub runs: bool,
    /// Why, for people.
    pub why: String,
    /// Pods to look at.
    pub spot: Option<Spot>,
    /// When to look again, in Unix seconds.
    pub wake_at: Option<i64>,
}

/// Whether the pods of a revision have to wait for its migration.
pub fn hold(wanted: &Wanted, facts: &Facts) -> Option<Held> {
    if !migrates(wanted, facts) {
        return None;
    }
    let seen = Seen::of(facts);
    let (revision, failed) = (&wanted.hash, seen.migration(&wanted.hash));
    let attempt = match &failed {
        None => format!("{revision}-1"),
        Some(past) if facts.orders.retry.as_ref() == Some(&past.attempt) => {
            format!("{revision}-{}", number(&past.attempt) + 1)
        }
        Some(past) => {
            let why = format!(
                "the migration of revision {revision} failed: {}; change the resource, or set {} to {}",
                past.message,
                names::RETRY,
                past.attempt
            );
            let is_recorded = facts.migrations.get(revision).is_some_and(|old| old.attempt == past.attempt);
            let spot = seen.spot(Phase::Migration, &past.attempt).filter(|_| !is_recorded);
            return Some(Held { run: None, failed: true, runs: false, why, spot, wake_at: None });
        }
    };
    let run = Run { phase: Phase::Migration, attempt: attempt.clone(), revision: wanted.clone() };
    let spot = seen.spot(Phase::Migration, &attempt);
    let state = seen.state(Phase::Migration, &attempt);
    let runs = matches!(state, State::Runs(..));
    let held = |run, why, wake_at| Some(Held { run, failed: false, runs, why, spot, wake_at });
    match (state, seen.beside(&attempt)) {
        (State::Missing, Some(other)) => {
            let why = format!(
                "revision {revision} waits for the migration of revision {}, which still runs",
                other.revision
            );
            held(None, why, Some(other.deadline.max(facts.now + 1)))
        }
        (State::Runs(why, wake_at), _) => {
            held(Some(run), told(&format!("the migration of revision {revision} runs"), why), Some(wake_at))
        }
        // One that has ended is no reason to be held.
        _ => held(Some(run), format!("the migration of revision {revision} starts"), Some(facts.now + FIRST)),
    }
}

/// What is waited for, and why that does not get on.
pub fn told(what: &str, why: Option<String>) -> String {
    why.map_or_else(|| what.to_string(), |why| format!("{what}; {why}"))
}

/// What is to be recorded of migrations, and which Jobs stay.
pub fn settle(jobs: &mut Jobs, facts: &Facts, release: Option<&RolloutStatus>) {
    let seen = Seen::of(facts);
    let stored = |revision: &str| recall(revision, facts).ok().flatten();
    jobs.ended = seen.unrecorded().into_keys().filter_map(|revision| stored(&revision)).collect();
    let attempt = release.and_then(|release| release.attempt.as_deref());
    jobs.kept = seen.kept(attempt, jobs.waiting.as_ref().map(|waiting| waiting.hash.as_str()));
}
