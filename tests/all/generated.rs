//! What is generated is what the code says, and what is written by hand fits it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use visiobook::api::kinds::Kind;
use visiobook::api::{VisiobookEnvironment, VisiobookService, crds};

use crate::cases::documents;

/// `kubectl apply` keeps what it applies in an annotation of at most 256 KiB, and adds a little of its own.
const MOST_BYTES: usize = 250 * 1024;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_below(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(yaml_below(&path.to_string_lossy()));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn the_crds_in_the_repository_are_those_of_the_code() {
    let rendered = visiobook::cli::crd::render().unwrap();
    for (name, yaml) in &rendered {
        let stored = fs::read_to_string(root().join("crds").join(name)).unwrap_or_default();
        assert!(stored == *yaml, "crds/{name} is not what the code says: run `make generate`");
    }
    let names: BTreeSet<String> = rendered.into_iter().map(|(name, _)| name).collect();
    let stored: BTreeSet<String> = yaml_below("crds")
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().to_string())
        .collect();
    assert_eq!(stored, names, "crds/ holds other files than the code writes");
}

#[test]
fn the_policies_in_the_repository_are_those_of_the_code_and_all_are_installed() {
    let listed = documents(&root().join("config/policy/kustomization.yaml")).remove(0);
    let mut names: BTreeSet<String> = ["kustomization.yaml".to_string()].into();
    for (name, yaml) in visiobook::cli::policy::render().unwrap() {
        let stored = fs::read_to_string(root().join("config/policy").join(&name)).unwrap_or_default();
        assert!(stored == yaml, "config/policy/{name} is not what the code says: run `make generate`");
        let is_listed = listed["resources"].as_array().unwrap().iter().any(|file| file == &name);
        assert!(is_listed, "{name} is not in config/policy/kustomization.yaml");
        names.insert(name);
    }
    let stored: BTreeSet<String> = yaml_below("config/policy")
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().to_string())
        .collect();
    assert_eq!(stored, names, "config/policy/ holds other files than the code writes");
}

#[test]
fn each_crd_is_small_enough_for_a_plain_kubectl_apply() {
    for crd in crds() {
        let bytes = serde_json::to_vec(&crd).unwrap().len();
        assert!(bytes < MOST_BYTES, "{:?} is {bytes} bytes of JSON, of {MOST_BYTES}", crd.metadata.name);
    }
}

#[test]
fn every_list_of_a_schema_has_a_list_type_and_a_bound() {
    for crd in crds() {
        let crd = serde_json::to_value(crd).unwrap();
        let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
        let mut lists = 0;
        look("", schema, &mut lists);
        assert!(lists > 0);
    }
}

fn look(path: &str, schema: &Value, lists: &mut usize) {
    if schema["type"] == "array" {
        *lists += 1;
        assert!(schema["x-kubernetes-list-type"].is_string(), "{path} has no x-kubernetes-list-type");
        assert!(schema["maxItems"].is_u64(), "{path} has no maxItems");
        if schema["x-kubernetes-list-type"] == "map" {
            let items = schema["items"]["properties"].as_object().unwrap();
            let keys = schema["x-kubernetes-list-map-keys"].as_array().unwrap();
            assert!(!keys.is_empty(), "{path} is a map without keys");
            for key in keys {
                let key = key.as_str().unwrap();
                assert!(items.contains_key(key), "{path} has no {key} to be a key");
            }
        }
        look(&format!("{path}[]"), &schema["items"], lists);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        look(&format!("{path}.{name}"), property, lists);
    }
    if schema["additionalProperties"].is_object() {
        assert!(schema["maxProperties"].is_u64(), "{path} has no maxProperties");
        look(&format!("{path}.*"), &schema["additionalProperties"], lists);
    }
}

#[test]
fn every_file_of_config_is_a_list_of_objects() {
    let files = yaml_below("config");
    assert!(files.len() >= 8, "config/ is gone");
    for file in files {
        let documents = documents(&file);
        assert!(!documents.is_empty(), "{} is empty", file.display());
        for document in documents {
            assert!(
                document["apiVersion"].is_string() && document["kind"].is_string(),
                "{} names no kind",
                file.display()
            );
        }
    }
}

