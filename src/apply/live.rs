//! An object as the cluster holds it, in few bytes: thousands of them are kept.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DynamicObject, ObjectMeta};
use serde_json::Value;

use super::difference;
use super::packed::Pattern;
use crate::api::kinds::Kind;
use crate::api::names;
use crate::plan::Owner;

/// An object of ours, or one that stands where ours should.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Its version. The API server counts them up, so the newer of two is known.
    pub resource_version: u64,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Uid and name of the VisiobookService that controls it. The uid is empty where somebody took the reference to
    /// the owner from an object that we made: it is ours all the same, and the reference is put back.
    pub owner: Option<(String, String)>,
    /// Whether it is a dashboard, which has nothing in common with other ConfigMaps.
    dashboard: bool,
    /// The object, as compressed JSON.
    body: Box<[u8]>,
}

/// What each sort of objects looks like.
static PATTERNS: [Pattern; KINDS + 1] = [const { Pattern::new() }; KINDS + 1];
const KINDS: usize = Kind::ALL.len() + Kind::GOVERNANCE.len();

impl Live {
    /// Keep an object, without what no comparison needs.
    pub fn keep(kind: Kind, object: DynamicObject) -> Live {
        let meta = &object.metadata;
        let controller = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        let owner = match controller {
            Some(owner) if owner.kind == "VisiobookService" => Some((owner.uid.clone(), owner.name.clone())),
            Some(_) => None,
            None => made_for(kind, meta).map(|name| (String::new(), name)),
        };
        let (name, namespace) =
            (meta.name.clone().unwrap_or_default(), meta.namespace.clone().unwrap_or_default());
        let uid = meta.uid.clone().unwrap_or_default();
        let resource_version = version(meta.resource_version.as_deref());
        let terminating = meta.deletion_timestamp.is_some();
        let mut value = serde_json::to_value(&object).unwrap_or_default();
        difference::trim(&mut value, names::MANAGER);
        if kind == Kind::Secret
            && let Some(members) = value.as_object_mut()
        {
            // No value is kept, whoever showed it.
            members.retain(|name, _| ["apiVersion", "kind", "metadata"].contains(&name.as_str()));
        }
        let json = serde_json::to_vec(&value).unwrap_or_default();
        let dashboard = kind == Kind::ConfigMap && name.ends_with(names::DASHBOARD);
        let body = pattern(kind, dashboard).pack(&json);
        Live { kind, name, namespace, uid, resource_version, terminating, owner, dashboard, body }
    }

    /// The object as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&pattern(self.kind, self.dashboard).unpack(&self.body)).unwrap_or_default()
    }

    /// Bytes that the object itself takes here.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Whether it is a service's.
    pub fn belongs_to(&self, owner: &Owner) -> bool {
        let Some((uid, name)) = &self.owner else { return false };
        *uid == owner.uid || uid.is_empty() && *name == owner.name && self.namespace == owner.namespace
    }

    /// Whether its owner allows a service to take it over.
    pub fn may_be_adopted(&self) -> bool {
        self.owner.is_none()
            && self.json().pointer("/metadata/annotations").and_then(|a| a.get(names::ADOPT)).is_some()
    }

    /// Who it belongs to, for people.
    pub fn owner_name(&self) -> String {
        if let Some((_, name)) = self.owner.as_ref().filter(|(_, name)| name != names::GOVERNOR) {
            return format!("the VisiobookService {name}");
        }
        let value = self.json();
        let owner = value.pointer("/metadata/ownerReferences/0");
        match owner.map(|owner| (&owner["kind"], &owner["name"])) {
            Some((Value::String(kind), Value::String(name))) => format!("the {kind} {name}"),
            _ => "somebody else".to_string(),
        }
    }
}

fn pattern(kind: Kind, dashboard: bool) -> &'static Pattern {
    &PATTERNS[if dashboard { KINDS } else { kind as usize }]
}

/// The service that we made an object for, as its label tells.
fn made_for(kind: Kind, meta: &ObjectMeta) -> Option<String> {
    let mut entries = meta.managed_fields.iter().flatten();
    let ours = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(names::MANAGER) && entry.operation.as_deref() == Some("Apply")
    };
    if !entries.any(ours) {
        return None;
    }
    if Kind::GOVERNANCE.contains(&kind) {
        return Some(names::GOVERNOR.to_string());
    }
    meta.labels.as_ref()?.get(names::NAME).cloned()
}

/// A resource version as a number; zero for one that is none.
pub fn version(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
