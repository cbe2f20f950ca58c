//! examples/platform: what it says is taken, and holds together.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::cases::{Case, documents, examples_of};

const FOLDER: &str = "examples/platform";

/// Its files, as its Kustomization lists them.
fn files() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    let kustomization = documents(&root.join("Kustomization")).remove(0);
    let listed = kustomization["resources"].as_array().expect("resources").iter();
    listed.map(|file| file.as_str().expect("a file").to_string()).collect()
}

fn objects() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    files().iter().flat_map(|file| documents(&root.join(file))).collect()
}

fn services() -> Vec<Case> {
    examples_of("development", objects())
}

#[test]
fn every_file_of_the_platform_is_applied_and_every_service_of_it_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    let there: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("the example")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("a name"))
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    assert_eq!(files().into_iter().collect::<BTreeSet<_>>(), there);
    let services = services();
    assert_eq!(services.len(), 3);
    for case in &services {
        assert_eq!(case.verdict().err(), None, "{}", case.name());
    }
    let namespace = objects().into_iter().find(|object| object["kind"] == "Namespace").expect("a namespace");
    let label = &namespace["metadata"]["labels"]["platform.visiobook.com/environment"];
    assert_eq!(label, "development");
    for object in objects().iter().filter(|object| object["kind"] != "Namespace") {
        assert_eq!(object["metadata"]["namespace"], namespace["metadata"]["name"], "{}", object["metadata"]);
    }
}

#[test]
fn whatever_a_service_of_the_platform_names_is_part_of_it() {
    let (services, objects) = (services(), objects());
    let names: BTreeSet<String> = services.iter().map(Case::name).collect();
    let mut order = Vec::new();
    for case in &services {
        let spec = &case.service.spec;
        for needed in &spec.depends_on {
            assert!(names.contains(&needed.name), "{} needs {}", case.name(), needed.name);
            order.push((needed.name.clone(), case.name()));
        }
        for key in visiobook::check::asked(&case.name(), spec) {
            let held = objects.iter().any(|object| {
                object["kind"] == "Secret"
                    && object["metadata"]["name"] == key.name.as_str()
                    && object["stringData"][&key.key].is_string()
            });
            assert!(held, "{}: no Secret {} has the key {}", case.name(), key.name, key.key);
        }
    }
    // Who stores is before who serves, and the team's own comes last.
    let expected = [
        ("database-service", "user-service"),
        ("database-service", "book-service"),
        ("user-service", "book-service"),
    ];
    for (first, then) in expected {
        assert!(order.contains(&(first.to_string(), then.to_string())), "{first} before {then}: {order:?}");
    }
}
