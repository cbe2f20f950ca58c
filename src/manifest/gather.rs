//! Which services the files hold, and who would govern each.

use std::collections::BTreeMap;

use super::Document;
use crate::api::{VisiobookEnvironmentSpec, names};
use crate::facts::EnvironmentFact;

/// A file that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// What people call it.
    pub name: String,
    /// What it holds.
    pub documents: Vec<Document>,
}

/// A document of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed<'a> {
    /// Its file.
    pub file: &'a str,
    /// What it says, and where.
    pub document: &'a Document,
    /// Its namespace; empty for an environment.
    pub namespace: String,
    /// Who would govern it, as far as the files tell.
    pub environment: EnvironmentFact,
}

/// What the files hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered<'a> {
    /// Each VisiobookService.
    pub services: Vec<Placed<'a>>,
    /// Each VisiobookEnvironment.
    pub environments: Vec<Placed<'a>>,
    /// Documents of other kinds, which are passed over.
    pub others: usize,
}

/// Find what is ours. A service is governed by `environment` if there is one, else by the environment that its
/// namespace's label names among the files, else by the built-in development rules. `namespace` is that of documents
/// that name none.
pub fn gather<'a>(files: &'a [File], environment: Option<&Document>, namespace: &str) -> Gathered<'a> {
    let documents =
        || files.iter().flat_map(|file| file.documents.iter().map(|document| (&file.name, document)));
    let mut known = BTreeMap::new();
    let mut labels = BTreeMap::new();
    for (_, document) in documents() {
        let Some(name) = document.text("/metadata/name") else { continue };
        if document.is_ours("VisiobookEnvironment") {
            known.insert(name, spec_of(document));
        } else if document.text("/kind") == Some("Namespace") {
            let label =
                document.value.pointer("/metadata/labels").and_then(|all| all.get(names::ENVIRONMENT));
            labels.extend(label.and_then(|label| Some((name, label.as_str()?))));
        }
    }
    let governs = |namespace: &str| match (environment, labels.get(namespace)) {
        (Some(document), _) => EnvironmentFact::Governed {
            name: document.text("/metadata/name").unwrap_or_default().to_string(),
            spec: Box::new(spec_of(document)),
        },
        (None, None) => EnvironmentFact::Unlabelled,
        (None, Some(name)) => match known.get(name) {
            Some(spec) => EnvironmentFact::Governed { name: name.to_string(), spec: Box::new(spec.clone()) },
            None => EnvironmentFact::Missing { name: name.to_string() },
        },
    };
    let mut gathered = Gathered::default();
    for (file, document) in documents() {
        let placed = |namespace: String, environment| Placed { file, document, namespace, environment };
        if document.is_ours("VisiobookService") {
            let namespace = document.text("/metadata/namespace").unwrap_or(namespace).to_string();
            let environment = governs(&namespace);
            gathered.services.push(placed(namespace, environment));
        } else if document.is_ours("VisiobookEnvironment") {
            gathered.environments.push(placed(String::new(), EnvironmentFact::Unlabelled));
        } else {
            gathered.others += 1;
        }
    }
    gathered
}

/// One that cannot be read governs by its type's own rules: it is refused for itself.
fn spec_of(document: &Document) -> VisiobookEnvironmentSpec {
    serde_json::from_value(document.value["spec"].clone()).unwrap_or_default()
}
