//! The chart, installed, upgraded and removed by Helm: a release that looks after one namespace only.

use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;

use crate::support::{Site, eventually, kubectl, quick, root, run, tools, try_kubectl};

const CRDS: [&str; 2] =
    ["visiobookenvironments.platform.visiobook.com", "visiobookservices.platform.visiobook.com"];
/// Told by nobody but this test.
const NEXT_WORDS: &str = "What the next release says of it.";

/// A release in a namespace of its own. It is removed when it is dropped.
struct Release {
    helm: PathBuf,
    /// Of the release, its namespace and what it makes.
    name: String,
    services: String,
}

impl Release {
    async fn new(site: &Site) -> Release {
        let name = format!("{}-system", site.namespace);
        Release { helm: tools("helm").await.join("helm"), name, services: site.namespace.clone() }
    }

    fn helm(&self, arguments: &[&str]) -> String {
        run(Command::new(&self.helm).args(arguments).args(["--namespace", &self.name]))
    }

    fn put(&self, command: &str, chart: &Path, more: &[&str]) {
        let namespaces = format!("namespaces={{{}}}", self.services);
        let name = format!("fullnameOverride={}", self.name);
        let chart = chart.to_str().expect("a path");
        let mut arguments = vec![command, &self.name, chart, "--set", "image.tag=dev", "--set", &namespaces];
        // What is the cluster's stays that of the installation.
        arguments.extend(["--set", &name, "--set", "policies.install=false,rbac.people=false"]);
        arguments.extend(["--force-conflicts", "--wait", "--timeout", "180s"]);
        arguments.extend(more);
        self.helm(&arguments);
    }

    fn may(&self, verb: &str, resource: &str, namespace: &str) -> bool {
        let account = format!("system:serviceaccount:{0}:{0}", self.name);
        try_kubectl(&["auth", "can-i", verb, resource, "--as", &account, "-n", namespace], None).0
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: release {0} in namespace {0}", self.name);
            return;
        }
        let _ = Command::new(&self.helm).args(["uninstall", &self.name, "-n", &self.name]).output();
        kubectl(&["delete", "namespace", &self.name, "--wait=false", "--ignore-not-found"], None);
        // The CRDs go back to whoever had them.
        for crd in CRDS {
            let annotations =
                ["meta.helm.sh/release-name-", "meta.helm.sh/release-namespace-", "helm.sh/resource-policy-"];
            kubectl(&[&["annotate", "crd", crd], &annotations[..]].concat(), None);
            kubectl(&["label", "crd", crd, "app.kubernetes.io/managed-by-"], None);
        }
    }
}

/// The chart of a release whose CRD says something new.
fn next_chart(folder: &Path) -> PathBuf {
    let chart = folder.join("visiobook-operator");
    run(Command::new("cp").arg("-r").arg(root().join("charts/visiobook-operator")).arg(&chart));
    let path = chart.join("files/crds/visiobookservices.yaml");
    let text = std::fs::read_to_string(&path).expect("CRD");
    let mut crd: Value = serde_saphyr::from_str(&text).expect("YAML");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = NEXT_WORDS.into();
    std::fs::write(&path, crd.to_string()).expect("written");
    chart
}

