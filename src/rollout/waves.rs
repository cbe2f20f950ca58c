//! Waves: a change of an environment replaces the pods of a few services at a time, and of no more once some fail.
//!
//! What a service is released for is stored with its revision, and how it stands follows from what is seen of it. So
//! what is in memory here is only who was let in just now, and who waits; an operator that starts finds it again.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Decision, Wanted};
use crate::api::names::Colour;
use crate::api::{Outcome, ReleaseState, RolloutStatus, WaveStatus, names};
use crate::check;
use crate::facts::{Admission, DeploymentFact, EnvironmentFact, Facts, ServiceName, WaveMark};

/// Services at once where nobody says more: percent of those that the change concerns.
const PERCENT: usize = 10;
/// Names in a message, before it says only how many more there are.
const NAMED: usize = 5;
/// Names in a status.
const LISTED: usize = 16;

/// How a service stands in the waves of its environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Not in one.
    #[default]
    Apart,
    /// It is to change, and has to be let in.
    Waiting {
        /// Whether its pods are unwell as they are: such go first.
        unwell: bool,
        /// Whether it needs no room: its pods are being replaced already, or somebody has asked to try it again.
        has_place: bool,
    },
    /// It was let in, and its pods have not all arrived.
    Running,
    /// Its new pods are ready: a person, or the end of a freeze, is waited for.
    Held,
    /// It was let in, and its new pods are no good.
    Failed {
        /// The revision.
        revision: String,
    },
    /// It was let in, and runs what was asked for.
    Done {
        /// By this generation of the environment.
        generation: i64,
    },
}

/// Whether a revision may replace what runs.
pub(super) enum Entry {
    /// The service itself asks for it.
    Free,
    /// It was let in.
    Admitted,
    /// It has to wait, for this reason.
    Waits(String),
}

/// Whether what is asked for differs from what runs by what the environment or the operator says alone, and would
/// replace pods. Of a revision that does not say what the service itself had asked for, that is taken to be so.
pub(super) fn is_imposed(
    own: &str,
    running: Option<&str>,
    pods: Option<&DeploymentFact>,
    facts: &Facts,
) -> bool {
    let has_pods = pods.is_some_and(|pods| pods.replicas > 0 || pods.status_replicas > 0);
    let known = running.and_then(|hash| facts.marks.get(hash)?.own.as_deref());
    matches!(facts.environment, EnvironmentFact::Governed { .. })
        && has_pods
        && known.is_none_or(|known| known == own)
}

/// Let a revision in, or keep it waiting. One that is under way is not asked again.
pub(super) fn enter(imposed: bool, under_way: bool, facts: &Facts) -> Entry {
    match &facts.admission {
        _ if !imposed => Entry::Free,
        _ if under_way => Entry::Admitted,
        Some(Admission::Admitted { .. }) => Entry::Admitted,
        Some(Admission::Waits(why) | Admission::Halted(why)) => Entry::Waits(why.clone()),
        None => Entry::Waits("waits for the wave of its environment".into()),
    }
}

/// Whether somebody has asked to try this revision again.
pub(super) fn is_ordered(hash: &str, facts: &Facts) -> bool {
    let named = facts.orders.retry.as_deref().and_then(|attempt| attempt.rsplit_once('-'));
    named.is_some_and(|(revision, _)| revision == hash)
}

/// Whether a revision came with a wave that is not over for it.
pub(super) fn is_open(hash: &str, facts: &Facts) -> bool {
    facts.marks.get(hash).and_then(|marks| marks.wave.as_ref()).is_some_and(|wave| !wave.done)
}

/// How a service stands that is to change.
pub(super) fn waiting(pods: Option<&DeploymentFact>, has_place: bool) -> Standing {
    Standing::Waiting { unwell: pods.is_some_and(|pods| !pods.is_settled()), has_place }
}

/// Note on a revision that begins what it begins for.
pub(super) fn mark(revision: &mut Wanted, entry: &Entry, facts: &Facts) {
    match (entry, &facts.admission, &facts.environment) {
        (Entry::Free, ..) => revision.wave = None,
        (
            Entry::Admitted,
            Some(Admission::Admitted { generation }),
            EnvironmentFact::Governed { name, .. },
        ) => {
            let (environment, generation) = (name.clone(), *generation);
            revision.wave = Some(WaveMark { environment, generation, since: facts.now, done: false });
        }
        _ => {}
    }
}

