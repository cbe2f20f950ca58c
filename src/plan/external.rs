//! ExternalSecret: the keys of the environment's store that a service reads, in one Secret of its own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Owner, Planned, Site};
use crate::api::kinds::Kind;
use crate::api::{StoreKind, names};
use crate::check::{External, Serving};
use crate::facts::{Facts, RevisionFact};
use crate::rollout::{Decision, Stored};

/// What stands around the pods, with the keys that pods of either colour read: the resource may ask for others by now.
pub(super) fn complete<'a>(
    owner: &Owner,
    decision: &Decision,
    serving: &'a Serving,
    facts: &Facts,
) -> Cow<'a, Serving> {
    let other = decision.other.as_ref().and_then(|other| other.revision.as_ref());
    let used = [decision.revision.as_ref(), other].map(|wanted| wanted.map(|wanted| &*wanted.hash));
    let mut serving = Cow::Borrowed(serving);
    let stored = facts.revisions.iter().filter(|stored| used.contains(&Some(&*stored.hash)));
    for external in stored.filter_map(|stored| read(owner, stored)) {
        let asked = serving.external.as_ref();
        // Of another store's keys this one knows nothing, and one that it does not know would keep all others out.
        let is_elsewhere = asked.is_some_and(|asked| asked.store != external.store);
        let is_known = |variable: &String| asked.is_some_and(|asked| asked.keys.contains_key(variable));
        if is_elsewhere || external.keys.keys().all(is_known) {
            continue;
        }
        let External { store, refresh_interval, keys } = external;
        let none = || External { store, refresh_interval, keys: BTreeMap::new() };
        let asked = &mut serving.to_mut().external.get_or_insert_with(none).keys;
        for (variable, remote) in keys {
            asked.entry(variable).or_insert(remote);
        }
    }
    serving
}

/// The keys that a stored revision reads, and where they came from.
fn read(owner: &Owner, revision: &RevisionFact) -> Option<External> {
    // Few have any, and to read what is stored takes its time.
    let serving = revision.serving.as_deref().filter(|text| text.contains("\"external\":"))?;
    let mut external = serde_json::from_str::<Serving>(serving).ok()?.external?;
    let shape = Stored::read(&revision.hash, &revision.data).ok()?.shape;
    let name = names::external_secret(&owner.name);
    external.keys.retain(|variable, _| shape.secrets.get(variable).is_some_and(|key| key.name == name));
    (!external.keys.is_empty()).then_some(external)
}

pub(super) fn build(site: &Site<'_>, serving: &Serving) -> Option<Planned> {
    let external = serving.external.as_ref()?;
    let name = names::external_secret(&site.owner.name);
    let kind = match external.store.kind.unwrap_or_default() {
        StoreKind::ClusterSecretStore => "ClusterSecretStore",
        StoreKind::SecretStore => "SecretStore",
    };
    let keys: Vec<Value> = external
        .keys
        .iter()
        .map(|(variable, remote)| {
            let mut reference = json!({
                "key": remote.key,
                "conversionStrategy": "Default",
                "decodingStrategy": "None",
                "metadataPolicy": "None",
            });
            for (field, said) in [("property", &remote.property), ("version", &remote.version)] {
                if let Some(said) = said {
                    reference[field] = said.as_str().into();
                }
            }
            json!({ "secretKey": variable, "remoteRef": reference })
        })
        .collect();
    let body = json!({ "spec": {
        "refreshInterval": external.refresh_interval,
        "secretStoreRef": { "name": external.store.name, "kind": kind },
        // What was fetched outlives the store.
        "target": { "name": name, "creationPolicy": "Owner", "deletionPolicy": "Retain" },
        "data": keys,
    } });
    Some(Planned::new(site, Kind::ExternalSecret, name, body))
}
