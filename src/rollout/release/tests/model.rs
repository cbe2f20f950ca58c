//! Releases in a small cluster that does what it likes: pods fail, caches and endpoints lag, people edit and order,
//! clocks jump, the operator dies between any two of its writes. What must never happen is checked at each write.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::super::attempt::seconds;
use super::super::*;
use crate::api::PastJob;
use crate::check::Checked;
use crate::facts::{Facts, JobEnd, JobFact};
use crate::rollout::jobs::Seen;
use crate::rollout::serving_colour;

/// Runs times events: more than a million steps.
const RUNS: u32 = 10_000;
const EVENTS: usize = 130;

const REVISIONS: [&str; 4] = ["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc", "dddddddddd"];
/// Those that have a migration.
const MIGRATING: [&str; 1] = [REVISIONS[2]];
const SETTINGS: Release =
    Release { approval: false, attest: Vec::new(), deadline: 60, soak: 20, warm: 40, checks: None };
/// Seconds that a Job may take.
const JOB: i64 = 25;

#[derive(Clone, Debug)]
enum Event {
    /// A pass; it dies after so many writes.
    Pass(usize),
    /// Caches, and endpoints, show what is from now on, or what was just now.
    Look(bool, bool),
    Ready(Colour, i32),
    Fail(Colour, i32),
    Ask(usize),
    Refuse,
    Scale(i32),
    Order(u8, u8),
    Clock(i64),
    Select(Option<Colour>),
    Replace,
    DeleteService,
    LoseStatus,
    Forge(Colour, u8, usize, i64),
    DeleteDeployment(Colour),
    Approval(bool),
    Strategy(bool),
    /// A freeze that lasts so long from now on.
    Freeze(i64),
    Checks(bool),
    /// Something becomes of a Job: it succeeds, fails, or is deleted by somebody.
    Job(u8, u8),
}

/// An event for each number: numbers are made and shrunk faster than events.
fn event(number: u32) -> Event {
    let [kind, a, b, c] = number.to_be_bytes();
    let colour = if a % 2 == 0 { Colour::Blue } else { Colour::Green };
    let pods = i32::from(b % 3) + 1;
    match kind {
        0..56 => Event::Pass(19),
        56..72 => Event::Pass(usize::from(a % 7)),
        72..94 => Event::Ready(colour, pods),
        94..110 => Event::Job(a, b % 16),
        110..123 => Event::Fail(colour, pods),
        123..143 => Event::Look(a % 2 == 0, b % 2 == 0),
        143..159 => Event::Ask(usize::from(a % 4)),
        159..162 => Event::Refuse,
        162..172 => Event::Scale(i32::from(a % 4)),
        172..194 => Event::Order(a % 5, b % 4),
        194..222 => Event::Clock(i64::from(a % 24) + 1),
        222..225 => Event::Clock((i64::from(a) - 128) * 4),
        225..230 => Event::Select((b % 3 != 0).then_some(colour)),
        230..233 => Event::Replace,
        233..236 => Event::DeleteService,
        236..239 => Event::LoseStatus,
        239..242 => Event::Forge(colour, b % 7, usize::from(c % 4), i64::from(c) * 4 - 99),
        242..245 => Event::DeleteDeployment(colour),
        245..248 => Event::Approval(a % 2 == 0),
        248..251 => Event::Checks(a % 4 != 0),
        251..254 => Event::Strategy(a % 2 == 0),
        _ => Event::Freeze(i64::from(a % 64)),
    }
}

#[derive(Clone, Default)]
struct Pods {
    revision: String,
    attempt: Option<String>,
    replicas: i32,
    ready: i32,
    /// Ready pods of a revision that is replaced.
    older: Option<(String, i32)>,
}

#[derive(Clone, Debug)]
struct Ran {
    phase: Phase,
    attempt: String,
    revision: String,
    made: i64,
    end: Option<bool>,
    /// What caches show of its end.
    shown: Option<bool>,
}

impl Ran {
    fn name(&self) -> String {
        names::job("users", self.phase, &self.attempt)
    }

    fn runs(&self, now: i64) -> bool {
        self.end.is_none() && now < self.made + JOB
    }
}

struct Service {
    selects: Option<Colour>,
    record: Option<RolloutStatus>,
}

