//! The Helm chart and kustomize install the same. Needs no cluster, but Helm and kubectl.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use crate::support::{root, run, tools};

/// What Helm says of its releases, beside what is installed.
const OF_HELM: [&str; 5] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
    "helm.sh/resource-policy",
];

type Objects = BTreeMap<String, Value>;

fn template(helm: &Path, values: &[&str]) -> Objects {
    let mut command = Command::new(helm.join("helm"));
    command.args(["template", "visiobook-operator", "charts/visiobook-operator"]);
    command.args(["--namespace", "visiobook-system", "--set", "image.tag=dev"]).args(values);
    objects(&run(command.current_dir(root())))
}

fn kustomize(folder: &str) -> Objects {
    objects(&run(Command::new("kubectl").args(["kustomize", folder]).current_dir(root())))
}

/// By kind, namespace and name; without what is Helm's, and without the namespace, which Helm does not own.
fn objects(text: &str) -> Objects {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    let mut objects = Objects::new();
    for mut object in documents.into_iter().filter(|object| object.is_object()) {
        if object["kind"] == "Namespace" {
            continue;
        }
        for words in ["labels", "annotations"] {
            let Some(Value::Object(map)) = object["metadata"].get_mut(words) else { continue };
            map.retain(|name, _| !OF_HELM.contains(&name.as_str()));
        }
        if object["kind"] == "CustomResourceDefinition" {
            // Generated without labels; Helm finds its own by them.
            object["metadata"]["labels"] = Value::Object(Map::new());
        }
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        metadata.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
        let name =
            format!("{} {}/{}", object["kind"], object["metadata"]["namespace"], object["metadata"]["name"]);
        assert!(objects.insert(name.clone(), object).is_none(), "{name} twice");
    }
    objects
}

fn assert_equal(chart: &Objects, kustomize: &Objects) {
    let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(chart), names(kustomize));
    for (name, object) in chart {
        assert_eq!(object, &kustomize[name], "{name}: chart and kustomize");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chart_and_kustomize_install_the_same() {
    let helm = tools("helm").await;
    let plain = template(&helm, &[]);
    assert!(plain.len() >= 11, "{:?}", plain.keys());
    assert_equal(&plain, &kustomize("config/default"));
    let complete = [
        "replicas=2",
        "rbac.podSecurity=true",
        "networkPolicy.enabled=true",
        "metrics.serviceMonitor.enabled=true",
        "metrics.prometheusRule.enabled=true",
        "metrics.dashboard.enabled=true",
    ];
    let complete = template(&helm, &["--set", &complete.join(",")]);
    assert_eq!(complete.len(), plain.len() + 7);
    assert_equal(&complete, &kustomize("config/complete"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_the_chart_does_not_know_is_refused_by_name() {
    let helm = tools("helm").await.join("helm");
    for (value, complaint) in [
        ("replica=2", "additional properties 'replica' not allowed"),
        ("metrics.port=80", "at '/metrics/port': minimum"),
        ("logs.format=yaml", "at '/logs/format': value must be one of"),
        ("namespaces={Team}", "at '/namespaces/0'"),
        ("image.digest=latest", "at '/image/digest'"),
    ] {
        let mut command = Command::new(&helm);
        let output = command
            .args(["template", "x", "charts/visiobook-operator", "--set", value])
            .current_dir(root())
            .output()
            .expect("helm");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(complaint), "{value}: {said}");
    }
}
