//! The private keys that tokens of services are signed with. They stand in one Secret of the operator's own namespace,
//! and in this process; nobody else can mint.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use pem::{EncodeConfig, LineEnding, Pem};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::secrets::hex;
use super::{Error, Leads};
use crate::contract::leave;
use crate::contract::service_token::{self, Grant};
use crate::facts::{Signing, SigningKey, TokenContent};

/// Secret of the operator's own namespace that holds the keys.
const SECRET: &str = "visiobook-operator-signing-keys";
/// Its key.
const KEYS: &str = "keys.json";
/// Characters of a `kid`.
const KID: usize = 16;

/// One key with its halves, as PEM.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pair {
    #[serde(flatten)]
    key: SigningKey,
    private: String,
    public: String,
}

/// The keys, as they were read or written last.
pub struct KeyRing {
    client: kube::Client,
    leads: Leads,
    namespace: String,
    lifetime: i64,
    known: RwLock<Known>,
}

#[derive(Clone, Default)]
struct Known {
    pairs: Vec<Pair>,
    /// Version of the Secret; none while there is none.
    version: Option<String>,
}

impl KeyRing {
    /// The keys of an operator that lives in `namespace`, written while `leads` says so; its tokens hold for
    /// `lifetime` seconds.
    pub fn new(client: kube::Client, leads: Leads, namespace: &str, lifetime: i64) -> KeyRing {
        KeyRing { client, leads, namespace: namespace.into(), lifetime, known: RwLock::default() }
    }

    /// Read the keys anew.
    pub async fn read(&self) -> Result<(), kube::Error> {
        let secret = self.api().get_opt(SECRET).await?;
        let version = secret.as_ref().and_then(|secret| secret.metadata.resource_version.clone());
        let bytes = secret.and_then(|secret| secret.data).and_then(|mut data| data.remove(KEYS));
        let pairs = match bytes {
            None => Vec::new(),
            Some(bytes) => serde_json::from_slice(&bytes.0).map_err(|error| {
                kube::Error::Service(
                    format!("Secret {}/{SECRET} is none of ours: {error}; delete it", self.namespace).into(),
                )
            })?,
        };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known { pairs, version };
        Ok(())
    }

    /// The keys, without the keys themselves.
    pub fn keys(&self) -> Vec<SigningKey> {
        self.known().pairs.iter().map(|pair| pair.key.clone()).collect()
    }

    /// What signs now, and what it is verified with; none before the first key signs.
    pub fn signing(&self) -> Option<Signing> {
        let known = self.known();
        let current =
            known.pairs.iter().filter(|pair| pair.key.retired.is_none() && pair.key.signs.is_some());
        let current = current.max_by_key(|pair| pair.key.signs)?;
        let public: BTreeMap<_, _> =
            known.pairs.iter().map(|pair| (pair.key.kid.clone(), pair.public.clone())).collect();
        Some(Signing { kid: current.key.kid.clone(), public, lifetime: self.lifetime })
    }

    /// Make a key, which signs nothing yet.
    pub async fn make(&self, now: i64) -> Result<(), kube::Error> {
        let pair = generate(now).map_err(|error| kube::Error::Service(error.into()))?;
        self.change(|pairs| pairs.push(pair)).await
    }

    /// Sign with a key from now on.
    pub async fn sign_with(&self, kid: &str, now: i64) -> Result<(), kube::Error> {
        self.change(|pairs| {
            for Pair { key, .. } in pairs {
                if key.kid == kid {
                    key.signs = Some(now);
                } else if key.signs.is_some() {
                    key.retired.get_or_insert(now);
                }
            }
        })
        .await
    }

    /// Forget a key.
    pub async fn forget(&self, kid: &str) -> Result<(), kube::Error> {
        self.change(|pairs| pairs.retain(|pair| pair.key.kid != kid)).await
    }

    /// A token for the service of this name.
    pub(super) fn mint(&self, namespace: &str, service: &str, token: &TokenContent) -> Result<String, Error> {
        let known = self.known();
        let pair = known.pairs.iter().find(|pair| pair.key.kid == token.kid);
        let pair = pair.ok_or_else(|| Error::Unmade(format!("its key {} is gone", token.kid)))?;
        let grant = Grant {
            namespace,
            name: service,
            calls: &token.calls,
            issued: token.issued.unsigned_abs(),
            expires: token.expires.unsigned_abs(),
        };
        service_token::mint(&pair.private, &token.kid, &grant)
            .map_err(|error| Error::Unmade(error.to_string()))
    }

    /// A word to the sidecars of a service that its clients are to leave; none before the first key signs.
    pub fn leave(&self, namespace: &str, service: &str, now: u64) -> Option<String> {
        let signing = self.signing()?;
        let known = self.known();
        let pair = known.pairs.iter().find(|pair| pair.key.kid == signing.kid)?;
        leave::mint(&pair.private, &signing.kid, &leave::audience(namespace, service), now).ok()
    }

    /// Write the keys as `change` leaves them, unless somebody else has written them since they were read.
    async fn change(&self, change: impl FnOnce(&mut Vec<Pair>)) -> Result<(), kube::Error> {
        let mut known = self.known();
        change(&mut known.pairs);
        let bytes = serde_json::to_vec(&known.pairs).map_err(kube::Error::SerdeError)?;
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.into()),
                resource_version: known.version.clone(),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(KEYS.to_string(), ByteString(bytes))])),
            ..Secret::default()
        };
        // Last of all: whoever sleeps until a key is due may wake up as no leader.
        if !(self.leads)() {
            return Err(kube::Error::Service(Error::NotLeader.into()));
        }
        let params = PostParams::default();
        let written = match &known.version {
            None => self.api().create(&params, &secret).await?,
            Some(_) => self.api().replace(SECRET, &params, &secret).await?,
        };
        known.version = written.metadata.resource_version;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn api(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// A fresh P-256 key, named by the digest of its public half.
fn generate(now: i64) -> Result<Pair, &'static str> {
    let failed = |_| "no key can be made: the system gives no random numbers";
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).map_err(failed)?;
    let pair =
        EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref()).map_err(|_| "a fresh key cannot be read")?;
    let public = pair.public_key().as_der().map_err(failed)?;
    let text = |tag: &str, der: &[u8]| {
        let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
        pem::encode_config(&Pem::new(tag, der), config)
    };
    let key =
        SigningKey { kid: hex(&Sha256::digest(public.as_ref()), KID), made: now, ..SigningKey::default() };
    Ok(Pair {
        key,
        private: text("PRIVATE KEY", document.as_ref()),
        public: text("PUBLIC KEY", public.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey};

    use super::*;

    #[test]
    fn a_fresh_key_mints_what_its_public_half_verifies_and_no_other_does() {
        let [one, other] = [generate(7).unwrap(), generate(8).unwrap()];
        assert_ne!(one.key.kid, other.key.kid);
        let calls = ["shop/users".to_string()];
        let grant = Grant { namespace: "shop", name: "orders", calls: &calls, issued: 10, expires: 20 };
        let token = service_token::mint(&one.private, &one.key.kid, &grant).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let holds = |public: &str| {
            let key = DecodingKey::from_ec_pem(public.as_bytes()).unwrap();
            jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key, Algorithm::ES256).unwrap()
        };
        assert!(holds(&one.public) && !holds(&other.public));
        assert!(service_token::mint(&one.public, "k", &grant).is_err(), "a public key mints");
        assert!(leave::mint(&one.public, "k", "shop/orders", 10).is_err(), "a public key mints");
    }
}