struct World {
    now: i64,
    /// Steps that were asked for.
    steps: std::cell::Cell<u64>,
    /// The clock has jumped: spans of time mean nothing.
    jumped: bool,
    service: Option<Service>,
    status: Option<RolloutStatus>,
    pods: BTreeMap<Colour, Pods>,
    /// What caches and endpoints show, which may be older than what is.
    shown: BTreeMap<Colour, Pods>,
    fresh: bool,
    prompt: bool,
    asked: Option<usize>,
    wanted: i32,
    orders: Orders,
    approval: bool,
    blue_green: bool,
    /// When the last freeze ends.
    frozen_until: i64,
    checks: bool,
    jobs: Vec<Ran>,
    /// What ControllerRevisions record of migrations.
    recorded: BTreeMap<String, PastJob>,
    /// Revisions whose migration has succeeded, or whose pods were there before.
    migrated: BTreeSet<String>,
    /// Jobs that passed.
    passed: BTreeSet<(Phase, String)>,
    /// When each attempt began.
    began: BTreeMap<String, i64>,
    /// Attempts that somebody approved.
    approved: BTreeSet<String>,
    /// Attempts that somebody broke the glass for.
    broken: BTreeSet<String>,
    switches: usize,
    ways: BTreeSet<(&'static str, &'static str)>,
    outcomes: BTreeSet<&'static str>,
}

impl World {
    fn new() -> World {
        World {
            now: 1_000_000,
            steps: std::cell::Cell::new(0),
            jumped: false,
            service: None,
            status: None,
            pods: BTreeMap::new(),
            shown: BTreeMap::new(),
            fresh: true,
            prompt: true,
            asked: Some(0),
            wanted: 2,
            orders: Orders::default(),
            approval: false,
            blue_green: true,
            frozen_until: 0,
            checks: false,
            jobs: Vec::new(),
            recorded: BTreeMap::new(),
            migrated: BTreeSet::new(),
            passed: BTreeSet::new(),
            began: BTreeMap::new(),
            approved: BTreeSet::new(),
            broken: BTreeSet::new(),
            switches: 0,
            ways: BTreeSet::new(),
            outcomes: BTreeSet::new(),
        }
    }

    fn facts(&self) -> Facts {
        let deployments = self.pods.iter().map(|(colour, pods)| {
            // What we wrote ourselves is known; how its pods are may be old.
            let shown = self.shown.get(colour).filter(|shown| shown.revision == pods.revision);
            let ready = if self.fresh { pods.ready } else { shown.map_or(0, |shown| shown.ready) };
            let fact = DeploymentFact {
                revision: pods.revision.clone(),
                attempt: pods.attempt.clone(),
                replicas: pods.replicas,
                ready,
                observed: true,
                ..DeploymentFact::default()
            };
            (*colour, fact)
        });
        Facts {
            deployments: deployments.collect(),
            release: self.service.as_ref().and_then(|service| service.record.clone()),
            status_release: self.status.clone(),
            recorded: self.status.as_ref().map(|status| status.colour),
            selected: self.service.as_ref().and_then(|service| service.selects),
            orders: self.orders.clone(),
            jobs: self.jobs.iter().map(|job| self.fact(job)).collect(),
            migrations: self.recorded.clone(),
            now: self.now,
            ..Facts::default()
        }
    }

    fn fact(&self, job: &Ran) -> JobFact {
        // Before one is given up its pods are looked at.
        let is_looked_at = self.now >= job.made + JOB;
        let end = if self.fresh || is_looked_at { job.end } else { job.shown };
        JobFact {
            name: job.name(),
            phase: job.phase,
            attempt: job.attempt.clone(),
            revision: job.revision.clone(),
            made: job.made,
            deadline: job.made + JOB,
            ready: true,
            end: end.map(|succeeded| JobEnd { succeeded, message: "it said so".into() }),
        }
    }

    /// The endpoints, as old as the caches.
    fn endpoints(&self, active: Colour) -> Vec<EndpointFact> {
        let from = if self.prompt { &self.pods } else { &self.shown };
        let mut found = Vec::new();
        for (colour, pods) in from {
            let older = pods.older.iter().map(|(revision, ready)| (revision, *ready));
            for (revision, ready) in std::iter::once((&pods.revision, pods.ready)).chain(older) {
                for index in 0..ready {
                    let uid = format!("{revision}{index}");
                    let fact = EndpointFact {
                        uid,
                        colour: *colour,
                        revision: revision.clone(),
                        preview: *colour != active,
                    };
                    // Slices list a pod twice while they are split.
                    found.extend([fact.clone(), fact]);
                }
            }
        }
        found
    }

