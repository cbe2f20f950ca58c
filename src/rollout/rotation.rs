//! Rotation of secrets: no new revision, but the pods that read the old value are replaced.

use super::Wanted;
use crate::check;
use crate::facts::{DeploymentFact, Facts};

/// What Deployment and pods carry of the secrets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rotation {
    /// Keyed digest of the values in use, on the Deployment.
    pub digest: Option<String>,
    /// Mark on the pod template, which changes at a rotation only; `None` until the first.
    pub mark: Option<String>,
    /// When that was, in Unix seconds.
    pub at: Option<i64>,
    /// Whether this decision rotates.
    pub rotates: bool,
}

impl Rotation {
    /// What the pods carry already.
    pub fn kept(running: &DeploymentFact) -> Rotation {
        Rotation {
            digest: running.secrets_digest.clone(),
            mark: running.secrets_rotation.clone(),
            at: running.secrets_rotated,
            rotates: false,
        }
    }
}

/// Compare the secrets with those that the pods were started with. A digest is `<key id>:<digest>`; one made with
/// another key tells nothing, so it is replaced without a restart.
pub fn rotate(revision: Option<&Wanted>, running: Option<&DeploymentFact>, facts: &Facts) -> Rotation {
    let secrets = &facts.secrets;
    let Rotation { digest: old, mark, at, .. } = running.map(Rotation::kept).unwrap_or_default();
    let now = revision.and_then(|revision| check::secrets_digest(&revision.shape, secrets)).map(|digests| {
        let key = digests.first().and_then(|(_, digest)| digest.split_once(':')).map_or("", |(key, _)| key);
        let all = digests.iter().map(|(name, digest)| serde_json::json!([name, digest])).collect();
        format!("{key}:{}", check::digest(&serde_json::Value::Array(all)))
    });
    let Some(now) = now else {
        // Missing secrets rotate nothing; a revision that reads none forgets.
        let reads = revision.is_some_and(|revision| !check::references(&revision.shape).is_empty());
        return Rotation { digest: if reads { old } else { None }, mark, at, rotates: false };
    };
    let same_revision =
        running.is_some_and(|deployment| revision.is_some_and(|r| r.hash == deployment.revision));
    let parts = |text: &str| text.split_once(':').map(|(key, digest)| (key.to_string(), digest.to_string()));
    let rotated = match (old.as_deref().and_then(parts), parts(&now)) {
        // One that somebody edited tells nothing either.
        (Some((old_key, old)), Some((key, new))) if old_key == key && check::is_digest(&old) => {
            (same_revision && old != new).then_some(new)
        }
        _ => None,
    };
    let rotates = rotated.is_some();
    let at = if rotates { Some(facts.now) } else { at };
    let mark = rotated.or(mark);
    Rotation { digest: Some(now), mark, at, rotates }
}