#[test]
fn the_operator_has_its_rights_on_every_kind_of_child_and_may_not_touch_what_teams_wrote() {
    let documents = documents(&root().join("config/rbac/cluster-role.yaml"));
    let role = documents.iter().find(|document| document["kind"] == "ClusterRole").unwrap();
    let rights = |group: &str, resource: &str| -> BTreeSet<String> {
        let holds = |list: &Value, word: &str| list.as_array().unwrap().iter().any(|item| item == word);
        role["rules"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|rule| holds(&rule["apiGroups"], group) && holds(&rule["resources"], resource))
            .flat_map(|rule| rule["verbs"].as_array().unwrap())
            .map(|verb| verb.as_str().unwrap().to_string())
            .collect()
    };
    let set = |verbs: &[&str]| -> BTreeSet<String> { verbs.iter().map(|verb| verb.to_string()).collect() };
    for kind in Kind::ALL.into_iter().chain(Kind::GOVERNANCE) {
        let (group, _, plural) = kind.resource();
        let verbs = set(&["get", "list", "watch", "create", "patch", "delete"]);
        assert_eq!(rights(group, plural), verbs, "{} of {group:?}", plural);
    }
    assert_eq!(rights("platform.visiobook.com", "visiobookservices"), set(&["get", "list", "watch"]));
    assert!(!role.to_string().contains('*'), "a wildcard");
    assert_eq!(rights("", "namespaces"), set(&["get", "list", "watch"]));
    // It binds the roles for people, by name, and gives nobody a right by itself.
    let of_roles = |rule: &&Value| rule["resources"].to_string().contains("roles\"");
    let about_roles: Vec<&Value> = role["rules"].as_array().unwrap().iter().filter(of_roles).collect();
    assert_eq!(about_roles.len(), 1);
    assert_eq!(about_roles[0]["resourceNames"], serde_json::json!(visiobook::api::names::ROLES));
    assert_eq!(rights("rbac.authorization.k8s.io", "clusterroles"), set(&["bind"]));
}

#[test]
fn the_roles_for_people_are_those_that_are_bound_and_none_of_them_touches_secrets() {
    let roles = documents(&root().join("config/rbac/people.yaml"));
    let names: Vec<&str> = roles.iter().map(|role| role["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, visiobook::api::names::ROLES);
    for role in &roles {
        assert!(!role["rules"].to_string().contains("secrets"), "{}", role["metadata"]["name"]);
        assert!(!role["rules"].to_string().contains('*'), "{}", role["metadata"]["name"]);
        let approves = role["rules"].to_string().contains("\"approve\"");
        assert_eq!(approves, role["metadata"]["name"] == "visiobook-approver");
    }
}

#[test]
fn no_example_says_what_the_schema_does_not_know() {
    let mut services = 0;
    for file in [yaml_below("examples"), yaml_below("tests/cases")].concat() {
        for document in documents(&file) {
            let read = match document["kind"].as_str() {
                Some("VisiobookService") => {
                    services += 1;
                    serde_json::to_value(
                        serde_json::from_value::<VisiobookService>(document.clone()).unwrap(),
                    )
                    .unwrap()
                }
                Some("VisiobookEnvironment") => serde_json::to_value(
                    serde_json::from_value::<VisiobookEnvironment>(document.clone()).unwrap(),
                )
                .unwrap(),
                _ => continue,
            };
            assert_eq!(read["spec"], document["spec"], "{}", file.display());
        }
    }
    assert!(services >= 4, "the examples are gone");
}

/// Kubernetes 1.30 knows a field of such a name by its escaped one alone, `__namespace__`.
#[test]
fn no_rule_names_a_field_by_a_reserved_word() {
    const RESERVED: [&str; 16] = [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "package",
        "return",
        "var",
    ];
    fn rules(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                let of = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
                found.extend([of("rule"), of("messageExpression")].into_iter().flatten());
                fields.values().for_each(|value| rules(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| rules(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (_, yaml) in visiobook::cli::crd::render().unwrap() {
        rules(&serde_saphyr::from_str(&yaml).unwrap(), &mut found);
    }
    assert!(found.len() > 20, "{}", found.len());
    for rule in found {
        let words = rule.split(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == '.'));
        let wrong = words.flat_map(|word| word.split('.').skip(1)).find(|name| RESERVED.contains(name));
        assert_eq!(wrong, None, "{rule}");
    }
}
