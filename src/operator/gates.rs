//! The readiness gate of pods: what it needs to know, and what it tells.

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::Resource;

use super::context::Context;
use super::events::{self, Told};
use crate::api::VisiobookService;
use crate::apply::{self, Error};
use crate::facts::{Facts, ServiceName, Standing};
use crate::gate::{self, Gating, Subject, Verdict};
use crate::plan::Owner;
use crate::rollout::Decision;

/// Pods that are told at the same time.
const AT_ONCE: usize = 16;

/// What the gate looks at, beside what every pass sees; and its judgement.
pub(super) async fn judge(
    context: &Context,
    owner: &Owner,
    service: &VisiobookService,
    decision: &Decision,
    facts: &mut Facts,
) -> Result<Gating, Error> {
    if context.observing.is_some() {
        // Of pods nothing is foretold, and nobody is asked.
        return Ok(Gating { passed: facts.passed.clone(), ..Gating::default() });
    }
    let subject = Subject {
        namespace: &owner.namespace,
        depends_on: &service.spec.depends_on,
        gated: service.spec.is_gated(),
        continuous: decision.serving.as_ref().is_some_and(|serving| serving.continuous_gate),
    };
    let own = (owner.namespace.clone(), owner.name.clone());
    let wanted = gate::wanted(&subject, facts);
    // First, so that no change is missed between the look and the note.
    context.note_needs(&own, wanted.clone());
    if !wanted.is_empty() {
        // One that is not known yet would look as if there were none.
        context.services_known().await;
        for name in wanted {
            let standing = context.standing(&name).await?;
            facts.dependencies.insert(name, standing);
        }
        let lacks = |name: &ServiceName| facts.dependencies.get(name).is_some_and(Standing::is_lacking);
        facts.cycle = context.cycle(&own, lacks);
    }
    Ok(gate::judge(&subject, facts))
}

/// Tell pods what was judged. The first error is told, once all others have heard.
pub(super) async fn tell(
    context: &Context,
    service: &VisiobookService,
    owner: &Owner,
    gating: &Gating,
) -> Result<(), Error> {
    let now = Timestamp::now();
    let told = stream::iter(gating.verdicts.clone()).map(|verdict| async move {
        apply::tell_pod(&context.writer, &context.gated_pods, owner, &verdict, now).await?;
        if !verdict.word.open {
            tell_event(context, service, owner, &verdict).await;
        }
        Ok(())
    });
    let outcomes: Vec<Result<(), Error>> = told.buffer_unordered(AT_ONCE).collect().await;
    outcomes.into_iter().collect()
}

/// `kubectl describe pod` shows no message of a condition, but events.
async fn tell_event(context: &Context, service: &VisiobookService, owner: &Owner, verdict: &Verdict) {
    let pod = ObjectReference {
        api_version: Some(Pod::api_version(&()).into()),
        kind: Some(Pod::kind(&()).into()),
        name: Some(verdict.pod.clone()),
        namespace: Some(owner.namespace.clone()),
        uid: Some(verdict.uid.clone()),
        ..ObjectReference::default()
    };
    let told = Told {
        warning: false,
        reason: &verdict.word.reason,
        note: &verdict.word.message,
        related: Some(service.object_ref(&())),
    };
    events::publish(context, &pod, told).await;
}
