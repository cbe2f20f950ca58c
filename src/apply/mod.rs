//! The only hands on the cluster: what is there is read from here, and what should be there is written from here.

mod cache;
mod contents;
mod difference;
mod endpoints;
mod environment;
mod foresee;
mod gated;
mod key_ring;
mod leave;
mod live;
mod observe;
mod packed;
mod pods;
mod publish;
mod quotas;
mod secrets;
mod writer;

use std::collections::{BTreeMap, BTreeSet};

pub use cache::{Cache, Seen};
pub use contents::content;
pub use difference::{Change, ChangeKind, Difference, applies, compare, trim};
pub use endpoints::endpoints;
pub use environment::{publish_environment, raise_pod_security};
pub use foresee::{Fate, Foreseen, Foresight, Restart, compare_all, foresee, governed, parted, restart};
pub use gated::{GatedPods, service_exists, tell_pod, watched_pods};
pub use key_ring::KeyRing;
pub use leave::{Heard, addresses, tell_to_leave};
pub use live::Live;
pub use observe::{Surroundings, deployments, is_written, observe, selected};
pub use packed::Pattern;
pub use pods::{containers, look};
pub use publish::{fill_replicas, publish};
pub use quotas::quotas;
pub use secrets::{DigestKey, SecretIndex, Secrets};
pub use writer::{Error, Leads, Writer, payload, resource};

use crate::api::kinds::Kind;
use crate::api::names;
use crate::check;
use crate::facts::{Applied, Drift};
use crate::plan::{Owner, Plan, Planned};

/// Make the cluster equal to the plan: write what differs, delete what is neither planned nor kept.
/// An unchanged service costs no request. What was done before an error is told beside it.
pub async fn apply(
    writer: &Writer,
    cache: &Cache,
    owner: &Owner,
    plan: &Plan,
    applied: &mut Applied,
) -> Result<(), Error> {
    let mut first_error = None;
    for group in plan.objects.chunk_by(|a, b| a.kind == b.kind && a.name == b.name) {
        // A name that is taken refuses the change: its pods would use what is somebody else's.
        if matches!(first_error, Some(Error::Taken { .. })) && group[0].kind == Kind::Deployment {
            continue;
        }
        // A Job cannot be taken back, so all that stands before it has to be written.
        if first_error.is_some() && group[0].kind == Kind::Job {
            continue;
        }
        if let Err(error) = apply_group(writer, cache, owner, plan, group, applied).await {
            // One child that is refused must not hold back the others, but a write that lost its claim ends the pass.
            if error.ends_pass() {
                return Err(error);
            }
            first_error.get_or_insert(error);
        }
    }
    if let Some(error) = first_error {
        return Err(error);
    }
    let planned: BTreeSet<(Kind, &str)> =
        plan.objects.iter().map(|object| (object.kind, object.name.as_str())).collect();
    for live in cache.owned_by(owner) {
        let known = planned.contains(&(live.kind, live.name.as_str()))
            || plan.keep_kinds.contains(&live.kind)
            || plan.keep.contains(&(live.kind, live.name.clone()));
        if !known && !live.terminating {
            writer.delete(cache, &live).await?;
            applied.pruned.push((live.kind, live.name.clone()));
        }
    }
    Ok(())
}