/// How a service stands that has not just asked, from what its revisions were released for.
pub(super) fn of_releases(decision: &Decision, facts: &Facts) -> Standing {
    let open = |revision: &Wanted| revision.wave.as_ref().is_some_and(|wave| !wave.done);
    let Some(record) = &decision.release else { return of_pods(decision, facts) };
    let other = decision.other.as_ref().and_then(|other| other.revision.as_ref());
    match record.state {
        ReleaseState::AwaitingApproval if other.is_some_and(open) => Standing::Held,
        state if state.is_before_switch() && other.is_some_and(open) => Standing::Running,
        ReleaseState::Soaking if decision.revision.as_ref().is_some_and(open) => Standing::Running,
        ReleaseState::Stable | ReleaseState::Retiring => failed(record, facts)
            .or_else(|| arrived(record, decision, facts))
            .unwrap_or_else(|| of_pods(decision, facts)),
        _ => Standing::Apart,
    }
}

/// The release that a wave began, if it ended badly and is still what is asked for.
fn failed(record: &RolloutStatus, facts: &Facts) -> Option<Standing> {
    let attempted = record.attempted().filter(|_| record.outcome.is_some_and(Outcome::is_failure))?;
    (is_open(attempted, facts) && record.rejected_revision.as_deref() == Some(attempted))
        .then(|| Standing::Failed { revision: attempted.to_string() })
}

/// The release that a wave began, once traffic stays with it.
fn arrived(record: &RolloutStatus, decision: &Decision, facts: &Facts) -> Option<Standing> {
    let revision = decision.revision.as_ref().filter(|it| record.attempted() == Some(&it.hash))?;
    done(revision.wave.as_ref()?, facts)
}

fn done(wave: &WaveMark, facts: &Facts) -> Option<Standing> {
    let here =
        matches!(&facts.environment, EnvironmentFact::Governed { name, .. } if *name == wave.environment);
    Some(if here { Standing::Done { generation: wave.generation } } else { Standing::Apart })
}

/// Of pods that are replaced one by one.
pub(super) fn of_pods(decision: &Decision, facts: &Facts) -> Standing {
    decision.revision.as_ref().map_or(Standing::Apart, |revision| replaced(revision, decision.colour, facts))
}

/// How far the pods of a colour are that are replaced one by one.
pub(super) fn replaced(revision: &Wanted, colour: Colour, facts: &Facts) -> Standing {
    let pods = facts.deployments.get(&colour).filter(|pods| pods.revision == revision.hash);
    let (Some(wave), Some(pods)) = (&revision.wave, pods) else { return Standing::Apart };
    if wave.done || pods.is_settled() {
        return done(wave, facts).unwrap_or_default();
    }
    let is_late = facts.now >= wave.since + check::patience(&facts.environment);
    if is_late || pods.deadline_exceeded && pods.observed {
        return Standing::Failed { revision: revision.hash.clone() };
    }
    Standing::Running
}

/// Note on the revision that serves that its wave is over, and have a late one looked at in time.
pub(super) fn settle(decision: &mut Decision, facts: &Facts) {
    let Some(wave) = decision.revision.as_mut().and_then(|revision| revision.wave.as_mut()) else { return };
    match decision.standing {
        Standing::Done { .. } => wave.done = true,
        Standing::Running => {
            let late = wave.since + check::patience(&facts.environment);
            let late = Some(late).filter(|late| *late > facts.now);
            decision.wake_at = [decision.wake_at, late].into_iter().flatten().min();
        }
        _ => {}
    }
}

/// What an environment says of its waves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// Its name.
    pub environment: String,
    /// Its generation.
    pub generation: i64,
    /// Services at once.
    pub max_concurrent: Option<IntOrString>,
    /// Failures that halt.
    pub halt_after: Option<i32>,
    /// Failures in spite of which it goes on.
    pub continued: BTreeSet<String>,
    /// Services of which an operator that has just started does not know how they stand.
    pub unseen: usize,
}

impl Terms {
    /// The failures that an annotation names.
    pub fn continued(said: &str) -> BTreeSet<String> {
        said.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_string).collect()
    }
}

/// Services that may be released at once, of so many that a change concerns.
pub fn cap(said: Option<&IntOrString>, concerned: usize) -> usize {
    let percent = match said {
        Some(IntOrString::Int(number)) => return usize::try_from(*number).unwrap_or(1).max(1),
        Some(IntOrString::String(text)) => text.trim_end_matches('%').parse().unwrap_or(PERCENT),
        None => PERCENT,
    };
    (concerned * percent).div_ceil(100).max(1)
}

/// The services of an environment, as far as its waves concern them, by uid.
#[derive(Clone, Debug, Default)]
pub struct Wave {
    members: BTreeMap<String, (ServiceName, Standing)>,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// For the status of the environment.
    pub status: WaveStatus,
    /// Who is being released.
    pub running: Vec<String>,
    /// Failures that count.
    pub failures: Vec<String>,
    /// Whether nobody is let in because of them.
    pub halted: bool,
}

