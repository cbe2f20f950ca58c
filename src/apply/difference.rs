//! Would applying a planned object change the live one? Decided from a cached object alone, without a request.
//!
//! Server-side apply changes nothing exactly when our entry in `metadata.managedFields` names the fields of the
//! plan, no more and no fewer, and every planned value is the live one. That entry also tells which lists are
//! keyed and which values are whole ("atomic"), so no schema is needed.

mod managers;
mod path;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use managers::Managers;
pub use managers::{applies, trim};
use path::{Element, Path};

/// What an apply would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Nothing: it need not be sent.
    Same,
    /// Something: these changes, sorted by path, at least one.
    Differs(Vec<Change>),
}

/// One field that an apply would change, or would take ownership of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The field, such as `spec.template.spec.containers[name=app].image`.
    pub path: String,
    /// Who is behind the difference.
    pub kind: ChangeKind,
    /// The live value, shortened; none where the object lacks the field.
    pub live: Option<String>,
    /// The planned value, shortened; none where the plan lacks the field.
    pub plan: Option<String>,
}

/// Who is behind a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// We are: the plan has a new value or a new field.
    Planned,
    /// Somebody else set the field, or removed it.
    Drift {
        /// Who, unless the API server has no name for them.
        manager: Option<String>,
    },
    /// The plan no longer has a field that we own: an apply gives it up, and removes it if no one else holds it.
    Orphan,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let absent = "(none)";
        let (live, plan) = (self.live.as_deref().unwrap_or(absent), self.plan.as_deref().unwrap_or(absent));
        write!(f, "{}: {live} -> {plan}", self.path)?;
        match &self.kind {
            ChangeKind::Drift { manager } => {
                write!(f, ", changed by {}", manager.as_deref().unwrap_or("an unknown manager"))
            }
            ChangeKind::Planned | ChangeKind::Orphan => Ok(()),
        }
    }
}

/// Decide whether applying `plan` as `manager` would change `live`, an object that exists.
pub fn compare(plan: &Value, live: &Value, manager: &str) -> Difference {
    let managers = Managers::read(live, manager);
    // Values of a Secret must not reach a log.
    let hidden = plan["kind"] == "Secret";
    let mut walk = Walk { managers: &managers, path: Path::new(), changes: Vec::new(), hidden };
    let version = managers.ours().map_or(&Value::Null, |ours| ours.version);
    if !version.is_null() && *version != plan["apiVersion"] {
        // Written in another version, the entry may describe another structure.
        walk.path.push(Cow::Borrowed("f:apiVersion"));
        walk.report(ChangeKind::Planned, Some(version), plan.get("apiVersion"));
        walk.path.pop();
    }
    let owned = managers.ours().and_then(|ours| ours.fields.as_object()).unwrap_or(&EMPTY);
    match plan.as_object() {
        Some(members) => walk.members(members, owned, Some(live)),
        None => walk.report(ChangeKind::Planned, Some(live), Some(plan)),
    }
    let mut changes = walk.changes;
    if changes.is_empty() {
        return Difference::Same;
    }
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    Difference::Differs(changes)
}

/// Walks plan, owned fields and live object together.
struct Walk<'a> {
    managers: &'a Managers<'a>,
    path: Path<'a>,
    changes: Vec<Change>,
    hidden: bool,
}

impl<'a> Walk<'a> {
    /// One planned value; `owned` is its node in our field set.
    fn value(&mut self, plan: &'a Value, owned: Option<&'a Value>, live: Option<&'a Value>) {
        let composite = plan.is_object() || plan.is_array();
        match (owned.and_then(Value::as_object), plan) {
            (Some(owned), _) if owned.is_empty() && !(composite && self.managers.share(&self.path)) => {
                self.whole(plan, live);
            }
            (Some(owned), Value::Object(members)) => self.members(members, owned, live),
            (Some(owned), Value::Array(_)) => self.items(plan, owned, live),
            (Some(_), _) => self.report(ChangeKind::Planned, live, Some(plan)),
            (None, plan) => self.unowned(plan, live),
        }
    }

    /// A planned value that our field set lacks.
    fn unowned(&mut self, plan: &'a Value, live: Option<&'a Value>) {
        let atomic = self.managers.hold_whole(&self.path);
        let differs = live.is_some_and(|live| live != plan);
        match (plan, live) {
            // An empty keyed list owns nothing; an empty atomic one owns itself, which matters once somebody fills it.
            (Value::Array(items), _) if items.is_empty() && !(atomic && differs) => {}
            (Value::Object(members), None) if !members.is_empty() && !members.values().any(claims) => {}
            (Value::Object(members), Some(_)) if !members.is_empty() && !atomic => {
                self.members(members, &EMPTY, live)
            }
            (Value::Array(_), Some(_)) if self.managers.share(&self.path) => self.items(plan, &EMPTY, live),
            _ => {
                let kind = match self.managers.blame(&self.path, live.is_none()) {
                    Some(other) => ChangeKind::Drift { manager: other.name.map(str::to_owned) },
                    None => ChangeKind::Planned,
                };
                self.report(kind, live, Some(plan));
            }
        }
    }

    /// A value that we own as a whole: a scalar, an atomic list or map, or an empty one.
    fn whole(&mut self, plan: &'a Value, live: Option<&'a Value>) {
        let same = match live {
            Some(live) => live == plan,
            // The API server leaves most zero values out when it writes an object, but they stay owned.
            None => is_zero(plan),
        };
        if !same {
            self.report(ChangeKind::Planned, live, Some(plan));
        }
    }