    fn settings(&self) -> Option<Release> {
        let checked = || Box::new(Checked { conformance: true, deadline: JOB, ..Checked::default() });
        let checks = self.checks.then(checked);
        self.blue_green.then_some(Release { approval: self.approval, checks, ..SETTINGS })
    }

    fn freeze(&self) -> Option<Frozen> {
        let until = self.frozen_until;
        (until > self.now).then(|| Frozen { until, reason: "sales".into() })
    }

    fn pass(&mut self, mut writes: usize) -> Result<(), TestCaseError> {
        let facts = self.facts();
        let colour = serving_colour(&facts);
        let asked = self.asked.map(|asked| REVISIONS[asked]);
        let settings = self.settings();
        let frozen = self.freeze();
        let before = match (recover(&facts, colour), asked) {
            (Some(record), _) => record,
            (None, Some(asked)) => first(colour, asked),
            (None, None) => return Ok(()),
        };
        let is_recorded = facts.release.is_some();
        let wanted = Some(self.wanted);
        let steps = self.steps.clone();
        let step = |endpoints: Option<&[EndpointFact]>, orders: &Orders, before: &RolloutStatus| {
            steps.set(steps.get() + 1);
            let scene = Scene {
                outlawed: None,
                now: facts.now,
                asked,
                settings: settings.as_ref(),
                frozen: frozen.as_ref(),
                orders,
                deployments: &facts.deployments,
                wanted,
                endpoints,
                is_stored: &|_| true,
                jobs: Seen::of(&facts),
                migrates: &|revision| {
                    let runs = facts.deployments.values().any(|there| there.revision == revision);
                    MIGRATING.contains(&revision) && !runs
                },
            };
            advance(before, &scene)
        };
        let mut next = step(None, &facts.orders, &before);
        prop_assert!(next.record.colour == before.colour, "traffic moved without a look");
        let mut seen = None;
        if next.look {
            let endpoints = self.endpoints(before.colour);
            next = step(Some(&endpoints), &facts.orders, &before);
            prop_assert!(!next.look, "looked, and asks for a look");
            seen = Some(endpoints);
        }
        let endpoints = seen.as_deref();
        self.steps.set(steps.get());
        for pair in next.passed.windows(2) {
            prop_assert!(pair[0].next().contains(&pair[1]), "{:?} leads to {:?}", pair[0], pair[1]);
            self.ways.insert((pair[0].as_str(), pair[1].as_str()));
        }
        self.check(&before, &next.record, endpoints, &facts)?;
        // 7: an order for another attempt is none, and a step that was taken is not taken again.
        let named = |order: &Option<String>| *order == before.attempt || *order == next.record.attempt;
        let orders = &facts.orders;
        if ![&orders.approve, &orders.break_glass, &orders.abort, &orders.retry, &orders.undo]
            .into_iter()
            .any(|o| o.is_some() && named(o))
        {
            let without = step(endpoints, &Orders::default(), &before);
            prop_assert_eq!(&without.record, &next.record, "an order for another attempt did something");
        }
        // What else is asked for begins with the step after the one that ends a soak.
        let soaked = before.state == ReleaseState::Soaking && next.record.state == ReleaseState::Retiring;
        let moved = next.record.colour != before.colour || next.record.number != before.number;
        if !moved && !soaked && !step(endpoints, orders, &next.record).look {
            let quiet = |record: RolloutStatus| RolloutStatus { reason: String::new(), ..record };
            let again = step(endpoints, orders, &next.record).record;
            prop_assert_eq!(quiet(again), quiet(next.record.clone()), "a step is no fixed point");
        }
        self.steps.set(steps.get());
        self.write(&before, next, is_recorded, &facts, &mut writes)
    }