impl Wave {
    /// How a service stands. Tells whether that is news.
    pub fn note(&mut self, uid: &str, name: &ServiceName, standing: Standing) -> bool {
        let now = (name.clone(), standing);
        let before = self.members.insert(uid.to_string(), now);
        before.is_none_or(|before| self.members.get(uid) != Some(&before))
    }

    /// How a service stands, if that was noted.
    pub fn of(&self, uid: &str) -> Option<&Standing> {
        self.members.get(uid).map(|(_, standing)| standing)
    }

    /// A service is gone. Tells whether it was known.
    pub fn forget(&mut self, uid: &str) -> bool {
        self.members.remove(uid).is_some()
    }

    /// No service has this name any more. Tells whether one of it was known.
    pub fn forget_name(&mut self, name: &ServiceName) -> bool {
        let before = self.members.len();
        self.members.retain(|_, (known, _)| known != name);
        self.members.len() < before
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A service asks to be let in. Who is running keeps its place, whatever it is to run now.
    pub fn ask(&mut self, uid: &str, name: &ServiceName, waiting: &Standing, terms: &Terms) -> Admission {
        let has_place = self.of(uid) == Some(&Standing::Running)
            || matches!(waiting, Standing::Waiting { has_place: true, .. });
        self.note(uid, name, waiting.clone());
        let progress = self.progress(terms);
        if !has_place {
            let environment = &terms.environment;
            if terms.unseen > 0 {
                return Admission::Waits(format!(
                    "waits for the wave: the operator has just started, and has yet to look at {} services of environment {environment}",
                    terms.unseen
                ));
            }
            if progress.halted {
                return Admission::Halted(halted(&progress, environment));
            }
            let most = progress.status.max_concurrent;
            if progress.status.running >= most {
                // It is one of those itself.
                let others = progress.status.waiting - 1;
                return Admission::Waits(format!(
                    "waits for the wave: {} of {most} services of environment {environment} are being released ({}); {others} more wait",
                    progress.status.running,
                    first_of(&progress.running),
                ));
            }
        }
        self.note(uid, name, Standing::Running);
        Admission::Admitted { generation: terms.generation }
    }

    /// Who waits and has room: no more of them than there is, for a thousand may wait.
    pub fn next(&self, terms: &Terms) -> Vec<ServiceName> {
        let progress = self.progress(terms);
        if terms.unseen > 0 || progress.halted {
            return Vec::new();
        }
        let room = usize::try_from(progress.status.max_concurrent - progress.status.running).unwrap_or(0);
        let mut waiting = self.waiting();
        waiting.truncate(room);
        waiting
    }

    /// Who waits, in the order in which they are let in.
    pub fn waiting(&self) -> Vec<ServiceName> {
        let mut waiting: Vec<(bool, &ServiceName)> = self
            .members
            .values()
            .filter_map(|(name, standing)| match standing {
                Standing::Waiting { unwell, .. } => Some((!unwell, name)),
                _ => None,
            })
            .collect();
        waiting.sort();
        waiting.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// How far it is.
    pub fn progress(&self, terms: &Terms) -> Progress {
        let mut progress = Progress::default();
        let (status, mut all) = (&mut progress.status, Vec::new());
        for ((namespace, name), standing) in self.members.values() {
            match standing {
                Standing::Apart => {}
                Standing::Waiting { .. } => status.waiting += 1,
                Standing::Held => status.held += 1,
                Standing::Running => {
                    status.running += 1;
                    progress.running.push(format!("{namespace}/{name}"));
                }
                Standing::Failed { revision } => {
                    status.failed += 1;
                    all.push(format!("{namespace}/{name}@{revision}"));
                }
                Standing::Done { generation } => status.done += i32::from(*generation == terms.generation),
            }
        }
        progress.running.sort();
        all.sort();
        let concerned = status.waiting + status.held + status.running + status.failed + status.done;
        let cap = cap(terms.max_concurrent.as_ref(), usize::try_from(concerned).unwrap_or(0));
        status.max_concurrent = i32::try_from(cap).unwrap_or(i32::MAX);
        progress.failures = all.iter().filter(|name| !terms.continued.contains(*name)).cloned().collect();
        all.truncate(LISTED);
        status.failures = all;
        let limit = usize::try_from(terms.halt_after.unwrap_or(1)).unwrap_or(1).max(1);
        progress.halted = progress.failures.len() >= limit;
        progress
    }
}

/// Who has halted a wave, and what can be done.
pub fn halted(progress: &Progress, environment: &str) -> String {
    format!(
        "the wave of environment {environment} is halted, for these have failed: {}; correct the environment, have the failed release tried again (visiobook rollout retry), or set {} on the environment to {}",
        first_of(&progress.failures),
        names::CONTINUE_WAVE,
        progress.failures.join(","),
    )
}

fn first_of(told: &[String]) -> String {
    let first = told.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match told.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
