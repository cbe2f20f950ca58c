//! An operator that only observes: what a pass would do is logged, once for each change of it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::Client;
use serde_json::json;

use crate::apply::{self, Cache, Error};
use crate::check;
use crate::facts::Facts;
use crate::plan::{Owner, Plan};
use crate::rollout::Decision;

/// What was told so far.
pub(super) struct Observing {
    client: Client,
    told: Mutex<HashMap<String, String>>,
}

impl Observing {
    pub(super) fn new(client: Client) -> Observing {
        Observing { client, told: Mutex::default() }
    }

    /// Log what would be done to one service.
    pub(super) async fn tell(
        &self,
        cache: &Cache,
        owner: &Owner,
        decision: &Decision,
        facts: &Facts,
        plan: &Plan,
        replicas: i32,
    ) -> Result<(), Error> {
        let children =
            apply::compare_all(&self.client, cache, owner, plan).await.map_err(|source| Error::Refused {
                what: format!("look at the children of {}", owner.name),
                source: Box::new(source),
            })?;
        let restart = apply::restart(decision, facts, &children, replicas);
        let outlook = json!({ "why": decision.message, "children": children, "restart": restart });
        let news = check::digest(&outlook);
        let before = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.insert(owner.uid.clone(), news.clone())
        };
        if before.as_ref() == Some(&news) {
            return Ok(());
        }
        let (namespace, name, why) = (&owner.namespace, &owner.name, &decision.message);
        if children.is_empty() {
            tracing::info!(namespace, name, why, "would do nothing");
        }
        for child in &children {
            let (fate, fields) = (child.fate.as_str(), child.fields.join("; "));
            tracing::info!(
                namespace,
                name,
                why,
                kind = child.kind,
                child = child.name,
                fields,
                "would {fate}"
            );
        }
        tracing::info!(
            namespace,
            name,
            restarts = restart.restarts,
            pods = restart.pods,
            because = restart.because,
            "would restart pods: {}",
            if restart.restarts { "yes" } else { "no" }
        );
        Ok(())
    }
}
