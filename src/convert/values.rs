//! The values of a chart, taken field by field: what nobody took had no home.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Error, Fate, Note};
use crate::manifest::Document;

/// The fields by which the chart's values are known.
const FIELDS: [&str; 24] = [
    "image",
    "service",
    "deployment",
    "autoscaling",
    "ingress",
    "env",
    "secrets",
    "configMap",
    "serviceAccount",
    "podSecurityContext",
    "securityContext",
    "nodeSelector",
    "tolerations",
    "affinity",
    "monitoring",
    "imagePullSecrets",
    "nameOverride",
    "fullnameOverride",
    "podAnnotations",
    "replicaCount",
    "resources",
    "healthCheck",
    "readinessProbe",
    "app",
];
/// Fields that the older shape alone has.
const OLDER: [&str; 5] = ["replicaCount", "resources", "healthCheck", "readinessProbe", "app"];
/// The charts, under whose name an umbrella chart holds the values (A02).
const CHARTS: [&str; 3] = ["visiobook-microservice", "visiobook-ai-service", "visiobook-frontend"];

pub(super) struct Values<'a> {
    document: &'a Document,
    /// Path of what is read within the file.
    prefix: String,
    left: Value,
    notes: Vec<Note>,
}

impl<'a> Values<'a> {
    pub(super) fn read(document: &'a Document) -> Result<Values<'a>, Error> {
        let chart = CHARTS.into_iter().find(|chart| document.value.get(chart).is_some_and(Value::is_object));
        let (prefix, left) = match chart {
            Some(chart) => (format!("{chart}."), document.value[chart].clone()),
            None => (String::new(), document.value.clone()),
        };
        // One known word is chance: nearly every chart has an image.
        let known = FIELDS.iter().filter(|field| left.get(field).is_some()).count();
        if known == 0 || left.get("apiVersion").is_some() && left.get("kind").is_some() {
            return Err(Error::Foreign(FIELDS.join(", ")));
        }
        Ok(Values { document, prefix, left, notes: Vec::new() })
    }

    /// Whether these are values of the older chart.
    pub(super) fn is_older(&self) -> bool {
        self.left.get("deployment").is_none() && OLDER.iter().any(|field| self.left.get(field).is_some())
            || self.document.value.get("deployment").is_none()
                && OLDER.iter().any(|field| self.document.value.get(field).is_some())
    }

    /// Look at a field.
    pub(super) fn peek(&self, field: &str) -> Option<&Value> {
        field.split('.').try_fold(&self.left, |value, part| value.get(part))
    }

    /// Take a field: it has a home, or a note.
    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        let (parent, name) = field.rsplit_once('.').unwrap_or(("", field));
        let parent = parent
            .split('.')
            .filter(|part| !part.is_empty())
            .try_fold(&mut self.left, |v, part| v.get_mut(part))?;
        parent.as_object_mut()?.remove(name).filter(|value| !value.is_null())
    }

    /// Take a field as what it should be.
    pub(super) fn parse<T: DeserializeOwned>(&mut self, field: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.take(field) else { return Ok(None) };
        serde_json::from_value(value).map(Some).map_err(|error| self.unreadable(field, error))
    }

    /// Take a text, which YAML may have taken for a number.
    pub(super) fn text(&mut self, field: &str) -> Result<Option<String>, Error> {
        self.take(field)
            .map(|value| text(&value).ok_or_else(|| self.unreadable(field, "write a text")))
            .transpose()
    }

    pub(super) fn unreadable(&self, field: &str, why: impl ToString) -> Error {
        let field = format!("{}{field}", self.prefix);
        Error::Unreadable { line: self.document.line_of(&field), field, why: why.to_string() }
    }

    pub(super) fn note(&mut self, field: &str, fate: Fate, message: impl Into<String>) {
        let field = format!("{}{field}", self.prefix);
        self.notes.push(Note { line: self.document.line_of(&field), field, fate, message: message.into() });
    }

    /// What nobody took had no home.
    pub(super) fn left_over(&mut self) {
        let mut leaves = Vec::new();
        leaves_of(&self.left, "", &mut leaves);
        for field in leaves {
            self.note(&field, Fate::NoHome, "a VisiobookService has no such field");
        }
    }

    /// The notes, in the order of the file.
    pub(super) fn notes(mut self) -> Vec<Note> {
        self.notes.sort_by_key(|note| note.line);
        self.notes
    }
}

/// A scalar as text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Every field that still says something. What is off or empty says nothing.
fn leaves_of(value: &Value, path: &str, leaves: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            // A part that is switched off needs no home.
            if members.get("enabled") == Some(&Value::Bool(false)) {
                return;
            }
            for (name, member) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves_of(member, &path, leaves);
            }
        }
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        _ => leaves.push(path.to_string()),
    }
}
