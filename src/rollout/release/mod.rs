//! Blue-green: one step of a release. What was recorded and what is seen in; what is to be recorded out.
//!
//! The record is written to the Service together with its selector, in one write on the version that was seen. So
//! there is no moment at which the two differ by our doing, and a step that could not be written was never taken.

mod after_switch;
mod attempt;
mod before_switch;
mod checks;
mod freeze;
mod recover;

use std::collections::{BTreeMap, BTreeSet};

pub use attempt::time;
pub use freeze::way_out;
pub use recover::{first, recover};

use super::jobs::Seen;
use crate::api::names::{self, Colour};
use crate::api::{Asked, Outcome, Phase, ReleaseState, RolloutStatus};
use crate::check::{Frozen, Release};
use crate::facts::{DeploymentFact, EndpointFact, Orders, Spot};
use attempt::{begin, clamp};

/// Most states that one step passes through.
const PASSED: usize = 8;

/// What a step looks at.
pub struct Scene<'a> {
    /// The time, in Unix seconds.
    pub now: i64,
    /// Revision that the resource asks for; `None` while it is refused or waits for secrets.
    pub asked: Option<&'a str>,
    /// How it is released; `None` where pods are replaced one by one.
    pub settings: Option<&'a Release>,
    /// Why what is on its way is itself no longer allowed, where it is not.
    pub outlawed: Option<&'a str>,
    /// The freeze of the environment that holds now.
    pub frozen: Option<&'a Frozen>,
    /// What people have ordered.
    pub orders: &'a Orders,
    /// Deployments that exist.
    pub deployments: &'a BTreeMap<Colour, DeploymentFact>,
    /// Pods that are wanted, if anybody said.
    pub wanted: Option<i32>,
    /// Pods that are ready behind the two Services, looked at just now; `None` if they were not.
    pub endpoints: Option<&'a [EndpointFact]>,
    /// Whether what was rendered of a revision is still stored.
    pub is_stored: &'a dyn Fn(&str) -> bool,
    /// What is seen of Jobs.
    pub jobs: Seen<'a>,
    /// Whether a revision has a migration, and nothing of it has run yet.
    pub migrates: &'a dyn Fn(&str) -> bool,
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is to be recorded.
    pub record: RolloutStatus,
    /// Whether it cannot be decided without a look at the endpoints.
    pub look: bool,
    /// Whether an attempt does not begin because of a freeze.
    pub frozen: bool,
    /// When to look again though nothing has changed, in Unix seconds.
    pub wake_at: Option<i64>,
    /// The states that it passed through, from the one that was recorded.
    pub passed: Vec<ReleaseState>,
    /// The Job that is to run for the attempt.
    pub run: Option<Phase>,
    /// Pods that have to be looked at to say why they do not get on.
    pub spots: BTreeSet<Spot>,
    /// Whether pods may start in the colour that does not serve.
    pub starts: bool,
}

/// Revision that is to stand in the colour that does not serve.
pub fn other(record: &RolloutStatus) -> Option<&str> {
    match record.state {
        ReleaseState::Stable => None,
        ReleaseState::Soaking | ReleaseState::Retiring => record.previous_revision.as_deref(),
        _ => record.attempted(),
    }
}

/// Whether somebody has the last attempt tried again.
pub fn is_retried(record: &RolloutStatus, orders: &Orders) -> bool {
    orders.retry.is_some() && orders.retry == record.attempt
}

/// Whether a release of this revision would begin.
pub fn would_begin(record: &RolloutStatus, asked: &str, orders: &Orders) -> bool {
    let kept = match record.attempted().filter(|_| record.state.is_before_switch()) {
        Some(attempted) => attempted,
        None => &record.revision,
    };
    record.state != ReleaseState::Soaking
        && asked != kept
        && (is_retried(record, orders) || record.rejected_revision.as_deref() != Some(asked))
}

/// What happens next.
pub fn advance(before: &RolloutStatus, scene: &Scene<'_>) -> Step {
    let mut step = Walk {
        scene,
        record: clamp(before.clone(), scene.now),
        look: false,
        frozen: false,
        wake_at: None,
        run: None,
        spots: BTreeSet::new(),
    };
    let mut passed = vec![step.record.state];
    for _ in 0..PASSED {
        let goes_on = step.walk();
        if passed.last() != Some(&step.record.state) {
            passed.push(step.record.state);
        }
        if !goes_on {
            break;
        }
    }
    step.forget();
    step.note_asked();
    step.record.preview_revision = other(&step.record).map(str::to_string);
    let (run, starts) = (step.due(), step.starts());
    Step {
        record: step.record,
        look: step.look,
        frozen: step.frozen,
        wake_at: step.wake_at,
        passed,
        run,
        spots: step.spots,
        starts,
    }
}

struct Walk<'a> {
    scene: &'a Scene<'a>,
    record: RolloutStatus,
    look: bool,
    frozen: bool,
    wake_at: Option<i64>,
    run: Option<(Phase, String)>,
    spots: BTreeSet<Spot>,
}

