//! The fields of an object that a manager owns, from `metadata.managedFields`, and ways to change each of them.

use serde_json::{Map, Value, json};

/// A field that somebody owns.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its path, as the operator's reports write it.
    pub shown: String,
    steps: Vec<Step>,
    /// Whether it is a whole item of a keyed list.
    pub is_item: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Member(String),
    Key(Map<String, Value>),
}

impl Field {
    /// Where it stands in an object, as a JSON pointer; none where the object lacks it.
    pub fn pointer(&self, object: &Value) -> Option<String> {
        let mut pointer = String::new();
        let mut at = object;
        for step in &self.steps {
            let (name, next) = match step {
                Step::Member(name) => (name.replace('~', "~0").replace('/', "~1"), at.get(name)?),
                Step::Key(key) => {
                    let items = at.as_array()?;
                    let named = |item: &Value| key.iter().all(|(name, value)| item.get(name) == Some(value));
                    let index = items.iter().position(named)?;
                    (index.to_string(), &items[index])
                }
            };
            pointer = format!("{pointer}/{name}");
            at = next;
        }
        Some(pointer)
    }

    /// Its value.
    pub fn value<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        object.pointer(&self.pointer(object)?)
    }

    /// Whether a manager owns it.
    pub fn belongs_to(&self, object: &Value, manager: &str) -> bool {
        owned(object, manager).contains(self)
    }

    /// JSON patches that change it, the likeliest to be admitted first.
    pub fn changes(&self, object: &Value) -> Vec<Value> {
        let (Some(pointer), Some(value)) = (self.pointer(object), self.value(object)) else { return vec![] };
        let remove = json!([{ "op": "remove", "path": pointer }]);
        if self.is_item && !self.shown.contains("ownerReferences") {
            return vec![remove];
        }
        let replaced = others(value)
            .into_iter()
            .map(|other| json!([{ "op": "replace", "path": pointer, "value": other }]));
        replaced.chain([remove]).collect()
    }
}

/// Everything that a manager owns: fields, and whole items of keyed lists. An item's key is the item.
pub fn owned(object: &Value, manager: &str) -> Vec<Field> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let ours = entries.filter(|entry| {
        entry["manager"] == manager && entry["operation"] == "Apply" && entry.get("subresource").is_none()
    });
    let mut fields = Vec::new();
    for entry in ours {
        walk(&entry["fieldsV1"], &mut Vec::new(), String::new(), &mut fields);
    }
    fields
}

fn walk(node: &Value, steps: &mut Vec<Step>, shown: String, fields: &mut Vec<Field>) {
    let members: Vec<_> = node.as_object().into_iter().flatten().filter(|(name, _)| *name != ".").collect();
    let key = match steps.last() {
        Some(Step::Key(key)) => Some(key.clone()),
        _ => None,
    };
    if members.is_empty() || key.is_some() {
        fields.push(Field { shown: shown.clone(), steps: steps.clone(), is_item: key.is_some() });
    }
    for (element, below) in members {
        let (step, shown) = match element.split_once(':') {
            Some(("f", name)) if key.as_ref().is_some_and(|key| key.contains_key(name)) => continue,
            Some(("f", name)) if name.contains('.') => {
                (Step::Member(name.into()), format!("{shown}[{name}]"))
            }
            Some(("f", name)) if shown.is_empty() => (Step::Member(name.into()), name.into()),
            Some(("f", name)) => (Step::Member(name.into()), format!("{shown}.{name}")),
            Some(("k", key)) => {
                let key: Map<String, Value> = serde_json::from_str(key).expect("a key");
                let words = key.iter().map(|(name, value)| match value {
                    Value::String(value) => format!("{name}={value}"),
                    value => format!("{name}={value}"),
                });
                let words: Vec<String> = words.collect();
                (Step::Key(key), format!("{shown}[{}]", words.join(",")))
            }
            _ => panic!("a field set with {element}"),
        };
        steps.push(step);
        walk(below, steps, shown, fields);
        steps.pop();
    }
}

/// Other values of the same type, most of which one field or another admits.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(value) => vec![json!(!value)],
        Value::Number(number) => {
            let number = number.as_i64().expect("a whole number");
            vec![json!(number + 1), json!(number - 1)]
        }
        Value::String(text) => {
            // Words of enumerations, then quantities, paths and names.
            let words = [
                "UDP",
                "HTTPS",
                "Always",
                "Unconfined",
                "NodePort",
                "NotIn",
                "IfHealthyBudget",
                "Exists",
                "PreferNoSchedule",
                "ScheduleAnyway",
                "11m",
                "tmp",
                "var-cache",
                "77Mi",
                "/intruded",
                "intruded",
            ];
            let fitting = words.into_iter().filter(|word| word != text).map(Value::from);
            [Value::from(format!("{text}-intruded"))].into_iter().chain(fitting).collect()
        }
        Value::Array(items) => {
            let mut changed = Vec::new();
            for (index, item) in items.iter().enumerate() {
                changed.extend(others(item).into_iter().map(|other| {
                    let mut items = items.clone();
                    items[index] = other;
                    Value::Array(items)
                }));
            }
            if let [_, rest @ ..] = items.as_slice() {
                changed.push(Value::Array(rest.to_vec()));
            }
            changed
        }
        Value::Object(members) => {
            let mut changed = Vec::new();
            for (name, member) in members {
                changed.extend(others(member).into_iter().map(|other| {
                    let mut members = members.clone();
                    members.insert(name.clone(), other);
                    Value::Object(members)
                }));
            }
            // A selector takes more labels.
            let mut more = members.clone();
            if let Some(Value::Object(labels)) = more.get_mut("matchLabels") {
                labels.insert("intruded".into(), json!("x"));
                changed.push(Value::Object(more));
            }
            changed
        }
        Value::Null => vec![],
    }
}
