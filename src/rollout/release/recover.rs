//! Where the releases stand when a pass begins: as the Service says; else as the status says; else as the Deployments
//! show. None of them moves traffic.

use super::attempt::time;
use crate::api::names::Colour;
use crate::api::{ReleaseState, RolloutStatus};
use crate::facts::Facts;

/// Orders are free text: numbers from here on are none that an attempt has had.
const MOST: i64 = 1_000_000_000;

/// The record, as far as it can be believed; `None` while nothing has ever run. `colour` is the one that serves where
/// there is no record.
pub fn recover(facts: &Facts, colour: Colour) -> Option<RolloutStatus> {
    if let Some(record) = &facts.release {
        // It was written with the selector, and nobody else has touched it since.
        return Some(record.clone());
    }
    let told = facts.status_release.as_ref().filter(|record| is_likely(record, facts));
    // What was checked has to be checked again: anybody may have written it.
    let told = told.map(|record| RolloutStatus { jobs: Vec::new(), ..record.clone() });
    told.or_else(|| found(facts, colour))
}

/// Whether what the status says can be: it may be of another cluster, or written by anybody.
fn is_likely(record: &RolloutStatus, facts: &Facts) -> bool {
    match facts.deployments.get(&record.colour) {
        Some(deployment) => deployment.revision == record.revision,
        None => facts.deployments.is_empty(),
    }
}

/// What the Deployments show. Both colours stay as they are, as if a release had just been completed.
fn found(facts: &Facts, colour: Colour) -> Option<RolloutStatus> {
    let live = facts.deployments.get(&colour)?;
    let other = facts.deployments.get(&colour.other()).filter(|other| other.revision != live.revision);
    let attempts = facts.deployments.values().filter_map(|deployment| deployment.attempt.as_deref());
    // An order that was given for an attempt is none for a later one that happens to get its number.
    let ordered = facts.orders.attempts().filter(|attempt| number_of(attempt).is_some_and(|it| it < MOST));
    let number = attempts.chain(ordered).filter_map(number_of).max().unwrap_or(0);
    Some(RolloutStatus {
        number,
        attempt: live.attempt.clone(),
        state: if other.is_some() { ReleaseState::Retiring } else { ReleaseState::Stable },
        since: Some(time(facts.now)),
        previous_revision: other.map(|other| other.revision.clone()),
        ..first(colour, &live.revision)
    })
}

fn number_of(attempt: &str) -> Option<i64> {
    attempt.rsplit_once('-')?.1.parse().ok()
}

/// The record of a service that has had no release.
pub fn first(colour: Colour, revision: &str) -> RolloutStatus {
    RolloutStatus {
        colour,
        revision: revision.to_string(),
        state: ReleaseState::Stable,
        number: 0,
        attempt: None,
        started: None,
        since: None,
        deadline: None,
        reason: String::new(),
        preview_revision: None,
        previous_revision: None,
        asked: None,
        rejected_revision: None,
        pods: None,
        switched: None,
        unwell_since: None,
        approved_by: None,
        break_glass: None,
        attested: Vec::new(),
        outcome: None,
        jobs: Vec::new(),
        history: Vec::new(),
    }
}
