//! Secrets, as little of them as can be: their names and versions from a metadata watch, their keys on demand, and
//! of the values only a keyed digest and a length.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aws_lc_rs::{hmac, rand};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use sha2::{Digest, Sha256};

use super::{Error, Writer};
use crate::facts::{SecretFact, SecretKey};

/// Secret of the operator's own namespace that holds the key of all digests.
const KEY_SECRET: &str = "visiobook-operator-digest-key";
const KEY_BYTES: usize = 32;
/// Characters of a digest that are kept: enough to tell two values apart, useless to find one.
const DIGEST_CHARACTERS: usize = 16;

type Name = (String, String);
type Keys = BTreeMap<String, SecretFact>;

/// Which Secrets exist, in which version, and who made them.
#[derive(Default)]
pub struct SecretIndex(Mutex<HashMap<Name, Seen>>);

#[derive(Clone, Copy, PartialEq)]
struct Seen {
    version: u64,
    sealed: bool,
}

/// Whether a SealedSecret of the same name made a Secret.
pub(super) fn is_sealed(meta: &ObjectMeta) -> bool {
    meta.owner_references.iter().flatten().any(|owner| {
        owner.kind == "SealedSecret"
            && owner.controller == Some(true)
            && Some(&owner.name) == meta.name.as_ref()
    })
}

impl SecretIndex {
    /// A Secret was seen. Tells whether that is news.
    pub fn see(&self, meta: &ObjectMeta) -> bool {
        let name = meta.name.clone().unwrap_or_default();
        let sealed = is_sealed(meta);
        let seen = Seen { version: super::writer::version_of(meta), sealed };
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        index.insert((meta.namespace.clone().unwrap_or_default(), name), seen) != Some(seen)
    }

    /// A Secret is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(namespace.into(), name.into()));
    }

    /// A list shows what exists now in the namespaces it looked at; what it lacks is gone, and told.
    pub fn keep_only(&self, seen: &BTreeSet<Name>, within: impl Fn(&String) -> bool) -> Vec<Name> {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<Name> =
            index.keys().filter(|name| within(&name.0) && !seen.contains(*name)).cloned().collect();
        index.retain(|name, _| !gone.contains(name));
        gone
    }

    fn get(&self, name: &Name) -> Option<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }
}

/// The key that digests are made with. It outlives the operator in a Secret of its own namespace, so that a restart
/// tells a rotation from a new key.
pub struct DigestKey {
    id: String,
    key: hmac::Key,
}

impl DigestKey {
    /// Read the key, or make it at the first start: a write, which takes the claim as every other does.
    pub async fn ensure(writer: &Writer, namespace: &str) -> Result<DigestKey, kube::Error> {
        let claimed = || writer.claimed().map_err(|error| kube::Error::Service(error.into()));
        let mut bytes = vec![0; KEY_BYTES];
        if rand::fill(&mut bytes).is_err() {
            return Err(kube::Error::Service("the system gives no random numbers".into()));
        }
        let fresh = Secret {
            metadata: ObjectMeta { name: Some(KEY_SECRET.into()), ..ObjectMeta::default() },
            data: Some(BTreeMap::from([("key".to_string(), ByteString(bytes))])),
            ..Secret::default()
        };
        let secret = match api(claimed()?, namespace).get_opt(KEY_SECRET).await? {
            Some(secret) => secret,
            None => api(claimed()?, namespace).create(&PostParams::default(), &fresh).await?,
        };
        let bytes =
            secret.data.and_then(|mut data| data.remove("key")).map(|bytes| bytes.0).unwrap_or_default();
        Ok(DigestKey::new(&bytes))
    }

    /// Read the key, or use one that nobody keeps: whoever writes nothing compares with nothing.
    pub async fn borrow(client: kube::Client, namespace: &str) -> Result<DigestKey, kube::Error> {
        let mut bytes = vec![0; KEY_BYTES];
        if rand::fill(&mut bytes).is_err() {
            return Err(kube::Error::Service("the system gives no random numbers".into()));
        }
        match api(client, namespace).get_opt(KEY_SECRET).await {
            Ok(kept) => {
                let kept = kept.and_then(|secret| secret.data?.remove("key")).map(|bytes| bytes.0);
                Ok(DigestKey::new(&kept.unwrap_or(bytes)))
            }
            Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(DigestKey::new(&bytes)),
            Err(error) => Err(error),
        }
    }

    /// A key of these bytes.
    pub fn new(bytes: &[u8]) -> DigestKey {
        DigestKey { id: hex(&Sha256::digest(bytes), 8), key: hmac::Key::new(hmac::HMAC_SHA256, bytes) }
    }

    fn digest(&self, value: &[u8]) -> String {
        format!("{}:{}", self.id, hex(hmac::sign(&self.key, value).as_ref(), DIGEST_CHARACTERS))
    }
}