fn words(crd: &CustomResourceDefinition) -> String {
    let schema = crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    schema.and_then(|schema| schema.description.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_installs_upgrades_with_the_crds_and_leaves_every_service_on_uninstall() {
    // A CRD that changes ends the watches of all operators.
    let site = Site::new("helm", json!({ "type": "development" })).await;
    let release = Release::new(&site).await;
    let chart = root().join("charts/visiobook-operator");
    let crds: Api<CustomResourceDefinition> = Api::all(site.client.clone());

    // The CRDs are there already, from kustomize.
    release.put("install", &chart, &["--create-namespace", "--take-ownership", "--set", "replicas=2"]);
    site.apply("tiny", quick(json!({}))).await;
    let service = site.ready("tiny").await;
    let children = service.status.expect("status").children;
    assert!(children.iter().any(|child| child.kind == "Deployment"), "{children:?}");
    assert!(release.may("list", "secrets", &site.namespace) && release.may("list", "namespaces", "default"));
    assert!(!release.may("list", "secrets", "default"), "rights in every namespace");
    assert!(!release.may("delete", "deployments.apps", &release.name), "rights in its own namespace");
    let leases = kubectl(&["get", "lease", "visiobook-operator", "-n", &release.name, "-o", "name"], None);
    assert!(leases.contains("lease"), "{leases}");
    let budget = kubectl(&["get", "pdb", &release.name, "-n", &release.name, "-o", "name"], None);
    assert!(budget.contains("poddisruptionbudget"), "{budget}");

    let before = site.existing(Kind::Deployment, "tiny-blue").await["metadata"].clone();
    let folder = tempfile::tempdir().expect("folder");
    release.put("upgrade", &next_chart(folder.path()), &["--set", "replicas=1"]);
    assert_eq!(words(&crds.get(CRDS[1]).await.expect("CRD")), NEXT_WORDS);
    let after = site.existing(Kind::Deployment, "tiny-blue").await["metadata"].clone();
    assert_eq!((&before["uid"], &before["generation"]), (&after["uid"], &after["generation"]));
    site.apply("tiny", quick(json!({ "env": { "RELEASE": "2" } }))).await;
    site.ready("tiny").await;
    let made = site.all_children("tiny").await.len();

    release.helm(&["uninstall", &release.name, "--wait", "--timeout", "180s"]);
    let left =
        kubectl(&["get", "deployments,services,roles,rolebindings", "-n", &release.name, "-o", "name"], None);
    assert_eq!(left, "", "the release left these");
    let roles: Api<ClusterRole> = Api::all(site.client.clone());
    let ours = ListParams::default().labels(&format!("app.kubernetes.io/instance={}", release.name));
    assert_eq!(roles.list(&ours).await.expect("roles").items, vec![]);
    for crd in CRDS {
        assert!(crds.get(crd).await.expect("the CRD stays").metadata.deletion_timestamp.is_none());
    }
    let kept = site.services().get("tiny").await.expect("the service stays");
    assert_eq!(site.all_children("tiny").await.len(), made);
    assert_eq!(site.pods("tiny").await.len(), 1);

    // Under the same name it finds everything as it was, and the CRD says what this release says.
    release.put("install", &chart, &[]);
    assert_ne!(words(&crds.get(CRDS[1]).await.expect("CRD")), NEXT_WORDS);
    let hand =
        json!([{ "op": "add", "path": "/metadata/labels/app.kubernetes.io~1name", "value": "intruded" }]);
    site.meddle(Kind::ServiceAccount, "tiny", hand).await.expect("changed");
    eventually("drift to be repaired", || async {
        let account = site.existing(Kind::ServiceAccount, "tiny").await;
        if account["metadata"]["labels"]["app.kubernetes.io/name"] == "tiny" { Ok(()) } else { Err(account) }
    })
    .await;
    let again = site.ready("tiny").await;
    assert_eq!(kept.metadata.uid, again.metadata.uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_roles_include_services_but_no_approval() {
    let site = Site::new("roles", json!({ "type": "development" })).await;
    for role in ["view", "edit"] {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": role },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("{role}er") }],
        });
        site.apply_object(binding).await;
    }
    let may = |user: &str, verb: &str| {
        try_kubectl(&["auth", "can-i", verb, "vbs", "--as", user, "-n", &site.namespace], None).0
    };
    eventually("the roles to be aggregated", || async {
        let seen = (may("viewer", "list"), may("editer", "patch"));
        if seen == (true, true) { Ok(()) } else { Err(seen) }
    })
    .await;
    assert!(!may("viewer", "patch") && !may("viewer", "delete"));
    assert!(may("editer", "delete") && may("editer", "get"));
    assert!(!may("editer", "approve") && !may("viewer", "approve"));
}
