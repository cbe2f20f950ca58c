//! Objects of any kind, and waiting for what others do to them.

use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::Value;

use crate::api::VisiobookService;
use crate::api::kinds::Kind;
use crate::apply::resource;

/// Field manager of a hand-over.
pub(super) const MANAGER: &str = "visiobook-handover";

/// Why a hand-over stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused something.
    #[error("{what}: {source}")]
    Api {
        /// What was tried.
        what: String,
        /// What it answered.
        source: Box<kube::Error>,
    },
    /// There is nothing to hand over.
    #[error("{0}")]
    Absent(String),
    /// Something did not happen in time.
    #[error("after {seconds} s {what}. Everything serves as before; {way_out}")]
    Late {
        /// Seconds that were waited.
        seconds: u64,
        /// What did not happen.
        what: String,
        /// What to do.
        way_out: String,
    },
}

/// An error of the API server, with what was tried.
pub(super) fn tried(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    |source| Error::Api { what: what.into(), source: Box::new(source) }
}

pub(super) fn services(client: &Client, namespace: &str) -> Api<VisiobookService> {
    Api::namespaced(client.clone(), namespace)
}

pub(super) fn of_kind(client: &Client, namespace: &str, kind: Kind) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(kind))
}

/// Change an object that was seen as it is: not one that was made again, and not one that somebody else has changed.
pub(super) async fn patch(
    api: &Api<DynamicObject>,
    seen: &DynamicObject,
    mut change: Value,
) -> Result<DynamicObject, Error> {
    let name = seen.name_any();
    let what = || format!("change {name}");
    change["metadata"]["uid"] = seen.uid().into();
    change["metadata"]["resourceVersion"] = seen.resource_version().into();
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    let mut tries = 5;
    loop {
        tries -= 1;
        let error = match api.patch(&name, &params, &Patch::Merge(&change)).await {
            Err(kube::Error::Api(error)) if error.is_conflict() => error,
            done => return done.map_err(tried(what())),
        };
        // A status that was written meanwhile is nobody's change of it.
        let now = api.get(&name).await.map_err(tried(what()))?;
        let said = |object: &DynamicObject| {
            let ObjectMeta { uid, generation, owner_references, labels, annotations, .. } =
                object.metadata.clone();
            (uid, generation, owner_references, labels, annotations)
        };
        if tries == 0 || seen.metadata.generation.is_none() || said(&now) != said(seen) {
            return Err(tried(what())(kube::Error::Api(error)));
        }
        change["metadata"]["resourceVersion"] = now.resource_version().into();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Ask until `look` is satisfied; `None` if it never was.
pub(super) async fn wait<T, L: Future<Output = Result<Option<T>, Error>>>(
    patience: Duration,
    look: impl Fn() -> L,
) -> Result<Option<T>, Error> {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        if start.elapsed() >= patience {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Whether a condition of a service is true, for what its spec says now.
pub(super) fn is_true(service: &VisiobookService, type_: &str) -> bool {
    let conditions = service.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| {
        condition.type_ == type_
            && condition.status == "True"
            && condition.observed_generation == service.metadata.generation
    })
}
