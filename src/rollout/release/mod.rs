//! Blue-green: one step of a release. What was recorded and what is seen in; what is to be recorded out.
//!
//! The record is written to the Service together with its selector, in one write on the version that was seen. So
//! there is no moment at which the two differ by our doing, and a step that could not be written was never taken.

mod attempt;
mod recover;

use std::collections::BTreeMap;

pub use recover::{first, recover};

use crate::api::names::{self, Colour};
use crate::api::{Outcome, ReleaseState, RolloutStatus};
use crate::check::Release;
use crate::facts::{DeploymentFact, EndpointFact, Orders};
use attempt::{begin, clamp, end, enter, seconds, time};

/// Seconds for which pods may be missing during the soak before traffic returns, if others still serve.
const GRACE: i64 = 10;
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
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is to be recorded.
    pub record: RolloutStatus,
    /// Whether it cannot be decided without a look at the endpoints.
    pub look: bool,
    /// When to look again though nothing has changed, in Unix seconds.
    pub wake_at: Option<i64>,
}

/// Revision that is to stand in the colour that does not serve.
pub fn other(record: &RolloutStatus) -> Option<&str> {
    match record.state {
        ReleaseState::Stable => None,
        ReleaseState::Soaking | ReleaseState::Retiring => record.previous_revision.as_deref(),
        _ => record.attempted(),
    }
}

/// What happens next.
pub fn advance(before: &RolloutStatus, scene: &Scene<'_>) -> Step {
    let mut step = Walk { scene, record: clamp(before.clone(), scene.now), look: false, wake_at: None };
    for _ in 0..PASSED {
        if !step.walk() {
            break;
        }
    }
    step.forget();
    step.record.preview_revision = other(&step.record).map(str::to_string);
    Step { record: step.record, look: step.look, wake_at: step.wake_at }
}

