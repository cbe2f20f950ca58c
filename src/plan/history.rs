//! ControllerRevision: a revision as it was rendered when it was accepted. What runs is repaired from here, so a
//! new operator that would render a pod differently restarts nothing.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Owner, Planned, Site, config, serving_text};
use crate::api::kinds::Kind;
use crate::api::names;
use crate::check::Serving;
use crate::facts::Facts;
use crate::rollout::{Stored, Wanted};

/// Revisions kept beside the one that runs (C28).
pub(super) const KEPT: usize = 5;

pub(super) fn build(
    site: &Site<'_>,
    revision: &Wanted,
    rendered: &Stored,
    serving: Option<&Serving>,
    facts: &Facts,
) -> Planned {
    let mut body = json!({
        "metadata": { "labels": { names::REVISION: revision.hash } },
        "revision": revision.number,
        "data": rendered.data,
    });
    let serving = serving.map(|serving| (names::SERVING, serving_text(serving)));
    let migration = revision.migration.as_ref().and_then(|past| serde_json::to_string(past).ok());
    let annotations: Map<String, Value> = serving
        .into_iter()
        .chain(migration.map(|past| (names::MIGRATION, past)))
        .chain(revision.own.clone().map(|own| (names::OWN, own)))
        .chain(
            revision.wave.as_ref().and_then(|it| serde_json::to_string(it).ok()).map(|it| (names::WAVE, it)),
        )
        .map(|(name, text)| (name.to_string(), text.into()))
        .collect();
    if !annotations.is_empty() {
        body["metadata"]["annotations"] = annotations.into();
    }
    if facts.passed.contains(&revision.hash) {
        body["metadata"]["annotations"][names::GATE_PASSED] = "true".into();
    }
    Planned::new(site, Kind::ControllerRevision, names::revision(&site.owner.name, &revision.hash), body)
}

/// The newest stored revisions and their ConfigMaps, whatever a Deployment still runs, and the one `before`, to which an
/// undo leads however many were tried since. Beside them kinds of which nothing may go: of a revision that cannot be read
/// nobody knows which ConfigMap its pods use.
pub(super) fn kept(
    owner: &Owner,
    revision: Option<&Wanted>,
    before: Option<&str>,
    facts: &Facts,
) -> (BTreeSet<(Kind, String)>, BTreeSet<Kind>) {
    let runs: BTreeSet<&str> =
        facts.deployments.values().map(|deployment| deployment.revision.as_str()).collect();
    let mut newest: Vec<_> = facts.revisions.iter().collect();
    newest.sort_by_key(|stored| std::cmp::Reverse(stored.number));
    let others = newest
        .iter()
        .filter(|stored| revision.is_none_or(|revision| revision.hash != stored.hash))
        .take(KEPT);
    let running = facts
        .revisions
        .iter()
        .filter(|stored| runs.contains(stored.hash.as_str()) || before == Some(stored.hash.as_str()));
    let (mut keep, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for stored in others.copied().chain(running) {
        keep.insert((Kind::ControllerRevision, names::revision(&owner.name, &stored.hash)));
        match Stored::read(&stored.hash, &stored.data) {
            Ok(stored) => drop(keep.insert((Kind::ConfigMap, config::name(&owner.name, &stored.config)))),
            Err(_) => drop(kinds.insert(Kind::ConfigMap)),
        }
    }
    (keep, kinds)
}
