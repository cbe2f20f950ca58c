//! The real External Secrets operator, with a store that lives in its own object. It takes minutes to build.

use serde_json::json;
use visiobook::api::kinds::Kind;

use crate::process::jobs::PYTHON;
use crate::support::beside::{Beside, Borrowed};
use crate::support::definitions::Definitions;
use crate::support::operator::Stage;
use crate::support::proxy::Proxy;
use crate::support::{eventually, kubectl, quick, tools};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "part of `make soak`: builds the External Secrets operator"]
async fn values_of_a_store_reach_pods_and_a_new_one_replaces_them() {
    let folder = tools("external-secrets").await;
    let _definitions = Definitions::installed().await;
    let _stores = Borrowed::from(&folder.with_file_name("crds")).await;
    let environment = json!({
        "type": "staging", "secrets": { "kind": "External", "store": { "name": "vault", "kind": "SecretStore" } },
    });
    let stage = Stage::governed("eso", environment).await;
    let site = &stage.site;
    let said = |value: &str| {
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": { "name": "vault" },
            "spec": { "provider": { "fake": { "data": [{ "key": "users-token", "value": value }] } } },
        })
    };
    site.apply_object(said("one")).await;
    let off = ["cluster-store", "cluster-external-secret", "cluster-push-secret", "push-secret"];
    let mut arguments: Vec<String> =
        off.iter().map(|kind| format!("--enable-{kind}-reconciler=false")).collect();
    arguments.extend([
        format!("--namespace={}", site.namespace),
        "--enable-generator-state=false".into(),
        "--metrics-addr=127.0.0.1:0".into(),
    ]);
    let _store = Beside::start(&folder.join("external-secrets"), &arguments);
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;

    let users = |key: &str| {
        quick(
            json!({ "stack": "python", "image": PYTHON, "secrets": { "TOKEN": { "remote": { "key": key } } } }),
        )
    };
    site.apply("users", users("users-token")).await;
    site.ready("users").await;
    assert_eq!(token(&site.namespace), "one");

    // A new value is fetched in its time, or when somebody asks.
    site.apply_object(said("two")).await;
    let sync = ["annotate", "externalsecret", "users-secrets", "force-sync=now", "-n", &site.namespace];
    kubectl(&sync, None);
    site.until("users", "the time of the new value", |service| {
        service.status.as_ref().is_some_and(|status| status.secrets_rotated.is_some())
    })
    .await;
    site.ready("users").await;
    eventually("the new value in the pods", || async {
        let value = token(&site.namespace);
        if value == "two" { Ok(()) } else { Err(value) }
    })
    .await;

    // What the store does not have is told by the store's own words.
    site.apply("users", users("nobody-has-it")).await;
    let asked = || async {
        let secret = site.existing(Kind::ExternalSecret, "users-secrets").await;
        let ready = secret["status"]["conditions"][0].clone();
        if ready["status"] == "False" { Ok(()) } else { Err(ready) }
    };
    eventually("the store to refuse", asked).await;
    assert_eq!(token(&site.namespace), "two", "what runs goes on");
}

const PRINT: &str = "import os; print(os.environ['TOKEN'])";

/// What the application of the newest pod was given.
fn token(namespace: &str) -> String {
    let newest = ["get", "pods", "-n", namespace, "-o", "name", "--sort-by=.metadata.creationTimestamp"];
    let pods = kubectl(&newest, None);
    let pod = pods.lines().last().expect("a pod").to_string();
    kubectl(&["exec", "-n", namespace, &pod, "-c", "app", "--", "/interpreter", "-c", PRINT], None)
        .trim()
        .to_string()
}