    /// The members of a planned object.
    fn members(
        &mut self,
        plan: &'a Map<String, Value>,
        owned: &'a Map<String, Value>,
        live: Option<&'a Value>,
    ) {
        let mut met = 0;
        for (element, node) in owned.iter().filter(|(element, _)| *element != ".") {
            let name = element.strip_prefix("f:");
            let live = name.and_then(|name| live?.get(name));
            self.path.push(Cow::Borrowed(element));
            match name.and_then(|name| plan.get(name)) {
                Some(plan) => {
                    met += 1;
                    self.value(plan, Some(node), live);
                }
                None => self.orphan(node, live),
            }
            self.path.pop();
        }
        if met == plan.len() {
            return;
        }
        for (name, value) in plan {
            let element = format!("f:{name}");
            if owned.contains_key(&element) || self.never_owned(name, value) {
                continue;
            }
            self.path.push(Cow::Owned(element));
            self.unowned(value, live.and_then(|live| live.get(name)));
            self.path.pop();
        }
    }

    /// The items of a planned list whose items are owned one by one.
    fn items(&mut self, plan: &'a Value, owned: &'a Map<String, Value>, live: Option<&'a Value>) {
        let listed = |list: Option<&'a Value>| list.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let live_items = listed(live);
        let mut left: Vec<_> = owned
            .iter()
            .filter(|(element, _)| *element != ".")
            .map(|(element, node)| (element, node, Element::parse(element)))
            .collect();
        let mut places = Vec::new();
        for (index, item) in listed(Some(plan)).iter().enumerate() {
            // An item may leave out a key that has a default, as ports do with the protocol.
            let exact = left.iter().position(|(_, _, element)| element.names(index, item));
            let found = exact.or_else(|| left.iter().position(|(_, _, element)| element.may_name(item)));
            let (raw, node, element) = match found.map(|found| left.remove(found)) {
                Some((raw, node, element)) => (Cow::Borrowed(raw.as_str()), Some(node), element),
                None => {
                    let (raw, element) = self.managers.name_item(&self.path, index, item);
                    (raw, None, element)
                }
            };
            let found = element.find(live_items);
            places.extend(found.map(|(place, _)| place));
            self.path.push(raw);
            self.value(item, node, found.map(|(_, item)| item));
            self.path.pop();
        }
        for (raw, node, element) in left {
            self.path.push(Cow::Borrowed(raw));
            self.orphan(node, element.find(live_items).map(|(_, item)| item));
            self.path.pop();
        }
        // Others may put items between ours, but an apply restores the order of ours, and for init containers it counts.
        if !places.is_sorted() {
            self.report(ChangeKind::Planned, live, Some(plan));
        }
    }

    /// Fields that we own and no longer plan: leaves and list items, not the structs around them.
    fn orphan(&mut self, node: &'a Value, live: Option<&'a Value>) {
        let fields = node.as_object().unwrap_or(&EMPTY);
        if fields.is_empty() || !fields.keys().all(|element| element.starts_with("f:")) {
            return self.report(ChangeKind::Orphan, live, None);
        }
        for (element, node) in fields {
            self.path.push(Cow::Borrowed(element));
            self.orphan(node, live.and_then(|live| live.get(&element[2..])));
            self.path.pop();
        }
    }

    /// What the API server never puts into a field set, besides the fences that a write carries.
    fn never_owned(&self, name: &str, value: &Value) -> bool {
        match self.path.elements() {
            [] => {
                ["apiVersion", "kind"].contains(&name) || name == "metadata" && !claims_beyond_identity(value)
            }
            [parent] => parent == "f:metadata" && IDENTITY.contains(&name),
            _ => false,
        }
    }

    /// Report the current path, or the place below it where the two values part.
    fn report(&mut self, kind: ChangeKind, live: Option<&'a Value>, plan: Option<&'a Value>) {
        let depth = self.path.elements().len();
        let (mut live, mut plan) = (live, plan);
        while let (Some(a), Some(b)) = (live, plan)
            && let Some((element, below)) = path::parting(a, b)
        {
            self.path.push(Cow::Owned(element));
            (live, plan) = (Some(below.0), Some(below.1));
        }
        let show = |value: &Value| if self.hidden { "(hidden)".to_owned() } else { path::short(value) };
        let change = Change { path: self.path.to_string(), kind, live: live.map(show), plan: plan.map(show) };
        self.path.truncate(depth);
        self.changes.push(change);
    }
}

/// Fields of `metadata` that no manager owns.
const IDENTITY: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "clusterName",
];

/// A node of a field set that owns nothing.
static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// Whether planned `metadata` holds anything that can be owned.
fn claims_beyond_identity(metadata: &Value) -> bool {
    metadata.as_object().is_none_or(|fields| fields.keys().any(|name| !IDENTITY.contains(&name.as_str())))
}

/// Whether a planned value owns anything: all do, but empty lists.
fn claims(plan: &Value) -> bool {
    match plan {
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => members.is_empty() || members.values().any(claims),
        _ => true,
    }
}

/// Whether the API server may leave a value out when it writes an object. Somebody who removes such a field takes it
/// from our field set too, so what we still own was left out by the API server.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}
