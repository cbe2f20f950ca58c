//! Public keys of an issuer: a JWKS, from a file or over HTTP (D64).

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use http::HeaderMap;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::keys::Key;
use crate::sidecar::fetch::Fetch;

/// How often a URL is asked; a file is looked at as often as a folder of keys.
const EVERY: Duration = Duration::from_secs(300);
/// The same for a file, and after a failure.
const SOON: Duration = Duration::from_secs(5);
/// Time between two requests on account of tokens with an unknown `kid`: anybody can make such tokens up.
const BETWEEN_REFRESHES: Duration = Duration::from_secs(30);
/// Time that the issuer has to answer.
const WITHIN: Duration = Duration::from_secs(5);

/// The keys of an issuer. While they cannot be read, those from before stay.
pub struct Jwks {
    source: Source,
    keys: ArcSwap<Vec<Key>>,
    /// When an unknown `kid` last made us ask.
    refreshed: Mutex<Option<Instant>>,
}

enum Source {
    File(String),
    Url(String, Fetch),
}

impl Jwks {
    /// A file is read now; a URL is asked by [`Jwks::follow`], so that an issuer's outage stops no start.
    pub fn new(source: &str, fetch: Fetch) -> Result<Jwks, String> {
        let is_url = source.starts_with("http://") || source.starts_with("https://");
        let (source, keys) = match is_url {
            true => (Source::Url(source.into(), fetch), Vec::new()),
            false => (
                Source::File(source.into()),
                read_file(source).map_err(|error| format!("auth.jwks: {error}"))?,
            ),
        };
        Ok(Jwks { source, keys: ArcSwap::from_pointee(keys), refreshed: Mutex::new(None) })
    }

    /// The keys as they are known now.
    pub fn keys(&self) -> Guard<Arc<Vec<Key>>> {
        self.keys.load()
    }

    /// Ask again because of an unknown `kid`: once in 30 s, whoever comes meanwhile waits for that one answer.
    pub async fn refresh(&self) {
        let mut refreshed = self.refreshed.lock().await;
        if refreshed.is_some_and(|at| at.elapsed() < BETWEEN_REFRESHES) {
            return;
        }
        if let Err(error) = self.read().await {
            tracing::warn!(error, "the key set cannot be read: the keys before stay");
        }
        *refreshed = Some(Instant::now());
    }

    /// Keeps the keys current for as long as it is polled.
    pub async fn follow(&self) {
        let mut failure = None;
        loop {
            let outcome = self.read().await;
            let wait = match (&self.source, &outcome) {
                (Source::Url(..), Ok(())) => EVERY,
                _ => SOON,
            };
            if let Err(error) = &outcome
                && failure.as_ref() != Some(error)
            {
                tracing::error!(error, "the key set cannot be read: the keys before stay");
            }
            failure = outcome.err();
            tokio::time::sleep(wait).await;
        }
    }

    async fn read(&self) -> Result<(), String> {
        let keys = match &self.source {
            Source::File(path) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || read_file(&path))
                    .await
                    .map_err(|error| error.to_string())??
            }
            Source::Url(url, fetch) => {
                let answer = fetch.get(url, HeaderMap::new(), WITHIN).await;
                let (status, body) = answer.map_err(|error| format!("{url}: {error}"))?;
                if !status.is_success() {
                    return Err(format!("{url} answers {status}"));
                }
                parse(&body).map_err(|error| format!("{url}: {error}"))?
            }
        };
        self.keys.store(Arc::new(keys));
        Ok(())
    }
}

fn read_file(path: &str) -> Result<Vec<Key>, String> {
    let text = std::fs::read(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
    parse(&text).map_err(|error| format!("{path}: {error}"))
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// The keys of a set that RS256 and ES256 can use; others are passed over, as RFC 7517 5 asks.
fn parse(text: &[u8]) -> Result<Vec<Key>, String> {
    let set: Set = serde_json::from_slice(text).map_err(|error| format!("it is no JWKS: {error}"))?;
    let keys: Vec<Key> =
        set.keys.into_iter().filter_map(|key| usable(&serde_json::from_value(key).ok()?)).collect();
    if keys.is_empty() {
        return Err("it has no key for RS256 or ES256".into());
    }
    Ok(keys)
}

/// The key with the one algorithm of its type. Never a symmetric one: a key set is public.
fn usable(jwk: &Jwk) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        _ => return None,
    };
    let is_meant = matches!(
        (&jwk.common.key_algorithm, algorithm),
        (None, _)
            | (Some(KeyAlgorithm::RS256), Algorithm::RS256)
            | (Some(KeyAlgorithm::ES256), Algorithm::ES256)
    );
    let signs = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    (is_meant && signs).then(|| Key { kid: jwk.common.key_id.clone(), algorithm, decoding })
}

#[cfg(test)]
impl Jwks {
    /// As if 30 s had passed.
    pub(super) async fn forget_refresh(&self) {
        *self.refreshed.lock().await = None;
    }
}
