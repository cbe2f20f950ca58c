//! A bundle for whoever helps: what the doctor says, our objects and their pods, events and the operator's logs, with
//! every possible secret taken out. Secrets themselves are not even read.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};
use kube::api::{Api, DynamicObject, ListParams, LogParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::redact::{redact, redact_text};
use super::{Check, examine};
use crate::api::kinds::Kind;
use crate::api::{VisiobookEnvironment, VisiobookService, names};
use crate::apply::resource;

/// Lines of each pod's logs.
const LOG_LINES: i64 = 5000;

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path in the archive.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// Collect everything about the services of `namespaces`, or of all. What cannot be read is told in `errors.txt`.
pub async fn collect(client: &Client, own: &str, namespaces: &[String]) -> Vec<File> {
    let mut bundle = Bundle { client, files: Vec::new(), errors: Vec::new() };
    let checks: Vec<Check> = examine(client, own, namespaces.first().map_or("default", String::as_str)).await;
    bundle.add("doctor.json", json!(checks));
    if let Ok(version) = client.apiserver_version().await {
        bundle.add("version.json", json!({ "cluster": version, "visiobook": env!("CARGO_PKG_VERSION") }));
    }
    bundle.list::<Node>(Api::all(client.clone()), "nodes", "").await;
    bundle.list::<Namespace>(Api::all(client.clone()), "namespaces", "").await;
    bundle.list::<VisiobookEnvironment>(Api::all(client.clone()), "environments", "").await;
    let ours = format!("{}={}", names::MANAGED_BY, names::MANAGED_BY_VALUE);
    let scopes: Vec<Option<&String>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.iter().map(Some).collect() };
    for scope in scopes {
        let folder = scope.map_or("all".to_string(), ToString::to_string);
        bundle
            .list::<VisiobookService>(scoped(client, scope), &format!("{folder}/visiobookservices"), "")
            .await;
        bundle.list::<Pod>(scoped(client, scope), &format!("{folder}/pods"), &ours).await;
        bundle.list::<Event>(scoped(client, scope), &format!("{folder}/events"), "").await;
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Secret) {
            let api: Api<DynamicObject> = match scope {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource(kind)),
                None => Api::all_with(client.clone(), &resource(kind)),
            };
            let (path, kind) = (format!("{folder}/{}", kind.resource().2), kind.as_str());
            bundle.note(&path, kind, api.list(&ListParams::default().labels(&ours)).await);
        }
    }
    bundle.logs(own).await;
    if !bundle.errors.is_empty() {
        let text = bundle.errors.join("\n");
        bundle.files.push(File { path: "errors.txt".into(), text });
    }
    bundle.files
}

fn scoped<K>(client: &Client, scope: Option<&String>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

struct Bundle<'a> {
    client: &'a Client,
    files: Vec<File>,
    errors: Vec<String>,
}

impl Bundle<'_> {
    fn add(&mut self, path: &str, value: Value) {
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        self.files.push(File { path: path.to_string(), text: redact_text(&text) });
    }

    async fn list<K>(&mut self, api: Api<K>, path: &str, labels: &str)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + serde::Serialize,
    {
        let found = api.list(&ListParams::default().labels(labels)).await;
        self.note(path, &K::kind(&()), found);
    }

    fn note<K: serde::Serialize + Clone>(
        &mut self,
        path: &str,
        kind: &str,
        found: kube::Result<kube::api::ObjectList<K>>,
    ) {
        let objects = match found {
            Ok(found) => found.items,
            Err(error) => return self.errors.push(format!("{path}: {error}")),
        };
        let redacted: Vec<Value> = objects
            .iter()
            .map(|object| {
                let mut value = serde_json::to_value(object).unwrap_or_default();
                // Items of a list do not name their kind.
                value["kind"] = kind.into();
                redact(&mut value);
                value
            })
            .collect();
        self.add(&format!("{path}.json"), json!(redacted));
    }

    /// What the operator's pods said, before their last restart too.
    async fn logs(&mut self, own: &str) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), own);
        let label = ListParams::default().labels("app.kubernetes.io/name=visiobook-operator");
        let found = match pods.list(&label).await {
            Ok(found) => found.items,
            Err(error) => return self.errors.push(format!("logs of the operator: {error}")),
        };
        for pod in found {
            for previous in [false, true] {
                let params = LogParams { tail_lines: Some(LOG_LINES), previous, ..LogParams::default() };
                let name = pod.name_any();
                let path = format!("operator/{name}{}.log", if previous { ".previous" } else { "" });
                match pods.logs(&name, &params).await {
                    Ok(text) => self.files.push(File { path, text: redact_text(&text) }),
                    Err(_) if previous => {}
                    Err(error) => self.errors.push(format!("{path}: {error}")),
                }
            }
        }
    }
}

/// The files as a gzipped tar archive, in a folder of their own.
pub fn archive(files: &[File], folder: &str, seconds: u64, into: impl Write) -> std::io::Result<()> {
    let mut builder = tar::Builder::new(GzEncoder::new(into, Compression::default()));
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(seconds);
        builder.append_data(&mut header, format!("{folder}/{}", file.path), file.text.as_bytes())?;
    }
    builder.into_inner()?.finish()?.flush()
}
