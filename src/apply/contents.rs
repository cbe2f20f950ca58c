//! The values of Secrets that are ours: made at the moment in which they are written, and kept nowhere.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::Value;

use super::{Error, KeyRing, Live};
use crate::api::kinds::Kind;
use crate::api::names;
use crate::check::PULL_SECRET_KEY;
use crate::contract::service_token;
use crate::facts::Content;
use crate::plan::Planned;

/// What a planned or a live Secret of ours holds, as its annotation tells.
pub fn content(object: &Value) -> Option<Content> {
    let annotations = object.pointer("/metadata/annotations")?;
    serde_json::from_str(annotations.get(names::CONTENT)?.as_str()?).ok()
}

/// A live object as it is compared with what is planned. Of a Secret only metadata is known: its annotation tells what
/// it was written with, and the fields that we own whether anybody has changed it since. So its values count as planned.
pub(super) fn comparable(live: &Live, planned: &Planned) -> Value {
    let mut object = live.json();
    if planned.kind == Kind::Secret {
        for field in ["data", "type"] {
            object[field] = planned.object[field].clone();
        }
    }
    object
}

/// Put the values into a Secret that is about to be written.
pub(super) async fn fill(
    object: &mut Value,
    ring: &KeyRing,
    client: &kube::Client,
    own_namespace: &str,
) -> Result<(), Error> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_string();
    let (namespace, service) = (text("/metadata/namespace"), text("/metadata/ownerReferences/0/name"));
    let (key, value) = match content(object) {
        Some(Content::ServiceToken(token)) => {
            (service_token::FILE, ByteString(ring.mint(&namespace, &service, &token)?.into_bytes()))
        }
        Some(Content::PullSecret { from, .. }) => {
            let secrets: Api<Secret> = Api::namespaced(client.clone(), own_namespace);
            let found = secrets.get(&from).await.map_err(|error| Error::Refused {
                what: format!("read Secret {own_namespace}/{from}"),
                source: Box::new(error),
            })?;
            let value = found.data.and_then(|mut data| data.remove(PULL_SECRET_KEY));
            let value = value.ok_or_else(|| {
                Error::Unmade(format!("Secret {own_namespace}/{from} has no {PULL_SECRET_KEY} any more"))
            })?;
            (PULL_SECRET_KEY, value)
        }
        None => return Ok(()),
    };
    object["data"][key] = serde_json::to_value(value).unwrap_or_default();
    Ok(())
}
