//! Turns: who of an environment's services is let in, and who is woken when there is room again.
//!
//! Who waits is not asked to look again and again: whoever makes room wakes as many as it makes room for. A slow look of
//! each waiting service, at a time of its own, keeps what it says of the wave from growing old.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::ResourceExt;

use super::context::{Context, place};
use crate::api::{VisiobookEnvironment, VisiobookService, names};
use crate::apply;
use crate::facts::{Admission, EnvironmentFact, Failure, ServiceName};
use crate::plan::Owner;
use crate::rollout::waves::{Progress, Standing, Terms, Wave};

/// A waiting service looks again after so long, and after up to twice that.
const TICK: u64 = 300;

/// The waves of all environments.
#[derive(Default)]
pub(super) struct Waves(Mutex<HashMap<String, Turns>>);

/// Those of one.
#[derive(Default)]
struct Turns {
    wave: Wave,
    /// Whether every service was looked at since this operator leads.
    complete: bool,
    /// Whether those that wait were last told that failures halt them.
    halted: bool,
}

impl Waves {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Turns>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a waiting service looks again by itself.
pub(super) fn tick(uid: &str) -> Duration {
    let spread = uid.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    Duration::from_secs(TICK + spread % TICK)
}

impl Context {
    /// Whether a service that is to change may begin. Who is let in is noted in the same moment, so that no two take
    /// the last place.
    pub(super) fn admit(
        &self,
        service: &VisiobookService,
        environment: &EnvironmentFact,
        waiting: &Standing,
    ) -> Admission {
        let EnvironmentFact::Governed { name, .. } = environment else {
            return Admission::Waits("waits for its environment".into());
        };
        let Some(terms) = self.terms(name) else {
            return Admission::Waits(format!("waits until environment {name} is known"));
        };
        let mut waves = self.waves.lock();
        let turns = waves.entry(name.clone()).or_default();
        let uid = service.uid().unwrap_or_default();
        if turns.wave.of(&uid).is_none() {
            turns.wave.note(&uid, &place(service), waiting.clone());
        }
        let terms = self.seen(terms, turns);
        turns.wave.ask(&uid, &place(service), waiting, &terms)
    }

    /// How a service stands after a pass over it.
    pub(super) fn note_standing(
        &self,
        service: &VisiobookService,
        environment: &EnvironmentFact,
        standing: &Standing,
        failure: Option<&Failure>,
    ) {
        let EnvironmentFact::Governed { name, .. } = environment else {
            return self.forget_standing(&service.uid().unwrap_or_default());
        };
        self.note_in(name, service, written(standing, failure));
    }

    /// A paused service is not touched, but its pods may still be on their way.
    pub(super) fn note_paused(&self, service: &VisiobookService, owner: &Owner) {
        let Some(name) = self.environment_of(&owner.namespace) else { return };
        let before = self.waves.lock().get(&name).and_then(|turns| turns.wave.of(&owner.uid).cloned());
        let moves = apply::deployments(&self.cache, owner).values().any(|pods| !pods.is_settled());
        let before = before.unwrap_or_else(|| published(service));
        self.note_in(&name, service, paused(before, moves));
    }

    /// A pass over a service could not tell how it stands: then what it was last known for counts, and it waits for
    /// nothing.
    pub(super) fn note_unfinished(&self, service: &VisiobookService) {
        let Some(name) = self.environment_of(&service.namespace().unwrap_or_default()) else { return };
        let uid = service.uid().unwrap_or_default();
        let before = self.waves.lock().get(&name).and_then(|turns| turns.wave.of(&uid).cloned());
        match before {
            None => self.note_in(&name, service, published(service)),
            Some(Standing::Waiting { .. }) => self.note_in(&name, service, Standing::Apart),
            Some(_) => {}
        }
    }

    /// A service is gone, or has another environment.
    pub(super) fn forget_standing(&self, uid: &str) {
        self.leave_waves(|wave| wave.forget(uid));
    }

    /// No service has this name any more: one that was deleted during its last pass was noted once more by that.
    pub(super) fn forget_standing_of(&self, service: &ServiceName) {
        self.leave_waves(|wave| wave.forget_name(service));
    }

