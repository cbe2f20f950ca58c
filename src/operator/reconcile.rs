//! THE reconcile: read, check, decide, plan, write, tell.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use super::context::{Context, LOOK_AGAIN};
use super::events::{self, Told};
use super::watched::Watched;
use super::{gates, leaving, notifier, unready, waves};
use crate::api::kinds::Kind;
use crate::api::names;
use crate::api::{VisiobookService, VisiobookServiceStatus};
use crate::apply::{self, Error};
use crate::facts::{Admission, Applied, Facts, Failure, Standing as Dependency};
use crate::plan::{self, Owner};
use crate::rollout::waves::Standing;
use crate::status::{self, Pass, Report};
use crate::telemetry::{Outcome, Service as Place};
use crate::{check, rollout};

/// Longest time that one pass may take: a call that the client retries could hang for minutes.
const LONGEST_PASS: Duration = Duration::from_secs(60);
/// A settled service is looked at again so often. It costs no request.
const IDLE: Duration = Duration::from_secs(3600);
/// Longest time until a name that was taken is tried again.
const TAKEN: Duration = Duration::from_secs(30);
/// Most times that a pass looks closer before it decides.
const LOOKS: usize = 3;

/// A pass that did not reach its end.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Unfinished {
    reason: &'static str,
    message: String,
}

/// One pass over one service, with its time and outcome told.
pub(super) async fn reconcile(watched: Arc<Watched>, context: Arc<Context>) -> Result<Action, Unfinished> {
    context.begin(&ObjectRef::from_obj(&*watched));
    let service = match context.newest(&watched) {
        Ok(service) => service,
        Err(error) => {
            tracing::error!(%error, "a VisiobookService cannot be read: correct it, or install the CRD that it was written for");
            return Ok(Action::await_change());
        }
    };
    let started = Instant::now();
    let uid = service.uid().unwrap_or_default();
    let pass = tokio::time::timeout(LONGEST_PASS, pass(&service, &context)).await;
    let outcome = pass
        .unwrap_or_else(|_| Err(Unfinished { reason: "TimedOut", message: "the pass took too long".into() }));
    let (word, reason) = match &outcome {
        Ok(done) => (done.outcome, done.reason),
        Err(error) => (Outcome::Error, error.reason),
    };
    context.metrics.record_reconcile(word, reason, started.elapsed());
    if outcome.is_err() {
        context.note_unfinished(&service);
    }
    let done = outcome?;
    if done.retry {
        let wait = context.backoff.next(&uid);
        // Whoever makes room for a child is told by no watch of ours, and should not wait for long.
        let wait = if done.reason == "NameTaken" { wait.min(TAKEN) } else { wait };
        return Ok(Action::requeue(wait));
    }
    context.backoff.clear(&uid);
    Ok(Action::requeue(done.again))
}

/// What follows a pass that failed before it could say so in the status.
pub(super) fn on_error(watched: Arc<Watched>, error: &Unfinished, context: Arc<Context>) -> Action {
    let wait = context.backoff.next(&watched.meta().uid.clone().unwrap_or_default());
    tracing::warn!(name = watched.name_any(), namespace = watched.namespace(), %error, wait_seconds = wait.as_secs_f32(), "trying again later");
    Action::requeue(wait)
}

struct Done {
    outcome: Outcome,
    reason: &'static str,
    /// Whether to try again with back-off.
    retry: bool,
    /// When to look again if nothing happens.
    again: Duration,
}

