//! Services that call each other with the tokens that the operator mints, from real pods through real sidecars.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

use crate::support::{Site, eventually, kubectl, try_kubectl};

/// Answers services only, and few hosts: other services reach it by its names in the cluster all the same.
fn users() -> Value {
    json!({
        "image": "docker.io/visiobook/example-go:1.0.0",
        "replicas": 1,
        "sidecar": { "hosts": ["api.visiobook.com"], "serviceTokens": { "required": true } },
    })
}

fn caller(depends_on: Value) -> Value {
    json!({ "image": "docker.io/visiobook/example-node:1.0.0", "replicas": 1, "dependsOn": depends_on })
}

/// What a pod of a service is answered when it asks `url` with the token of `source`, a JavaScript expression.
fn call(site: &Site, service: &str, url: &str, source: &str) -> (u64, String) {
    let script = format!(
        "const fs = require('fs'); const token = {source}; \
         fetch({url}, {{ headers: token ? {{ authorization: 'Bearer ' + token }} : {{}} }}) \
         .then(async answer => console.log(JSON.stringify([answer.status, await answer.text()])))"
    );
    let deployment = format!("deployment/{service}-blue");
    let told = kubectl(
        &["exec", "-n", &site.namespace, &deployment, "-c", "app", "--", "/interpreter", "-e", &script],
        None,
    );
    serde_json::from_str(told.trim()).expect("an answer")
}

const FILE: &str = "fs.readFileSync(process.env.SERVICE_TOKEN_FILE, 'utf8')";
const PATH: &str = "process.env.USERS_URL + '/api/v1/books'";

#[tokio::test(flavor = "multi_thread")]
async fn a_service_calls_another_with_the_token_that_is_mounted_and_a_foreign_or_forged_one_is_refused() {
    let site = Site::new("tokens", json!({ "type": "development" })).await;
    let foreign = Site::new("foreign", json!({ "type": "development" })).await;
    site.apply("users", users()).await;
    site.apply("orders", caller(json!([{ "name": "users" }]))).await;
    site.apply("media", caller(json!([{ "name": "orders" }]))).await;
    foreign.apply("orders", caller(json!([{ "name": "users", "namespace": site.namespace }]))).await;
    for name in ["users", "orders", "media"] {
        site.ready(name).await;
    }
    foreign.ready("orders").await;

    let (status, body) = call(&site, "orders", PATH, FILE);
    assert_eq!(status, 200, "{body}");
    // The variable is what it was at the start, which is not long ago.
    assert_eq!(call(&site, "orders", PATH, "process.env.SERVICE_TOKEN").0, 200);
    for host in ["users.${n}", "users.${n}.svc", "users.${n}.svc.cluster.local"] {
        let url = format!("'http://{}/api/v1/books'", host.replace("${n}", &site.namespace));
        assert_eq!(call(&site, "orders", &url, FILE).0, 200, "{url}");
    }
    // Peers' checks need no token.
    assert_eq!(call(&site, "orders", "process.env.USERS_URL + '/health'", "null").0, 200);

    let forged = format!("{FILE}.replace(/.{{4}}$/, 'AAAA')");
    let url = format!("'http://users.{}/api/v1/books'", site.namespace);
    for (from, service, token, status, reason) in [
        (&site, "orders", "null", 401, "Authorization header required"),
        (&site, "orders", forged.as_str(), 401, "Invalid token"),
        (&site, "media", FILE, 403, "spec.dependsOn"),
        (&foreign, "orders", FILE, 403, "spec.sidecar.serviceTokens.allow"),
    ] {
        let (answered, body) = call(from, service, &url, token);
        assert_eq!(answered, status, "{service}: {body}");
        assert!(body.contains(reason), "{service}: {body}");
    }

    // Once it is named, the foreign one may call: that is a release of the one that is called.
    let mut spec = users();
    spec["sidecar"]["serviceTokens"]["allow"] = json!([format!("{}/orders", foreign.namespace)]);
    site.apply("users", spec).await;
    eventually("the foreign service to be admitted", || async {
        let answer = call(&foreign, "orders", &url, FILE);
        if answer.0 == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_reaches_the_pods_without_a_restart() {
    let site = Site::new("renewed", json!({ "type": "development" })).await;
    site.apply("users", users()).await;
    site.apply("orders", caller(json!([{ "name": "users" }]))).await;
    site.ready("users").await;
    site.ready("orders").await;
    let pods = site.pod_uids("orders").await;
    let mounted = || {
        let deployment = "deployment/orders-blue";
        let script = format!("const fs = require('fs'); console.log({FILE})");
        kubectl(
            &["exec", "-n", &site.namespace, deployment, "-c", "app", "--", "/interpreter", "-e", &script],
            None,
        )
    };
    let before = mounted();
    let secrets: Api<Secret> = Api::namespaced(site.client.clone(), &site.namespace);
    secrets.delete("orders-service-token", &DeleteParams::default()).await.expect("deleted");
    // The kubelet brings it within its own time, a minute or two.
    let mut now = before.clone();
    let started = std::time::Instant::now();
    while now == before {
        assert!(started.elapsed().as_secs() < 240, "the mounted token is still the old one");
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        now = mounted();
    }
    assert_eq!(call(&site, "orders", PATH, FILE).0, 200);
    assert_eq!(site.pod_uids("orders").await, pods, "a new token replaced pods");
    let restarts = site
        .pods("orders")
        .await
        .into_iter()
        .flat_map(|pod| pod.status.and_then(|status| status.container_statuses));
    assert_eq!(restarts.flatten().map(|container| container.restart_count).sum::<i32>(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_rights_touch_no_secret_of_anybody_else() {
    let site = Site::new("bounds", json!({ "type": "development" })).await;
    site.secret("theirs", &[("key", "value")]).await;
    site.secret("theirs-service-token", &[("key", "value")]).await;
    let operator = "--as=system:serviceaccount:visiobook-system:visiobook-operator";
    let namespace = ["-n", site.namespace.as_str(), operator];
    let secret = |name: &str, type_: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": type_,
            "metadata": {
                "name": name, "namespace": site.namespace,
                "ownerReferences": [{
                    "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService", "name": "theirs",
                    "uid": "00000000-0000-0000-0000-000000000001", "controller": true,
                }],
            },
        })
        .to_string()
    };
    let taken = secret("theirs-service-token", "Opaque");
    let other = secret("other-service-token", "Opaque");
    let patch = r#"{"stringData":{"key":"other"}}"#;
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    for (arguments, input) in [
        (&["create", "secret", "generic", "new", "--from-literal=a=b"][..], None),
        (&["patch", "secret", "theirs", "-p", patch], None),
        (&["delete", "secret", "theirs"], None),
        // Not even under a name of ours, nor by its own word.
        (&apply, Some(taken.as_str())),
        (&apply, Some(other.as_str())),
    ] {
        let (done, told) = try_kubectl(&[arguments, &namespace[..]].concat(), input);
        assert!(
            !done && told.contains("the operator writes only Secrets that it made"),
            "{arguments:?}: {told}"
        );
    }
}
