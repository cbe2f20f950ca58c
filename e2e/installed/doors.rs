//! The commands that speak to a cluster, as people run them.

use std::process::Command;

use kube::ResourceExt;
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;

use crate::support::exchange::address;
use crate::support::operator::{BINARY, visiobook};
use crate::support::{Clients, STANDIN, Site, eventually, kubectl, quick, try_kubectl};

/// A file with a resource of this site.
fn file(site: &Site, name: &str, spec: Value) -> tempfile::NamedTempFile {
    let object = json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
        "metadata": { "name": name, "namespace": site.namespace }, "spec": spec,
    });
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("file");
    std::fs::write(file.path(), object.to_string()).expect("written");
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_what_is_rendered() {
    let site = Site::new("rendered", json!({ "type": "development" })).await;
    let rendered = Command::new(&*BINARY)
        .args(["render", "-f", "examples", "-f", "examples/environments"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the binary");
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    let rendered: Vec<Value> =
        serde_saphyr::from_multiple(&String::from_utf8(rendered.stdout).expect("text")).expect("YAML");
    let installed = |object: &&Value| !Kind::OPTIONAL.iter().any(|kind| object["kind"] == kind.as_str());
    let manifests: Vec<Value> = rendered
        .iter()
        // alone::strict holds these to their own definitions, which this cluster does not have.
        .filter(installed)
        .map(|object| {
            let mut object = object.clone();
            object["metadata"]["namespace"] = site.namespace.as_str().into();
            object
        })
        .collect();
    assert!(manifests.len() > 24, "{}", manifests.len());
    let manifests = json!({ "apiVersion": "v1", "kind": "List", "items": manifests }).to_string();
    let dry = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
    let (succeeded, told) = try_kubectl(&dry, Some(&manifests));
    assert!(succeeded, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_what_changes_and_is_empty_after_the_apply() {
    let site = Site::new("plan", json!({ "type": "development" })).await;
    let spec = quick(json!({ "env": { "RELEASE": "1" } }));
    let first = file(&site, "users", spec.clone());
    let plan = |file: &tempfile::NamedTempFile| {
        visiobook(&["plan", "-f", &file.path().display().to_string(), "--exit-code"])
    };
    let (code, told) = plan(&first);
    assert!(
        code == 3 && told.contains("+ Deployment users-blue") && told.contains("nothing runs yet"),
        "{told}"
    );
    site.apply("users", spec).await;
    site.ready("users").await;
    let (code, told) = plan(&first);
    assert!(code == 0 && told.contains("no change"), "{told}");

    let second = file(&site, "users", quick(json!({ "env": { "RELEASE": "2" } })));
    let (code, told) = plan(&second);
    assert_eq!(code, 3, "{told}");
    for expected in [
        "spec.env.RELEASE: \"1\" -> \"2\"",
        "spec.template.spec.containers[name=app].env[name=RELEASE].value: \"1\" -> \"2\"",
        "restarts pods: yes, 1 pod, because revision",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
    let around = file(&site, "users", quick(json!({ "env": { "RELEASE": "1" }, "service": { "port": 81 } })));
    let (_, told) = plan(&around);
    assert!(
        told.contains("~ Service users") && told.contains("restarts pods: no, because nothing"),
        "{told}"
    );
    let refused = file(&site, "users", quick(json!({ "env": { "PORT": "1" } })));
    let (code, told) = plan(&refused);
    assert!(code == 1 && told.contains("[variable-reserved]") && told.contains("goes on"), "{told}");
    site.stays_untouched("users", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_of_an_environment_counts_what_restarts() {
    let site = Site::new("plan-environment", json!({ "type": "development" })).await;
    for name in ["users", "books"] {
        site.apply(name, quick(json!({}))).await;
        site.ready(name).await;
    }
    let environment = |spec: Value| {
        let object = json!({ "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookEnvironment", "metadata": { "name": site.namespace }, "spec": spec });
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("file");
        std::fs::write(file.path(), object.to_string()).expect("written");
        visiobook(&["plan", "-f", &file.path().display().to_string()])
    };
    let (code, told) = environment(json!({ "type": "development", "defaults": { "logLevel": "warn" } }));
    assert!(code == 0 && told.contains("restarts 2 of 2 services, 2 pods"), "{told}");
    let (code, told) = environment(json!({ "type": "development", "limits": { "replicas": 5 } }));
    assert!(code == 0 && told.contains("restarts 0 of 2 services, 0 pods"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_adopted_and_ejected_without_a_lost_request() {
    let site = Site::new("adopt", json!({ "type": "development" })).await;
    let labels = json!({ "app.kubernetes.io/name": "books" });
    let probe = json!({ "httpGet": { "path": "/ready", "port": 8080 }, "periodSeconds": 1 });
    for object in [
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "books" },
            "spec": { "selector": labels, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] } }),
        json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "books" },
            "spec": { "maxUnavailable": 1, "selector": { "matchLabels": labels } } }),
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "books" },
            "spec": { "replicas": 2, "selector": { "matchLabels": labels }, "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "books", "image": STANDIN, "readinessProbe": probe,
                    "lifecycle": { "preStop": { "sleep": { "seconds": 5 } } } }] } } } }),
    ] {
        site.apply_object(object).await;
    }
    kubectl(&["-n", &site.namespace, "rollout", "status", "deployment/books", "--timeout=120s"], None);
    let file = file(&site, "books", quick(json!({})));
    let path = file.path().display().to_string();
    let (code, told) = visiobook(&["adopt", "-f", &path]);
    assert!(
        code == 0 && told.contains("take over Service books") && told.contains("nothing is done yet"),
        "{told}"
    );
    assert!(site.services().get_opt("books").await.expect("answer").is_none(), "it was made unasked");

    let clients = Clients::start(address(&site, "books", 80).await, "/ready", 4);
    let (code, told) = visiobook(&["adopt", "-f", &path, "--yes"]);
    assert_eq!(code, 0, "{told}");
    site.ready("books").await;
    let old = site.children(Kind::Deployment).get("books").await.expect("the old one stays");
    assert_eq!(old.data["spec"]["replicas"], 0);
    assert_eq!(
        site.children(Kind::Deployment).get("books-blue").await.expect("new").data["spec"]["replicas"],
        2
    );
    assert!(site.child(Kind::PodDisruptionBudget, "books").await.is_none(), "two budgets over one pod");
    let (code, told) = visiobook(&["plan", "-f", &path, "--exit-code"]);
    assert!(code == 0 && told.contains("no change"), "{told}");

    let before = site.pod_uids("books").await;
    let namespace = ["--namespace", &site.namespace];
    let (code, told) = visiobook(&[&["eject", "books"], &namespace[..]].concat());
    assert!(code == 0 && told.contains("nothing is done yet"), "{told}");
    let (code, told) = visiobook(&[&["eject", "books", "--yes"], &namespace[..]].concat());
    assert_eq!(code, 0, "{told}");
    assert!(site.services().get_opt("books").await.expect("answer").is_none());
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(site.pod_uids("books").await, before, "pods were replaced");
    for (kind, name) in [
        (Kind::Deployment, "books-blue"),
        (Kind::Service, "books"),
        (Kind::PodDisruptionBudget, "books-blue"),
    ] {
        let left = site.children(kind).get(name).await.expect("it stays");
        assert!(left.owner_references().is_empty(), "{name} still has an owner");
        assert!(!left.labels().contains_key("app.kubernetes.io/managed-by"), "{name} still bears our mark");
    }
    let (answered, mut lost) = clients.stop().await;
    // A kept connection to a pod without a sidecar ends with the pod, as at every rolling update.
    lost.retain(|lost| !lost.starts_with("kept"));
    assert!(answered > 100 && lost.is_empty(), "{answered} answered, lost: {lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_the_installation_well_and_a_bundle_tells_no_secret() {
    const SECRET: &str = "a-value-that-nobody-may-see";
    let site = Site::new("bundle", json!({ "type": "development" })).await;
    site.apply_object(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "books" }, "stringData": { "url": SECRET } })).await;
    let spec = quick(json!({
        "env": { "A": SECRET }, "config": { "B": SECRET },
        "secrets": { "DATABASE_URL": { "name": "books", "key": "url" } },
    }));
    site.apply("books", spec).await;
    eventually("its Deployment", || async {
        site.child(Kind::Deployment, "books-blue").await.ok_or("none yet")
    })
    .await;
    let (code, told) = visiobook(&["doctor"]);
    assert!(code == 0 && !told.contains("    bad"), "{told}");
    for good in [
        "good  cluster: Kubernetes",
        "good  CRD visiobookservices",
        "good  leader:",
        "good  rights of the operator",
    ] {
        assert!(told.contains(good), "{good}\n{told}");
    }
    let folder = tempfile::tempdir().expect("folder");
    let bundle = folder.path().join("bundle.tar.gz").display().to_string();
    let (code, told) = visiobook(&["support-bundle", "--namespace", &site.namespace, "--file", &bundle]);
    assert_eq!(code, 0, "{told}");
    let content = Command::new("tar").args(["-xzOf", &bundle]).output().expect("tar").stdout;
    let content = String::from_utf8_lossy(&content);
    assert!(content.contains("books-blue") && content.contains("\"reason\""), "the bundle lacks what helps");
    assert!(!content.contains(SECRET), "the bundle tells a secret");
    // In the form in which the API server stores it.
    assert!(!content.contains("YS12YWx1ZS10aGF0LW5vYm9keS1tYXktc2Vl"), "the bundle tells a secret");
}
