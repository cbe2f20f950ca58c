//! Who owns what: the entries of `metadata.managedFields`.

use std::borrow::Cow;

use serde_json::Value;

use super::path::{Element, Path};

/// Annotation in which `kubectl apply` keeps a copy of what it sent.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Whether a manager has ever applied an object.
pub fn applies(live: &Value, manager: &str) -> bool {
    Managers::read(live, manager).ours().is_some()
}

/// Drop from a live object what no comparison by `manager` needs, to keep a cache small: what other managers
/// own in its status, and the copy that `kubectl apply` keeps.
pub fn trim(live: &mut Value, manager: &str) {
    if let Some(Value::Array(entries)) = live.pointer_mut("/metadata/managedFields") {
        entries.retain(|entry| entry["subresource"] != "status" || entry["manager"] == manager);
    }
    if let Some(Value::Object(annotations)) = live.pointer_mut("/metadata/annotations") {
        annotations.remove(LAST_APPLIED);
    }
}

/// One entry of `metadata.managedFields`.
pub struct Entry<'a> {
    /// Its manager, unless it has no name.
    pub name: Option<&'a str>,
    /// The `apiVersion` its fields are written in.
    pub version: &'a Value,
    /// The field set.
    pub fields: &'a Value,
    operation: &'a str,
    subresource: &'a str,
    time: &'a str,
}

/// All entries of an object, seen by one manager.
pub struct Managers<'a> {
    entries: Vec<Entry<'a>>,
    ours: Option<usize>,
}

impl<'a> Managers<'a> {
    /// Read the entries of a live object as `manager`.
    pub fn read(live: &'a Value, manager: &str) -> Managers<'a> {
        let listed = live.pointer("/metadata/managedFields").and_then(Value::as_array);
        let text = |entry: &'a Value, field| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        let entries: Vec<_> = listed
            .into_iter()
            .flatten()
            .map(|entry| Entry {
                name: Some(text(entry, "manager")).filter(|name| !name.is_empty()),
                version: &entry["apiVersion"],
                fields: &entry["fieldsV1"],
                operation: text(entry, "operation"),
                subresource: text(entry, "subresource"),
                time: text(entry, "time"),
            })
            .collect();
        let ours = entries.iter().position(|entry| {
            entry.name == Some(manager) && entry.operation == "Apply" && entry.subresource.is_empty()
        });
        Managers { entries, ours }
    }

    /// Our own entry.
    pub fn ours(&self) -> Option<&Entry<'a>> {
        self.entries.get(self.ours?)
    }

    fn others(&self) -> impl Iterator<Item = &Entry<'a>> {
        self.entries.iter().enumerate().filter(|(index, _)| Some(*index) != self.ours).map(|(_, entry)| entry)
    }

    /// Whether others own single parts of the value at `path`, so that it is not atomic.
    pub fn share(&self, path: &Path<'_>) -> bool {
        self.others().any(|entry| has_parts(node(entry.fields, path.elements())))
    }

    /// Whether others own the value at `path` as a whole.
    pub fn hold_whole(&self, path: &Path<'_>) -> bool {
        self.others().any(|entry| is_leaf(node(entry.fields, path.elements()))) && !self.share(path)
    }

    /// The other manager that is behind a field which we plan and do not own.
    pub fn blame(&self, path: &Path<'_>, vanished: bool) -> Option<&Entry<'a>> {
        let owner = self.others().filter(|entry| self.reaches(entry, path)).max_by_key(|entry| entry.time);
        if owner.is_some() || !vanished {
            return owner;
        }
        // A field that is gone has no owner: suspect who wrote last, after us. Times are all UTC, so they sort as text.
        let ours = self.ours()?.time;
        let spec = self.others().filter(|entry| entry.operation == "Update" && entry.subresource != "status");
        spec.filter(|entry| entry.time > ours).max_by_key(|entry| entry.time)
    }

    /// Name an item of the list at `path` that we do not own: as another manager does, or else as its siblings are named.
    pub fn name_item(&self, path: &Path<'_>, index: usize, item: &Value) -> (Cow<'a, str>, Element) {
        let listed = self
            .ours()
            .into_iter()
            .chain(self.others())
            .filter_map(|entry| node(entry.fields, path.elements())?.as_object());
        let mut sibling = None;
        for raw in listed.flat_map(|elements| elements.keys()).filter(|raw| *raw != ".") {
            let element = Element::parse(raw);
            if element.names(index, item) {
                return (Cow::Borrowed(raw), element);
            }
            sibling.get_or_insert(element);
        }
        let element = sibling.map_or(Element::Index(index), |sibling| sibling.alike(index, item));
        (Cow::Owned(element.raw()), element)
    }

    /// Whether an entry owns the value at `path`, a part of it, or the atomic value around it.
    fn reaches(&self, entry: &Entry<'a>, path: &Path<'_>) -> bool {
        let elements = path.elements();
        if node(entry.fields, elements).is_some() {
            return true;
        }
        let around = (1..elements.len()).map(|depth| &elements[..depth]);
        around.filter(|above| is_leaf(node(entry.fields, above))).any(|above| {
            // An entry may own a struct without its parts; if anyone owns parts of it, it is not atomic.
            !self.entries.iter().any(|entry| has_parts(node(entry.fields, above)))
        })
    }
}

/// The node of a field set at a path.
fn node<'a>(fields: &'a Value, elements: &[Cow<'_, str>]) -> Option<&'a Value> {
    elements.iter().try_fold(fields, |node, element| node.get(element.as_ref()))
}

fn is_leaf(node: Option<&Value>) -> bool {
    node.and_then(Value::as_object).is_some_and(|node| node.is_empty())
}

fn has_parts(node: Option<&Value>) -> bool {
    node.and_then(Value::as_object).is_some_and(|node| node.keys().any(|element| element != "."))
}
