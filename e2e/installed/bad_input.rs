//! What is wrong is told by field, rule and way out: by the API server where it can, else by the operator, which
//! leaves what runs as it is.

use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;

use crate::support::{
    STANDIN, Site, conditions, events, eventually, is, message, metrics, observed, quick, sum, try_kubectl,
};

/// A name, what is laid over a good spec (null takes a field out), and words that the answer must hold.
fn refused_by_the_api_server() -> Vec<(&'static str, Value, &'static [&'static str])> {
    let volume = |volume: Value| json!({ "pod": { "volumes": [volume] } });
    let key = json!({ "A": { "name": "n", "key": "k" } });
    vec![
        ("users", json!({ "imagePullPolcy": "Always" }), &["unknown field", "spec.imagePullPolcy"]),
        (
            "users",
            json!({ "domainService": "users" }),
            &["set exactly one of spec.image", "spec.domainService"],
        ),
        ("users", json!({ "image": null }), &["set exactly one of spec.image", "spec.domainService"]),
        ("users", json!({ "stack": "cobol" }), &["spec.stack", "supported values", "nodejs"]),
        ("users-green", json!({}), &["metadata.name must not end in -blue, -green or -preview"]),
        ("users-preview", json!({}), &["metadata.name must not end in"]),
        (
            "a-name-that-is-far-too-long-for-its-children",
            json!({}),
            &["metadata.name is too long", "at most 40 characters"],
        ),
        ("1st-users", json!({}), &["metadata.name becomes the name of a Service", "start with a letter"]),
        (
            "users.v1",
            json!({}),
            &["metadata.name becomes the name of a Service", "letters, digits and dashes only"],
        ),
        ("users", json!({ "port": 0 }), &["spec.port", "greater than or equal to 1"]),
        ("users", json!({ "port": 70000 }), &["spec.port", "less than or equal to 65535"]),
        ("users", json!({ "port": 9090 }), &["spec.port 9090 is taken", "another port"]),
        ("users", json!({ "service": { "port": 9090 } }), &["service.port 9090 is taken", "choose another"]),
        ("users", json!({ "port": 15080 }), &["spec.port 15080 is taken by the sidecar", "another port"]),
        (
            "users",
            json!({ "sidecar": { "mode": "Off", "drainSeconds": 5 } }),
            &["mode Off leaves the sidecar out", "choose Proxy or Observe"],
        ),
        (
            "users",
            json!({ "sidecar": { "mode": "Observe", "cors": { "origins": ["https://a.example"] } } }),
            &["need mode Proxy", "no request passes"],
        ),
        (
            "users",
            json!({ "sidecar": { "mode": "Off" }, "probes": { "deep": true } }),
            &["spec.probes.deep asks the sidecar", "take one of them out"],
        ),
        (
            "users",
            json!({ "sidecar": { "auth": {} } }),
            &["sidecar.auth has no key", "JWT_SECRET", "sidecar.auth.jwks"],
        ),
        (
            "users",
            json!({ "sidecar": { "auth": { "jwks": "/etc/jwks" } } }),
            &["auth.jwks is an http or https URL"],
        ),
        (
            "users",
            json!({ "sidecar": { "csrf": { "cookie": "session" } } }),
            &["sidecar.csrf needs a key", "CSRF_SECRET"],
        ),
        ("users", json!({ "sidecar": { "csrf": {} } }), &["csrf protects sessions", "csrf.cookie"]),
        ("users", json!({ "sidecar": { "cors": { "origins": [] } } }), &["spec.sidecar.cors.origins"]),
        (
            "users",
            json!({ "sidecar": { "metricsPort": 9090 } }),
            &["sidecar.metricsPort", "9090 and 15080 are the sidecar's"],
        ),
        ("users", json!({ "sidecar": { "healthPath": "healthz" } }), &["healthPath begins with a slash"]),
        (
            "users",
            json!({ "sidecar": { "logs": { "sampleRate": 2 } } }),
            &["spec.sidecar.logs.sampleRate", "less than or equal to 1"],
        ),
        ("users", json!({ "dependsOn": [{ "name": "Media" }] }), &["dependsOn names Services"]),
        (
            "users",
            json!({ "dependsOn": [{ "name": "redis" }] }),
            &["stores are declared by", "not in spec.dependsOn"],
        ),
        (
            "users",
            json!({ "dependsOn": [{ "name": "media" }, { "name": "media" }] }),
            &["spec.dependsOn[1]", "duplicate"],
        ),
        ("users", json!({ "gate": { "mode": "Sometimes" } }), &["spec.gate.mode", "Unsupported value"]),
        ("users", json!({ "replicas": -1 }), &["spec.replicas", "greater than or equal to 0"]),
        (
            "users",
            json!({ "autoscaling": { "minReplicas": 3, "maxReplicas": 2 } }),
            &["autoscaling.minReplicas", "must not be above"],
        ),
        (
            "users",
            json!({ "autoscaling": { "minReplicas": 11 } }),
            &["autoscaling.minReplicas", "(default 10)"],
        ),
        (
            "users",
            json!({ "env": { "A": "1" }, "config": { "A": "2" } }),
            &["both spec.env and spec.config", "keep it in one"],
        ),
        (
            "users",
            json!({ "env": { "A": "1" }, "secrets": key }),
            &["both spec.env and spec.secrets", "keep it in one"],
        ),
        (
            "users",
            json!({ "config": { "A": "1" }, "secrets": key }),
            &["both spec.config and spec.secrets", "keep it in one"],
        ),
        (
            "users",
            json!({ "env": { "A": "1" }, "configMapKeyRefs": key }),
            &["spec.configMapKeyRefs is defined in", "keep one"],
        ),
        (
            "users",
            volume(json!({ "name": "data" })),
            &["a volume has exactly one of configMap, secret, emptyDir"],
        ),
        (
            "users",
            volume(json!({ "name": "data", "emptyDir": {}, "secret": { "secretName": "s" } })),
            &["a volume has exactly one of"],
        ),
        (
            "users",
            volume(json!({ "name": "tmp", "emptyDir": {} })),
            &["sidecar-services and sidecar-trust are the operator's", "choose another name"],
        ),
        (
            "users",
            volume(json!({ "name": "data", "hostPath": { "path": "/" } })),
            &["unknown field", "hostPath"],
        ),
        (
            "users",
            json!({ "probes": { "liveness": { "tcpSocket": { "port": 1 }, "grpc": { "port": 1 } } } }),
            &["spec.probes.liveness", "at most one of httpGet, tcpSocket, exec and grpc"],
        ),
        (
            "users",
            json!({ "probes": { "liveness": { "periodSeconds": 0 } } }),
            &["spec.probes.liveness.periodSeconds", "greater than or equal to 1"],
        ),
        (
            "users",
            json!({ "serviceAccount": { "create": false } }),
            &["serviceAccount.create: false", "serviceAccount.name"],
        ),
        (
            "users",
            json!({ "disruptionBudget": { "minAvailable": 1, "maxUnavailable": 1 } }),
            &["set one of disruptionBudget.minAvailable"],
        ),
        (
            "users",
            json!({ "configFiles": { "mountPath": "etc", "files": {} } }),
            &["configFiles.mountPath is an absolute path"],
        ),
        ("users", json!({ "gpu": { "count": 0 } }), &["spec.gpu.count", "greater than or equal to 1"]),
        (
            "users",
            json!({ "rollout": { "strategy": "Recreate" } }),
            &["spec.rollout.strategy", "RollingUpdate"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_refuses_what_no_service_may_say() {
    let site = Site::new("refused", json!({ "type": "development" })).await;
    let mut wrong = Vec::new();
    for (name, over, words) in refused_by_the_api_server() {
        let mut spec = json!({ "image": STANDIN });
        visiobook::plan::merge(&mut spec, over.clone());
        let object = json!({
            "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
            "metadata": { "name": name, "namespace": site.namespace }, "spec": spec,
        });
        let (admitted, answer) = try_kubectl(&["create", "-f", "-"], Some(&object.to_string()));
        let lowered = answer.to_lowercase();
        let missing: Vec<_> = words.iter().filter(|word| !lowered.contains(&word.to_lowercase())).collect();
        if admitted || !missing.is_empty() {
            wrong.push(format!("{name} with {over}: admitted {admitted}, lacks {missing:?} in: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let got_in = site.services().list(&Default::default()).await.expect("services").items;
    assert!(got_in.is_empty(), "{got_in:?}");
}

/// What is laid over a good spec, and rule, field and way out that `Accepted` must tell.
type Refused = (Value, &'static str, &'static str, &'static str);

/// Apply each bad change to a running service: it is refused, and nothing of what runs changes.
async fn refuses_and_keeps_what_runs(site: &Site, good: Value, table: Vec<Refused>) {
    site.apply("users", good.clone()).await;
    site.ready("users").await;
    let pods = site.pod_uids("users").await;
    let deployment = site.existing(Kind::Deployment, "users-blue").await;
    for (over, rule, field, way_out) in table {
        let mut bad = good.clone();
        visiobook::plan::merge(&mut bad, over);
        let service = apply(site, "users", bad).await;
        let told = message(&service, "Accepted");
        for word in [&format!("[{rule}]"), &format!("{field}:"), way_out] {
            assert!(told.contains(word), "{rule}: no \"{word}\" in: {told}");
        }
        assert!(is(&service, "Ready", "True"), "{rule}: {:?}", service.status);
        assert!(
            is(&service, "Stalled", "True") && is(&service, "Reconciling", "False"),
            "{rule}: {:?}",
            service.status
        );
        let event = format!("[{rule}]");
        eventually(&format!("an event with {event}"), || async {
            let told = events(site, "users").await;
            if told.iter().any(|told| told.starts_with("Refused") && told.contains(&event)) {
                Ok(())
            } else {
                Err(told)
            }
        })
        .await;
    }
    assert_eq!(site.pod_uids("users").await, pods, "pods were replaced");
    let after = site.existing(Kind::Deployment, "users-blue").await;
    assert_eq!(
        after["metadata"]["generation"], deployment["metadata"]["generation"],
        "the Deployment was written to"
    );
    site.apply("users", good).await;
    let service = site.ready("users").await;
    assert!(is(&service, "Accepted", "True") && is(&service, "Stalled", "False"), "{:?}", service.status);
    assert_eq!(site.pod_uids("users").await, pods, "taking the bad change back replaced pods");
}

/// Apply a spec that the operator refuses, and wait until it has said so. Fields that are null are left out.
async fn apply(site: &Site, name: &str, mut spec: Value) -> visiobook::api::VisiobookService {
    if let Value::Object(fields) = &mut spec {
        fields.retain(|_, value| !value.is_null());
    }
    site.apply(name, spec).await;
    site.condition(name, "Accepted", "False", "Refused").await
}

#[tokio::test(flavor = "multi_thread")]
async fn development_refuses_gpus_and_what_is_above_its_ceiling_and_keeps_what_runs() {
    let environment =
        json!({ "type": "development", "limits": { "cpu": "1", "memory": "1Gi", "replicas": 2 } });
    let site = Site::new("bad-dev", environment).await;
    let mount = json!([{ "name": "data", "mountPath": "/data" }]);
    let table: Vec<Refused> = vec![
        (json!({ "gpu": { "count": 1 } }), "gpu-allowed", "spec.gpu", "take spec.gpu out"),
        (
            json!({ "resources": { "limits": { "cpu": "2" } } }),
            "resource-ceiling",
            "spec.resources.limits.cpu",
            "ask for less",
        ),
        (
            json!({ "resources": { "requests": { "memory": "512Mi" } } }),
            "request-above-limit",
            "spec.resources.requests.memory",
            "raise spec.resources.limits.memory",
        ),
        (json!({ "replicas": 3 }), "replicas-ceiling", "spec.replicas", "2 pods at most"),
        (
            json!({ "image": null, "domainService": "projects" }),
            "domain-service-available",
            "spec.domainService",
            "set spec.image",
        ),
        (json!({ "image": "not an image" }), "image-reference", "spec.image", "write registry/path:tag"),
        (json!({ "env": { "PORT": "1" } }), "variable-reserved", "spec.env.PORT", "set spec.port"),
        (
            json!({ "env": { "READ_TIMEOUT": "500ms" } }),
            "timeout",
            "spec.env.READ_TIMEOUT",
            "write one such as 30s",
        ),
        (
            json!({ "pod": { "volumeMounts": mount } }),
            "volume-exists",
            "spec.pod.volumeMounts[mountPath=/data]",
            "add it",
        ),
        (
            json!({ "pod": { "labels": { "version": "x" } } }),
            "label-reserved",
            "spec.pod.labels.version",
            "choose another",
        ),
    ];
    refuses_and_keeps_what_runs(&site, quick(json!({ "replicas": 1 })), table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn production_refuses_latest_and_foreign_registries_and_keeps_what_runs() {
    let environment = json!({
        "type": "production",
        "defaults": { "replicas": 1, "autoscaling": { "enabled": false } },
        "images": { "registries": ["ghcr.io/visiobook-esp"] },
    });
    let site = Site::new("bad-prod", environment).await;
    let table: Vec<Refused> = vec![
        (
            json!({ "image": "ghcr.io/visiobook-esp/user-service:latest" }),
            "image-tag",
            "spec.image",
            "name a version or a digest",
        ),
        (
            json!({ "image": "docker.io/stefanprodan/podinfo:6.9.2" }),
            "image-registry",
            "spec.image",
            "take the image from ghcr.io/visiobook-esp",
        ),
        (
            json!({ "env": { "DB_SSL_MODE": "disable" } }),
            "database-tls",
            "spec.env.DB_SSL_MODE",
            "use require or stricter",
        ),
        (
            json!({ "config": { "JWT_SECRET": "short" } }),
            "secret-length",
            "spec.config.JWT_SECRET",
            "make a longer one",
        ),
    ];
    refuses_and_keeps_what_runs(&site, quick(json!({})), table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_names_no_environment_is_refused_and_what_runs_goes_on() {
    let site = Site::new("no-env", json!({ "type": "development" })).await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    let pods = site.pod_uids("users").await;

    site.label(Some("nowhere")).await;
    let service = site.condition("users", "Accepted", "False", "Refused").await;
    let told = message(&service, "Accepted");
    assert!(
        told.contains("\"nowhere\", which does not exist") && told.contains("correct the label"),
        "{told}"
    );
    assert!(is(&service, "Ready", "True") && site.pod_uids("users").await == pods);
    assert_eq!(
        service.status.as_ref().and_then(|status| status.environment.as_deref()),
        Some("nowhere (missing)")
    );

    // Without any label the built-in rules apply, and the status says so.
    site.label(None).await;
    let service = site.condition("users", "Accepted", "True", "Valid").await;
    let told = service.status.and_then(|status| status.environment);
    assert_eq!(told.as_deref(), Some("development (built in)"));
    assert_eq!(site.pod_uids("users").await, pods, "pods were replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_of_somebody_else_is_refused_by_name_and_may_be_adopted() {
    let site = Site::new("taken", json!({ "type": "development" })).await;
    let account =
        |name: &str| json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name } });
    site.apply_object(account("users")).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(site.client.clone(), &site.namespace);
    let foreign = accounts.get("users").await.expect("account");

    site.apply("users", quick(json!({}))).await;
    let service = site.condition("users", "Accepted", "False", "NameTaken").await;
    let told = message(&service, "Accepted");
    for word in [
        "ServiceAccount users exists and belongs to somebody else",
        "delete or rename it",
        "platform.visiobook.com/adopt",
    ] {
        assert!(told.contains(word), "no \"{word}\" in: {told}");
    }
    assert!(is(&service, "Stalled", "True") && is(&service, "Ready", "False"), "{:?}", service.status);
    let untouched = accounts.get("users").await.expect("account");
    assert_eq!(
        untouched.resource_version(),
        foreign.resource_version(),
        "somebody else's object was written to"
    );

    let adopt = json!({ "metadata": { "annotations": { "platform.visiobook.com/adopt": "true" } } });
    accounts.patch("users", &PatchParams::default(), &Patch::Merge(&adopt)).await.expect("annotated");
    let service = site.ready("users").await;
    assert!(is(&service, "Accepted", "True"), "{:?}", service.status);
    let adopted = accounts.get("users").await.expect("account");
    assert_eq!(adopted.uid(), foreign.uid(), "it was made anew");
    assert_eq!(adopted.owner_references().first().map(|owner| owner.uid.clone()), service.uid());
    let told = events(&site, "users").await;
    assert!(!told.iter().any(|event| event.starts_with("DriftRepaired")), "adopting is no drift: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_needs_a_taken_name_is_refused_and_what_runs_goes_on() {
    let site = Site::new("taken-later", json!({ "type": "development" })).await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    let pods = site.pod_uids("users").await;

    site.apply_object(
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "theirs" } }),
    )
    .await;
    site.apply("users", quick(json!({ "serviceAccount": { "name": "theirs" } }))).await;
    let service = site.condition("users", "Accepted", "False", "NameTaken").await;
    assert!(message(&service, "Accepted").contains("ServiceAccount theirs"), "{:?}", service.status);
    assert!(is(&service, "Ready", "True"), "{:?}", service.status);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        site.pod_uids("users").await,
        pods,
        "pods were replaced by some that use somebody else's account"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_resource_costs_nothing_until_somebody_changes_it() {
    let site = Site::new("no-loop", json!({ "type": "development" })).await;
    site.apply("users", quick(json!({ "gpu": { "count": 1 } }))).await;
    site.condition("users", "Accepted", "False", "Refused").await;

    let passes = |text: String| sum(&text, "visiobook_reconcile_total", "outcome=\"refused\"");
    // Both come after the status.
    eventually("the refusal to be told and counted", || async {
        let told = events(&site, "users").await;
        let is_told = told.iter().any(|event| event.contains("Refused"));
        if is_told && passes(metrics(&site.client).await) > 0.0 { Ok(()) } else { Err(told) }
    })
    .await;
    let before = passes(metrics(&site.client).await);
    let told = events(&site, "users").await.len();
    site.stays_untouched("users", 10).await;
    assert_eq!(events(&site, "users").await.len(), told, "it is told over and over");
    // Other tests have refused resources too, a few each; a hot loop would make thousands of passes.
    let more = passes(metrics(&site.client).await) - before;
    assert!(before > 0.0 && more < 100.0, "{more} passes over refused resources in 10 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_told_at_once() {
    let site = Site::new("at-once", json!({ "type": "development", "limits": { "replicas": 2 } })).await;
    site.apply(
        "users",
        quick(json!({ "gpu": { "count": 1 }, "replicas": 3, "env": { "PORT": "1", "1A": "" } })),
    )
    .await;
    let service = site.condition("users", "Accepted", "False", "Refused").await;
    let told = message(&service, "Accepted");
    for rule in ["variable-name", "variable-reserved", "gpu-allowed", "replicas-ceiling"] {
        assert!(told.contains(&format!("[{rule}]")), "no {rule} in: {told}");
    }
    // Nothing was ever accepted, so nothing runs.
    assert!(is(&service, "Ready", "False") && observed(&service), "{:?}", service.status);
    assert_eq!(conditions(&service).count(), 11);
    assert!(site.all_children("users").await.is_empty());
}