async fn pass(service: &Arc<VisiobookService>, context: &Arc<Context>) -> Result<Done, Unfinished> {
    let terminating = context.is_terminating(&service.namespace().unwrap_or_default());
    if terminating || service.meta().deletion_timestamp.is_some() {
        // Children go by their owner references.
        context.forget_standing(&service.uid().unwrap_or_default());
        return Ok(Done { outcome: Outcome::Success, reason: "Deleting", retry: false, again: IDLE });
    }
    let previous = service.status.clone().unwrap_or_default();
    let owner = Owner {
        name: service.name_any(),
        namespace: service.namespace().unwrap_or_default(),
        uid: service.uid().unwrap_or_default(),
    };
    if service.spec.paused && context.observing.is_some() {
        return Ok(Done { outcome: Outcome::Paused, reason: "Paused", retry: false, again: IDLE });
    }
    if service.spec.paused {
        context.note_paused(service, &owner);
        let report =
            status::report_paused(service.meta().generation.unwrap_or(0), &previous, Timestamp::now());
        tell(service, context, &previous, report).await?;
        let again = let_in(service, context, &owner).await?;
        return Ok(Done { outcome: Outcome::Paused, reason: "Paused", retry: false, again });
    }

    let Some(surroundings) = context.surroundings(service) else {
        return Err(Unfinished {
            reason: "NamespaceUnseen",
            message: "its namespace has not been seen yet".into(),
        });
    };
    let mut facts = apply::observe(&context.cache, &context.secrets, &owner, service, surroundings).await?; // reads
    let verdict = check::validate(service, &facts.environment); // pure
    facts.rendering = verdict.as_ref().ok().and_then(|valid| plan::rendering(&owner, valid, &facts)); // pure
    // Of turns nothing is foretold.
    facts.admission = context.observing.as_ref().map(|_| Admission::Admitted { generation: 0 });
    let mut decision = rollout::step(&verdict, &facts); // pure
    // What was seen may raise a question: of the endpoints after a Job that has failed.
    for _ in 0..LOOKS {
        if decision.asks(&facts) {
            facts.admission = Some(context.admit(service, &facts.environment, &decision.standing));
            decision = rollout::step(&verdict, &facts); // pure
        }
        if context.observing.is_some() || !decision.look && decision.spots.is_empty() {
            break;
        }
        if decision.look {
            facts.endpoints = Some(apply::endpoints(&context.writer, &owner).await?); // reads
        }
        facts.looked.extend(apply::look(&context.writer, &owner, &decision.spots).await); // reads
        decision = rollout::step(&verdict, &facts); // pure
    }
    let gating = gates::judge(context, &owner, service, &decision, &mut facts).await?; // reads, where something is missing
    facts.passed.clone_from(&gating.passed);
    let replicas = rollout::size(service.spec.replicas, previous.last_replicas, &decision, &facts); // pure
    let plan = plan::build(&owner, &decision, replicas, &facts); // pure
    if let Some(observing) = &context.observing {
        observing.tell(&context.cache, &owner, &decision, &facts, &plan, replicas).await?; // reads
        return Ok(Done {
            outcome: if verdict.is_ok() { Outcome::Success } else { Outcome::Refused },
            reason: decision.reason.as_str(),
            retry: false,
            again: IDLE,
        });
    }

    let lacks = match decision.begins(&facts) {
        Some(new) => {
            let quotas = apply::quotas(&context.writer, &owner.namespace).await; // reads
            plan::room::lacks(&plan, &names::revision(&owner.name, &new.hash), &quotas) // pure
        }
        None => Vec::new(),
    };
    let mut applied = Applied::default();
    let mut written = service.clone();
    let mut result = Ok(());
    if service.spec.replicas.is_none() && verdict.is_ok() {
        result = apply::fill_replicas(&context.writer, service, replicas)
            .await
            .map(|filled| written = context.wrote(filled)); // writes
    }
    if result.is_ok() {
        result = apply::apply(&context.writer, &context.cache, &owner, &plan, &mut applied).await; // writes
    }
    if let Err(Error::NotLeader) = &result {
        return Err(Error::NotLeader.into());
    }
    leaving::tell(context, &owner, &decision, &facts); // beside this pass

    let told = gates::tell(context, service, &owner, &gating).await; // writes
    let failure = result.and(told).err().map(|error| failure(&error));
    let deployments = apply::deployments(&context.cache, &owner); // reads the cache again: what was just written counts
    let serving = deployments.get(&decision.colour);
    let looked = match serving.and_then(|serving| gating.waiting.get(&serving.revision)) {
        // It is known why.
        Some(_) => unready::Looked { containers: Vec::new(), again: None },
        None => unready::look(context, &owner, decision.colour, serving, &previous).await, // reads, now and then
    };
    let pass = Pass {
        name: &owner.name,
        generation: written.meta().generation.unwrap_or(0),
        facts: &facts,
        decision: &decision,
        plan: &plan,
        gating: &gating,
        applied: &applied,
        failure: failure.as_ref(),
        is_recorded: apply::is_written(&context.cache, &owner, &plan, Kind::Service),
        serving,
        unready: &looked.containers,
        lacks: &lacks,
        replicas,
        previous: &previous,
    };
    let report = status::report(&pass, Timestamp::now()); // pure
    context.note_standing(service, &facts.environment, &decision.standing, failure.as_ref());
    note(context, &owner, &decision, &applied, failure.as_ref());
    context.note_verdict(service, verdict.as_ref().err().map(|refusals| status::tell(refusals)));
    let again = tell(&written, context, &previous, report).await?; // writes
    let due = [plan.wake_at, gating.wake_at].into_iter().flatten().min().map(until);
    let missing = is_missing(&facts).then_some(LOOK_AGAIN);
    let turn = matches!(decision.standing, Standing::Waiting { .. }).then(|| waves::tick(&owner.uid));
    let again = [due, looked.again, missing, turn].into_iter().flatten().fold(again, Duration::min);
    let outcome = match (&failure, &verdict) {
        (Some(_), _) => Outcome::Error,
        (None, Err(_)) => Outcome::Refused,
        (None, Ok(_)) => Outcome::Success,
    };
    let reason = failure.as_ref().map_or(decision.reason.as_str(), |failure| failure.reason);
    Ok(Done { outcome, reason, retry: failure.is_some(), again })
}

