//! While a new revision is on its way and traffic has not moved.

use super::Walk;
use super::attempt::{end, enter, seconds, time};
use crate::api::names;
use crate::api::{Outcome, ReleaseState};
use crate::check::Release;

impl Walk<'_> {
    pub(super) fn before_switch(&mut self) -> bool {
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
        if let Some(why) = scene.outlawed.filter(|_| !self.is_undo()) {
            end(&mut self.record, Outcome::Failed, &format!("it is no longer allowed: {why}"), now);
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
                self.why_not_yet(&revision, settings);
                let why = format!("{}; the deadline passed", self.record.reason);
                end(&mut self.record, Outcome::DeadlineExceeded, &why, now);
                return true;
            }
            self.wake(deadline);
        }
        self.record_attestations(settings);
        match self.is_prepared(&revision, settings) {
            Some(Ok(())) => {}
            Some(Err(why)) => {
                end(&mut self.record, Outcome::Failed, &why, now);
                return true;
            }
            None => return false,
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
                if self.is_held(settings) {
                    enter(&mut self.record, ReleaseState::AwaitingApproval, None, now);
                } else {
                    let deadline = self.deadline(settings);
                    enter(&mut self.record, ReleaseState::Switching, deadline, now);
                }
                true
            }
            ReleaseState::AwaitingApproval => {
                let attempt = self.record.attempt.clone().unwrap_or_default();
                let is_frozen = self.await_thaw(&attempt);
                let mut waits = Vec::new();
                let unattested = self.unattested(settings);
                if !unattested.is_empty() {
                    waits.push(format!(
                        "waits for somebody to attest {}: visiobook rollout attest",
                        unattested.join(", ")
                    ));
                }
                if self.lacks_approval(settings) {
                    waits.push(format!(
                        "waits for somebody to approve: set {}={attempt} together with {}",
                        names::APPROVE,
                        names::APPROVED_BY
                    ));
                }
                if is_frozen {
                    waits.push(self.record.reason.clone());
                }
                if !waits.is_empty() {
                    self.record.reason = waits.join("; ");
                    return false;
                }
                enter(&mut self.record, ReleaseState::Switching, Some(now + settings.deadline), now);
                true
            }
            // Taken back, or asked for meanwhile; or a freeze has begun.
            _ if self.is_held(settings) => {
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

    /// What an attempt waits for whose time is over: the reason says it.
    fn why_not_yet(&mut self, revision: &str, settings: &Release) {
        match self.is_prepared(revision, settings) {
            None => {}
            Some(Err(why)) => self.record.reason = why,
            Some(Ok(())) => {
                self.is_deployed(revision);
            }
        }
    }

    fn lacks_approval(&self, settings: &Release) -> bool {
        settings.approval && !self.is_undo() && !self.names_attempt(&self.scene.orders.approve)
    }

    /// Keep what is attested of this attempt, and asked for.
    fn record_attestations(&mut self, settings: &Release) {
        let attempt = self.record.attempt.as_deref().unwrap_or_default();
        let attested = self.scene.orders.attests(attempt);
        self.record.attested =
            attested.filter(|attested| settings.attest.contains(&attested.item)).cloned().collect();
    }

    /// What nobody has attested yet. Nobody is asked of an undo: it goes back to what was attested.
    fn unattested<'a>(&self, settings: &'a Release) -> Vec<&'a str> {
        let is_attested = |item: &&str| self.record.attested.iter().any(|attested| attested.item == **item);
        let asked = settings.attest.iter().filter(|_| !self.is_undo());
        asked.map(String::as_str).filter(|item| !is_attested(item)).collect()
    }

    /// Whether somebody has to attest something or to say yes, or a freeze to end, before traffic moves.
    fn is_held(&self, settings: &Release) -> bool {
        let attempt = self.record.attempt.as_deref().unwrap_or_default();
        self.lacks_approval(settings)
            || !self.unattested(settings).is_empty()
            || self.freeze(attempt).is_some()
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
            self.ask_why(idle.and_then(|idle| idle.problem.clone()));
            return false;
        }
        let left = self.left_over(revision);
        match self.ready(revision, true) {
            Some(ready) if ready >= needed && left == 0 => true,
            // Traffic would reach them too: the Service knows no revisions.
            Some(ready) if ready >= needed => {
                self.record.reason =
                    format!("pods of another revision ({left}) have yet to leave the colour");
                self.wake(self.scene.now + 1);
                false
            }
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
        self.record_glass();
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
}
