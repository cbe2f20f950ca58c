//! The decision where releases go from one colour to the other.

use super::jobs::{Jobs, Run, Seen};
use super::release::{self, Scene, advance, is_retried};
use super::waves::{self, Entry, Standing};
use super::{Decision, Other, Reason, Rotation, Wanted, is_size_refused, recall, rotation, want};
use crate::api::names::{self, Colour};
use crate::api::{Phase, ReleaseState, RolloutStatus};
use crate::check::{self, Refusal, Release, Serving, Valid};
use crate::facts::Facts;

/// Whether releases decide what runs: the strategy asks for them, or one has yet to be brought to its end.
pub(super) fn is_concerned(
    record: &RolloutStatus,
    verdict: &Result<Valid, Vec<Refusal>>,
    facts: &Facts,
) -> bool {
    settings(record, verdict, facts).is_some() || (is_recorded(facts) && record.state != ReleaseState::Stable)
}

/// Whether a record stands anywhere, so that it was not made up from what runs.
fn is_recorded(facts: &Facts) -> bool {
    facts.release.is_some() || facts.status_release.is_some()
}

/// How releases go, as the resource says; as was accepted last, while it is refused.
fn settings(record: &RolloutStatus, verdict: &Result<Valid, Vec<Refusal>>, facts: &Facts) -> Option<Release> {
    match verdict {
        Ok(valid) => valid.serving.release.clone(),
        Err(_) => stored_serving(&record.revision, facts)?.release,
    }
}

fn stored_serving(hash: &str, facts: &Facts) -> Option<Serving> {
    recall(hash, facts).ok().flatten().and_then(|(_, serving)| serving)
}

/// The record of a service none of whose releases is under way, with the revision that serves now. It stays when the
/// strategy changes, for it also tells the colour.
pub(super) fn settled(
    colour: Colour,
    revision: Option<&Wanted>,
    serving: Option<&Serving>,
    facts: &Facts,
) -> Option<RolloutStatus> {
    let record =
        facts.release.clone().or_else(|| facts.status_release.clone()).filter(|r| r.colour == colour);
    let releases = serving.is_some_and(|serving| serving.release.is_some());
    match (record, revision) {
        (Some(record), Some(revision)) if record.revision != revision.hash => Some(RolloutStatus {
            // Replaced in place: the release before it is over, and nothing of it can be undone.
            attempt: None,
            outcome: None,
            previous_revision: None,
            asked: None,
            rejected_revision: None,
            reason: String::new(),
            revision: revision.hash.clone(),
            ..record
        }),
        // It waits for no freeze any more.
        (Some(record), _) => {
            let rejected_revision = record.rejected_revision.filter(|rejected| *rejected != record.revision);
            Some(RolloutStatus { deadline: None, rejected_revision, ..record })
        }
        (None, Some(revision)) if releases => Some(release::first(colour, &revision.hash)),
        (None, _) => None,
    }
}

/// The revision that was aborted, undone or failed, where the service itself still asks for no other: an environment that
/// changes does not try it again, nor end an undo that is under way. A wave may, for what came with one before.
fn still_rejected<'a>(record: &'a RolloutStatus, own: &str, facts: &Facts) -> Option<&'a str> {
    let own_of = |hash: &str| facts.marks.get(hash).and_then(|marks| marks.own.as_deref());
    let rejected = record.rejected_revision.as_deref().filter(|hash| own_of(hash) == Some(own))?;
    let is_being_undone = rejected == record.revision && record.state.is_before_switch();
    let is_its_own_change = rejected != record.revision && own_of(&record.revision) != Some(own);
    ((is_being_undone || is_its_own_change) && !is_retried(record, &facts.orders)).then_some(rejected)
}

