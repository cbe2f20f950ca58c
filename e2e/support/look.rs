//! Looking closer at what stands around a service, and changing it as somebody else would.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::api::names::{self, Colour};

use super::{Site, eventually};

/// Who changes what is not theirs.
pub const INTRUDER: &str = "intruder";

impl Site {
    /// Change a child by JSON patch, under another field manager.
    pub async fn meddle(&self, kind: Kind, name: &str, operations: Value) -> kube::Result<DynamicObject> {
        let patch = Patch::Json::<()>(serde_json::from_value(operations).expect("a JSON patch"));
        let params = PatchParams { field_manager: Some(INTRUDER.into()), ..PatchParams::default() };
        self.children(kind).patch(name, &params, &patch).await
    }

    /// The pods of a service that are not on their way out, sorted by name.
    pub async fn pods(&self, service: &str) -> Vec<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let labels = format!("{}={service}", names::NAME);
        let list = pods.list(&ListParams::default().labels(&labels)).await.expect("pods");
        let mut pods: Vec<Pod> =
            list.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        pods.sort_by_key(ResourceExt::name_any);
        pods
    }

    /// Those of one colour.
    pub async fn pods_of(&self, service: &str, colour: Colour) -> Vec<Pod> {
        let mut pods = self.pods(service).await;
        pods.retain(|pod| pod.labels().get(names::VERSION).map(String::as_str) == Some(colour.as_str()));
        pods
    }

    /// All pods of a colour go at once.
    pub async fn kill(&self, service: &str, colour: Colour) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let labels = format!("{}={service},{}={}", names::NAME, names::VERSION, colour.as_str());
        let params = ListParams::default().labels(&labels);
        pods.delete_collection(&DeleteParams::default().grace_period(0), &params).await.expect("deleted");
    }

    /// The uids of the pods of a service: equal before and after means that none was replaced.
    pub async fn pod_uids(&self, service: &str) -> Vec<String> {
        self.pods(service).await.iter().filter_map(ResourceExt::uid).collect()
    }

    /// Every object that belongs to a service, with its kind.
    pub async fn all_children(&self, service: &str) -> Vec<(Kind, Value)> {
        let labels = format!("{}={service},{}={}", names::NAME, names::MANAGED_BY, names::MANAGED_BY_VALUE);
        let mut children = Vec::new();
        for kind in Kind::ALL {
            let list = match self.children(kind).list(&ListParams::default().labels(&labels)).await {
                Err(kube::Error::Api(status)) if kind.is_optional() && status.code == 404 => continue,
                list => list.expect("children"),
            };
            for child in list.items {
                children.push((kind, serde_json::to_value(child).expect("json")));
            }
        }
        children
    }

    /// A child that must be there.
    pub async fn existing(&self, kind: Kind, name: &str) -> Value {
        self.child(kind, name).await.unwrap_or_else(|| panic!("{} {name} is gone", kind.as_str()))
    }

    /// Write a Secret with exactly these keys.
    pub async fn secret(&self, name: &str, values: &[(&str, &str)]) {
        let data: serde_json::Map<String, Value> =
            values.iter().map(|(key, value)| (key.to_string(), Value::from(*value))).collect();
        let object =
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = PatchParams::apply("vault").force();
        secrets.patch(name, &params, &Patch::Apply(&object)).await.expect("secret");
    }

    /// What changes with every write to the service, and with every write to a child beyond its status, which is
    /// Kubernetes' own.
    pub async fn versions(&self, service: &str) -> Vec<String> {
        let own = self.services().get(service).await.expect("service");
        let mut versions =
            vec![format!("VisiobookService {service} {}", own.resource_version().unwrap_or_default())];
        for (_, mut child) in self.all_children(service).await {
            child["status"] = Value::Null;
            child["metadata"]["resourceVersion"] = Value::Null;
            if let Some(entries) = child["metadata"]["managedFields"].as_array_mut() {
                entries.retain(|entry| entry["subresource"] != "status");
            }
            versions.push(child.to_string());
        }
        versions
    }

    /// Once the last news has been told: for a while neither the service nor a child of it may be written to.
    pub async fn stays_untouched(&self, service: &str, seconds: u64) {
        let look = |seconds: u64| async move {
            let before = self.versions(service).await;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let after = self.versions(service).await;
            let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
            let changed: Vec<_> = changed.map(|(before, after)| (before.clone(), after.clone())).collect();
            if before == after { Ok(()) } else { Err(changed) }
        };
        eventually("a second without a write", || look(1)).await;
        look(seconds).await.expect("no further write");
    }
}

/// What the operator shows on /metrics, fetched through the API server.
pub async fn metrics(client: &kube::Client) -> String {
    let path = "/api/v1/namespaces/visiobook-system/services/visiobook-operator:8080/proxy/metrics";
    client.request_text(http::Request::get(path).body(Vec::new()).expect("request")).await.expect("metrics")
}

/// The sum of a metric's series whose labels contain a text.
pub fn sum(metrics: &str, name: &str, labels: &str) -> f64 {
    let series =
        metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(labels));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
