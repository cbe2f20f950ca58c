//! What a service has come to, as one value that two runs can be compared by.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use visiobook::api::VisiobookService;

use crate::support::{PATIENCE, STANDIN, Site, is, message, observed};

/// A service with every child that there is.
pub fn first_spec() -> Value {
    json!({
        "image": STANDIN,
        "config": { "GREETING": "hello" },
        "secrets": { "API_TOKEN": { "name": "shared", "key": "token" } },
        "autoscaling": { "enabled": true },
        "disruptionBudget": { "maxUnavailable": 1 },
        "service": { "port": 80 },
        "ingress": { "hosts": ["users.example.com"] },
    })
}

/// The same service after a change that creates, updates and deletes children.
pub fn second_spec() -> Value {
    json!({
        "image": format!("{STANDIN}-next"),
        "config": { "GREETING": "good evening" },
        "secrets": { "API_TOKEN": { "name": "shared", "key": "token" } },
        "autoscaling": { "enabled": false },
        "disruptionBudget": { "maxUnavailable": 1 },
        "service": { "port": 8000 },
    })
}

/// What the specs read.
pub async fn secret(site: &Site) {
    site.secret("shared", &[("token", "a value that never changes")]).await;
}

/// Everything of a service that does not depend on when and where it was made.
pub async fn of(site: &Site, name: &str) -> Value {
    let service = site.services().get_opt(name).await.expect("service");
    let uid =
        service.as_ref().and_then(|service| service.metadata.uid.clone()).unwrap_or_else(|| "none".into());
    let mut objects = vec![serde_json::to_value(service).expect("json")];
    for (_, mut child) in site.all_children(name).await {
        // Other controllers' business.
        child.as_object_mut().expect("object").remove("status");
        objects.push(child);
    }
    objects.iter_mut().for_each(strip);
    let text = Value::Array(objects).to_string();
    let text = text.replace(name, "NAME").replace(&site.namespace, "NAMESPACE").replace(&uid, "UID");
    serde_json::from_str(&text).expect("json")
}

fn strip(object: &mut Value) {
    let service = object["kind"] == "VisiobookService";
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        metadata.remove(field);
    }
    // What the first write of an object owned beyond its part is given up at the next one: whether there was one
    // depends on the moment, and what is owned twice is wanted by both.
    let managers = ["visiobook-operator", "visiobook-operator/status"];
    if let Some(entries) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
        entries.retain(|entry| managers.iter().any(|manager| entry["manager"] == *manager));
        entries.iter_mut().filter_map(Value::as_object_mut).for_each(|entry| drop(entry.remove("time")));
        entries.sort_by_key(|entry| entry["manager"].to_string() + &entry["subresource"].to_string());
    }
    if let Some(spec) = object["spec"].as_object_mut().filter(|_| !service) {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    // A dashboard's uid is made from the service's name.
    if object["metadata"]["labels"]["grafana_dashboard"].is_string() {
        for board in object["data"].as_object_mut().into_iter().flat_map(|data| data.values_mut()) {
            let mut parsed: Value = serde_json::from_str(board.as_str().expect("text")).expect("a dashboard");
            parsed.as_object_mut().expect("object").remove("uid");
            *board = parsed.to_string().into();
        }
    }
    for condition in
        object.pointer_mut("/status/conditions").and_then(Value::as_array_mut).into_iter().flatten()
    {
        condition.as_object_mut().expect("condition").remove("lastTransitionTime");
    }
}

/// Wait until a service has come to this state; what differs is told in a few lines.
pub async fn until(site: &Site, name: &str, wanted: &Value, when: &str) {
    let started = Instant::now();
    loop {
        let found = of(site, name).await;
        if found == *wanted {
            return;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{when}: {name} differs:\n{}",
            differences(wanted, &found).join("\n")
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Wait until a service is settled and well.
pub async fn settled(site: &Site, name: &str) {
    let well = |service: &VisiobookService| {
        is(service, "Ready", "True")
            && is(service, "Reconciling", "False")
            && is(service, "Stalled", "False")
            // A message alone is told some seconds later.
            && message(service, "Progressing").ends_with(" runs")
            && observed(service)
    };
    site.until(name, "settled and well", well).await;
}

/// Hold a service against a state at once.
pub async fn expect(site: &Site, name: &str, wanted: &Value, when: &str) {
    let found = of(site, name).await;
    assert!(found == *wanted, "{when}: {name} differs:\n{}", differences(wanted, &found).join("\n"));
}

/// Each path at which two values part.
pub fn differences(wanted: &Value, found: &Value) -> Vec<String> {
    fn walk(path: String, wanted: &Value, found: &Value, told: &mut Vec<String>) {
        match (wanted, found) {
            (Value::Object(one), Value::Object(other)) => {
                for key in one.keys().chain(other.keys().filter(|key| !one.contains_key(*key))) {
                    walk(format!("{path}.{key}"), &wanted[key], &found[key], told);
                }
            }
            (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
                for (index, (one, other)) in one.iter().zip(other).enumerate() {
                    walk(format!("{path}[{index}]"), one, other, told);
                }
            }
            (Value::Array(one), Value::Array(other)) if one.iter().any(|item| item["kind"].is_string()) => {
                let names = |items: &[Value]| -> Vec<String> {
                    items
                        .iter()
                        .map(|item| format!("{} {}", item["kind"], item["metadata"]["name"]))
                        .collect()
                };
                told.push(format!("{path}: {:?} -> {:?}", names(one), names(other)));
            }
            _ if wanted != found => told.push(format!("{path}: {wanted} -> {found}")),
            _ => {}
        }
    }
    let mut told = Vec::new();
    walk(String::new(), wanted, found, &mut told);
    told
}