fn until(at: i64) -> Duration {
    Duration::from_secs((at - Timestamp::now().as_second()).max(1).unsigned_abs())
}

/// Whether something it depends on is nowhere: whoever makes a Service of another's is told by no watch of ours.
fn is_missing(facts: &Facts) -> bool {
    facts.dependencies.values().any(|standing| *standing == Dependency::Missing)
}

/// Let pods of a paused service in: what Kubernetes replaces meanwhile must not wait for somebody to end the pause.
async fn let_in(
    service: &Arc<VisiobookService>,
    context: &Arc<Context>,
    owner: &Owner,
) -> Result<Duration, Unfinished> {
    if context.gated_pods.of(&owner.namespace, &owner.name).is_empty() {
        return Ok(IDLE);
    }
    let Some(surroundings) = context.surroundings(service) else { return Ok(LOOK_AGAIN) };
    let mut facts = apply::observe(&context.cache, &context.secrets, owner, service, surroundings).await?;
    let decision = rollout::step(&check::validate(service, &facts.environment), &facts);
    let gating = gates::judge(context, owner, service, &decision, &mut facts).await?;
    gates::tell(context, service, owner, &gating).await?;
    let missing = is_missing(&facts).then_some(LOOK_AGAIN);
    Ok([gating.wake_at.map(until), missing].into_iter().flatten().fold(IDLE, Duration::min))
}

/// One line for what was decided and done, and none where nothing was.
fn note(
    context: &Context,
    owner: &Owner,
    decision: &rollout::Decision,
    applied: &Applied,
    failure: Option<&Failure>,
) {
    for drift in &applied.drift {
        context.metrics.record_drift_repair(drift.kind.as_str());
    }
    if *applied == Applied::default() && failure.is_none() {
        return;
    }
    tracing::info!(
        namespace = owner.namespace,
        name = owner.name,
        reason = decision.reason.as_str(),
        why = decision.message,
        created = applied.created.len(),
        updated = applied.updated.len(),
        pruned = applied.pruned.len(),
        drift = applied.drift.len(),
        failure = failure.map(|failure| failure.message.as_str()),
        "decided"
    );
}

/// Publish a status if it says something new, and events. Answers when to look again.
async fn tell(
    service: &Arc<VisiobookService>,
    context: &Arc<Context>,
    previous: &VisiobookServiceStatus,
    report: Report,
) -> Result<Duration, Unfinished> {
    let uid = service.uid().unwrap_or_default();
    let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
    // What was done is known to this pass alone; what the status says newly is found again by the next one.
    let (done, said): (Vec<_>, Vec<_>) =
        report.events.into_iter().partition(status::Event::tells_what_was_done);
    tell_events(service, context, done).await;
    if report.status != *previous {
        if let Some(wait) = context.hold_back(&uid, report.may_wait) {
            return Ok(wait);
        }
        let published = apply::publish(&context.writer, service, &report.status).await?;
        context.wrote(published);
        if status::is_ready(&report.status) != status::is_ready(previous) {
            context.trigger_dependants(&(namespace.clone(), name.clone()));
        }
    }
    context.nothing_held_back(&uid);
    let conditions = report.status.conditions.iter().map(|condition| {
        let value = (condition.status != "Unknown").then_some(condition.status == "True");
        (condition.type_.as_str(), value)
    });
    context.metrics.show_service(&namespace, &name, conditions);
    // A status is published on the version that it was decided on: nobody else has told this, and nobody tells it again.
    let (before, release) = (previous.rollout.as_ref(), report.status.rollout.as_ref());
    if let Some(release) = release {
        let environment = report.status.environment.as_deref().unwrap_or_default();
        let place = Place { namespace: &namespace, name: &name, environment };
        context.metrics.show_release(&place, release, &status::news(before, Some(release)));
    }
    if report.status != *previous {
        notifier::tell(context, service, before, release).await;
    }
    tell_events(service, context, said).await;
    Ok(IDLE)
}

async fn tell_events(service: &Arc<VisiobookService>, context: &Arc<Context>, events: Vec<status::Event>) {
    let reference = service.object_ref(&());
    for event in events {
        let told = Told { warning: event.warning, reason: event.reason, note: &event.note, related: None };
        events::publish(context, &reference, told).await;
    }
}

fn failure(error: &Error) -> Failure {
    Failure { reason: error.reason(), message: error.to_string(), transient: error.is_transient() }
}

impl From<Error> for Unfinished {
    fn from(error: Error) -> Unfinished {
        Unfinished { reason: error.reason(), message: error.to_string() }
    }
}
