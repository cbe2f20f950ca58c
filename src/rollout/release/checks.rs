//! What has to have been done before a release goes on: a migration before its pods start, and checks on either side of
//! the switch. Each is a Job of the attempt, whose outcome is recorded before it is taken away.

use super::Walk;
use super::attempt::seconds;
use crate::api::{PastJob, Phase, ReleaseState};
use crate::check::{Checked, Release};
use crate::facts::{Spot, trouble};
use crate::rollout::jobs::{State, told};

/// Seconds that pods of a new revision may take before anybody asks why they are not ready.
const PATIENCE: i64 = 20;
/// Seconds from one look to the next.
const PAUSE: i64 = 15;
/// Seconds before a Service is checked whose endpoints have just changed, for every node to follow: until then requests
/// reach nobody at the preview, and after the switch the colour before, whose answers would be held against the new one.
pub(super) const ARRIVAL: i64 = 10;

/// Whether it was done; `None` while it has to be, with what is waited for as the reason.
pub(super) type Done = Option<Result<(), String>>;

impl Walk<'_> {
    /// Whether the Jobs before the switch have done what the state of the release needs. The check is asked for again
    /// when traffic may move: it may have been asked for meanwhile, or lost with the record.
    pub(super) fn is_prepared(&mut self, revision: &str, settings: &Release) -> Done {
        match self.record.state {
            ReleaseState::Deploying => self.is_migrated(revision),
            ReleaseState::AwaitingApproval => Some(Ok(())),
            _ => self.is_checked(Phase::Preview, settings),
        }
    }

    /// Whether the migration of a revision has succeeded, where it has one.
    fn is_migrated(&mut self, revision: &str) -> Done {
        if self.takes_back() || !(self.scene.migrates)(revision) {
            return Some(Ok(()));
        }
        let attempt = self.record.attempt.clone()?;
        if let Some(past) = self.scene.jobs.migration(revision)
            && (past.succeeded || past.attempt == attempt)
        {
            self.spots.extend(self.scene.jobs.spot(Phase::Migration, &attempt));
            return self.note(past);
        }
        if let Some(other) = self.scene.jobs.beside(&attempt) {
            self.record.reason =
                format!("waits for the migration of revision {}, which still runs", other.revision);
            self.wake(other.deadline.max(self.scene.now + 1));
            return None;
        }
        self.ask(Phase::Migration)
    }

    /// Whether a check has passed, where there is one. What is brought back was checked when it was released.
    pub(super) fn is_checked(&mut self, phase: Phase, settings: &Release) -> Done {
        // Where no pod is wanted nobody answers, and nobody asks.
        let checked = |checks: &Checked| phase != Phase::Preview || checks.before_switch();
        if !settings.checks.as_deref().is_some_and(checked) || self.takes_back() || self.needed() == 0 {
            return Some(Ok(()));
        }
        self.ask(phase)
    }

    /// What became of a Job of this attempt: as is recorded, else as is seen. One that is not there is to run.
    fn ask(&mut self, phase: Phase) -> Done {
        let Some(attempt) = self.record.attempt.clone() else { return Some(Ok(())) };
        let recorded = self.record.jobs.iter().find(|past| past.phase == phase && past.attempt == attempt);
        if let Some(past) = recorded.cloned() {
            return self.note(past);
        }
        self.spots.extend(self.scene.jobs.spot(phase, &attempt));
        match self.scene.jobs.state(phase, &attempt) {
            State::Ended(past) => self.note(past),
            State::Runs(why, wake_at) => {
                self.record.reason = told(&format!("{} runs", phase.title()), why);
                self.wake(wake_at);
                self.run = Some((phase, attempt));
                None
            }
            State::Missing if phase != Phase::Migration && self.scene.now < self.arrived() => {
                self.record.reason = format!("{} starts once all nodes have followed", phase.title());
                self.wake(self.arrived());
                None
            }
            State::Missing => {
                self.record.reason = format!("{} starts", phase.title());
                self.wake(self.scene.now + PAUSE);
                self.run = Some((phase, attempt));
                None
            }
        }
    }

    /// When what reaches a Service reaches the revision that it leads to since the state began.
    fn arrived(&self) -> i64 {
        self.record.since.as_ref().map_or(self.scene.now, seconds) + ARRIVAL
    }

    /// Record what became of a Job.
    fn note(&mut self, past: PastJob) -> Done {
        let outcome = match past.succeeded {
            true => Ok(()),
            false => Err(format!("{} failed: {}", past.phase.title(), past.message)),
        };
        let is_known = |known: &PastJob| known.phase == past.phase;
        if !self.record.jobs.iter().any(is_known) {
            self.record.jobs.push(past);
        }
        Some(outcome)
    }

    /// The Job that is to run, in the state that was come to.
    pub(super) fn due(&self) -> Option<Phase> {
        let asked = self.run.as_ref().filter(|(_, attempt)| self.record.attempt.as_ref() == Some(attempt));
        asked.map(|(phase, _)| *phase).filter(|phase| match phase {
            Phase::Migration => self.record.state == ReleaseState::Deploying,
            Phase::Preview => {
                matches!(self.record.state, ReleaseState::Verifying | ReleaseState::Switching)
            }
            Phase::Live => self.record.state == ReleaseState::Soaking,
        })
    }

    /// Whether pods may start in the colour that does not serve: not before the migration of their revision.
    pub(super) fn starts(&self) -> bool {
        let waits = |revision: &str| {
            (self.scene.migrates)(revision)
                && !self.takes_back()
                && !self.scene.jobs.migration(revision).is_some_and(|past| past.succeeded)
        };
        !self.record.state.is_before_switch() || !self.record.attempted().is_some_and(waits)
    }

    /// Whether the attempt brings back what served before.
    fn takes_back(&self) -> bool {
        let rejected = self.record.rejected_revision.as_ref();
        self.is_undo()
            || self.record.state == ReleaseState::Soaking
                && rejected.is_some()
                && rejected == self.record.previous_revision.as_ref()
    }

    /// Add to the reason why the pods of the new revision are not ready, once they have had time.
    pub(super) fn ask_why(&mut self, problem: Option<String>) {
        let now = self.scene.now;
        let since =
            self.record.jobs.first().and_then(|past| past.ended.as_ref()).or(self.record.started.as_ref());
        let patient = since.map_or(now, seconds) + PATIENCE;
        let spot = Spot::Colour(self.record.colour.other());
        if now < patient && problem.is_none() {
            self.wake(patient);
            return;
        }
        let looked = self.scene.jobs.looked.get(&spot);
        if looked.is_none() {
            self.spots.insert(spot);
        }
        let why = problem.or_else(|| looked.and_then(|containers| trouble(containers)));
        self.record.reason = told(&self.record.reason, why);
        self.wake(now + PAUSE);
    }
}
