//! Who signs tokens, as the operator does in a cluster.

use std::fs;
use std::path::Path;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;
use visiobook::contract::service_token::{Grant, mint};

use super::support::SECRET;

/// The key in use, and the folder of the public ones.
pub struct Issuer {
    folder: TempDir,
    kid: String,
    key: KeyPair,
}

impl Issuer {
    pub fn new() -> Issuer {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer { folder, kid: "k1".into(), key: KeyPair::generate().unwrap() };
        issuer.publish();
        issuer
    }

    /// Where the public keys are.
    pub fn keys(&self) -> &Path {
        self.folder.path()
    }

    /// Another key, in the place of the one before.
    pub fn rotate(&mut self) {
        fs::remove_file(self.keys().join(&self.kid)).unwrap();
        (self.kid, self.key) = (format!("{}-next", self.kid), KeyPair::generate().unwrap());
        self.publish();
    }

    fn publish(&self) {
        fs::write(self.keys().join(&self.kid), self.key.public_key_pem()).unwrap();
    }

    /// The token of a service, for an hour.
    pub fn token(&self, namespace: &str, name: &str) -> String {
        let now = now();
        self.token_until(namespace, name, now + 3600)
    }

    pub fn token_until(&self, namespace: &str, name: &str, expires: u64) -> String {
        let calls = ["shop/database".to_owned()];
        let grant = Grant { namespace, name, calls: &calls, issued: expires - 7200, expires };
        mint(&self.key.serialize_pem(), &self.kid, &grant).unwrap()
    }
}

/// The access token of somebody with a role, as users signs it.
pub fn person(role: &str) -> String {
    let id = uuid::Uuid::new_v4();
    sign(SECRET, &json!({ "user_id": id, "role": role, "sid": id, "iat": now(), "exp": now() + 600 }))
}

/// Claims, signed with a secret.
pub fn sign(secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

pub fn now() -> u64 {
    jiff::Timestamp::now().as_second() as u64
}
