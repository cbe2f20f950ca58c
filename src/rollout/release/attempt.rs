//! The record of an attempt: how it begins, changes its state, and ends.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{Outcome, PastRelease, ReleaseState, RolloutStatus};
use crate::check::Release;

/// Releases that are remembered (C28).
const REMEMBERED: usize = 10;
/// Longest reason that is remembered, in characters.
const LONGEST: usize = 600;

/// Unix seconds.
pub fn seconds(time: &Time) -> i64 {
    time.0.as_second()
}

/// A time from Unix seconds.
pub fn time(seconds: i64) -> Time {
    Time(Timestamp::from_second(seconds).unwrap_or_default())
}

/// A time that has not come yet was written by another clock: it counts from now.
pub fn clamp(mut record: RolloutStatus, now: i64) -> RolloutStatus {
    for at in [&mut record.started, &mut record.since, &mut record.switched, &mut record.unwell_since] {
        if at.as_ref().is_some_and(|at| seconds(at) > now) {
            *at = Some(time(now));
        }
    }
    if let Some(asked) = record.asked.as_mut().filter(|asked| seconds(&asked.since) > now) {
        asked.since = time(now);
    }
    record
}

/// A state begins. `deadline` is when it ends by itself.
pub fn enter(record: &mut RolloutStatus, state: ReleaseState, deadline: Option<i64>, now: i64) {
    record.state = state;
    record.since = Some(time(now));
    record.deadline = deadline.map(time);
}

/// An attempt begins.
pub fn begin(record: &mut RolloutStatus, revision: &str, settings: &Release, now: i64) {
    record.number += 1;
    record.attempt = Some(format!("{revision}-{}", record.number));
    record.started = Some(time(now));
    record.switched = None;
    record.unwell_since = None;
    record.approved_by = None;
    record.break_glass = None;
    record.attested.clear();
    record.outcome = None;
    record.pods = None;
    record.jobs.clear();
    record.reason = format!("pods of revision {revision} start");
    enter(record, ReleaseState::Deploying, Some(now + settings.deadline), now);
}

/// An attempt ends before traffic has moved.
pub fn end(record: &mut RolloutStatus, outcome: Outcome, why: &str, now: i64) {
    if outcome.is_failure() {
        // After an undo that failed it is still what was to be undone; after one that somebody aborted, nothing is.
        let undoes = record.rejected_revision.take_if(|rejected| *rejected == record.revision);
        record.rejected_revision = match undoes {
            Some(rejected) => Some(rejected).filter(|_| outcome != Outcome::Aborted),
            None => record.attempted().map(str::to_string),
        };
    }
    close(record, outcome, why, now);
    enter(record, ReleaseState::Stable, None, now);
}

/// Remember how an attempt ended. One that was promoted and undone later is remembered as undone.
pub fn close(record: &mut RolloutStatus, outcome: Outcome, why: &str, now: i64) {
    record.outcome = Some(outcome);
    let Some(attempt) = record.attempt.clone() else { return };
    record.history.retain(|past| past.attempt != attempt);
    let past = PastRelease {
        attempt,
        outcome,
        reason: why.chars().take(LONGEST).collect(),
        approved_by: record.approved_by.clone(),
        break_glass: record.break_glass.clone(),
        attested: record.attested.clone(),
        started: record.started.clone(),
        switched: record.switched.clone(),
        ended: Some(time(now)),
    };
    record.history.insert(0, past);
    record.history.truncate(REMEMBERED);
}
