//! ExternalSecret: the keys of the environment's store that a service reads, in one Secret of its own.

use serde_json::{Value, json};

use super::{Planned, Site};
use crate::api::kinds::Kind;
use crate::api::{StoreKind, names};
use crate::check::Serving;

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
