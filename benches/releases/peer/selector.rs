//! What a Service selects, followed as it changes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;

/// Labels by which a Service selects, and when it was seen to.
pub type Selected = (BTreeMap<String, String>, Instant);

/// See the module.
pub struct Selector(watch::Receiver<Option<Selected>>);

impl Selector {
    /// Of the Service of this name.
    pub fn of(services: Api<Service>, name: &str) -> Selector {
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(follow(services, format!("metadata.name={name}"), sender));
        Selector(receiver)
    }

    /// What the Service selects now.
    pub fn now(&self) -> Selected {
        self.0.borrow().clone().expect("a Service")
    }

    /// Wait until the Service selects something else, and tell when it was seen to.
    pub async fn moved(&self, from: &Selected, patience: Duration) -> Option<Instant> {
        let mut selector = self.0.clone();
        let other = |now: &Option<Selected>| now.as_ref().is_some_and(|now| now.0 != from.0);
        let seen = tokio::time::timeout(patience, selector.wait_for(other)).await.ok()?;
        seen.expect("a watch").as_ref().map(|now| now.1)
    }

    /// Wait until the Service selects this again, and tell when it was seen to.
    pub async fn back(&self, to: &Selected, patience: Duration) -> Option<Instant> {
        let mut selector = self.0.clone();
        let same = |now: &Option<Selected>| now.as_ref().is_some_and(|now| now.0 == to.0);
        let seen = tokio::time::timeout(patience, selector.wait_for(same)).await.ok()?;
        seen.expect("a watch").as_ref().map(|now| now.1)
    }
}

/// Keep what the Service selects, and when that was seen.
async fn follow(services: Api<Service>, field: String, into: watch::Sender<Option<Selected>>) {
    let only = watcher::Config::default().fields(&field);
    let stream = watcher(services, only).default_backoff().applied_objects();
    futures::pin_mut!(stream);
    while let Some(seen) = stream.next().await {
        let Ok(service) = seen else { continue };
        let selector = service.spec.and_then(|spec| spec.selector).unwrap_or_default();
        into.send_if_modified(|known| {
            let news = known.as_ref().is_none_or(|known| known.0 != selector);
            if news {
                *known = Some((selector, Instant::now()));
            }
            news
        });
    }
}