/// Apply the parts of one object, each under its own field manager.
async fn apply_group(
    writer: &Writer,
    cache: &Cache,
    owner: &Owner,
    plan: &Plan,
    group: &[Planned],
    applied: &mut Applied,
) -> Result<(), Error> {
    let Some(last) = group.last() else { return Ok(()) };
    let key = (last.kind, last.name.clone());
    let mut live = cache.get(last.kind, &owner.namespace, &last.name);
    if let Some(found) = &live
        && !found.belongs_to(owner)
        && !found.may_be_adopted()
    {
        return Err(Error::Taken { kind: last.kind, name: last.name.clone(), by: found.owner_name() });
    }
    if live.as_ref().is_some_and(|live| live.terminating) {
        // It comes back when it is gone: its deletion is an event.
        return Ok(());
    }
    if last.kind == Kind::Job {
        if live.is_none() {
            begin(writer, cache, owner, last, applied).await?;
        }
        return Ok(());
    }
    let mut is_new = false;
    if live.is_none() {
        match writer.create(cache, &owner.namespace, &seed(group)).await {
            Ok(created) => {
                is_new = true;
                applied.created.push(key.clone());
                live = Some(created);
            }
            Err(Error::Exists { .. }) => {
                let found = writer.claim(cache, owner, last).await?;
                if found.belongs_to(owner) && found.terminating && cache.unbury(&found) {
                    // We deleted it ourselves, and something holds it back: as above.
                    return Ok(());
                }
                if found.belongs_to(owner) {
                    // Ours, and no watch has shown it: what was decided without it may be wrong.
                    return Err(Error::Conflict { kind: key.0, name: key.1 });
                }
                live = Some(found);
            }
            Err(error) => return Err(error),
        }
    }
    let Some(mut live) = live else { return Ok(()) };
    if live.kind == Kind::Service && !live.belongs_to(owner) && !observe::is_settled(cache, owner, plan) {
        // It serves with somebody else's pods until all of ours are there. No watch tells of it, so it is read again.
        tracing::info!(name = live.name, "the Service is taken over once the pods are ready");
        cache.forget(&live, true);
        return Ok(());
    }
    // What its last owner wrote is no drift.
    let is_adopted = !live.belongs_to(owner);
    if !is_new && is_unfinished(&live, group) {
        // Its creator did not live to write the general part, so only the first manager holds what that part lists,
        // and must not give it up yet. The creation goes on where it ended.
        let seed = seed(group);
        if let Difference::Differs(_) =
            compare(&seed.object, &contents::comparable(&live, &seed), seed.manager)
        {
            live = writer.update(cache, &live, &seed).await?;
        }
        applied.updated.push(key.clone());
        is_new = true;
    }
    let mut differences: BTreeMap<usize, (String, Vec<Change>)> = BTreeMap::new();
    for (index, planned) in group.iter().enumerate() {
        let plan = check::digest(&planned.object);
        if cache
            .settled(&live, planned.manager)
            .is_some_and(|(version, settled)| version == live.resource_version && *settled == *plan)
        {
            continue;
        }
        match compare(&planned.object, &contents::comparable(&live, planned), planned.manager) {
            Difference::Same => cache.settle(&live, planned.manager, &plan),
            Difference::Differs(changes) => {
                differences.insert(index, (plan, changes));
            }
        }
    }
    // An object is created by its first manager with all of its fields, for a Service cannot exist without ports.
    // Until another manager has something to write, what the first one owns beyond its own part does no harm.
    let idle = differences.iter().all(|(index, (_, changes))| {
        group[*index].manager != names::MANAGER
            && changes.iter().all(|change| change.kind == ChangeKind::Orphan)
    });
    if idle {
        return Ok(());
    }
    for (index, (plan, changes)) in differences {
        let planned = &group[index];
        if is_new && planned.manager != names::MANAGER {
            continue;
        }
        // The plan is the one that the object was settled with, so it is the object that somebody changed.
        let was_settled = cache.settled(&live, planned.manager).is_some_and(|(_, settled)| *settled == *plan);
        let before = live.resource_version;
        let whole = moves_port(&live, group).then(|| seed(group));
        let write = whole.as_ref().filter(|_| index == 0).unwrap_or(planned);
        live = writer.update(cache, &live, write).await?;
        if live.resource_version == before {
            // The API server stored nothing new, so the same write would be sent for ever.
            let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
            tracing::warn!(
                kind = planned.kind.as_str(),
                name = planned.name,
                ?paths,
                "an apply changed nothing; it is not repeated"
            );
            cache.settle(&live, planned.manager, &plan);
            continue;
        }
        // At once: whoever removes a field before the next pass is to be told of as well.
        if compare(&planned.object, &contents::comparable(&live, planned), planned.manager)
            == Difference::Same
        {
            cache.settle(&live, planned.manager, &plan);
        }
        let drifted: Vec<Drift> = changes
            .iter()
            .filter(|_| !is_new && !is_adopted)
            .filter_map(|change| drift(planned, change, was_settled))
            .collect();
        if drifted.is_empty() && !is_new && !applied.updated.contains(&key) {
            applied.updated.push(key.clone());
        }
        applied.drift.extend(drifted);
    }
    Ok(())
}