fn api(client: kube::Client, namespace: &str) -> Api<Secret> {
    Api::namespaced(client, namespace)
}

pub(super) fn hex(bytes: &[u8], characters: usize) -> String {
    bytes
        .iter()
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .take(characters)
        .map(char::from)
        .collect()
}

/// Reads keys of Secrets, each version of a Secret once.
pub struct Secrets {
    client: kube::Client,
    /// Set once this instance leads: to make it is a write.
    key: OnceLock<DigestKey>,
    index: Arc<SecretIndex>,
    read: Mutex<HashMap<Name, (u64, Keys)>>,
}

impl Secrets {
    /// A reader beside the index that a watch feeds.
    pub fn new(client: kube::Client, index: Arc<SecretIndex>) -> Secrets {
        Secrets { client, key: OnceLock::new(), index, read: Mutex::default() }
    }

    /// Make digests with this key from now on. Before, no key of a Secret can be looked at.
    pub fn digest_with(&self, key: DigestKey) {
        let _ = self.key.set(key);
    }

    /// What is known of these keys.
    pub async fn look(
        &self,
        namespace: &str,
        references: &BTreeSet<SecretKey>,
    ) -> Result<BTreeMap<SecretKey, SecretFact>, Error> {
        let mut facts = BTreeMap::new();
        for (name, key) in references {
            let keys = self.keys(namespace, name).await?;
            let fact = match keys {
                None => SecretFact::SecretMissing,
                Some(keys) => keys.get(key).cloned().unwrap_or(SecretFact::KeyMissing),
            };
            facts.insert((name.clone(), key.clone()), fact);
        }
        Ok(facts)
    }

    /// What a Secret holds now, for what is said with it at once and kept nowhere; `None` if it does not exist.
    pub async fn data(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, ByteString>>, kube::Error> {
        let secret = api(self.client.clone(), namespace).get_opt(name).await?;
        Ok(secret.map(|secret| secret.data.unwrap_or_default()))
    }

    /// Those of these Secrets that a SealedSecret of the same name made.
    pub fn sealed(&self, namespace: &str, references: &BTreeSet<SecretKey>) -> BTreeSet<String> {
        let sealed =
            |name: &String| self.index.get(&(namespace.into(), name.clone())).is_some_and(|seen| seen.sealed);
        references.iter().map(|(name, _)| name).filter(|name| sealed(name)).cloned().collect()
    }

    async fn keys(&self, namespace: &str, name: &str) -> Result<Option<Keys>, Error> {
        let place = (namespace.to_string(), name.to_string());
        let Some(Seen { version, .. }) = self.index.get(&place) else {
            self.read.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
            return Ok(None);
        };
        if let Some((read, keys)) = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(&place)
            && *read >= version
        {
            return Ok(Some(keys.clone()));
        }
        let digests = self.key.get().ok_or(Error::NotLeader)?;
        let answer = api(self.client.clone(), namespace).get_opt(name).await;
        let found = answer.map_err(|error| Error::Refused {
            what: format!("read Secret {namespace}/{name}"),
            source: Box::new(error),
        })?;
        let Some(secret) = found else { return Ok(None) };
        let version = super::writer::version_of(&secret.metadata);
        let keys: Keys = secret
            .data
            .into_iter()
            .flatten()
            .map(|(key, value)| {
                let length = String::from_utf8_lossy(&value.0).chars().count();
                (key, SecretFact::Present { digest: digests.digest(&value.0), length })
            })
            .collect();
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(place, (version, keys.clone()));
        Ok(Some(keys))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    #[test]
    fn a_secret_is_sealed_where_a_sealed_secret_of_its_name_controls_it() {
        let index = SecretIndex::default();
        let see = |kind: &str, owner: &str, controller: bool| {
            let owner = OwnerReference {
                kind: kind.into(),
                name: owner.into(),
                controller: Some(controller),
                ..OwnerReference::default()
            };
            let meta = ObjectMeta {
                name: Some("tokens".into()),
                namespace: Some("team".into()),
                owner_references: Some(vec![owner]),
                resource_version: Some("7".into()),
                ..ObjectMeta::default()
            };
            let news = index.see(&meta);
            (news, index.get(&("team".into(), "tokens".into())).is_some_and(|seen| seen.sealed))
        };
        assert_eq!(see("Pod", "tokens", true), (true, false));
        assert_eq!(see("SealedSecret", "tokens", true), (true, true));
        assert_eq!(see("SealedSecret", "tokens", true), (false, true));
        assert_eq!(see("SealedSecret", "others", true), (true, false));
        assert_eq!(see("SealedSecret", "tokens", false), (false, false));
    }
}