    fn check(
        &mut self,
        before: &RolloutStatus,
        after: &RolloutStatus,
        endpoints: Option<&[EndpointFact]>,
        facts: &Facts,
    ) -> Result<(), TestCaseError> {
        self.outcomes.extend(after.outcome.map(Outcome::as_str));
        let there = |colour: Colour, revision: &str, preview: bool| {
            let pods = endpoints.unwrap_or_default().iter();
            let pods = pods
                .filter(|pod| pod.colour == colour && pod.revision == revision && (pod.preview || !preview));
            pods.map(|pod| pod.uid.as_str()).collect::<BTreeSet<_>>().len() as i32
        };
        prop_assert!(after.history.len() <= 10);
        if after.colour != before.colour {
            self.switches += 1;
            let attempt = after.attempt.clone().unwrap_or_default();
            if after.state == ReleaseState::Soaking {
                // 2: forward, with as many endpoints of the new revision as the live colour has pods.
                let live = facts.deployments.get(&before.colour).map_or(0, |live| live.replicas);
                let ready = there(after.colour, &after.revision, true);
                prop_assert!(ready >= live && ready >= self.wanted, "{ready} endpoints for {live} pods");
                prop_assert!(
                    before.attempt.as_deref() == Some(&*attempt),
                    "an attempt switched in its first pass"
                );
                prop_assert_ne!(&facts.orders.abort, &Some(attempt.clone()), "an aborted attempt switched");
                let undo = before.rejected_revision.as_deref() == Some(&before.revision);
                prop_assert!(!self.approval || undo || self.approved.contains(&attempt), "nobody approved");
                prop_assert!(self.blue_green, "a release without the strategy");
                prop_assert!(
                    self.freeze().is_none() || undo || self.broken.contains(&attempt),
                    "traffic moved forward in a freeze"
                );
                prop_assert!(
                    self.freeze().is_none() || undo || after.break_glass.is_some(),
                    "nobody knows who broke the glass"
                );
                let checked = self.passed.contains(&(Phase::Preview, attempt.clone()));
                prop_assert!(
                    !self.checks || undo || checked || self.wanted == 0,
                    "nothing was checked before the switch"
                );
            } else {
                // 3: back, to something that answers.
                prop_assert!(there(after.colour, &after.revision, false) > 0, "back to nothing");
                prop_assert_eq!(before.previous_revision.as_ref(), Some(&after.revision));
                prop_assert!(matches!(before.state, ReleaseState::Soaking | ReleaseState::Retiring));
            }
        } else {
            prop_assert_eq!(&before.revision, &after.revision, "the revision changed in place");
            // 3: abort always wins where there is something to go back to.
            let aborted = before.attempt.is_some() && facts.orders.abort == before.attempt;
            if aborted && before.state == ReleaseState::Soaking {
                let previous = before.previous_revision.as_deref().unwrap_or_default();
                prop_assert!(
                    endpoints.is_none_or(|_| there(before.colour.other(), previous, false) == 0),
                    "an abort was ignored"
                );
                prop_assert!(after.state == ReleaseState::Soaking);
            }
            prop_assert!(
                !(aborted
                    && before.state.is_before_switch()
                    && after.attempt == before.attempt
                    && after.state.is_before_switch()),
                "an abort was ignored"
            );
        }
        // 4: the old colour goes after the soak and the warm time, or because something newer takes its place.
        let both = |state| matches!(state, ReleaseState::Soaking | ReleaseState::Retiring);
        if both(before.state)
            && !both(after.state)
            && after.colour == before.colour
            && after.number == before.number
        {
            let since = before.since.as_ref().map_or(self.now, seconds).min(self.now);
            let over = if before.state == ReleaseState::Soaking { SETTINGS.soak } else { 0 } + SETTINGS.warm;
            prop_assert!(!self.blue_green || self.now >= since + over, "the old colour went too early");
        }
        // A release is complete once what serves was checked.
        if before.state == ReleaseState::Soaking && after.state == ReleaseState::Retiring {
            let undo =
                before.rejected_revision.is_some() && before.rejected_revision == before.previous_revision;
            let checked = before.attempt.clone().is_none_or(|it| self.passed.contains(&(Phase::Live, it)));
            prop_assert!(
                !self.checks || !self.blue_green || undo || checked || self.wanted == 0,
                "nothing was checked after the switch"
            );
        }
        // 6: no attempt lasts longer than its deadline, but for the approval.
        if let Some(attempt) = after.attempt.clone().filter(|_| after.number > before.number) {
            // One whose goal the resource asks for as well is rejected by nobody.
            let ordered = before.attempt.is_some() && facts.orders.undo == before.attempt;
            let undo = ordered || after.rejected_revision.as_ref() == Some(&before.revision);
            prop_assert!(
                self.freeze().is_none() || undo || self.broken.contains(&attempt),
                "a release began in a freeze"
            );
            self.began.insert(attempt, self.now);
        }
        let waited = matches!(after.state, ReleaseState::AwaitingApproval | ReleaseState::Switching);
        if after.state.is_before_switch() && !waited && !self.jumped {
            let began = after.attempt.as_ref().and_then(|attempt| self.began.get(attempt));
            prop_assert!(began.is_none_or(|began| self.now < began + SETTINGS.deadline), "past its deadline");
        }
        Ok(())
    }

