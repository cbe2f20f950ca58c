//! A VisiobookService as its watch told it, in few bytes: thousands are kept, and most lie still.

use std::borrow::Cow;
use std::collections::BTreeSet;

use k8s_openapi::NamespaceResourceScope;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::replicas;
use crate::api::VisiobookService;
use crate::apply::Pattern;
use crate::check;

static PATTERN: Pattern = Pattern::new();
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A service, packed. One that cannot be read does not stop the watch.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    /// What tells it from others and its versions from each other, without labels and annotations.
    metadata: ObjectMeta,
    replicas_applied_by: Option<String>,
    /// Secrets that it asks for.
    secrets: Box<[String]>,
    /// Compressed JSON, or why it cannot be read.
    body: Result<Box<[u8]>, Unreadable>,
}

/// Why a service cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(String);

impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Unreadable {
        Unreadable(error.to_string())
    }
}

impl Watched {
    /// The service.
    pub(super) fn open(&self) -> Result<VisiobookService, Unreadable> {
        let body = self.body.as_ref().map_err(Unreadable::clone)?;
        Ok(serde_json::from_slice(&PATTERN.unpack(body))?)
    }

    /// Who applies its size, beside the scale subresource.
    pub(super) fn replicas_applied_by(&self) -> Option<&str> {
        self.replicas_applied_by.as_deref()
    }

    /// Whether it asks for a key of this Secret.
    pub(super) fn asks_for(&self, secret: &str) -> bool {
        self.secrets.iter().any(|known| known == secret)
    }

    /// Whether it can be read.
    pub(super) fn is_readable(&self) -> bool {
        self.body.is_ok()
    }

    /// Whether it is being deleted.
    pub(super) fn is_leaving(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Watched, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        let told = ObjectMeta::deserialize(&object["metadata"]).map_err(serde::de::Error::custom)?;
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove(LAST_APPLIED);
            }
        }
        let read = VisiobookService::deserialize(&object);
        Ok(Watched {
            secrets: read.as_ref().map(asked).unwrap_or_default(),
            replicas_applied_by: replicas::applied_by(&told),
            metadata: ObjectMeta {
                name: told.name,
                namespace: told.namespace,
                uid: told.uid,
                resource_version: told.resource_version,
                deletion_timestamp: told.deletion_timestamp,
                ..ObjectMeta::default()
            },
            body: match read {
                Ok(_) => Ok(PATTERN.pack(object.to_string().as_bytes())),
                Err(error) => Err(error.into()),
            },
        })
    }
}

fn asked(service: &VisiobookService) -> Box<[String]> {
    let names: BTreeSet<String> =
        check::asked(&service.name_any(), &service.spec).into_iter().map(|key| key.name).collect();
    names.into_iter().collect()
}

impl Resource for Watched {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        VisiobookService::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        VisiobookService::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        VisiobookService::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        VisiobookService::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(name: &str, spec: Value) -> Watched {
        serde_json::from_value(json!({
            "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
            "metadata": {
                "name": name, "namespace": "shop", "uid": "1", "resourceVersion": "7", "labels": { "team": "books" },
                "annotations": { LAST_APPLIED: "{}", "note": "kept" },
                "managedFields": [{ "manager": "argocd", "operation": "Apply", "fieldsV1": { "f:spec": { "f:replicas": {} } } }],
            },
            "spec": spec,
            "status": { "observedGeneration": 3 },
        }))
        .expect("read")
    }

    #[test]
    fn what_was_told_comes_out_again() {
        for name in ["first", "second"] {
            let watched = told(
                name,
                json!({ "stack": "nodejs", "image": "shop:1", "replicas": 2, "secrets": { "B": { "name": "keys", "key": "b" } } }),
            );
            assert_eq!(watched.name_any(), name);
            assert_eq!(watched.replicas_applied_by(), Some("argocd"));
            let service = watched.open().expect("readable");
            assert_eq!(service.spec.replicas, Some(2));
            assert_eq!(service.status.as_ref().and_then(|status| status.observed_generation), Some(3));
            assert_eq!(service.labels()["team"], "books");
            assert_eq!(service.annotations().keys().collect::<Vec<_>>(), ["note"]);
            assert_eq!(service.resource_version().as_deref(), Some("7"));
            assert!(service.managed_fields().is_empty());
            assert!(watched.asks_for("keys") && !watched.asks_for("others"));
        }
    }

    #[test]
    fn one_like_another_takes_a_few_hundred_bytes() {
        let spec = json!({ "stack": "nodejs", "image": "shop:1", "env": { "A": "1".repeat(2000) } });
        let packed = [told("first", spec.clone()), told("second", spec)];
        let bytes = packed[1].body.as_ref().expect("readable").len();
        assert!(bytes < 400, "{bytes}");
    }

    #[test]
    fn one_that_cannot_be_read_is_still_known() {
        let watched = told("odd", json!({ "stack": ["nodejs"] }));
        assert!(!watched.is_readable());
        assert_eq!((watched.name_any(), watched.uid()), ("odd".into(), Some("1".into())));
        let error = watched.open().expect_err("unreadable");
        assert!(error.to_string().contains("invalid type"), "{error}");
    }
}
