//! What happens next? Pure: what was asked for, what may run and what was seen in; which revision runs where out.

mod blue_green;
mod jobs;
pub mod key_ring;
mod leaving;
mod release;
mod rendering;
mod rotation;
mod stored;
pub mod waves;

pub use jobs::{Jobs, Run};
pub use leaving::Leaving;
pub use rotation::Rotation;
pub use stored::{Stored, Unreadable};

use crate::api::names::Colour;
use crate::api::{PastJob, ReleaseState, RolloutStatus};
use crate::check::{self, Refusal, Serving, Shape, Valid};
use std::collections::BTreeSet;

use crate::facts::{Facts, Spot, WaveMark};
use waves::{Entry, Standing};

/// What is to run, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Colour that serves.
    pub colour: Colour,
    /// Revision it runs; `None` while nothing may start and nothing runs.
    pub revision: Option<Wanted>,
    /// What stands around the pods; `None` while nothing was ever accepted.
    pub serving: Option<Serving>,
    /// What the pods carry of the secrets they were started with.
    pub rotation: Rotation,
    /// Why.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
    /// What holds the new revision back, one by one.
    pub held: Vec<Refusal>,
    /// Where the releases stand, to be recorded on the Service; `None` where none was ever made.
    pub release: Option<RolloutStatus>,
    /// What stands in the colour that does not serve, where anything does.
    pub other: Option<Other>,
    /// Whether the endpoints have to be looked at before anything is done.
    pub look: bool,
    /// Pods that have to be looked at as well, to say why they do not get on.
    pub spots: BTreeSet<Spot>,
    /// What is to become of Jobs.
    pub jobs: Jobs,
    /// How the service stands in the waves of its environment.
    pub standing: Standing,
    /// When to decide again though nothing has changed, in Unix seconds.
    pub wake_at: Option<i64>,
}

impl Decision {
    /// Whether somebody has to be asked if what the environment changes may begin now.
    pub fn asks(&self, facts: &Facts) -> bool {
        facts.admission.is_none() && matches!(self.standing, Standing::Waiting { .. })
    }

    /// The revision whose release begins with this decision.
    pub fn begins(&self, facts: &Facts) -> Option<&Wanted> {
        let now = self.release.as_ref().filter(|release| release.state == ReleaseState::Deploying)?;
        let before = facts.release.as_ref().and_then(|release| release.attempt.as_ref());
        self.other.as_ref()?.revision.as_ref().filter(|_| now.attempt.as_ref() != before)
    }
}

/// What stands in the colour that does not serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Other {
    /// Its revision; `None` where nothing is known of it: then it stays as it is.
    pub revision: Option<Wanted>,
    /// What its pods carry of the secrets they were started with.
    pub rotation: Rotation,
    /// Whether its pods may start: not before its migration.
    pub starts: bool,
}

/// A revision that is to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Its hash.
    pub hash: String,
    /// Its number.
    pub number: i64,
    /// What a pod of it is made from.
    pub shape: Shape,
    /// What was rendered when it was accepted; `None` for a new one.
    pub stored: Option<Stored>,
    /// What became of its migration, where it has one that has ended.
    pub migration: Option<PastJob>,
    /// Digest of what the service itself says, as far as that is known.
    pub own: Option<String>,
    /// The wave that it came with.
    pub wave: Option<WaveMark>,
}

/// Why a decision is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The accepted revision runs.
    Stable,
    /// A new revision was accepted.
    NewRevision,
    /// The resource is refused; what ran goes on.
    Refused,
    /// A secret is missing; what ran goes on.
    SecretsMissing,
    /// A freeze holds back what is asked for; what ran goes on.
    Frozen,
    /// The environment changes what runs, and other services come first; what ran goes on.
    WaitsForWave,
    /// Somebody changed or lost the stored revision; what runs is left alone.
    RevisionLost,
    /// A revision is on its way to the other colour, or has just arrived there.
    Releasing,
    /// The stored revision is of a later release of the operator; what runs is left alone.
    RevisionUnreadable,
    /// A new revision was accepted, and its migration runs; what ran goes on.
    Migrating,
    /// The migration of a new revision failed; what ran goes on.
    MigrationFailed,
}

impl Reason {
    /// The word in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Stable => "Stable",
            Reason::NewRevision => "NewRevision",
            Reason::Refused => "Refused",
            Reason::SecretsMissing => "SecretsMissing",
            Reason::Frozen => "Frozen",
            Reason::WaitsForWave => "WaitsForWave",
            Reason::RevisionLost => "RevisionLost",
            Reason::Releasing => "Releasing",
            Reason::RevisionUnreadable => "RevisionUnreadable",
            Reason::Migrating => "Migrating",
            Reason::MigrationFailed => "MigrationFailed",
        }
    }
}