    /// The writes of a pass, in their order. Each may be the last.
    fn write(
        &mut self,
        before: &RolloutStatus,
        step: Step,
        is_recorded: bool,
        facts: &Facts,
        writes: &mut usize,
    ) -> Result<(), TestCaseError> {
        let record = step.record;
        let selects = self.service.as_ref().and_then(|service| service.selects);
        let mut go_on = |needed: bool| {
            let left = *writes;
            *writes = writes.saturating_sub(usize::from(needed));
            !needed || left > 0
        };
        let seen = Seen::of(facts);
        for (revision, past) in seen.unrecorded() {
            if !go_on(true) {
                return Ok(());
            }
            self.recorded.insert(revision, past);
        }
        let differs = !is_recorded || *before != record || selects != Some(record.colour);
        if !go_on(differs) {
            return Ok(());
        }
        // 1: the selector and the record are one write, and the selector is never empty.
        self.service = Some(Service { selects: Some(record.colour), record: Some(record.clone()) });
        if let Some((phase, attempt)) = step.run.zip(record.attempt.clone()) {
            let of = if phase == Phase::Live { Some(&*record.revision) } else { record.attempted() };
            let revision = of.unwrap_or_default().to_string();
            let job = Ran { phase, attempt, revision, made: self.now, end: None, shown: None };
            let is_there = self.jobs.iter().any(|there| there.name() == job.name());
            if !go_on(!is_there) {
                return Ok(());
            }
            if !is_there && phase == Phase::Migration {
                prop_assert!(!self.migrated.contains(&job.revision), "a migration ran twice");
                let other = self.jobs.iter().find(|it| it.phase == phase && it.runs(self.now));
                prop_assert!(other.is_none(), "two migrations run at once: {job:?} beside {other:?}");
            }
            if !is_there {
                self.jobs.push(job);
            }
        }
        let mut wanted = vec![(record.colour, record.revision.clone())];
        if let Some(other) = other(&record).filter(|_| step.starts) {
            wanted.push((record.colour.other(), other.to_string()));
        }
        for (colour, revision) in &wanted {
            let there = self.pods.get(colour);
            let differs = there.is_none_or(|pods| pods.revision != *revision || pods.replicas != self.wanted);
            if !go_on(differs) {
                return Ok(());
            }
            let mut pods = there.cloned().unwrap_or_default();
            if pods.revision != *revision {
                prop_assert!(
                    *colour != record.colour
                        || pods.revision.is_empty()
                        || before.revision != record.revision
                        || !is_recorded
                        || self.pods[colour].revision != record.revision,
                    "the live colour was replaced in place"
                );
                if *colour == record.colour {
                    // Made good as it was; the first one starts in place.
                    self.migrated.insert(revision.clone());
                    let done = PastJob {
                        phase: Phase::Migration,
                        attempt: format!("{revision}-1"),
                        succeeded: true,
                        message: String::new(),
                        ended: None,
                    };
                    self.recorded
                        .entry(revision.clone())
                        .and_modify(|past| past.succeeded = true)
                        .or_insert(done);
                }
                let undo = record.rejected_revision.as_ref() == Some(&record.revision);
                prop_assert!(
                    undo || !MIGRATING.contains(&&**revision) || self.migrated.contains(revision),
                    "pods start before their migration"
                );
                pods.older = (pods.ready > 0).then(|| (pods.revision.clone(), pods.ready));
                pods.ready = 0;
                pods.revision = revision.clone();
                pods.attempt = record.attempt.clone();
            }
            // 4 and 5: both colours have the size that is wanted.
            pods.replicas = self.wanted;
            pods.ready = pods.ready.min(self.wanted);
            self.pods.insert(*colour, pods);
        }
        let idle = record.colour.other();
        // As the plan does: what the Service was seen to select stays.
        if wanted.len() == 1 && self.pods.contains_key(&idle) && selects != Some(idle) {
            if !go_on(true) {
                return Ok(());
            }
            let live = self.service.as_ref().and_then(|service| service.selects);
            prop_assert!(live != Some(idle), "the colour that serves was deleted");
            self.pods.remove(&idle);
        }
        let kept = seen.kept(record.attempt.as_deref(), None);
        let due = step.run.zip(record.attempt.as_deref()).map(|(phase, it)| names::job("users", phase, it));
        let stays = |job: &Ran| kept.contains(&job.name()) || Some(job.name()) == due;
        while let Some(gone) = self.jobs.iter().position(|job| !stays(job)) {
            if !go_on(true) {
                return Ok(());
            }
            let gone = self.jobs.remove(gone);
            if gone.phase == Phase::Migration && gone.end.is_some() {
                let told = self.fact(&gone).end.map(|end| end.succeeded);
                let past = self.recorded.get(&gone.revision);
                let is_recorded = past.is_some_and(|past| past.succeeded || told != Some(true));
                prop_assert!(is_recorded, "a Job is taken away before its outcome is recorded: {gone:?}");
                if past.is_some_and(|past| !past.succeeded) {
                    // Given up at its deadline: what it had done by then is not known.
                    self.migrated.remove(&gone.revision);
                }
            }
        }
        if !go_on(self.status.as_ref() != Some(&record)) {
            return Ok(());
        }
        // 4: after a whole pass the colour that traffic could return to is there, as it was and at full size.
        if matches!(record.state, ReleaseState::Soaking | ReleaseState::Retiring)
            && let Some(previous) = &record.previous_revision
        {
            let kept = self.pods.get(&idle);
            let kept = kept.is_some_and(|pods| pods.revision == *previous && pods.replicas == self.wanted);
            prop_assert!(kept, "the old colour is not kept in {:?}", record.state);
        }
        self.status = Some(record);
        Ok(())
    }

