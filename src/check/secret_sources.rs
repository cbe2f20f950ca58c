//! Where the secrets of a resource come from, as resource and environment come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{EnvironmentRules, mounted, trusted};
use crate::api::{
    EnvironmentType, KeyRef, Pod, RemoteKey, SecretKind, SecretSource, SecretStore, VisiobookServiceSpec,
    names,
};

/// What is fetched from a store into a Secret of the service's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct External {
    /// The store.
    pub store: SecretStore,
    /// From one fetch to the next.
    pub refresh_interval: String,
    /// Key of the Secret, which is the variable's name, to the key of the store.
    pub keys: BTreeMap<String, RemoteKey>,
}

/// The key of a Secret that a variable is read from: of one that is there, or of the one that is filled from a store.
/// Where a value is fetched from is no part of a pod, so another key of the store is no new revision.
pub(super) fn key_of(service: &str, variable: &str, source: &SecretSource) -> KeyRef {
    match (&source.remote, &source.name, &source.key) {
        (None, Some(name), Some(key)) => KeyRef { name: name.clone(), key: key.clone() },
        _ => KeyRef { name: names::external_secret(service), key: variable.to_string() },
    }
}

/// Every key of a Secret that a resource asks for; a Secret that is mounted whole has an empty one.
pub fn asked(service: &str, spec: &VisiobookServiceSpec) -> Vec<KeyRef> {
    let variables = spec.secrets.iter().map(|(variable, source)| key_of(service, variable, source));
    let rollout = spec.rollout.as_ref();
    let job = rollout.and_then(|rollout| rollout.checks.as_ref()?.job.as_ref());
    variables
        .chain(mounted(spec.sidecar.as_deref()).cloned())
        .chain(trusted(spec.sidecar.as_deref()).cloned())
        .chain(volumes(spec.pod.as_deref()).into_iter().map(|volume| volume.key))
        .chain(job.into_iter().flat_map(|job| job.secrets.values().cloned()))
        .collect()
}

/// A key of a Secret that is a file of a volume.
pub(super) struct Mounted {
    /// Name of the volume.
    pub volume: String,
    /// The key; empty where the whole Secret is mounted.
    pub key: KeyRef,
    /// Whether pods start without it.
    pub optional: bool,
}

/// What the volumes of a pod mount of Secrets.
pub(super) fn volumes(pod: Option<&Pod>) -> Vec<Mounted> {
    let volumes = pod.into_iter().flat_map(|pod| &pod.volumes);
    let secrets = volumes.filter_map(|volume| Some((&volume.name, volume.secret.as_ref()?)));
    secrets
        .flat_map(|(volume, secret)| {
            let name = secret.secret_name.clone().unwrap_or_default();
            let items = secret.items.iter().flatten().map(|item| item.key.clone());
            let mut keys: Vec<String> = items.collect();
            if keys.is_empty() {
                keys.push(String::new());
            }
            keys.into_iter().map(move |key| Mounted {
                volume: volume.clone(),
                key: KeyRef { name: name.clone(), key },
                optional: secret.optional.unwrap_or(false),
            })
        })
        .filter(|mounted| !mounted.key.name.is_empty())
        .collect()
}

/// What is fetched for a resource, if anything is.
pub(super) fn external(spec: &VisiobookServiceSpec, environment: &EnvironmentRules) -> Option<External> {
    let said = environment.said.secrets.clone().unwrap_or_default();
    let keys: BTreeMap<String, RemoteKey> = spec
        .secrets
        .iter()
        .filter_map(|(variable, source)| Some((variable.clone(), source.remote.clone()?)))
        .collect();
    if keys.is_empty() {
        return None;
    }
    let interval = match environment.type_ {
        EnvironmentType::Production => "24h",
        EnvironmentType::Staging | EnvironmentType::Development => "168h",
    };
    let refresh_interval = said.refresh_interval.unwrap_or_else(|| interval.into());
    Some(External { store: said.store?, refresh_interval, keys })
}

/// Whether each Secret must be made by a SealedSecret.
pub(super) fn sealed(environment: &EnvironmentRules) -> bool {
    environment.said.secrets.as_ref().and_then(|secrets| secrets.kind) == Some(SecretKind::Sealed)
}
