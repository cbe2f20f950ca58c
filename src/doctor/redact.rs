//! What leaves the cluster in a bundle: names and states, never a value that could be a secret.

use serde_json::Value;

/// What stands in place of a value.
const GONE: &str = "(removed)";
/// Variables whose values the operator sets itself, and that help to understand.
const KNOWN: [&str; 8] = [
    "ENVIRONMENT",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "NODE_ENV",
    "PORT",
    "PYTHON_ENV",
    "SERVICE_NAME",
    "SERVICE_VERSION",
];

/// Take out of an object whatever could be a secret: data of Secrets and ConfigMaps, values of variables, what was
/// applied last, and passwords within texts.
pub fn redact(object: &mut Value) {
    let kind = object["kind"].as_str().unwrap_or_default().to_string();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    if kind == "Secret" || kind == "ConfigMap" {
        for part in ["data", "stringData", "binaryData"] {
            remove_values(object.get_mut(part));
        }
    }
    walk(object);
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), &mut *member) {
                    // Variables by name, of a VisiobookService or of a stored revision; files too.
                    ("env" | "config" | "files", Value::Object(_)) => remove_values(Some(member)),
                    ("env", Value::Array(variables)) => {
                        for variable in variables {
                            let known = variable["name"].as_str().is_some_and(|name| KNOWN.contains(&name));
                            if !known && variable.get("value").is_some() {
                                variable["value"] = GONE.into();
                            }
                        }
                    }
                    _ => walk(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(walk),
        Value::String(text) => *text = redact_text(text),
        _ => {}
    }
}

fn remove_values(map: Option<&mut Value>) {
    for (name, value) in map.and_then(Value::as_object_mut).into_iter().flatten() {
        if !KNOWN.contains(&name.as_str()) {
            *value = GONE.into();
        }
    }
}

/// A text without what stands between `://` and `@`, and without what follows `Bearer` or `Basic`.
pub(super) fn redact_text(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/\"'<>\\".contains(c)).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(at) => {
                clean.push_str(GONE);
                &after[at..]
            }
            None => after,
        };
    }
    clean.push_str(rest);
    for scheme in ["Bearer ", "Basic "] {
        let mut from = 0;
        while let Some(at) = clean[from..].find(scheme).map(|at| from + at + scheme.len()) {
            let end = clean[at..]
                .find(|c: char| c.is_whitespace() || "\"',;\\".contains(c))
                .map_or(clean.len(), |end| at + end);
            clean.replace_range(at..end, GONE);
            from = at + GONE.len();
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Stands wherever a secret could.
    const SECRET: &str = "hunter2-of-the-test";

    #[test]
    fn no_secret_is_left_wherever_it_stood() {
        let url = format!("postgresql://books:{SECRET}@postgres:5432/books");
        let objects = [
            json!({ "kind": "Secret", "data": { "password": SECRET }, "stringData": { "a": SECRET } }),
            json!({ "kind": "ConfigMap", "data": { "PASSWORD": SECRET }, "binaryData": { "a": SECRET } }),
            json!({ "kind": "VisiobookService", "metadata": {
                "annotations": { "kubectl.kubernetes.io/last-applied-configuration": SECRET },
                "managedFields": [{ "x": SECRET }],
            }, "spec": {
                "env": { "A": SECRET, "PORT": "80" }, "config": { "B": SECRET },
                "configFiles": { "files": { "a.conf": SECRET } }, "args": [format!("--database={url}")],
            } }),
            json!({ "kind": "ControllerRevision", "data": {
                "config": { "B": SECRET }, "shape": { "env": { "A": SECRET } },
                "template": { "spec": { "containers": [{ "env": [{ "name": "A", "value": SECRET }] }] } },
            } }),
            json!({ "kind": "Pod", "status": { "message": format!("cannot reach {url}, Authorization: Bearer {SECRET}") } }),
        ];
        for mut object in objects {
            redact(&mut object);
            let text = object.to_string();
            assert!(!text.contains(SECRET), "{text}");
            assert!(text.contains(GONE), "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in ["see https://a.example/b@c", "http://books:80/ready", "a@b", "Basically, ://"] {
            assert_eq!(redact_text(text), text);
        }
        assert_eq!(redact_text("a://b:c@d:1/e f://g@h"), "a://(removed)@d:1/e f://(removed)@h");
        let mut object = json!({ "kind": "Pod", "spec": { "containers": [{ "env": [{ "name": "PORT", "value": "8080" }] }] } });
        let before = object.clone();
        redact(&mut object);
        assert_eq!(object, before);
    }
}
