//! CustomResourceDefinitions of others, as their own projects publish them.

use std::path::PathBuf;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::Value;
use visiobook::api::kinds::Kind;
use visiobook::apply::resource;

use super::{client, eventually};

/// Those of all optional kinds. What was not there before is gone when it is dropped, so whoever holds it is alone.
pub struct Definitions {
    client: Client,
    made: Vec<Kind>,
}

impl Definitions {
    /// The cluster offers every optional kind.
    pub async fn installed() -> Definitions {
        let mut definitions = Definitions { client: client().await, made: Vec::new() };
        for kind in Kind::OPTIONAL {
            eventually("a definition that is going to be gone", || async {
                match definitions.api().get_opt(&kind.definition()).await.expect("definition") {
                    Some(going) if going.metadata.deletion_timestamp.is_some() => Err(going.status),
                    _ => Ok(()),
                }
            })
            .await;
            if definitions.api().get_opt(&kind.definition()).await.expect("definition").is_none() {
                definitions.made.push(kind);
                definitions.install(kind).await;
            }
        }
        definitions
    }

    /// Install the definition of a kind, and wait until it is served.
    pub async fn install(&self, kind: Kind) {
        let params = PatchParams::apply("e2e").force();
        self.api()
            .patch(&kind.definition(), &params, &Patch::Apply(&published(kind)))
            .await
            .expect("definition");
        let objects: Api<kube::api::DynamicObject> = Api::all_with(self.client.clone(), &resource(kind));
        eventually("a kind to be served", || async {
            objects.list(&Default::default()).await.map(|_| ()).map_err(|error| error.to_string())
        })
        .await;
    }

    /// Delete the definition of a kind, and with it all objects of the kind.
    pub async fn remove(&self, kind: Kind) {
        let _ = self.api().delete(&kind.definition(), &DeleteParams::default()).await.expect("deleted");
        eventually("a definition to go", || async {
            match self.api().get_opt(&kind.definition()).await {
                Ok(None) => Ok(()),
                other => Err(other.map(|definition| definition.and_then(|definition| definition.status))),
            }
        })
        .await;
    }

    fn api(&self) -> Api<CustomResourceDefinition> {
        Api::all(self.client.clone())
    }
}

impl Drop for Definitions {
    fn drop(&mut self) {
        for kind in &self.made {
            super::kubectl(&["delete", "crd", &kind.definition(), "--ignore-not-found"], None);
        }
    }
}

/// A definition as its project publishes it, from the module that e2e/cluster/tools/definitions pins.
fn published(kind: Kind) -> Value {
    let folder =
        std::env::var_os("VISIOBOOK_DEFINITIONS").expect("VISIOBOOK_DEFINITIONS: run this by `make e2e`");
    let (group, _, plural) = kind.resource();
    let file = PathBuf::from(folder).join(format!("{group}_{plural}.yaml"));
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; `make tools` fetches it", file.display()));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let mut definition =
        documents.into_iter().find(|document| document["kind"] == "CustomResourceDefinition").expect("one");
    definition.as_object_mut().expect("object").remove("status");
    definition
}
