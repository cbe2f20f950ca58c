//! Keeps the keys that sign tokens of services: what is due is decided by `rollout::key_ring`, and done here.

use std::time::Duration;

use jiff::Timestamp;

use super::context::Context;
use crate::api::kinds::Kind;
use crate::api::names;
use crate::rollout::key_ring::{Pace, Turn, turn};

/// Longest time between two looks. They cost no request.
const IDLE: Duration = Duration::from_secs(3600);
/// Time until a change that failed is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Read the keys, and make the first where there is none: no pass runs before one signs.
pub(super) async fn begin(context: &Context, pace: &Pace) -> Result<(), kube::Error> {
    context.ring.read().await?;
    while context.ring.signing().is_none() {
        step(context, pace, None).await?;
    }
    Ok(())
}

/// Keep the keys, for as long as it is polled.
pub(super) async fn keep(context: &Context, pace: &Pace) {
    let mut known_since = None;
    loop {
        let now = Timestamp::now().as_second();
        let lacking = lacking(context);
        known_since = if lacking.is_empty() { known_since.or(Some(now)) } else { None };
        let wait = match step(context, pace, known_since).await {
            Ok(None) => {
                known_since = None;
                // Every service that mints or verifies has something to write.
                context.trigger_where(|_| true);
                Duration::from_secs(1)
            }
            Ok(Some(at)) => {
                if !lacking.is_empty() {
                    tracing::info!(services = ?lacking, "a new signing key waits until these services have it");
                }
                Duration::from_secs((at - now).max(1).unsigned_abs()).min(IDLE)
            }
            Err(error) => {
                tracing::warn!(%error, "the signing keys cannot be changed: those before go on");
                // Somebody else may have changed them.
                let _ = context.ring.read().await;
                AGAIN
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Do what is due; or tell when something will be, in Unix seconds.
async fn step(context: &Context, pace: &Pace, known_since: Option<i64>) -> Result<Option<i64>, kube::Error> {
    let now = Timestamp::now().as_second();
    match turn(&context.ring.keys(), known_since, pace, now) {
        Turn::Make => {
            context.ring.make(now).await?;
            tracing::info!("a key that will sign tokens of services is made");
        }
        Turn::Sign(kid) => {
            context.ring.sign_with(&kid, now).await?;
            tracing::info!(kid, "tokens of services are signed with this key from now on");
        }
        Turn::Forget(kid) => {
            context.ring.forget(&kid).await?;
            tracing::info!(kid, "no token of this key holds any more: it is forgotten");
        }
        Turn::Wait(at) => return Ok(Some(at)),
    }
    Ok(None)
}

/// Services that verify tokens and do not have every key yet.
fn lacking(context: &Context) -> Vec<String> {
    let keys = context.ring.keys();
    // Only a key that does not sign yet waits for anybody.
    if keys.iter().all(|key| key.signs.is_some()) {
        return Vec::new();
    }
    let verifiers = context.cache.all(Kind::ConfigMap).into_iter();
    let verifiers = verifiers.filter(|live| {
        live.owner.as_ref().is_some_and(|(_, service)| live.name == names::service_keys(service))
    });
    let lacks = |data: &serde_json::Value| keys.iter().any(|key| data[&key.kid].is_null());
    let mut lacking: Vec<String> = verifiers
        .filter(|live| lacks(&live.json()["data"]))
        .map(|live| format!("{}/{}", live.namespace, live.owner.as_ref().map_or("", |(_, name)| name)))
        .collect();
    lacking.sort();
    lacking
}
