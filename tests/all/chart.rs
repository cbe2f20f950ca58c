//! The Helm chart carries what lies elsewhere in the repository, and its values reach all of the operator.
//! `UPDATE_GOLDEN=1` writes the copies and the table of its README.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use serde_json::Value;

use crate::cases::documents;
use crate::reference::hold;

const CHART: &str = "charts/visiobook-operator";

fn path(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

fn one(below: &str) -> Value {
    documents(&path(below)).remove(0)
}

/// Names of the objects' files in a folder that may not be there.
fn files(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(path(folder)).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().to_string());
    names.filter(|name| name.ends_with(".yaml") && name != "kustomization.yaml").collect()
}

/// A chart reads no file outside of its folder, so it holds copies: of these folders, all but some files.
const COPIED: [(&str, &str, &[&str]); 5] = [
    ("crds", "files/crds", &[]),
    // The account has annotations of its own in the chart.
    ("config/rbac", "files/rbac", &["service-account.yaml"]),
    ("config/monitoring", "files/monitoring", &[]),
    ("config/pod-security", "files/pod-security", &[]),
    ("config/policy", "files/policy", &[]),
];

#[test]
fn the_chart_copies_of_crds_roles_and_policies_are_those_that_kustomize_installs() {
    for (from, to, but) in COPIED {
        let to = format!("{CHART}/{to}");
        let wanted: BTreeSet<String> =
            files(from).into_iter().filter(|name| !but.contains(&name.as_str())).collect();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            for gone in files(&to).difference(&wanted) {
                fs::remove_file(path(&to).join(gone)).unwrap();
            }
            for name in &wanted {
                fs::create_dir_all(path(&to)).unwrap();
                fs::copy(path(from).join(name), path(&to).join(name)).unwrap();
            }
        }
        assert_eq!(files(&to), wanted, "{to} and {from} hold different files: run `make generate`");
        for name in wanted {
            let read = |folder: &str| fs::read_to_string(path(folder).join(&name)).unwrap();
            assert!(read(&to) == read(from), "{to}/{name} is not {from}/{name}: run `make generate`");
        }
    }
}

#[test]
fn no_rule_mixes_what_is_the_clusters_with_what_is_in_namespaces() {
    // A release for named namespaces grants the one everywhere and the other there.
    let template = fs::read_to_string(path(CHART).join("templates/rbac.yaml")).unwrap();
    let list = template.split("$wide := list ").nth(1).unwrap().split(" }}").next().unwrap();
    let wide: Vec<&str> = list.split(' ').map(|word| word.trim_matches('"')).collect();
    assert!(wide.contains(&"namespaces"), "{wide:?}");
    let role = one("config/rbac/cluster-role.yaml");
    for rule in role["rules"].as_array().unwrap() {
        let resources = rule["resources"].as_array().unwrap();
        let count = resources.iter().filter(|name| wide.contains(&name.as_str().unwrap())).count();
        assert!(count == 0 || count == resources.len(), "part this rule in two: {rule}");
    }
}

#[test]
fn the_chart_belongs_to_this_release() {
    let chart = one(&format!("{CHART}/Chart.yaml"));
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field}");
    }
}

#[test]
fn every_option_of_the_operator_is_a_value_of_the_chart() {
    // From the pod itself.
    const FROM_THE_POD: [&str; 2] = ["own-namespace", "identity"];
    let template = fs::read_to_string(path(CHART).join("templates/deployment.yaml")).unwrap();
    let command = visiobook::cli::Cli::command();
    let operator = command.find_subcommand("operator").unwrap();
    let options: Vec<&str> = operator.get_arguments().filter_map(|argument| argument.get_long()).collect();
    assert!(options.len() >= 12, "{options:?}");
    for option in options.into_iter().filter(|option| !FROM_THE_POD.contains(option)) {
        let given = ["=", "\n"].iter().any(|end| template.contains(&format!("- --{option}{end}")));
        assert!(given, "no value of the chart becomes --{option} in templates/deployment.yaml");
    }
}