    fn happen(&mut self, event: &Event) -> Result<(), TestCaseError> {
        match event {
            Event::Pass(writes) => self.pass(*writes)?,
            Event::Look(fresh, prompt) => {
                self.shown = self.pods.clone();
                self.jobs.iter_mut().for_each(|job| job.shown = job.end);
                (self.fresh, self.prompt) = (*fresh, *prompt);
            }
            Event::Ready(colour, pods) => {
                if let Some(there) = self.pods.get_mut(colour) {
                    there.ready = (there.ready + pods).min(there.replicas);
                    if there.ready >= there.replicas {
                        there.older = None;
                    }
                }
            }
            Event::Fail(colour, pods) => {
                if let Some(there) = self.pods.get_mut(colour) {
                    there.ready = (there.ready - pods).max(0);
                }
            }
            Event::Ask(revision) => self.asked = Some(*revision),
            Event::Refuse => self.asked = None,
            Event::Scale(pods) => self.wanted = *pods,
            Event::Order(order, which) => {
                let current =
                    self.service.as_ref().and_then(|service| service.record.as_ref()?.attempt.clone());
                let attempt = match which {
                    0 | 1 => current,
                    3 => None,
                    _ => Some(format!("{}-1", REVISIONS[1])),
                };
                match order {
                    0 => {
                        self.approved.extend(attempt.clone());
                        self.orders.approve = attempt;
                        self.orders.approved_by = Some("alice".into());
                    }
                    1 => self.orders.abort = attempt,
                    2 => self.orders.retry = attempt,
                    3 => self.orders.undo = attempt,
                    _ => self.break_glass(*which, attempt),
                }
            }
            Event::Clock(by) => {
                self.now += by;
                self.jumped |= *by < 0;
            }
            Event::Select(colour) => {
                if let Some(service) = &mut self.service {
                    service.selects = *colour;
                }
            }
            Event::Replace => {
                if let Some(service) = &mut self.service {
                    service.record = None;
                }
            }
            Event::DeleteService => self.service = None,
            Event::LoseStatus => self.status = None,
            Event::Forge(colour, state, revision, ahead) => {
                let since = Some(super::super::attempt::time(self.now + ahead));
                self.status = Some(RolloutStatus {
                    state: ReleaseState::ALL[usize::from(*state)],
                    attempt: Some(format!("{}-3", REVISIONS[*revision])),
                    previous_revision: Some(REVISIONS[*revision].into()),
                    started: since.clone(),
                    since,
                    ..first(*colour, REVISIONS[*revision])
                });
                // Spans of time that it made up are not held against anybody.
                self.jumped = true;
            }
            Event::DeleteDeployment(colour) => drop(self.pods.remove(colour)),
            Event::Approval(asked) => self.approval = *asked,
            Event::Strategy(blue_green) => self.blue_green = *blue_green,
            Event::Freeze(seconds) => self.frozen_until = self.now + seconds,
            Event::Checks(checks) => self.checks = *checks,
            Event::Job(which, what) => self.end(usize::from(*which), *what),
        }
        Ok(())
    }