/// How many pods: what the resource says; else what it had when last seen, or what runs; the environment's default
/// only for a service that never had a size. A size that is itself refused is not taken.
pub fn size(said: Option<i32>, last: Option<i32>, decision: &Decision, facts: &Facts) -> i32 {
    let running = facts.deployments.get(&decision.colour).map(|deployment| deployment.replicas);
    let refused = is_size_refused(&decision.held);
    let said = said.filter(|_| !refused);
    let default = decision.serving.as_ref().map(|serving| serving.replicas);
    said.or(running.filter(|_| refused)).or(last).or(running).or(default).unwrap_or(1)
}

/// Whether what is refused is the number of pods itself.
fn is_size_refused(held: &[Refusal]) -> bool {
    held.iter().any(|refusal| refusal.rule == "replicas-ceiling")
}

/// Decide. `verdict` is what `check::validate` said of the resource.
pub fn step(verdict: &Result<Valid, Vec<Refusal>>, facts: &Facts) -> Decision {
    let colour = serving_colour(facts);
    let record = release::recover(facts, colour);
    let serves = record.as_ref().map(|record| record.revision.as_str());
    let serves = serves.or(facts.deployments.get(&colour).map(|deployment| deployment.revision.as_str()));
    let rendered = verdict.as_ref().ok().and_then(|valid| {
        let shape = rendering::asked(&valid.shape, serves, facts)?;
        Some(Ok(Valid { shape, ..valid.clone() }))
    });
    let verdict = rendered.as_ref().unwrap_or(verdict);
    let mut decision = match record.filter(|record| blue_green::is_concerned(record, verdict, facts)) {
        Some(record) => blue_green::step(record, verdict, facts),
        None => in_place(colour, verdict, facts),
    };
    jobs::settle(&mut decision.jobs, facts, decision.release.as_ref());
    waves::settle(&mut decision, facts);
    decision
}

/// One colour, in which pods are replaced one by one; and the first revision of any service.
fn in_place(colour: Colour, verdict: &Result<Valid, Vec<Refusal>>, facts: &Facts) -> Decision {
    let running = facts.deployments.get(&colour);
    let running_hash = running.map(|deployment| deployment.revision.as_str());
    let mut held_back: Option<(Wanted, jobs::Held)> = None;
    let (kept, mut unreadable) = match running_hash.map_or(Ok(None), |hash| recall(hash, facts)) {
        Ok(kept) => (kept, None),
        Err(error) => (None, Some(error)),
    };
    let frozen = check::frozen(&facts.environment, facts.now);
    let (mut thaws_at, mut entered) = (None, None);
    let (revision, serving, reason, message, held) = match verdict {
        Err(refusals) => {
            let message = match &kept {
                Some(kept) => format!("the change is refused; revision {} goes on", kept.0.hash),
                None if running.is_some() => "the change is refused".to_string(),
                None => "refused; nothing runs".to_string(),
            };
            let (kept, serving) = kept.map_or((None, None), |(kept, serving)| (Some(kept), serving));
            (kept, serving, Reason::Refused, message, refusals.clone())
        }
        Ok(valid) => {
            let held = check::hold(valid, facts);
            let hash = valid.shape.revision();
            let serving = Some(valid.serving.clone());
            let kept = kept.map(|(kept, _)| kept);
            let replaces = running_hash.is_some_and(|running| running != hash);
            let rejected = blue_green::rejection(&hash, valid, facts).filter(|_| replaces);
            let frozen = frozen.filter(|_| replaces);
            let glass = frozen.as_ref().and_then(|_| facts.orders.breaks_glass(&hash));
            if let Some(rejected) = rejected {
                (kept, serving, Reason::Stable, rejected, held)
            } else if let Some(frozen) = frozen.as_ref().filter(|_| held.is_empty() && glass.is_none()) {
                thaws_at = Some(frozen.until);
                let message = format!("revision {}", release::way_out(frozen, &hash));
                (kept, serving, Reason::Frozen, message, held)
            } else if held.is_empty() {
                let (reason, message) = match running_hash {
                    Some(running) if running == hash => (Reason::Stable, format!("revision {hash} runs")),
                    Some(running) => {
                        let told = glass.map(|it| format!(", in a freeze: {} says {}", it.by, it.reason));
                        let told = told.unwrap_or_default();
                        (Reason::NewRevision, format!("revision {hash} replaces {running}{told}"))
                    }
                    None => (Reason::NewRevision, format!("revision {hash} is the first")),
                };
                match want(hash, valid, facts) {
                    Ok(mut wanted) => {
                        unreadable = None;
                        let migrating = jobs::hold(&wanted, facts);
                        let entry = replaces.then(|| {
                            let imposed = waves::is_imposed(&valid.own, running_hash, running, facts);
                            let under_way = migrating.as_ref().is_some_and(|it| it.failed || it.runs);
                            let entry = waves::enter(imposed, under_way, facts);
                            waves::mark(&mut wanted, &entry, facts);
                            entry
                        });
                        let is_in_wave = wanted.wave.as_ref().is_some_and(|wave| !wave.done);
                        match (migrating, entry) {
                            (_, Some(Entry::Waits(why))) => {
                                let goes =
                                    |it: &Wanted| waves::replaced(it, colour, facts) == Standing::Running;
                                let has_place =
                                    kept.as_ref().is_some_and(goes) || waves::is_ordered(&wanted.hash, facts);
                                entered = Some(waves::waiting(running, has_place));
                                let message = format!("revision {} {why}", wanted.hash);
                                (kept, serving, Reason::WaitsForWave, message, held)
                            }
                            (None, entry) => {
                                entered = entry.filter(|_| is_in_wave).map(|_| Standing::Running);
                                (Some(wanted), serving, reason, message, held)
                            }
                            (Some(waits), entry) => {
                                entered = entry.filter(|_| is_in_wave).map(|_| match waits.failed {
                                    true => Standing::Failed { revision: wanted.hash.clone() },
                                    false => Standing::Running,
                                });
                                let goes_on =
                                    kept.as_ref().map(|kept| format!("revision {} goes on", kept.hash));
                                let message = jobs::told(&waits.why, goes_on);
                                let reason =
                                    if waits.failed { Reason::MigrationFailed } else { Reason::Migrating };
                                held_back = Some((wanted, waits));
                                (kept, serving, reason, message, held)
                            }
                        }
                    }
                    Err(error) => {
                        unreadable = Some(error);
                        (kept, serving, Reason::RevisionUnreadable, message, held)
                    }
                }
            } else {
                let message = match &kept {
                    Some(kept) => {
                        format!("revision {hash} waits for its secrets; revision {} goes on", kept.hash)
                    }
                    None => format!("revision {hash} waits for its secrets"),
                };
                (kept, serving, Reason::SecretsMissing, message, held)
            }
        }
    };
    let lost = revision.is_none() && running.is_some();
    let rotation = rotation::rotate(revision.as_ref(), running, facts);
    let (reason, message) = match unreadable {
        // Told together, for the second shows once the first is corrected.
        Some(error) if matches!(reason, Reason::Refused | Reason::SecretsMissing) => {
            (reason, format!("{message}; {error}"))
        }
        Some(error) => (Reason::RevisionUnreadable, error.to_string()),
        None if lost => (
            Reason::RevisionLost,
            format!("{message}; its stored revision is lost, so its pods are left as they are"),
        ),
        None => (reason, message),
    };
    let release = blue_green::settled(colour, revision.as_ref(), serving.as_ref(), facts);
    let (waiting, waits) = held_back.unzip();
    let (spot, wake_at) = waits.as_ref().map_or((None, None), |waits| (waits.spot.clone(), waits.wake_at));
    let jobs = Jobs { run: waits.and_then(|waits| waits.run), waiting, ..Jobs::default() };
    let mut decision = Decision {
        colour,
        revision,
        serving,
        rotation,
        reason,
        message,
        held,
        release,
        other: None,
        look: false,
        spots: spot.into_iter().collect(),
        jobs,
        standing: Standing::Apart,
        wake_at: wake_at.or(thaws_at),
    };
    decision.standing = entered.unwrap_or_else(|| waves::of_pods(&decision, facts));
    decision
}