/// Make a Job, once. What its revision records of it is read anew first: a watch may not have told yet that it has run.
async fn begin(
    writer: &Writer,
    cache: &Cache,
    owner: &Owner,
    job: &Planned,
    applied: &mut Applied,
) -> Result<(), Error> {
    let hash = job.object["metadata"]["labels"][names::REVISION].as_str().unwrap_or_default();
    let revision = names::revision(&owner.name, hash);
    let before = cache.get(Kind::ControllerRevision, &owner.namespace, &revision);
    let found = writer.read(cache, Kind::ControllerRevision, &owner.namespace, &revision).await?;
    if before.is_none_or(|before| before.resource_version != found.resource_version) {
        return Err(Error::Conflict { kind: Kind::ControllerRevision, name: revision });
    }
    match writer.create(cache, &owner.namespace, job).await {
        Ok(_) => applied.created.push((job.kind, job.name.clone())),
        Err(Error::Exists { .. }) => {
            let found = writer.read(cache, Kind::Job, &owner.namespace, &job.name).await?;
            if !found.belongs_to(owner) {
                return Err(Error::Taken { kind: job.kind, name: job.name.clone(), by: found.owner_name() });
            }
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Whether a change is somebody else's.
fn drift(planned: &Planned, change: &Change, was_settled: bool) -> Option<Drift> {
    let manager = match &change.kind {
        // Between our own managers fields are handed over, not fought for.
        ChangeKind::Drift { manager: Some(manager) }
            if [names::MANAGER, names::SWITCH_MANAGER].contains(&manager.as_str()) =>
        {
            return None;
        }
        ChangeKind::Drift { manager } => manager.clone(),
        // Who removes a field leaves no trace of it.
        ChangeKind::Planned if was_settled => None,
        ChangeKind::Planned | ChangeKind::Orphan => return None,
    };
    Some(Drift { kind: planned.kind, name: planned.name.clone(), path: change.path.clone(), manager })
}

/// Whether an object was created by its first manager and never written by the general one.
fn is_unfinished(live: &Live, group: &[Planned]) -> bool {
    let first = group[0].manager;
    if first == names::MANAGER {
        return false;
    }
    let object = live.json();
    applies(&object, first) && !applies(&object, names::MANAGER)
}

/// Whether traffic moves to pods that listen on another port: then selector and port change in one write, as at the
/// creation. A port of another number would stand beside the old one, so it is left to the general part.
fn moves_port(live: &Live, group: &[Planned]) -> bool {
    if live.kind != Kind::Service || group[0].manager == names::MANAGER {
        return false;
    }
    let (live, wanted) = (live.json(), seed(group).object);
    let port = |object: &serde_json::Value, field: &str| {
        let ports = object.pointer("/spec/ports")?.as_array()?;
        ports.iter().find(|port| port["name"] == "http").map(|port| port[field].clone())
    };
    live.pointer("/spec/selector") != wanted.pointer("/spec/selector")
        && port(&live, "targetPort") != port(&wanted, "targetPort")
        && port(&live, "port") == port(&wanted, "port")
}

/// The first write of an object: all its parts at once, under the manager of the first.
fn seed(group: &[Planned]) -> Planned {
    let mut seed = group[0].clone();
    for planned in &group[1..] {
        crate::plan::merge(&mut seed.object, planned.object.clone());
    }
    seed
}