    /// For the attempt that is under way, or for the one that comes next; or without a reason, which is for nothing.
    fn break_glass(&mut self, which: u8, attempt: Option<String>) {
        let record = self.service.as_ref().and_then(|service| service.record.as_ref());
        let next = record.zip(self.asked).map(|(record, asked)| next_attempt(record, REVISIONS[asked]));
        let attempt = if which == 1 { next } else { attempt };
        if which != 2 {
            self.broken.extend(attempt.clone());
        }
        self.orders.break_glass = attempt;
        self.orders.break_glass_by = Some("alice".into());
        self.orders.break_glass_reason = (which != 2).then(|| "customers cannot pay".into());
    }

    /// Something becomes of one of the Jobs.
    fn end(&mut self, which: usize, what: u8) {
        if self.jobs.is_empty() {
            return;
        }
        let index = which % self.jobs.len();
        let now = self.now;
        let job = &mut self.jobs[index];
        match what {
            0..10 if job.runs(now) => {
                job.end = Some(true);
                self.passed.insert((job.phase, job.attempt.clone()));
                if job.phase == Phase::Migration {
                    self.migrated.insert(job.revision.clone());
                }
            }
            10..15 if job.runs(now) => job.end = Some(false),
            // Deleted by somebody, its success with it where nobody has recorded it.
            15 => {
                let gone = self.jobs.remove(index);
                let is_recorded = self.recorded.get(&gone.revision).is_some_and(|past| past.succeeded);
                if gone.phase == Phase::Migration && !is_recorded {
                    self.migrated.remove(&gone.revision);
                }
            }
            _ => {}
        }
    }

