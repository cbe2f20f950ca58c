//! The only hands on the cluster: what is there is read from here, and what should be there is written from here.

mod cache;
mod difference;
mod live;
mod observe;
mod publish;
mod secrets;
mod writer;

use std::collections::{BTreeMap, BTreeSet};

pub use cache::{Cache, Seen};
pub use difference::{Change, ChangeKind, Difference, compare, owners, trim};
pub use live::Live;
pub use observe::{Surroundings, deployments, observe};
pub use publish::{fill_replicas, publish};
pub use secrets::{DigestKey, SecretIndex, Secrets};
pub use writer::{Error, Writer, resource};

use crate::api::kinds::Kind;
use crate::api::names;
use crate::facts::{Applied, Drift};
use crate::plan::{Owner, Plan, Planned};

/// Make the cluster equal to the plan: write what differs, delete what is neither planned nor kept.
/// An unchanged service costs no request. What was done before an error is told beside it.
pub async fn apply(writer: &Writer, cache: &Cache, owner: &Owner, plan: &Plan, applied: &mut Applied) -> Result<(), Error> {
    let mut first_error = None;
    for group in plan.objects.chunk_by(|a, b| a.kind == b.kind && a.name == b.name) {
        if let Err(error) = apply_group(writer, cache, owner, group, applied).await {
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
    let planned: BTreeSet<(Kind, &str)> = plan.objects.iter().map(|object| (object.kind, object.name.as_str())).collect();
    for live in cache.owned_by(&owner.uid) {
        let known = planned.contains(&(live.kind, live.name.as_str())) || plan.keep.contains(&(live.kind, live.name.clone()));
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
    group: &[Planned],
    applied: &mut Applied,
) -> Result<(), Error> {
    let Some(last) = group.last() else { return Ok(()) };
    let key = (last.kind, last.name.clone());
    let mut live = cache.get(last.kind, &owner.namespace, &last.name);
    if let Some(found) = &live
        && !found.belongs_to(&owner.uid)
    {
        if !found.may_be_adopted() {
            return Err(Error::Taken { kind: last.kind, name: last.name.clone(), by: found.owner_name() });
        }
    }
    if live.as_ref().is_some_and(|live| live.terminating) {
        // It comes back when it is gone: its deletion is an event.
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
            Err(Error::Exists { .. }) => live = Some(writer.claim(cache, owner, last).await?),
            Err(error) => return Err(error),
        }
    }
    let Some(mut live) = live else { return Ok(()) };
    let differences: BTreeMap<usize, Vec<Change>> = group
        .iter()
        .enumerate()
        .filter_map(|(index, planned)| match compare(&planned.object, &live.json(), planned.manager) {
            Difference::Same => None,
            Difference::Differs(changes) => Some((index, changes)),
        })
        .collect();
    // An object is created by its first manager with all of its fields, for a Service cannot exist without ports.
    // Until another manager has something to write, what the first one owns beyond its own part does no harm.
    let idle = differences.iter().all(|(index, changes)| {
        group[*index].manager != names::MANAGER && changes.iter().all(|change| change.kind == ChangeKind::Orphan)
    });
    if differences.is_empty() || idle {
        return Ok(());
    }
    for (index, changes) in differences {
        let planned = &group[index];
        if is_new && planned.manager != names::MANAGER {
            continue;
        }
        if cache.gave_up(&live, planned) {
            continue;
        }
        let before = live.resource_version;
        live = writer.update(cache, &live, planned).await?;
        if live.resource_version == before {
            // The API server stored nothing new, so the same write would be sent for ever.
            cache.give_up(&live, planned, &changes);
            continue;
        }
        let ours = [names::MANAGER, names::SWITCH_MANAGER];
        let drifted = changes.iter().filter_map(|change| match &change.kind {
            // Between our own managers fields are handed over, not fought for.
            ChangeKind::Drift { manager } if !is_new && manager.as_deref().is_none_or(|who| !ours.contains(&who)) => Some(Drift {
                kind: planned.kind,
                name: planned.name.clone(),
                path: change.path.clone(),
                manager: manager.clone(),
            }),
            _ => None,
        });
        let drifted: Vec<Drift> = drifted.collect();
        if drifted.is_empty() && !is_new && !applied.updated.contains(&key) {
            applied.updated.push(key.clone());
        }
        applied.drift.extend(drifted);
    }
    Ok(())
}

/// The first write of an object: all its parts at once, under the manager of the first.
fn seed(group: &[Planned]) -> Planned {
    let mut seed = group[0].clone();
    for planned in &group[1..] {
        crate::plan::merge(&mut seed.object, planned.object.clone());
    }
    seed
}