/// Why a revision does not replace what runs, now that pods are replaced one by one: its release was ended before.
pub(super) fn rejection(hash: &str, valid: &Valid, facts: &Facts) -> Option<String> {
    let record = facts.release.as_ref().or(facts.status_release.as_ref())?;
    let attempt = record.attempt.as_deref().filter(|_| !is_retried(record, &facts.orders))?;
    let is_rejected = record.rejected_revision.as_deref() == Some(hash)
        || still_rejected(record, &valid.own, facts).is_some();
    is_rejected.then(|| {
        format!(
            "revision {hash} was released as {attempt} and taken back, so revision {} goes on; change the resource, or set {} to {attempt}",
            record.revision,
            names::RETRY
        )
    })
}

/// Why what is on its way may no longer run, where the service still asks for it: its environment says so now, or is gone.
/// Another edit of the service that is refused leaves a release to itself.
fn outlawed(record: &RolloutStatus, refusals: &[Refusal], facts: &Facts) -> Option<String> {
    let known = facts.marks.get(record.attempted()?)?.own.as_ref();
    let told = refusals.iter().find(|refusal| refusal.outlaws())?;
    (known.is_some() && known == facts.own.as_ref()).then(|| told.to_string())
}

/// Decide, from where the releases stand.
pub(super) fn step(record: RolloutStatus, verdict: &Result<Valid, Vec<Refusal>>, facts: &Facts) -> Decision {
    let settings = settings(&record, verdict, facts);
    let held = match verdict {
        Ok(valid) => check::hold(valid, facts),
        Err(refusals) => refusals.clone(),
    };
    let valid = verdict.as_ref().ok();
    let hash = valid.map(|valid| valid.shape.revision());
    let frozen = check::frozen(&facts.environment, facts.now);
    let rejected = valid.and_then(|valid| still_rejected(&record, &valid.own, facts));
    let asked = rejected.or(hash.as_deref()).filter(|_| held.is_empty());
    let pods = facts.deployments.get(&record.colour);
    // Where nothing begins, or not before the end of a freeze, no place is taken.
    let begins = asked.filter(|asked| release::would_begin(&record, asked, &facts.orders)).filter(|asked| {
        frozen.is_none() || facts.orders.breaks_glass(&release::next_attempt(&record, asked)).is_some()
    });
    let entry = valid.filter(|_| begins.is_some()).map(|valid| {
        let imposed = waves::is_imposed(&valid.own, Some(&record.revision), pods, facts);
        waves::enter(imposed, false, facts)
    });
    let waits = matches!(entry, Some(Entry::Waits(_)));
    // What waits lets a release go on, unless that is no longer what the service itself asks for.
    let is_taken_back = |valid: &Valid| {
        record.state.is_before_switch() && !waves::is_imposed(&valid.own, record.attempted(), pods, facts)
    };
    let outlawed = verdict.as_ref().err().and_then(|refusals| outlawed(&record, refusals, facts));
    let scene = Scene {
        now: facts.now,
        outlawed: outlawed.as_deref(),
        frozen: frozen.as_ref(),
        asked: match asked {
            Some(_) if waits && valid.is_some_and(is_taken_back) => Some(&record.revision),
            Some(_) if waits => None,
            asked => asked,
        },
        settings: settings.as_ref(),
        orders: &facts.orders,
        deployments: &facts.deployments,
        // A number that is refused is planned for nobody.
        wanted: facts.wanted.filter(|_| !is_size_refused(&held)),
        endpoints: facts.endpoints.as_deref(),
        is_stored: &|hash| recall(hash, facts).is_ok_and(|stored| stored.is_some()),
        jobs: Seen::of(facts),
        migrates: &|hash| {
            let asked =
                valid.filter(|valid| valid.shape.migration.is_some() && valid.shape.revision() == hash);
            let stored = || {
                recall(hash, facts)
                    .is_ok_and(|stored| stored.is_some_and(|(it, _)| it.shape.migration.is_some()))
            };
            let runs = facts.deployments.values().any(|deployment| deployment.revision == hash);
            !runs && (asked.is_some() || stored())
        },
    };
    let step = advance(&record, &scene);
    let has_begun = step.record.attempt != record.attempt;
    let goes_on = record.state.is_before_switch()
        && record.attempted().is_some_and(|attempted| waves::is_open(attempted, facts));
    let mut record = step.record;
    let waits = match (&entry, asked) {
        (Some(Entry::Waits(why)), Some(hash)) => Some(format!("revision {hash} {why}")),
        _ => None,
    };
    if let (Some(waits), ReleaseState::Stable) = (&waits, record.state) {
        record.reason = format!("{waits}; revision {} serves", record.revision);
    }
    // A revision is made from the resource that asks for it, or from what is stored.
    let find = |wanted: &str| match valid.filter(|_| hash.as_deref() == Some(wanted)) {
        Some(valid) => want(wanted.to_string(), valid, facts).map(Some),
        None => recall(wanted, facts).map(|stored| stored.map(|(wanted, _)| wanted)),
    };
    let (revision, unreadable) = match find(&record.revision) {
        Ok(revision) => (revision, None),
        Err(error) => (None, Some(error)),
    };
    let rotate = |colour: Colour, revision: Option<&Wanted>| {
        let running = facts.deployments.get(&colour);
        let rotation = rotation::rotate(revision, running, facts);
        // Pods that are replaced during the soak would look like pods that fail.
        match running.filter(|_| rotation.rotates && record.state == ReleaseState::Soaking) {
            Some(running) => Rotation::kept(running),
            None => rotation,
        }
    };
    let other = release::other(&record).map(|hash| {
        let mut revision = find(hash).ok().flatten();
        if let (true, Some(entry), Some(revision)) = (has_begun && asked == Some(hash), &entry, &mut revision)
        {
            waves::mark(revision, entry, facts);
        }
        let rotation = rotate(record.colour.other(), revision.as_ref());
        Other { revision, rotation, starts: step.starts }
    });
    // What a Job needs is stored with the revision that it is run for.
    let run = step.run.zip(record.attempt.clone()).and_then(|(phase, attempt)| {
        let revision = match phase {
            Phase::Migration | Phase::Preview => other.as_ref()?.revision.clone()?,
            Phase::Live => revision.clone()?,
        };
        Some(Run { phase, attempt, revision })
    });
    let rotation = rotate(record.colour, revision.as_ref());
    let serving =
        valid.map(|valid| valid.serving.clone()).or_else(|| stored_serving(&record.revision, facts));
    let (reason, message) = match (verdict, unreadable, &revision) {
        (Err(_), ..) => (Reason::Refused, format!("the change is refused; {}", record.reason)),
        (_, Some(error), _) => (Reason::RevisionUnreadable, error.to_string()),
        (_, None, None) => {
            let message = format!(
                "revision {} serves and its stored revision is lost, so its pods are left as they are",
                record.revision
            );
            (Reason::RevisionLost, message)
        }
        _ if !held.is_empty() => {
            let hash = hash.as_deref().unwrap_or_default();
            (Reason::SecretsMissing, format!("revision {hash} waits for its secrets; {}", record.reason))
        }
        _ if step.frozen => (Reason::Frozen, record.reason.clone()),
        _ if let Some(waits) = &waits => (Reason::WaitsForWave, waits.clone()),
        _ if record.state == ReleaseState::Stable => (Reason::Stable, record.reason.clone()),
        _ => (Reason::Releasing, record.reason.clone()),
    };
    let mut decision = Decision {
        colour: record.colour,
        revision,
        serving,
        rotation,
        reason,
        message,
        held,
        release: Some(record),
        other,
        look: step.look,
        spots: step.spots,
        jobs: Jobs { run, ..Jobs::default() },
        standing: Standing::Apart,
        wake_at: step.wake_at,
    };
    decision.standing = match entry {
        Some(Entry::Waits(_)) => {
            let has_place = goes_on || asked.is_some_and(|asked| waves::is_ordered(asked, facts));
            waves::waiting(pods, has_place)
        }
        Some(Entry::Admitted) => Standing::Running,
        _ => waves::of_releases(&decision, facts),
    };
    decision
}