struct Walk<'a> {
    scene: &'a Scene<'a>,
    record: RolloutStatus,
    look: bool,
    wake_at: Option<i64>,
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
        let pods: std::collections::BTreeSet<&str> = endpoints
            .iter()
            .filter(|pod| pod.colour == idle && pod.revision == revision && (pod.preview || !preview))
            .map(|pod| pod.uid.as_str())
            .collect();
        Some(i32::try_from(pods.len()).unwrap_or(i32::MAX))
    }

    fn stable(&mut self) -> bool {
        let (now, scene) = (self.scene.now, self.scene);
        let Some(settings) = scene.settings else { return false };
        let ended = self.record.outcome;
        if self.names_attempt(&scene.orders.undo)
            && ended == Some(Outcome::Promoted)
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
        if target != self.record.revision {
            begin(&mut self.record, &target, settings, now);
            self.wake(now + 1);
            return false;
        }
        let failed = ended.filter(|ended| ended.is_failure() && self.record.rejected_revision.is_some());
        self.record.reason = match (failed, &self.record.attempt) {
            (Some(outcome), Some(attempt)) => format!(
                "{attempt} ended: {}, so revision {} goes on; change the resource, or set {} to {attempt}",
                outcome.as_str(),
                self.record.revision,
                names::RETRY
            ),
            _ => format!("revision {} serves", self.record.revision),
        };
        false
    }

    fn before_switch(&mut self) -> bool {
        let (now, scene) = (self.scene.now, self.scene);
        let Some(settings) = scene.settings else {
            let why = "the strategy is RollingUpdate now";
            end(&mut self.record, Outcome::Superseded, why, now);
            return true;
        };
        let Some(revision) = self.record.attempted().map(str::to_string) else {
            enter(&mut self.record, ReleaseState::Stable, None, now);
            return true;
        };
        if self.names_attempt(&scene.orders.abort) {
            end(&mut self.record, Outcome::Aborted, "somebody aborted it before traffic moved", now);
            return true;
        }
        let target = self.target();
        if target != revision {
            end(&mut self.record, Outcome::Superseded, &format!("revision {target} was asked for"), now);
            return true;
        }
        if let Some(deadline) = self.deadline(settings) {
            self.record.deadline = Some(time(deadline));
            if now >= deadline {
                self.is_deployed(&revision);
                let why = format!("{}; the deadline passed", self.record.reason);
                end(&mut self.record, Outcome::DeadlineExceeded, &why, now);
                return true;
            }
            self.wake(deadline);
        }
        match self.record.state {
            ReleaseState::Deploying => {
                if !self.is_deployed(&revision) {
                    return false;
                }
                let deadline = self.deadline(settings);
                enter(&mut self.record, ReleaseState::Verifying, deadline, now);
                true
            }
            ReleaseState::Verifying => {
                if self.lacks_approval(settings) {
                    enter(&mut self.record, ReleaseState::AwaitingApproval, None, now);
                } else {
                    let deadline = self.deadline(settings);
                    enter(&mut self.record, ReleaseState::Switching, deadline, now);
                }
                true
            }
            ReleaseState::AwaitingApproval => {
                if self.lacks_approval(settings) {
                    let attempt = self.record.attempt.as_deref().unwrap_or_default();
                    self.record.reason = format!(
                        "waits for somebody to approve: set {}={attempt} together with {}",
                        names::APPROVE,
                        names::APPROVED_BY
                    );
                    return false;
                }
                enter(&mut self.record, ReleaseState::Switching, Some(now + settings.deadline), now);
                true
            }
            // Taken back, or asked for meanwhile.
            _ if self.lacks_approval(settings) => {
                enter(&mut self.record, ReleaseState::AwaitingApproval, None, now);
                true
            }
            _ => {
                if self.is_deployed(&revision) {
                    self.switch(&revision, settings);
                }
                false
            }
        }
    }

    fn lacks_approval(&self, settings: &Release) -> bool {
        settings.approval && !self.is_undo() && !self.names_attempt(&self.scene.orders.approve)
    }

    /// When the release is given up: so long after its start, whatever came of it since, or after its approval. What is
    /// recorded only ever makes it earlier.
    fn deadline(&self, settings: &Release) -> Option<i64> {
        let record = &self.record;
        let from = match record.state {
            ReleaseState::AwaitingApproval => return None,
            ReleaseState::Switching => &record.since,
            _ => &record.started,
        };
        let latest = from.as_ref().map_or(self.scene.now, seconds) + settings.deadline;
        Some(record.deadline.as_ref().map_or(latest, |recorded| seconds(recorded).min(latest)))
    }

    /// Whether as many pods of the revision are ready behind the preview Service as the serving colour needs.
    fn is_deployed(&mut self, revision: &str) -> bool {
        let needed = self.needed();
        let idle = self.scene.deployments.get(&self.record.colour.other());
        let ready = idle.filter(|idle| idle.revision == revision && idle.observed).map(|idle| idle.ready);
        let told = ready.unwrap_or(0);
        self.record.reason =
            format!("{} of {needed} pods of revision {revision} are ready", told.min(needed));
        if ready.is_none_or(|ready| ready < needed) {
            return false;
        }
        match self.ready(revision, true) {
            Some(ready) if ready >= needed => true,
            Some(ready) => {
                self.record.reason =
                    format!("the preview Service has {ready} of {needed} endpoints of revision {revision}");
                // Of endpoints no watch tells.
                self.wake(self.scene.now + 1);
                false
            }
            None => false,
        }
    }

    fn switch(&mut self, revision: &str, settings: &Release) {
        let (now, needed) = (self.scene.now, self.needed());
        let record = &mut self.record;
        record.previous_revision = Some(std::mem::replace(&mut record.revision, revision.to_string()));
        record.colour = record.colour.other();
        record.pods = Some(needed);
        record.approved_by = self
            .scene
            .orders
            .approved_by
            .clone()
            .filter(|_| settings.approval && self.scene.orders.approve == record.attempt);
        record.switched = Some(time(now));
        record.unwell_since = None;
        enter(record, ReleaseState::Soaking, Some(now + settings.soak), now);
        record.reason = format!("traffic has moved to revision {revision} and is watched");
        self.wake(now + 1);
    }

    fn soaking(&mut self) -> bool {
        let (now, scene) = (self.scene.now, self.scene);
        let soak = scene.settings.map_or(0, |settings| settings.soak);
        if self.names_attempt(&scene.orders.abort) {
            return self.go_back(Outcome::Aborted, "somebody aborted it");
        }
        let live = scene.deployments.get(&self.record.colour);
        let revision = &self.record.revision;
        let live = live.filter(|live| live.revision == *revision).map_or(0, |live| live.ready);
        let needed = self.record.pods.unwrap_or(1).min(scene.wanted.unwrap_or(i32::MAX));
        if live < needed {
            let since = self.record.unwell_since.get_or_insert_with(|| time(now));
            let since = seconds(since);
            let why = format!("{live} of {needed} pods were ready");
            if live == 0 || now >= since + GRACE {
                return self.go_back(Outcome::RolledBack, &why);
            }
            self.record.reason = format!("{why}; traffic returns unless they come back");
            self.wake(since + GRACE);
            return false;
        }
        self.record.unwell_since = None;
        let over = self.record.since.as_ref().map_or(now, seconds) + soak;
        self.record.deadline = Some(time(over));
        if now < over {
            self.record.reason =
                format!("traffic has moved to revision {} and is watched", self.record.revision);
            self.wake(over);
            return false;
        }
        let warm = scene.settings.map_or(0, |settings| settings.warm);
        attempt::close(&mut self.record, Outcome::Promoted, "", now);
        enter(&mut self.record, ReleaseState::Retiring, Some(now + warm), now);
        true
    }

    fn retiring(&mut self) -> bool {
        let (now, scene) = (self.scene.now, self.scene);
        let Some(settings) = scene.settings else {
            enter(&mut self.record, ReleaseState::Stable, None, now);
            return true;
        };
        let undo = self.names_attempt(&scene.orders.undo) && self.record.outcome == Some(Outcome::Promoted);
        let has_previous = self.record.previous_revision.is_some();
        if undo && has_previous && self.go_back(Outcome::RolledBack, "somebody undid it") {
            return true;
        }
        if self.record.state != ReleaseState::Retiring {
            return false;
        }
        let over = self.record.since.as_ref().map_or(now, seconds) + settings.warm;
        self.record.deadline = Some(time(over));
        if self.target() != self.record.revision || now >= over {
            enter(&mut self.record, ReleaseState::Stable, None, now);
            return true;
        }
        if !undo {
            let previous = self.record.previous_revision.as_deref().unwrap_or("(unknown)");
            self.record.reason =
                format!("revision {} serves; {previous} stays warm for an undo", self.record.revision);
        }
        self.wake(over);
        false
    }

    /// Traffic returns to the colour that served before, if anything there answers. Never true: what follows is for the
    /// step after the write.
    fn go_back(&mut self, outcome: Outcome, why: &str) -> bool {
        let now = self.scene.now;
        let Some(previous) = self.record.previous_revision.clone() else {
            self.record.reason = format!("{why}, but nothing is known of a revision before it");
            return false;
        };
        match self.ready(&previous, false) {
            None => {}
            Some(0) => {
                self.record.reason = format!(
                    "{why}, but revision {previous} has no ready pod, so traffic stays until it has one"
                );
                self.wake(now + 1);
            }
            Some(_) => {
                let undone = std::mem::replace(&mut self.record.revision, previous.clone());
                self.record.colour = self.record.colour.other();
                self.record.previous_revision = None;
                self.record.unwell_since = None;
                self.record.rejected_revision = Some(undone);
                let why = format!("{why}; traffic is back on revision {previous}");
                attempt::close(&mut self.record, outcome, &why, now);
                enter(&mut self.record, ReleaseState::Stable, None, now);
                self.record.reason = why;
                self.wake(now + 1);
            }
        }
        false
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
