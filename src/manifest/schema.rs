//! A document against the structural schema of its CRD, as the API server would hold it: types, bounds, what must be
//! there, doubles, and fields that do not exist.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

/// Rule, field and message of each way in which a value breaks its schema.
pub(super) type Broken = Vec<(&'static str, String, String)>;

/// Hold one value against its schema.
pub(super) fn hold(schema: &JSONSchemaProps, value: &Value, path: &str, broken: &mut Broken) {
    let mut tell = |rule, message: String| broken.push((rule, path.to_string(), message));
    if value.is_null() {
        // The API server drops it.
        return;
    }
    if !fits(schema, value) {
        let wanted = if schema.x_kubernetes_int_or_string == Some(true) {
            "a whole number or a text"
        } else {
            words(schema.type_.as_deref())
        };
        return tell("schema-type", format!("write {wanted} here, not {}", kind(value)));
    }
    if let Some(choices) = &schema.enum_
        && !choices.iter().any(|choice| choice.0 == *value)
    {
        let choices: Vec<String> = choices.iter().map(|choice| plain(&choice.0)).collect();
        return tell("schema-enum", format!("{} is not one of {}", plain(value), choices.join(", ")));
    }
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            if let Some(least) = schema.minimum.filter(|least| number < *least) {
                tell("schema-bounds", format!("{number} is less than {least}, the least allowed"));
            }
            if let Some(most) = schema.maximum.filter(|most| number > *most) {
                tell("schema-bounds", format!("{number} is more than {most}, the most allowed"));
            }
        }
        Value::String(text) => {
            let length = text.chars().count() as i64;
            if let Some(least) = schema.min_length.filter(|least| length < *least) {
                tell("schema-bounds", format!("write at least {least} characters"));
            }
            if let Some(most) = schema.max_length.filter(|most| length > *most) {
                tell("schema-bounds", format!("has {length} characters, of {most} allowed"));
            }
        }
        Value::Array(items) => {
            if let Some(most) = schema.max_items.filter(|most| items.len() as i64 > *most) {
                tell("schema-bounds", format!("has {} items, of {most} allowed", items.len()));
            }
            if let Some(twice) = double(schema, items) {
                tell("schema-double", format!("{twice} is there twice: keep one"));
            }
            if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    hold(schema, item, &format!("{path}[{index}]"), broken);
                }
            }
        }
        Value::Object(members) => {
            if let Some(most) = schema.max_properties.filter(|most| members.len() as i64 > *most) {
                tell("schema-bounds", format!("has {} keys, of {most} allowed", members.len()));
            }
            for required in schema.required.iter().flatten() {
                if members.get(required).is_none_or(Value::is_null) {
                    tell("schema-required", format!("{required} is missing"));
                }
            }
            let below =
                |name: &str| if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
            for (name, member) in members {
                let known = schema.properties.as_ref().and_then(|known| known.get(name));
                match (known, &schema.additional_properties) {
                    (Some(schema), _) => hold(schema, member, &below(name), broken),
                    (None, Some(JSONSchemaPropsOrBool::Schema(schema))) => {
                        hold(schema, member, &below(name), broken);
                    }
                    (None, _) if is_open(schema, path, name) => {}
                    (None, _) => {
                        broken.push(("unknown-field", below(name), unknown(schema, name)));
                    }
                }
            }
        }
        Value::Bool(_) | Value::Null => {}
    }
}

/// Whether members that the schema does not list are let through. What every object has is the API server's own.
fn is_open(schema: &JSONSchemaProps, path: &str, name: &str) -> bool {
    schema.x_kubernetes_preserve_unknown_fields == Some(true)
        || matches!(schema.additional_properties, Some(JSONSchemaPropsOrBool::Bool(true)))
        || path.is_empty() && ["apiVersion", "kind", "metadata", "status"].contains(&name)
        || path == "metadata"
}

fn unknown(schema: &JSONSchemaProps, name: &str) -> String {
    let known = schema.properties.iter().flat_map(|known| known.keys());
    let near = known
        .map(|known| (distance(&known.to_lowercase(), &name.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= known.len() / 3)
        .min();
    match near {
        Some((_, near)) => format!("there is no such field: write {near}, or take it out"),
        None => "there is no such field: take it out, or correct its name or its place".to_string(),
    }
}

/// Letters that have to be changed to make one word the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

fn fits(schema: &JSONSchemaProps, value: &Value) -> bool {
    if schema.x_kubernetes_int_or_string == Some(true) {
        return value.is_string() || value.is_i64() || value.is_u64();
    }
    match schema.type_.as_deref() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("number") => value.is_number(),
        Some("integer") => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => true,
    }
}

fn words(type_: Option<&str>) -> &'static str {
    match type_ {
        Some("object") => "a map",
        Some("array") => "a list",
        Some("string") => "a text (in quotes)",
        Some("boolean") => "true or false",
        Some("number") => "a number",
        Some("integer") => "a whole number",
        _ => "another value",
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Object(_) => "a map".into(),
        Value::Array(_) => "a list".into(),
        Value::String(text) => format!("the text \"{}\"", text.chars().take(40).collect::<String>()),
        other => other.to_string(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// An item of a set, or the keys of an item of a keyed list, that are there twice.
fn double(schema: &JSONSchemaProps, items: &[Value]) -> Option<String> {
    let keys = schema.x_kubernetes_list_map_keys.as_deref().unwrap_or_default();
    let name = |item: &Value| match schema.x_kubernetes_list_type.as_deref() {
        Some("set") => Some(plain(item)),
        Some("map") => {
            Some(keys.iter().map(|key| format!("{key} {}", plain(&item[key]))).collect::<Vec<_>>().join(", "))
        }
        _ => None,
    };
    let mut seen = std::collections::BTreeSet::new();
    items.iter().filter_map(name).find(|name| !seen.insert(name.clone()))
}
