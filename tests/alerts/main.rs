//! The rules that the plan yields, held against Prometheus' own promtool: they load, and each alert fires when it should
//! and only then. `make alerts` builds promtool and puts it on the PATH.
//!
//! The scenarios beside this file are promtool's own: `ALERTS` is what fires.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[allow(dead_code)]
#[path = "../all/cases.rs"]
mod cases;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use visiobook::api::Alert;
use visiobook::telemetry::monitoring;

use cases::{Case, examples};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rules of a case, as Prometheus reads them.
fn rules(case: &Case) -> Value {
    let plan = case.plan();
    let rule = plan.objects.iter().find(|planned| planned.kind.as_str() == "PrometheusRule");
    rule.unwrap_or_else(|| panic!("{} has no rules", case.name())).object["spec"].clone()
}

/// A Go service with a database, which has every alert there is.
fn books() -> Case {
    let service = serde_json::json!({
        "metadata": { "name": "books", "namespace": "shop" },
        "spec": {
            "stack": "go",
            "image": "ghcr.io/visiobook/books:1.2.0",
            "secrets": { "DATABASE_URL": { "name": "books", "key": "url" } },
            "resources": { "limits": { "memory": "512Mi" } },
            "env": { "DB_MAX_OPEN_CONNS": "20" },
            "ingress": { "hosts": ["books.example"], "annotations": { "cert-manager.io/issuer": "ours" } },
        },
    });
    Case {
        service: serde_json::from_value(
            serde_json::json!({ "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
                "metadata": service["metadata"], "spec": service["spec"] }),
        )
        .unwrap(),
        environment: Default::default(),
    }
}

/// What `promtool` says, in a folder; fails unless it is satisfied.
fn promtool(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("promtool on the PATH: `make alerts` builds it");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
    said
}

fn write(folder: &Path, name: &str, rules: &Value) -> String {
    let file = format!("{name}.rules.yaml");
    fs::write(folder.join(&file), serde_saphyr::to_string(rules).unwrap()).unwrap();
    file
}

fn alerts(rules: &Value) -> BTreeSet<String> {
    let groups = rules["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules.filter_map(|rule| rule["alert"].as_str()).map(str::to_string).collect()
}

#[test]
fn prometheus_accepts_the_rules_of_every_example() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = examples();
    cases.push(books());
    for case in &cases {
        let file = write(folder.path(), &case.name(), &rules(case));
        promtool(folder.path(), &["check", "rules", "--lint=all", "--lint-fatal", &file]);
    }
    let file = write(folder.path(), "operator", &monitoring::rules()["spec"]);
    promtool(folder.path(), &["check", "rules", "--lint=all", "--lint-fatal", &file]);
    assert!(cases.len() >= 5, "the examples are gone");
}

/// Every alert fires in a scenario of its own, and where a scenario says nothing of an alert, it does not fire: each
/// scenario tells all that does.
#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    for (name, rules) in [("books", rules(&books())), ("operator", monitoring::rules()["spec"].clone())] {
        write(folder.path(), name, &rules);
        let scenarios = root().join(format!("tests/alerts/{name}.yaml"));
        fs::copy(&scenarios, folder.path().join(format!("{name}.yaml"))).unwrap();
        promtool(folder.path(), &["test", "rules", &format!("{name}.yaml")]);

        let text = fs::read_to_string(&scenarios).unwrap();
        for alert in alerts(&rules) {
            let fires = text.contains(&format!("alertname=\"{alert}\""));
            assert!(fires, "{}: {alert} fires in no scenario", scenarios.display());
        }
    }
}

#[test]
fn promtool_refuses_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let mut broken = rules(&books());
    broken["groups"][0]["rules"][0]["expr"] = "sum by (".into();
    let file = write(folder.path(), "broken", &broken);
    let status = Command::new("promtool")
        .args(["check", "rules", &file])
        .current_dir(folder.path())
        .output()
        .expect("promtool on the PATH: `make alerts` builds it")
        .status;
    assert!(!status.success());
}

#[test]
fn a_go_service_with_a_database_has_every_alert() {
    let every: BTreeSet<String> = Alert::ALL.iter().map(Alert::to_string).collect();
    assert_eq!(alerts(&rules(&books())), every);
}
