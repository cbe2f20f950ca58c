//! What may not be done in a freeze of the environment: begin an attempt, and move traffic forward.

use super::Walk;
use super::attempt::time;
use crate::api::names;
use crate::check::Frozen;

impl Walk<'_> {
    /// The freeze that holds this attempt back. Nobody holds back an undo, nor an attempt for which the glass is broken.
    pub(super) fn freeze(&self, attempt: &str) -> Option<&Frozen> {
        let frozen = self.scene.frozen.filter(|_| !self.is_undo())?;
        self.scene.orders.breaks_glass(attempt).is_none().then_some(frozen)
    }

    /// Keep who broke the glass for an attempt that goes on in a freeze.
    pub(super) fn record_glass(&mut self) {
        let attempt = self.record.attempt.as_deref().unwrap_or_default();
        if self.scene.frozen.is_some() && !self.is_undo() {
            self.record.break_glass = self.scene.orders.breaks_glass(attempt);
        }
    }

    /// Until when an attempt waits for the end of a freeze, and what is told of it.
    pub(super) fn wait_for_thaw(&self, attempt: &str) -> Option<(i64, String)> {
        self.freeze(attempt).map(|frozen| (frozen.until, way_out(frozen, attempt)))
    }

    /// Wait for the end of a freeze, before an attempt begins or before it moves traffic. What the record says of a
    /// deadline is when the wait ends; without a freeze there is none.
    pub(super) fn await_thaw(&mut self, attempt: &str) -> bool {
        let wait = self.wait_for_thaw(attempt);
        self.record.deadline = wait.as_ref().map(|(until, _)| time(*until));
        let Some((until, reason)) = wait else { return false };
        self.record.reason = reason;
        self.wake(until);
        true
    }
}

/// What is waited for, and how somebody goes on all the same.
pub fn way_out(frozen: &Frozen, attempt: &str) -> String {
    format!(
        "{attempt} waits until {frozen}; if it cannot wait, set {}={attempt} together with {} and {}",
        names::BREAK_GLASS,
        names::BREAK_GLASS_BY,
        names::BREAK_GLASS_REASON
    )
}
