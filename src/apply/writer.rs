//! Writes, each one fenced: nothing is sent without the leader's claim, and each write names the uid and the
//! version it was decided on, so that one which comes late changes nothing.

use std::sync::Arc;

use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, ValidationDirective,
};
use kube::core::GroupVersionKind;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Cache, KeyRing, Live, contents, live};
use crate::api::kinds::Kind;
use crate::api::names;
use crate::plan::{Owner, Planned};

/// A resource version that no object ever has: the first revision of the store holds none. An apply that names it
/// creates what does not exist, and is a conflict for what does.
const NEVER: &str = "1";

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The claim to lead has run out.
    #[error("this instance no longer leads")]
    NotLeader,
    /// Somebody was faster.
    #[error("{} {name} changed in the meantime", kind.as_str())]
    Conflict {
        /// Kind of the object.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// It exists, unknown to us.
    #[error("{} {name} exists already", kind.as_str())]
    Exists {
        /// Kind of the object.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// It belongs to somebody else.
    #[error(
        "{} {name} exists and belongs to {by}: delete or rename it, or let this service take it over with the annotation {}",
        kind.as_str(), names::ADOPT
    )]
    Taken {
        /// Kind of the object.
        kind: Kind,
        /// Its name.
        name: String,
        /// Who it belongs to.
        by: String,
    },
    /// The value of a Secret cannot be made.
    #[error("the value of a Secret cannot be made: {0}")]
    Unmade(String),
    /// The API server said no.
    #[error("{what}: {source}")]
    Refused {
        /// What was tried.
        what: String,
        /// What it said.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    /// A word for metrics and conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::NotLeader => "NotLeader",
            Error::Conflict { .. } | Error::Exists { .. } => "Conflict",
            Error::Taken { .. } => "NameTaken",
            Error::Unmade(_) => "ValueMissing",
            Error::Refused { source, .. } => match &**source {
                kube::Error::Api(status) if status.is_forbidden() => "Forbidden",
                kube::Error::Api(status) if status.is_invalid() => "Invalid",
                kube::Error::Api(status) if status.is_conflict() => "Conflict",
                kube::Error::Api(_) => "ApiError",
                _ => "Unreachable",
            },
        }
    }

    /// Whether trying again soon is likely to help without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self.reason(), "Conflict" | "Unreachable" | "NotLeader" | "ApiError" | "ValueMissing")
    }

    /// Whether nothing more may be tried in this pass.
    pub(super) fn ends_pass(&self) -> bool {
        matches!(self, Error::NotLeader) || self.reason() == "Unreachable"
    }
}

/// Tells whether this instance leads at this instant.
pub type Leads = Arc<dyn Fn() -> bool + Send + Sync>;

/// The hand that writes.
#[derive(Clone)]
pub struct Writer {
    client: kube::Client,
    leads: Leads,
    ring: Arc<KeyRing>,
    /// The operator's own namespace, which pull secrets are copied from.
    own_namespace: String,
}

impl Writer {
    /// A hand that writes while `leads` says so.
    pub fn new(client: kube::Client, leads: Leads, ring: Arc<KeyRing>, own_namespace: &str) -> Writer {
        Writer { client, leads, ring, own_namespace: own_namespace.into() }
    }

    /// Whether this instance leads at this instant.
    pub fn leads(&self) -> bool {
        (self.leads)()
    }

    /// The client, once the claim was looked at.
    pub(super) fn claimed(&self) -> Result<kube::Client, Error> {
        if self.leads() { Ok(self.client.clone()) } else { Err(Error::NotLeader) }
    }

    /// Create an object, or learn that it exists.
    pub(super) async fn create(
        &self,
        cache: &Cache,
        namespace: &str,
        planned: &Planned,
    ) -> Result<Arc<Live>, Error> {
        self.send(cache, namespace, planned, None, NEVER).await.map_err(|error| match error {
            Error::Conflict { kind, name } => Error::Exists { kind, name },
            error => error,
        })
    }

    /// Change an object that was seen.
    pub(super) async fn update(
        &self,
        cache: &Cache,
        live: &Live,
        planned: &Planned,
    ) -> Result<Arc<Live>, Error> {
        let version = live.resource_version.to_string();
        self.send(cache, &live.namespace, planned, Some(&live.uid), &version).await
    }