/// The colour that serves: the recorded one, for a selector is edited easily. Where the record is lost or names
/// nothing, the selector counts if it names a Deployment.
fn serving_colour(facts: &Facts) -> Colour {
    if let Some(record) = &facts.release {
        return record.colour;
    }
    let told = [facts.recorded, facts.selected];
    let runs = |colour: &Colour| facts.deployments.contains_key(colour);
    let running = told.into_iter().flatten().find(runs).or_else(|| facts.deployments.keys().next().copied());
    running.or(facts.recorded).or(facts.selected).unwrap_or(Colour::Blue)
}

/// The revision that is asked for: as stored, or new.
fn want(hash: String, valid: &Valid, facts: &Facts) -> Result<Wanted, Unreadable> {
    let own = Some(valid.own.clone());
    if let Some((stored, _)) = recall(&hash, facts)? {
        return Ok(Wanted { own, ..stored });
    }
    let number = facts.revisions.iter().map(|revision| revision.number).max().unwrap_or(0) + 1;
    let migration = jobs::Seen::of(facts).migration(&hash);
    Ok(Wanted { hash, number, shape: valid.shape.clone(), stored: None, migration, own, wave: None })
}

/// A stored revision, with what stood around its pods.
type Recalled = (Wanted, Option<Serving>);

/// What is stored of a revision; `None` if nothing is.
fn recall(hash: &str, facts: &Facts) -> Result<Option<Recalled>, Unreadable> {
    let Some(revision) = facts.revisions.iter().find(|revision| revision.hash == hash) else {
        return Ok(None);
    };
    let stored = Stored::read(hash, &revision.data)?;
    let serving = revision.serving.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let marks = facts.marks.get(hash).cloned().unwrap_or_default();
    let wanted = Wanted {
        own: marks.own,
        wave: marks.wave,
        hash: hash.into(),
        number: revision.number,
        shape: stored.shape.clone(),
        stored: Some(stored),
        migration: jobs::Seen::of(facts).migration(hash),
    };
    Ok(Some((wanted, serving)))
}

#[cfg(test)]
mod tests;