#[test]
fn the_chart_says_nothing_where_a_value_is_what_the_operator_does_anyway() {
    let values = one(&format!("{CHART}/values.yaml"));
    let command = visiobook::cli::Cli::command();
    let operator = command.find_subcommand("operator").unwrap();
    let template = fs::read_to_string(path(CHART).join("templates/deployment.yaml")).unwrap();
    for (option, pointer) in [
        ("lease-seconds", "/leaderElection/leaseSeconds"),
        ("renew-seconds", "/leaderElection/renewSeconds"),
        ("retry-seconds", "/leaderElection/retrySeconds"),
        ("concurrency", "/work/concurrency"),
        ("debounce-ms", "/work/debounceMilliseconds"),
        ("service-token-seconds", "/serviceTokens/seconds"),
        ("signing-key-seconds", "/serviceTokens/keySeconds"),
        ("cluster-domain", "/clusterDomain"),
        ("metric-services", "/metrics/services"),
        ("log-format", "/logs/format"),
        ("log", "/logs/level"),
        ("admin-address", "/metrics/port"),
    ] {
        let argument = operator.get_arguments().find(|argument| argument.get_long() == Some(option)).unwrap();
        let default = argument.get_default_values()[0].to_str().unwrap().replace("0.0.0.0:", "");
        let value = values.pointer(pointer).unwrap();
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        assert_eq!(value, default, "{pointer} and --{option}");
        // The line above the argument compares the value with the same default.
        let line = template.lines().position(|line| line.contains(&format!("- --{option}="))).unwrap();
        let condition = template.lines().nth(line - 1).unwrap();
        let (number, text) = (format!(" {default}"), format!(" \"{default}\""));
        let compared = [number.clone() + " ", number.clone() + "}", number + ".0", text];
        assert!(compared.iter().any(|word| condition.contains(word)), "--{option}: {condition}");
    }
}

#[test]
fn the_schema_of_the_values_names_each_of_them_and_no_other() {
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(path(CHART).join("values.schema.json")).unwrap()).unwrap();
    let values = one(&format!("{CHART}/values.yaml"));
    fn compare(at: &str, schema: &Value, values: &Value) {
        let Some(known) = schema["properties"].as_object() else { return };
        assert_eq!(schema["additionalProperties"], false, "{at} takes any name");
        // Helm's own, for charts of charts.
        let known: BTreeSet<&String> = known.keys().filter(|name| *name != "global").collect();
        let given: BTreeSet<&String> = values.as_object().unwrap().keys().collect();
        assert_eq!(known, given, "{at}");
        for name in known {
            compare(&format!("{at}.{name}"), &schema["properties"][name], &values[name]);
        }
    }
    compare("", &schema, &values);
}

#[test]
fn the_table_of_values_in_the_readme_of_the_chart_is_that_of_its_values() {
    hold(&format!("{CHART}/README.md"), &table());
}

/// A row for each value: its default, and the comment above it.
fn table() -> String {
    let text = fs::read_to_string(path(CHART).join("values.yaml")).unwrap();
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(path(CHART).join("values.schema.json")).unwrap()).unwrap();
    let values = one(&format!("{CHART}/values.yaml"));
    let mut table = String::from("\n| value | default | |\n|---|---|---|\n");
    let (mut parents, mut comment): (Vec<&str>, Vec<&str>) = (vec![], vec![]);
    for line in text.lines() {
        let indented = line.trim_start();
        if let Some(said) = indented.strip_prefix("# ") {
            comment.push(said);
            continue;
        }
        let Some((name, _)) = indented.split_once(':') else {
            comment.clear();
            continue;
        };
        parents.truncate((line.len() - indented.len()) / 2);
        parents.push(name);
        let known = schema.pointer(&format!("/properties/{}", parents.join("/properties/")));
        // What is below a free object is part of its default.
        if known.is_some_and(|known| known["properties"].is_null()) {
            let default = values.pointer(&format!("/{}", parents.join("/"))).unwrap();
            table += &format!("| `{}` | `{default}` | {} |\n", parents.join("."), comment.join(" "));
        } else if known.is_some() && !comment.is_empty() {
            panic!("{} is no value: comment what is below it", parents.join("."));
        }
        comment.clear();
    }
    table + "\n"
}

#[test]
fn every_example_is_a_sample_of_kustomize() {
    for folder in ["examples", "examples/environments", "crds"] {
        let listed = one(&format!("{folder}/Kustomization"));
        let listed: BTreeSet<String> = listed["resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap().into())
            .collect();
        let listed: BTreeSet<String> = listed.into_iter().filter(|name| name.ends_with(".yaml")).collect();
        assert_eq!(listed, files(folder), "{folder}/Kustomization");
    }
}
