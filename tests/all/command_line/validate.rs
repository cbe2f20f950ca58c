//! `visiobook validate`.

use serde_json::Value;

use super::visiobook;

const HEAD: &str = "apiVersion: platform.visiobook.com/v1alpha1\nkind: VisiobookService\n";

/// Line, field and rule of each refusal.
fn refusals(text: &str, arguments: &[&str]) -> Vec<(u64, String, String)> {
    let run = visiobook(&[&["validate", "-f", "-", "-o", "json"], arguments].concat(), text);
    let report: Value = serde_json::from_str(&run.output).unwrap_or_else(|_| panic!("{}", run.told));
    let refusals = report["refusals"].as_array().unwrap();
    assert_eq!(run.code, i32::from(!refusals.is_empty()));
    let text = |value: &Value| value.as_str().unwrap().to_string();
    refusals.iter().map(|r| (r["line"].as_u64().unwrap(), text(&r["field"]), text(&r["rule"]))).collect()
}

#[test]
fn every_example_is_taken_whatever_stands_beside_it() {
    let run = visiobook(&["validate", "-f", "examples", "-f", "examples/environments"], "");
    assert_eq!(run.code, 0, "{}{}", run.output, run.told);
    assert!(run.output.contains("nothing is refused: services 4, environments 3"), "{}", run.output);
}

#[test]
fn each_refusal_has_its_rule_its_field_and_its_line() {
    let text = format!(
        "{HEAD}metadata:\n  name: books-blue\nspec:\n  image: ghcr.io/visiobook/books:latest\n  replica: 3\n  port: \"80\"\n  stack: cobol\n  env:\n    A: \"1\"\n  config:\n    A: \"2\"\n  gpu:\n    count: 0\n  pod:\n    volumes:\n      - name: a\n        emptyDir: {{}}\n      - name: a\n        emptyDir: {{}}\n"
    );
    let found = refusals(&text, &[]);
    for (line, field, rule) in [
        (7, "spec.replica", "unknown-field"),
        (8, "spec.port", "schema-type"),
        (9, "spec.stack", "schema-enum"),
        (15, "spec.gpu.count", "schema-bounds"),
        (17, "spec.pod.volumes", "schema-double"),
    ] {
        assert!(found.contains(&(line, field.into(), rule.into())), "{field}: {found:?}");
    }
    assert_eq!(found.len(), 5, "{found:?}");
}

#[test]
fn rules_of_the_crd_and_of_the_operator_are_told_together() {
    let text = format!(
        "---\n{HEAD}metadata:\n  name: books-blue\nspec:\n  image: ghcr.io/visiobook/books:latest\n  gpus: {{}}\n  env:\n    A: \"1\"\n    PORT: \"1\"\n  config:\n    A: \"2\"\n  autoscaling:\n    minReplicas: 11\n"
    );
    let found = refusals(&text, &["--environment", "examples/environments/production.yaml"]);
    for (line, field, rule) in [
        (8, "spec.gpus", "unknown-field"),
        (5, "metadata.name", "crd-rule"),
        (6, "spec", "crd-rule"),
        (14, "spec.autoscaling", "crd-rule"),
        (7, "spec.image", "image-tag"),
        (10, "spec.env.A", "variable-once"),
        (11, "spec.env.PORT", "variable-reserved"),
    ] {
        assert!(found.contains(&(line, field.into(), rule.into())), "{field}: {found:?}");
    }
    let development = refusals(&text, &[]);
    assert!(development.iter().all(|(_, _, rule)| rule != "image-tag"), "{development:?}");
}

#[test]
fn environments_are_held_against_their_crd() {
    let text = "apiVersion: platform.visiobook.com/v1alpha1\nkind: VisiobookEnvironment\nmetadata:\n  name: production\nspec:\n  type: prod\n  limits:\n    gpu:\n      perPod: 1\n";
    let found = refusals(text, &[]);
    let rules: Vec<_> = found.iter().map(|(line, field, _)| (*line, field.as_str())).collect();
    assert_eq!(rules, [(6, "spec.type"), (8, "spec.limits.gpu")]);
    let text =
        text.replace("prod\n  l", "production\n  l").replace("perPod: 1", "allowed: false\n      perPod: 1");
    let found = refusals(&text, &[]);
    assert_eq!(found, [(8, "spec.limits.gpu".to_string(), "crd-rule".to_string())]);
}

#[test]
fn a_namespace_among_the_files_tells_the_environment() {
    let service = format!("{HEAD}metadata:\n  name: books\n  namespace: shop\nspec:\n  image: a/b:latest\n");
    let namespace = |label: &str| {
        format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  labels:\n    platform.visiobook.com/environment: {label}\n---\n"
        )
    };
    let environment = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/environments/production.yaml"),
    )
    .unwrap();
    let text = format!("{environment}{}{service}", namespace("production"));
    let rules: Vec<String> = refusals(&text, &[]).into_iter().map(|(_, _, rule)| rule).collect();
    assert!(rules.contains(&"image-tag".to_string()), "{rules:?}");
    let text = format!("{}{service}", namespace("absent"));
    assert_eq!(refusals(&text, &[])[0].2, "environment-exists");
}

#[test]
fn what_cannot_be_read_and_what_is_not_ours_ends_with_2() {
    for (text, told) in [
        ("a: [1,\n", "(input) is no YAML: line 1: unclosed bracket"),
        ("kind: ConfigMap\napiVersion: v1\n", "no VisiobookService and no VisiobookEnvironment"),
        ("", "no VisiobookService and no VisiobookEnvironment"),
    ] {
        let run = visiobook(&["validate", "-f", "-"], text);
        assert!(run.code == 2 && run.told.contains(told), "{text}: {} {}", run.code, run.told);
    }
}

#[test]
fn sarif_names_rule_file_and_line() {
    let text = format!("{HEAD}metadata: {{name: books}}\nspec:\n  image: a/b:1\n  replica: 1\n");
    let run = visiobook(&["validate", "-f", "-", "-o", "sarif"], &text);
    assert_eq!(run.code, 1);
    let sarif: Value = serde_json::from_str(&run.output).unwrap();
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!((&sarif["version"], &result["ruleId"]), (&"2.1.0".into(), &"unknown-field".into()));
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["region"]["startLine"], 6);
    assert_eq!(
        result["message"]["text"],
        "spec.replica: there is no such field: write replicas, or take it out"
    );
    assert_eq!(sarif["runs"][0]["tool"]["driver"]["rules"][0]["id"], "unknown-field");
}