impl Walk<'_> {
    /// Go one state further, if it can be done now. Where an attempt begins or traffic moves, that is written first.
    fn walk(&mut self) -> bool {
        self.forget();
        match self.record.state {
            ReleaseState::Stable => self.stable(),
            ReleaseState::Soaking => self.soaking(),
            ReleaseState::Retiring => self.retiring(),
            _ => self.before_switch(),
        }
    }

    /// What was rejected is no longer of interest once something else is asked for.
    fn forget(&mut self) {
        let rejected = self.record.rejected_revision.as_deref();
        if rejected.is_some() && self.scene.asked.is_some() && rejected != self.scene.asked && !self.is_undo()
        {
            self.record.rejected_revision = None;
        }
    }

    /// Lead times count from when a revision was asked for, which may be long before its release can start.
    fn note_asked(&mut self) {
        let record = &mut self.record;
        match self.scene.asked {
            Some(asked) if asked == record.revision => {
                // Told once more with the switch itself.
                record.asked.take_if(|_| record.state != ReleaseState::Soaking);
            }
            Some(asked) if record.asked.as_ref().is_none_or(|known| known.revision != asked) => {
                record.asked = Some(Asked { revision: asked.to_string(), since: time(self.scene.now) });
            }
            _ => {}
        }
    }

    /// Revision that is to serve in the end.
    fn target(&self) -> String {
        let record = &self.record;
        let kept = match record.attempted().filter(|_| record.state.is_before_switch()) {
            Some(attempted) => attempted,
            None => &record.revision,
        };
        match self.scene.asked {
            Some(asked) if record.rejected_revision.as_deref() != Some(asked) => asked.to_string(),
            _ => kept.to_string(),
        }
    }

    /// Whether an earlier revision is on its way back, though the resource still asks for the one that was undone.
    fn is_undo(&self) -> bool {
        self.record.state.is_before_switch()
            && self.record.rejected_revision.is_some()
            && self.record.rejected_revision.as_deref() == Some(&self.record.revision)
            && self.record.rejected_revision.as_deref() == self.scene.asked.or(Some(&self.record.revision))
    }

    /// Whether what ended last was to bring back what had served before: what was to be undone is still rejected.
    fn has_failed_undo(&self) -> bool {
        self.record.outcome.is_some_and(Outcome::is_failure)
            && self.record.rejected_revision.as_ref() == Some(&self.record.revision)
    }

    fn names_attempt(&self, order: &Option<String>) -> bool {
        order.is_some() && *order == self.record.attempt
    }

    fn wake(&mut self, at: i64) {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
    }

    /// Pods that the serving colour needs.
    fn needed(&self) -> i32 {
        let live = self.scene.deployments.get(&self.record.colour).map_or(0, |live| live.replicas);
        live.max(self.scene.wanted.unwrap_or(0)).max(0)
    }

    /// Ready pods of a revision in the colour that does not serve, each counted once: behind the preview Service alone,
    /// or behind either. `None`, and a wish to look, where nobody has looked.
    fn ready(&mut self, revision: &str, preview: bool) -> Option<i32> {
        let idle = self.record.colour.other();
        let Some(endpoints) = self.scene.endpoints else {
            self.look = true;
            return None;
        };
        let pods: BTreeSet<&str> = endpoints
            .iter()
            .filter(|pod| pod.colour == idle && pod.revision == revision && (pod.preview || !preview))
            .map(|pod| pod.uid.as_str())
            .collect();
        Some(i32::try_from(pods.len()).unwrap_or(i32::MAX))
    }

    /// Ready pods of other revisions that are seen in the colour that does not serve.
    fn left_over(&self, revision: &str) -> usize {
        let idle = self.record.colour.other();
        let seen = self.scene.endpoints.unwrap_or_default().iter();
        let others = seen.filter(|pod| pod.colour == idle && pod.revision != revision);
        others.map(|pod| pod.uid.as_str()).collect::<BTreeSet<_>>().len()
    }

    fn stable(&mut self) -> bool {
        let (now, scene) = (self.scene.now, self.scene);
        let Some(settings) = scene.settings else { return false };
        let ended = self.record.outcome;
        let undoes = self.names_attempt(&scene.orders.undo) && ended == Some(Outcome::Promoted);
        if (undoes || self.has_failed_undo() && self.names_attempt(&scene.orders.retry))
            && let Some(previous) = self.record.previous_revision.clone()
            && previous != self.record.revision
            && (scene.is_stored)(&previous)
        {
            self.record.rejected_revision = Some(self.record.revision.clone());
            begin(&mut self.record, &previous, settings, now);
            self.wake(now + 1);
            return false;
        }
        if self.names_attempt(&scene.orders.retry) && ended.is_some_and(Outcome::is_failure) {
            self.record.rejected_revision = None;
        }
        let target = self.target();
        self.record.deadline = None;
        if target != self.record.revision {
            if self.await_thaw(&next_attempt(&self.record, &target)) {
                self.frozen = true;
                return false;
            }
            begin(&mut self.record, &target, settings, now);
            self.record_glass();
            self.wake(now + 1);
            return false;
        }
        let failed = ended.filter(|ended| ended.is_failure() && self.record.rejected_revision.is_some());
        self.record.reason = match (failed, &self.record.attempt) {
            (Some(outcome), Some(attempt)) => {
                let past = self.record.history.iter().find(|past| past.attempt == *attempt);
                let why = past.map(|past| past.reason.as_str()).filter(|why| !why.is_empty());
                format!(
                    "{attempt} ended: {}{}, so revision {} goes on; change the resource, or set {} to {attempt}",
                    outcome.as_str(),
                    why.map(|why| format!(" ({why})")).unwrap_or_default(),
                    self.record.revision,
                    names::RETRY
                )
            }
            _ => format!("revision {} serves", self.record.revision),
        };
        false
    }
}

/// The attempt that comes next, for a revision.
pub fn next_attempt(record: &RolloutStatus, revision: &str) -> String {
    format!("{revision}-{}", record.number + 1)
}

#[cfg(test)]
mod tests;