    fn leave_waves(&self, leave: impl Fn(&mut Wave) -> bool) {
        let left: Vec<String> = {
            let mut waves = self.waves.lock();
            waves
                .iter_mut()
                .filter_map(|(name, turns)| leave(&mut turns.wave).then(|| name.clone()))
                .collect()
        };
        left.iter().for_each(|name| self.wake_waiting(name));
    }

    /// How far the waves of an environment are.
    pub(super) fn progress(&self, environment: &str) -> Option<Progress> {
        let terms = self.terms(environment)?;
        self.waves.lock().get(environment).map(|turns| turns.wave.progress(&terms))
    }

    /// Have those looked at that wait in an environment and have room; all of them where failures halt them now, or do so
    /// no longer, which is rare and what people want to read.
    pub(super) fn wake_waiting(&self, environment: &str) {
        let Some(terms) = self.terms(environment) else { return };
        let next = {
            let mut waves = self.waves.lock();
            let Some(turns) = waves.get_mut(environment) else { return };
            let terms = self.seen(terms, turns);
            let halted = turns.wave.progress(&terms).halted;
            if std::mem::replace(&mut turns.halted, halted) == halted {
                turns.wave.next(&terms)
            } else {
                turns.wave.waiting()
            }
        };
        next.iter().for_each(|(namespace, name)| self.trigger(namespace, name));
    }

    fn note_in(&self, environment: &str, service: &VisiobookService, standing: Standing) {
        let uid = service.uid().unwrap_or_default();
        let mut moved = Vec::new();
        let is_news = {
            let mut waves = self.waves.lock();
            for (name, turns) in waves.iter_mut().filter(|(name, _)| *name != environment) {
                if turns.wave.forget(&uid) {
                    moved.push(name.clone());
                }
            }
            waves.entry(environment.to_string()).or_default().wave.note(&uid, &place(service), standing)
        };
        if is_news {
            self.governance.trigger(environment);
        }
        moved.push(environment.to_string());
        moved.iter().for_each(|name| self.wake_waiting(name));
    }

    /// What an environment says of its waves.
    fn terms(&self, name: &str) -> Option<Terms> {
        self.governance.find(name).map(|environment| terms_of(&environment))
    }

