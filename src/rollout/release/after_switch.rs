//! Once traffic has moved: it is watched, and can return.

use super::attempt::{close, enter, seconds, time};
use super::checks::ARRIVAL;
use super::{Walk, next_attempt};
use crate::api::{Outcome, Phase, ReleaseState};

/// Seconds for which pods may be missing during the soak before traffic returns, if others still serve.
const GRACE: i64 = 10;

impl Walk<'_> {
    pub(super) fn soaking(&mut self) -> bool {
        let (now, scene) = (self.scene.now, self.scene);
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
        let since = self.record.since.as_ref().map_or(now, seconds);
        let recorded = self.record.deadline.as_ref().map_or(now, seconds);
        // A soak that has begun goes on when the strategy changes.
        let over = scene.settings.map_or(recorded, |settings| since + settings.soak);
        self.record.deadline = Some(time(over));
        let watched = format!("traffic has moved to revision {} and is watched", self.record.revision);
        let checked = match scene.settings {
            Some(settings) => self.is_checked(Phase::Live, settings),
            None => Some(Ok(())),
        };
        match checked {
            Some(Ok(())) => {}
            Some(Err(why)) => return self.go_back(Outcome::RolledBack, &why),
            None => {
                // A Job that cannot even be made must not keep both colours for ever.
                let longest = scene.settings.and_then(|settings| {
                    settings.checks.as_ref().map(|checks| ARRIVAL + checks.live_seconds(settings.soak))
                });
                let latest = over + longest.unwrap_or(0);
                if now >= latest {
                    let why = format!("{}, and its time is over", self.record.reason);
                    return self.go_back(Outcome::RolledBack, &why);
                }
                self.wake(latest);
                self.record.reason = format!("{watched}; {}", self.record.reason);
                return false;
            }
        }
        if now < over {
            self.record.reason = watched;
            self.wake(over);
            return false;
        }
        let warm = scene.settings.map_or(0, |settings| settings.warm);
        close(&mut self.record, Outcome::Promoted, "", now);
        enter(&mut self.record, ReleaseState::Retiring, Some(now + warm), now);
        if self.target() == self.record.revision {
            return true;
        }
        // Nobody asks for a place in a wave during a soak, so what comes next is for the step after the write.
        self.record.reason = format!("traffic stays with revision {}", self.record.revision);
        self.wake(now + 1);
        false
    }

    pub(super) fn retiring(&mut self) -> bool {
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
        let target = self.target();
        let is_asked = target != self.record.revision;
        // What may not begin yet needs no room, and what could be undone at once stays so.
        let wait = is_asked.then(|| self.wait_for_thaw(&next_attempt(&self.record, &target))).flatten();
        if (is_asked && wait.is_none()) || now >= over {
            enter(&mut self.record, ReleaseState::Stable, None, now);
            return true;
        }
        if let Some((until, reason)) = wait {
            self.frozen = true;
            self.record.reason = reason;
            self.wake(until);
        } else if !undo {
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
                close(&mut self.record, outcome, &why, now);
                enter(&mut self.record, ReleaseState::Stable, None, now);
                self.record.reason = why;
                self.wake(now + 1);
            }
        }
        false
    }
}
