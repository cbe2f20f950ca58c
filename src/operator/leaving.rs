//! Clients that keep their connections to a colour which has lost its traffic: its sidecars are told, after the pass that
//! has moved it and beside everything else. No pass waits for it, and nothing fails by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::context::Context;
use crate::api::names::Colour;
use crate::apply::{self, Heard};
use crate::facts::Facts;
use crate::plan::Owner;
use crate::rollout::{Decision, Leaving};

/// Pods of one service that are told at the same time, and of all.
const AT_ONCE: [usize; 2] = [32, 128];

/// What the Services have selected, and how many pods may be told.
pub(super) struct Leavers {
    selected: Mutex<HashMap<String, Colour>>,
    room: Semaphore,
}

impl Default for Leavers {
    fn default() -> Self {
        Leavers { selected: Mutex::default(), room: Semaphore::new(AT_ONCE[1]) }
    }
}

impl Leavers {
    /// Note what the Service of a release selects; tells what was noted before.
    fn note(&self, uid: &str, decision: &Decision, selected: Option<Colour>) -> Option<Colour> {
        let mut known = self.selected.lock().unwrap_or_else(PoisonError::into_inner);
        match selected.filter(|selected| *selected == decision.colour) {
            Some(selected) => known.insert(uid.to_string(), selected),
            None => known.get(uid).copied(),
        }
    }

    /// A service is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.selected.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// Tell the pods that have just lost their traffic, if any have.
pub(super) fn tell(context: &Arc<Context>, owner: &Owner, decision: &Decision, facts: &Facts) {
    if decision.release.is_none() {
        return;
    }
    // As it was written: this verifies that traffic has moved.
    let selected = apply::selected(&context.cache, owner);
    let known = context.leavers.note(&owner.uid, decision, selected);
    if let Some(leaving) = decision.leaving(facts, selected, known) {
        tokio::spawn(tell_all(context.clone(), owner.clone(), leaving));
    }
}

async fn tell_all(context: Arc<Context>, owner: Owner, leaving: Leaving) {
    let Owner { name, namespace, .. } = &owner;
    let colour = leaving.colour.as_str();
    let now = Timestamp::now().as_second().unsigned_abs();
    let Some(word) = context.ring.leave(namespace, name, now) else {
        tracing::debug!(namespace, name, "nothing signs yet, so no clients are told to leave");
        return;
    };
    let addresses = match apply::addresses(&context.writer, &owner, leaving.colour).await {
        Ok(addresses) => addresses,
        Err(error) => {
            tracing::debug!(namespace, name, colour, %error, "the pods whose clients are to leave are not known");
            return;
        }
    };
    let (context, word) = (&context, &word);
    let told = stream::iter(addresses).map(|address| async move {
        let _room = context.leavers.room.acquire().await;
        let heard = apply::tell_to_leave(address, word).await;
        context.metrics.record_told_to_leave(heard.as_str());
        if heard != Heard::Leaving {
            tracing::debug!(namespace, name, colour, %address, ?heard, "a pod keeps its clients");
        }
        heard
    });
    let heard: Vec<Heard> = told.buffer_unordered(AT_ONCE[0]).collect().await;
    let left = heard.iter().filter(|heard| **heard == Heard::Leaving).count();
    tracing::info!(
        namespace,
        name,
        colour,
        why = leaving.reason,
        pods = heard.len(),
        left,
        "clients are told to leave"
    );
}