    /// The same, with the number of services that nobody has looked at yet.
    fn seen(&self, terms: Terms, turns: &mut Turns) -> Terms {
        if turns.complete {
            return terms;
        }
        let places = self.places_of(&terms.environment);
        let namespaces: BTreeSet<&str> = places.iter().map(|(name, ..)| name.as_str()).collect();
        let services = self.services_in(&namespaces);
        let of_wave = |uid: Option<String>| uid.is_some_and(|uid| turns.wave.of(&uid).is_some());
        let stays = services.iter().filter(|service| service.is_readable() && !service.is_leaving());
        let unseen = stays.filter(|service| !of_wave(service.uid())).count();
        turns.complete = unseen == 0;
        Terms { unseen, ..terms }
    }
}

fn terms_of(environment: &VisiobookEnvironment) -> Terms {
    let waves =
        environment.spec.rollout.as_ref().and_then(|rollout| rollout.waves.clone()).unwrap_or_default();
    let continued = environment.annotations().get(names::CONTINUE_WAVE);
    Terms {
        environment: environment.name_any(),
        generation: environment.metadata.generation.unwrap_or(0),
        max_concurrent: waves.max_concurrent,
        halt_after: waves.halt_after_failures,
        continued: continued.map(|said| Terms::continued(said)).unwrap_or_default(),
        unseen: 0,
    }
}

/// How a service stands once its pass was written. What cannot be written for good will not arrive.
fn written(standing: &Standing, failure: Option<&Failure>) -> Standing {
    match (standing, failure.filter(|failure| !failure.transient)) {
        (Standing::Running, Some(failure)) => Standing::Failed { revision: failure.reason.into() },
        _ => standing.clone(),
    }
}

/// How a service stands that is paused. Only pods that are on their way keep its place.
fn paused(before: Standing, moves: bool) -> Standing {
    if before == Standing::Running && moves { before } else { Standing::Apart }
}

/// How a service stands by what was published of it, where no pass could tell.
fn published(service: &VisiobookService) -> Standing {
    let moving = ["RollingOut", "Deploying", "Verifying", "Switching", "Soaking"];
    let conditions = service.status.iter().flat_map(|status| &status.conditions);
    let moves = conditions
        .filter(|condition| condition.type_ == "Progressing")
        .any(|condition| moving.contains(&condition.reason.as_str()));
    if moves { Standing::Running } else { Standing::Apart }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_waiting_service_looks_again_at_a_time_of_its_own() {
        let ticks: BTreeSet<Duration> = (0..100).map(|index| tick(&format!("uid-{index}"))).collect();
        let (first, last) = (ticks.first().expect("one"), ticks.last().expect("one"));
        assert!(first.as_secs() >= TICK && last.as_secs() < 2 * TICK, "{first:?} to {last:?}");
        assert!(ticks.len() > 50, "they look at {} times", ticks.len());
        assert_eq!(tick("uid-1"), tick("uid-1"));
    }

    #[test]
    fn what_cannot_be_written_has_failed_once_it_is_let_in_and_not_before() {
        let failure = |transient| Failure { reason: "NameTaken", message: String::new(), transient };
        let failed = Standing::Failed { revision: "NameTaken".into() };
        assert_eq!(written(&Standing::Running, Some(&failure(false))), failed);
        assert_eq!(written(&Standing::Running, Some(&failure(true))), Standing::Running);
        assert_eq!(written(&Standing::Running, None), Standing::Running);
        let waiting = Standing::Waiting { unwell: false, has_place: false };
        assert_eq!(written(&waiting, Some(&failure(false))), waiting);
    }

    #[test]
    fn a_paused_service_keeps_its_place_while_its_pods_are_on_their_way() {
        assert_eq!(paused(Standing::Running, true), Standing::Running);
        assert_eq!(paused(Standing::Running, false), Standing::Apart);
        assert_eq!(paused(Standing::Held, true), Standing::Apart);
    }

    #[test]
    fn a_service_that_no_pass_has_told_of_stands_as_it_was_published() {
        let progressing = |reason: &str| {
            let condition = json!({
                "type": "Progressing", "status": "True", "reason": reason, "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            });
            let service = json!({
                "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
                "metadata": { "name": "users" }, "spec": {}, "status": { "conditions": [condition] },
            });
            published(&serde_json::from_value(service).expect("a service"))
        };
        for reason in ["RollingOut", "Deploying", "Verifying", "Switching", "Soaking"] {
            assert_eq!(progressing(reason), Standing::Running, "{reason}");
        }
        for reason in ["Complete", "WaitsForWave", "AwaitingApproval", "Frozen"] {
            assert_eq!(progressing(reason), Standing::Apart, "{reason}");
        }
        assert_eq!(published(&VisiobookService::new("users", Default::default())), Standing::Apart);
    }

    #[test]
    fn an_environment_that_says_nothing_of_waves_has_the_terms_of_all() {
        let terms = |metadata: serde_json::Value, rollout: serde_json::Value| {
            let environment = json!({
                "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookEnvironment",
                "metadata": metadata, "spec": { "type": "production", "rollout": rollout },
            });
            terms_of(&serde_json::from_value(environment).expect("an environment"))
        };
        let silent = terms(json!({ "name": "production", "generation": 3 }), json!({}));
        let expected = Terms { environment: "production".into(), generation: 3, ..Terms::default() };
        assert_eq!(silent, expected);
        let annotations = json!({ names::CONTINUE_WAVE: "shop/a@1, shop/b@2" });
        let said = terms(
            json!({ "name": "production", "annotations": annotations }),
            json!({ "waves": { "maxConcurrent": "20%", "haltAfterFailures": 2 } }),
        );
        assert_eq!(
            (said.max_concurrent, said.halt_after),
            (Some(IntOrString::String("20%".into())), Some(2))
        );
        assert_eq!(said.continued, ["shop/a@1", "shop/b@2"].map(String::from).into());
    }
}