    /// 9: whatever has happened, once nothing more does, the service ends in a state that serves.
    fn come_to_rest(&mut self) -> Result<(), TestCaseError> {
        (self.fresh, self.prompt, self.orders) = (true, true, Orders::default());
        (self.approval, self.blue_green, self.checks, self.frozen_until) = (false, true, true, 0);
        self.asked = self.asked.or(Some(0));
        for _ in 0..30 {
            self.pass(19)?;
            (0..self.jobs.len()).for_each(|job| self.end(job, 0));
            for colour in Colour::ALL {
                self.happen(&Event::Ready(colour, 9))?;
            }
            self.now += 11;
        }
        let service = self.service.as_ref().expect("a Service");
        let record = service.record.as_ref().expect("a record");
        prop_assert_eq!(service.selects, Some(record.colour));
        prop_assert_eq!(record.state, ReleaseState::Stable, "{:?}", record);
        let asked = self.asked.map(|asked| REVISIONS[asked]);
        prop_assert!(
            asked == Some(&record.revision) || asked == record.rejected_revision.as_deref(),
            "{record:?}"
        );
        prop_assert_eq!(self.pods.keys().copied().collect::<Vec<_>>(), [record.colour]);
        prop_assert_eq!(&self.pods[&record.colour].revision, &record.revision);
        prop_assert!(self.jobs.iter().all(|job| job.end == Some(false)), "{:?}", self.jobs);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: RUNS, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_in_whatever_order_traffic_moves_only_to_what_answers(
        numbers in prop::collection::vec(any::<u32>(), 1..2 * EVENTS)
    ) {
        let mut world = World::new();
        let events: Vec<Event> = numbers.iter().map(|number| event(*number)).collect();
        let outcome = events.iter().try_for_each(|event| world.happen(event)).and_then(|()| world.come_to_rest());
        prop_assert!(outcome.is_ok(), "{:?}: {:?}", outcome, events);
    }
}

/// Sequences that once broke what must hold, as they were shrunk.
#[test]
fn what_was_found_once_is_not_found_again() {
    use Colour::{Blue, Green};
    use Event::*;
    let found: [&[Event]; 10] = [
        // In a freeze a newer revision must not end the warm time: it may not begin.
        &[Pass(9), Ask(2), Pass(9), Ready(Green, 2), Pass(9), Clock(20), Freeze(1), Ask(3), Pass(9)],
        // A migration has succeeded, and caches show it only after its deadline.
        &[
            Pass(19),
            Ask(2),
            Look(false, true),
            Pass(19),
            Pass(19),
            Ask(3),
            Job(14, 0),
            Clock(12),
            Pass(19),
            Ask(2),
            Pass(19),
            Clock(13),
            Pass(19),
        ],
        // A release ends at its deadline and is tried again while its migration still runs.
        &[
            Pass(19),
            Pass(19),
            Ask(2),
            Pass(19),
            Clock(17),
            Clock(20),
            Clock(16),
            Pass(19),
            Clock(7),
            Order(2, 0),
            Pass(19),
        ],
        // A check fails after the switch, and no pod is wanted any more that traffic could return to.
        &[
            Pass(0),
            Ask(1),
            Pass(19),
            Ask(3),
            Pass(19),
            Ready(Green, 2),
            Pass(19),
            Scale(0),
            Checks(true),
            Pass(19),
            Job(7, 10),
            Pass(19),
        ],
        // An abort beside a retry of the same attempt: the next one must not switch in the pass that begins it.
        &[Pass(9), Ask(1), Pass(9), Order(1, 0), Order(2, 0), Ready(Green, 2), Pass(9)],
        // What was aborted is no longer asked for.
        &[Pass(9), Ask(1), Pass(9), Order(1, 0), Ask(0), Pass(9)],
        // Approval is asked for while traffic is about to move.
        &[Forge(Green, 2, 0, 13), Pass(9), Approval(true), Ready(Blue, 2), Pass(9)],
        // A forged status claims that the approval was given.
        &[
            Pass(9),
            Approval(true),
            Ask(3),
            Pass(9),
            Replace,
            Forge(Green, 4, 3, 0),
            Pass(9),
            Ready(Blue, 2),
            Pass(9),
        ],
        // What an undo was bringing back is asked for meanwhile.
        &[
            Pass(9),
            Ask(1),
            Pass(9),
            Ready(Green, 2),
            Pass(9),
            Clock(20),
            Ask(0),
            Pass(9),
            Fail(Green, 2),
            Ready(Blue, 2),
            Pass(9),
            Clock(20),
            Order(3, 0),
            Pass(9),
            Fail(Blue, 1),
            Ask(1),
            Pass(9),
        ],
        // Endpoints are older than what the Deployment says.
        &[Pass(9), Ask(1), Pass(9), Pass(9), Ready(Green, 2), Look(false, true), Fail(Green, 1), Pass(9)],
    ];
    for events in found {
        let mut world = World::new();
        let outcome =
            events.iter().try_for_each(|event| world.happen(event)).and_then(|()| world.come_to_rest());
        assert!(outcome.is_ok(), "{outcome:?}: {events:?}");
    }
}

#[test]
fn the_model_reaches_every_state_and_every_outcome_and_takes_many_steps() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut ways, mut outcomes, mut switches, mut steps) = (BTreeSet::new(), BTreeSet::new(), 0, 0);
    let runs = prop::collection::vec(any::<u32>(), 1..2 * EVENTS);
    const FEW: u32 = 1000;
    for _ in 0..FEW {
        let numbers = runs.new_tree(&mut runner).expect("numbers").current();
        let mut world = World::new();
        for number in numbers {
            world.happen(&event(number)).expect("what holds");
        }
        world.come_to_rest().expect("an end");
        ways.extend(world.ways);
        outcomes.extend(world.outcomes);
        switches += world.switches;
        steps += world.steps.get();
    }
    let told = ReleaseState::ALL
        .into_iter()
        .flat_map(|from| from.next().iter().map(move |to| (from.as_str(), to.as_str())));
    assert_eq!(ways, told.collect::<BTreeSet<_>>());
    assert_eq!(outcomes.len(), 6, "{outcomes:?}");
    assert!(switches > 800, "{switches}");
    assert!(steps * u64::from(RUNS / FEW) > 1_000_000, "{steps} steps in {FEW} of {RUNS} runs");
}
