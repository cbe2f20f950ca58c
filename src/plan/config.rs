//! ConfigMap: immutable and named by its content, so that a pod never sees another revision's config.

use serde_json::{Map, Value, json};

use super::{Planned, Site, variables};
use crate::api::kinds::Kind;
use crate::api::names;
use crate::check::{self, Shape};
use crate::rollout::Stored;

pub(super) fn build(site: &Site<'_>, rendered: &Stored) -> Planned {
    let body = json!({ "data": rendered.config, "immutable": true });
    Planned::new(site, Kind::ConfigMap, name(&site.owner.name, &rendered.config), body)
}

/// Name of the ConfigMap with this content.
pub(super) fn name(service: &str, content: &Value) -> String {
    names::config(service, &check::digest(content))
}

/// Content of a shape's ConfigMap: variables, and files under their names.
pub(super) fn content(shape: &Shape) -> Value {
    let mut content: Map<String, Value> =
        variables::configured(shape).into_iter().map(|(key, value)| (key, Value::from(value))).collect();
    for (file, text) in shape.config_files.iter().flat_map(|files| &files.files) {
        content.insert(file.clone(), Value::from(text.as_str()));
    }
    Value::Object(content)
}
