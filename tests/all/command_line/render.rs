//! `visiobook render`.

use std::path::Path;

use serde_json::Value;

use super::visiobook;
use crate::cases::{SIDECAR_IMAGE, documents, examples};

/// A golden plan as review shows it: one object each, without its owner and without a digest of secrets.
pub fn golden(name: &str) -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.yaml"));
    let mut objects: Vec<Value> = Vec::new();
    for document in documents(&file) {
        let same = |object: &&mut Value| {
            object["kind"] == document["kind"] && object["metadata"]["name"] == document["metadata"]["name"]
        };
        match objects.iter_mut().find(same) {
            Some(object) => visiobook::plan::merge(object, document),
            None => objects.push(document),
        }
    }
    for object in &mut objects {
        let metadata = object["metadata"].as_object_mut().unwrap();
        assert!(metadata.remove("ownerReferences").is_some());
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("platform.visiobook.com/secrets-digest");
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    objects
}

#[test]
fn what_is_rendered_is_what_the_operator_plans() {
    for case in examples() {
        let name = case.name();
        let file = format!("examples/{name}.yaml");
        let arguments =
            ["render", "-f", &file, "-f", "examples/environments", "--sidecar-image", SIDECAR_IMAGE];
        let rendered = visiobook(&arguments, "");
        assert_eq!(rendered.documents(), golden(&name), "{name}");
        assert_eq!(visiobook(&arguments, "").output, rendered.output, "{name}: two renders differ");
        let json = visiobook(&[&arguments[..], &["-o", "json"]].concat(), "");
        let list: Value = serde_json::from_str(&json.output).expect("JSON");
        assert_eq!(list["items"], Value::from(golden(&name)), "{name}");
    }
}

#[test]
fn an_environment_of_its_own_file_and_a_namespace_decide_what_is_rendered() {
    let service = "apiVersion: platform.visiobook.com/v1alpha1\nkind: VisiobookService\nmetadata: {name: books}\nspec: {image: ghcr.io/visiobook/books:1}\n";
    let arguments =
        ["render", "-f", "-", "--environment", "examples/environments/production.yaml", "-n", "shop"];
    let rendered = visiobook(&arguments, service).documents();
    assert!(rendered.iter().all(|object| object["metadata"]["namespace"] == "shop"));
    let deployment = rendered.iter().find(|object| object["kind"] == "Deployment").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert!(rendered.iter().any(|object| object["kind"] == "HorizontalPodAutoscaler"));

    let alone = visiobook(&["render", "-f", "-"], service);
    assert!(
        alone.told.contains("books: no file tells the environment of namespace default"),
        "{}",
        alone.told
    );
    let deployment = alone.documents().into_iter().find(|object| object["kind"] == "Deployment").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 1);
}

#[test]
fn a_refused_service_is_not_rendered() {
    let service = "apiVersion: platform.visiobook.com/v1alpha1\nkind: VisiobookService\nmetadata: {name: books}\nspec: {image: ghcr.io/visiobook/books:latest}\n";
    let run =
        visiobook(&["render", "-f", "-", "--environment", "examples/environments/production.yaml"], service);
    assert_eq!((run.code, run.output.as_str()), (1, ""));
    assert!(run.told.contains("(input):4: VisiobookService books: spec.image"), "{}", run.told);
    assert_eq!(visiobook(&["render", "-f", "examples/environments"], "").code, 2);
}