    async fn send(
        &self,
        cache: &Cache,
        namespace: &str,
        planned: &Planned,
        uid: Option<&str>,
        version: &str,
    ) -> Result<Arc<Live>, Error> {
        let mut object = planned.object.clone();
        object["metadata"]["resourceVersion"] = Value::from(version);
        if let Some(uid) = uid {
            object["metadata"]["uid"] = Value::from(uid);
        }
        if planned.kind == Kind::Secret {
            contents::fill(&mut object, &self.ring, &self.claimed()?, &self.own_namespace).await?;
        }
        let params = PatchParams {
            field_manager: Some(planned.manager.to_string()),
            force: true,
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::default()
        };
        let api = self.api(planned.kind, namespace)?;
        let answer = api.patch(&planned.name, &params, &Patch::Apply(&payload(&object))).await;
        answer
            .map(|object| cache.see(Live::keep(planned.kind, object)).1)
            .map_err(|error| refused(error, planned.kind, &planned.name, "apply"))
    }

    /// Delete an object that was seen.
    pub(super) async fn delete(&self, cache: &Cache, live: &Live) -> Result<(), Error> {
        let preconditions = Preconditions {
            uid: Some(live.uid.clone()),
            resource_version: Some(live.resource_version.to_string()),
        };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match self.api(live.kind, &live.namespace)?.delete(&live.name, &params).await {
            Ok(_) => {}
            // The object, or its kind.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(refused(error, live.kind, &live.name, "delete")),
        }
        cache.forget(live, false);
        Ok(())
    }

    /// An object exists that no watch has shown: ours if it says so, or if it may be taken over.
    pub(super) async fn claim(
        &self,
        cache: &Cache,
        owner: &Owner,
        planned: &Planned,
    ) -> Result<Arc<Live>, Error> {
        let api = self.api(planned.kind, &owner.namespace)?;
        let object = api
            .get(&planned.name)
            .await
            .map_err(|error| refused(error, planned.kind, &planned.name, "read"))?;
        let found = Live::keep(planned.kind, object);
        if !found.belongs_to(owner) && !found.may_be_adopted() {
            return Err(Error::Taken {
                kind: planned.kind,
                name: planned.name.clone(),
                by: found.owner_name(),
            });
        }
        Ok(cache.see(found).1)
    }

    /// An object as the API server holds it now.
    pub(super) async fn read(
        &self,
        cache: &Cache,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Live>, Error> {
        let object = self.api(kind, namespace)?.get(name).await;
        let object = object.map_err(|error| refused(error, kind, name, "read"))?;
        Ok(cache.see(Live::keep(kind, object)).1)
    }

    fn api(&self, kind: Kind, namespace: &str) -> Result<Api<DynamicObject>, Error> {
        Ok(Api::namespaced_with(self.claimed()?, namespace, &resource(kind)))
    }
}

/// An object as it is applied. The API server reads it as YAML, which refuses or folds some characters that JSON
/// takes as they are: those are escaped.
pub fn payload(object: &impl Serialize) -> Box<RawValue> {
    let mut text = String::new();
    for character in serde_json::to_string(object).unwrap_or_default().chars() {
        match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => text.push(other),
        }
    }
    RawValue::from_string(text).unwrap_or_default()
}

/// How the client addresses a kind.
pub fn resource(kind: Kind) -> ApiResource {
    let (group, version, plural) = kind.resource();
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind.as_str()), plural)
}

pub(super) fn refused(error: kube::Error, kind: Kind, name: &str, verb: &str) -> Error {
    match &error {
        kube::Error::Api(status) if status.is_conflict() => Error::Conflict { kind, name: name.to_string() },
        // Made again under the same name: told as a change of an immutable field.
        kube::Error::Api(status) if status.is_invalid() && status.message.contains("metadata.uid") => {
            Error::Conflict { kind, name: name.to_string() }
        }
        _ => Error::Refused { what: format!("{verb} {} {name}", kind.as_str()), source: Box::new(error) },
    }
}

/// The version of an object that was just written.
pub(super) fn version_of(meta: &kube::api::ObjectMeta) -> u64 {
    live::version(meta.resource_version.as_deref())
}
