//! The real Argo CD: what it makes of our kinds, and that neither undoes what the other does.

use std::time::{Duration, Instant};

use kube::ResourceExt;
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;

use super::autoscaling::{Load, podinfo};
use crate::support::argocd::{ArgoCd, changed, health, offered};
use crate::support::{Site, is, quick, root, soak, tools};

/// A file of `examples/`, with the names of the test in the place of its own.
fn example(path: &str, site: &Site, argocd: &ArgoCd) -> String {
    let text = std::fs::read_to_string(root().join("examples").join(path)).expect("example");
    let ours = &site.namespace;
    let text = text
        .replace("https://github.com/visiobook/visiobook-operator.git", &argocd.repository_url())
        .replace("namespace: argocd", &format!("namespace: {}", argocd.namespace));
    ["visiobook-dev", "visiobook-system", "visiobook-*"]
        .iter()
        .fold(text, |text, name| text.replace(name, ours))
        .replace("name: development", &format!("name: {ours}"))
        .replace("environment: development", &format!("environment: {ours}"))
}

fn service(name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
        "metadata": { "name": name }, "spec": spec,
    })
    .to_string()
}

/// An application that follows a folder and undoes what others change.
fn application(name: &str, site: &Site, argocd: &ArgoCd, options: &[&str]) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": { "name": name },
        "spec": {
            "project": "default",
            "source": { "repoURL": argocd.repository_url(), "targetRevision": "main", "path": name },
            "destination": { "server": "https://kubernetes.default.svc", "namespace": site.namespace },
            "syncPolicy": { "automated": { "prune": true, "selfHeal": true }, "syncOptions": options },
        },
    })
}

fn open_project() -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": { "name": "default" },
        "spec": { "sourceRepos": ["*"], "destinations": [{ "server": "*", "namespace": "*" }] },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a41_the_applications_of_the_examples_sync_in_waves_and_no_team_deploys_past_the_operator() {
    let mut site = Site::unlabelled("waves").await;
    // The environment that the application brings.
    site.environment = Some(site.namespace.clone());
    let argocd = ArgoCd::start(&site).await;
    let (environments, services) = ("visiobook-environments", site.namespace.as_str());
    // The operator is there already; production is not automatic.
    let files = [
        "environments/development.yaml",
        "podinfo.yaml",
        "smallest.yaml",
        "user-service.yaml",
        "argocd/applications/environments.yaml",
        "argocd/applications/services-dev.yaml",
    ];
    let files: Vec<(String, String)> =
        files.map(|path| (format!("examples/{path}"), example(path, &site, &argocd))).into();
    let files: Vec<(&str, String)> = files.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
    argocd.commit(&files);
    for path in ["argocd/projects/platform.yaml", "argocd/projects/dev.yaml", "argocd/platform.yaml"] {
        let text = example(path, &site, &argocd);
        argocd.apply(serde_saphyr::from_str(&text).expect("YAML"));
    }

    argocd.settled("visiobook").await;
    let first = argocd.settled(environments).await;
    let second = argocd.settled(services).await;
    let finished = first["status"]["operationState"]["finishedAt"].as_str().expect("finished");
    let created = second["metadata"]["creationTimestamp"].as_str().expect("created");
    assert!(finished <= created, "services at {created}, before their environment at {finished}");
    // What the operator made belongs to its services: nothing to sync, nothing to prune.
    let resources = second["status"]["resources"].as_array().expect("resources");
    let foreign = |resource: &&Value| resource["kind"] != "VisiobookService" && resource["kind"] != "Secret";
    assert_eq!((resources.len(), resources.iter().find(foreign)), (5, None));

    // Paused by a click, it stays paused although Git does not say so, until it is resumed.
    argocd.act(services, "smallest", "pause");
    let suspended = |status: &Value| status["health"]["status"] == "Suspended";
    argocd.until(services, "Suspended", suspended).await;
    site.condition("smallest", "Paused", "True", "SpecPaused").await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    let held = argocd.application(services).await;
    assert!(suspended(&held["status"]) && held["status"]["sync"]["status"] == "Synced", "{}", held["status"]);
    argocd.act(services, "smallest", "resume");
    argocd.settled(services).await;

    // A Deployment beside the services, and an environment of one's own.
    let name = format!("{services}-smuggled");
    let template = json!({
        "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "a", "image": "a:1" }] },
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": { "replicas": 0, "selector": { "matchLabels": { "a": "b" } }, "template": template },
    });
    let environment = json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookEnvironment",
        "metadata": { "name": name }, "spec": { "type": "development" },
    });
    let (path, text) = &files[2];
    argocd.commit(&[(path, format!("{text}---\n{deployment}\n---\n{environment}\n"))]);
    for kind in ["apps:Deployment", "platform.visiobook.com:VisiobookEnvironment"] {
        let refusal = format!("resource {kind} is not permitted in project {services}");
        let refused = |status: &Value| status["operationState"]["syncResult"].to_string().contains(&refusal);
        argocd.until(services, &refusal, refused).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t21_self_heal_and_an_autoscaler_at_work_undo_nothing_of_each_other() {
    let site = Site::new("self-heal", json!({ "type": "development" })).await;
    let argocd = ArgoCd::start(&site).await;
    argocd.commit(&[("team/podinfo.json", service("podinfo", &podinfo()))]);
    argocd.apply(open_project());
    argocd.apply(application("team", &site, &argocd, &["ServerSideApply=true"]));
    let before = argocd.settled("team").await;
    let first = site.ready("podinfo").await;
    let deployment = site.existing(Kind::Deployment, "podinfo-blue").await;

    let load = Load::start(&site, 8);
    let started = Instant::now();
    let length = Duration::from_secs(if soak() { 600 } else { 120 });
    let (mut sizes, mut looks) = (vec![first.spec.replicas], vec![before["status"]["reconciledAt"].clone()]);
    let mut load = Some(load);
    while started.elapsed() < length {
        // Half of the time there is load.
        if started.elapsed() > length / 2
            && sizes.len() > 1
            && let Some(load) = load.take()
        {
            load.stop().await;
        }
        let now = argocd.application("team").await;
        let status = &now["status"];
        assert_eq!(status["sync"]["status"], "Synced", "after {:?}: {status}", started.elapsed());
        assert_ne!(status["health"]["status"], "Degraded", "after {:?}: {status}", started.elapsed());
        assert_eq!(
            status["operationState"]["startedAt"], before["status"]["operationState"]["startedAt"],
            "it synced again: {status}"
        );
        if looks.last() != Some(&status["reconciledAt"]) {
            looks.push(status["reconciledAt"].clone());
        }
        let size = site.services().get("podinfo").await.expect("service").spec.replicas;
        if sizes.last() != Some(&size) {
            sizes.push(size);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(sizes.len() > 1, "the autoscaler never scaled: {sizes:?}");
    assert!(looks.len() > 10, "Argo CD looked {} times only", looks.len());
    let last = site.ready("podinfo").await;
    // Each change of size was one change of the Deployment at most, and nothing else changed either.
    let resized =
        last.metadata.generation.expect("generation") - first.metadata.generation.expect("generation");
    let after = site.existing(Kind::Deployment, "podinfo-blue").await;
    let generation = |deployment: &Value| deployment["metadata"]["generation"].as_i64().expect("generation");
    assert!(generation(&after) - generation(&deployment) <= resized, "sizes: {sizes:?}");
    assert!(resized < 12, "{resized} changes of size are a fight: {sizes:?}");
    let holds = |manager: &str| {
        last.managed_fields().iter().any(|entry| {
            let fields = entry.fields_v1.as_ref().map(|fields| fields.0.to_string()).unwrap_or_default();
            entry.manager.as_deref() == Some(manager) && fields.contains("f:replicas\":{}")
        })
    };
    assert!(!holds("argocd-controller"), "{:?}", last.managed_fields());
    eprintln!("sizes {sizes:?}, {} looks, {resized} changes", looks.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn t21_a_number_of_pods_in_git_beside_an_autoscaler_is_told_however_argo_cd_applies() {
    let site = Site::new("git-size", json!({ "type": "development", "defaults": { "replicas": 0 } })).await;
    let argocd = ArgoCd::start(&site).await;
    let mut spec = quick(json!({ "autoscaling": { "enabled": true, "minReplicas": 1 } }));
    spec["replicas"] = 1.into();
    argocd.commit(&[
        ("server-side/one.json", service("one", &spec)),
        ("client-side/two.json", service("two", &spec)),
    ]);
    argocd.apply(open_project());
    argocd.apply(application("server-side", &site, &argocd, &["ServerSideApply=true"]));
    argocd.apply(application("client-side", &site, &argocd, &[]));
    for name in ["one", "two"] {
        let service = site.condition(name, "Autoscaling", "False", "ReplicasApplied").await;
        let told = crate::support::message(&service, "Autoscaling");
        assert!(told.contains("argocd-controller sets spec.replicas"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_of_a_service_has_its_health_in_argo_cd() {
    let folder = tools("argocd").await;
    let site = Site::new("health", json!({ "type": "development" })).await;
    site.apply("well", quick(json!({}))).await;
    site.apply("outlawed", quick(json!({}))).await;
    site.apply("held", quick(json!({ "paused": true }))).await;
    site.apply("waits", quick(json!({ "secrets": { "TOKEN": { "name": "later", "key": "token" } } }))).await;
    site.apply_object(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "taken" },
        "spec": { "selector": { "app": "theirs" }, "ports": [{ "port": 80 }] },
    }))
    .await;
    site.apply("taken", quick(json!({}))).await;
    site.ready("well").await;
    site.ready("outlawed").await;
    site.condition("held", "Paused", "True", "SpecPaused").await;
    site.condition("waits", "SecretsResolved", "False", "SecretsMissing").await;
    site.condition("taken", "Accepted", "False", "NameTaken").await;

    let read = async |name: &str| {
        serde_json::to_value(site.services().get(name).await.expect("service")).expect("json")
    };
    let assert_health = |object: &Value, status: &str, message: &str| {
        let told = health(&folder, object);
        assert!(told.0 == status && told.1.contains(message), "{status} {message:?}: {told:?} of {object:#}");
    };
    let well = read("well").await;
    assert_health(&well, "Healthy", "1 of 1 pods are ready");
    assert_health(&read("held").await, "Suspended", "spec.paused is true");
    assert_health(&read("waits").await, "Progressing", "later");
    assert_health(&read("taken").await, "Degraded", "taken");

    // Nobody has looked yet, or not at this generation.
    let mut unseen = well.clone();
    unseen["metadata"]["generation"] = 99.into();
    assert_health(&unseen, "Progressing", "this generation");
    unseen["status"] = json!({});
    assert_health(&unseen, "Progressing", "this generation");
    // As it is after a deadline, and after pods that were ready went away.
    let with = |type_: &str, status: &str, message: &str| {
        let mut changed = well.clone();
        for condition in changed["status"]["conditions"].as_array_mut().expect("conditions") {
            if condition["type"] == type_ {
                condition["status"] = status.into();
                condition["message"] = message.into();
            }
        }
        changed
    };
    assert_health(&with("Stalled", "True", "no progress"), "Degraded", "no progress");
    assert_health(&with("Reconciling", "True", "0 of 1 pods"), "Progressing", "0 of 1 pods");
    assert_health(&with("Ready", "False", "gone"), "Degraded", "gone");
    assert_health(&with("Ready", "Unknown", ""), "Progressing", "has not said");

    // A stricter environment outlaws what runs.
    let environment = json!({ "type": "development", "images": { "registries": ["registry.example.com"] } });
    site.environment(&site.namespace, environment).await;
    let outlawed = site.until("outlawed", "refused", |service| is(service, "Accepted", "False")).await;
    assert_health(&serde_json::to_value(outlawed).expect("json"), "Degraded", "registry.example.com");

    let mut environment = json!({ "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookEnvironment", "metadata": { "name": "x", "generation": 2 }, "spec": { "type": "development" } });
    assert_health(&environment, "Healthy", "");
    environment["status"] = json!({ "observedGeneration": 2, "conditions": [
        { "type": "Ready", "status": "False", "message": "a quota is missing" }] });
    assert_health(&environment, "Degraded", "a quota is missing");
    environment["status"]["observedGeneration"] = 1.into();
    assert_health(&environment, "Progressing", "this generation");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_waits_is_suspended_in_argo_cd_and_its_actions_name_it() {
    let folder = tools("argocd").await;
    let with = |reason: &str, rollout: Value| {
        json!({
            "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
            "metadata": { "name": "users", "namespace": "shop", "generation": 2 }, "spec": { "image": "a:1" },
            "status": { "observedGeneration": 2, "rollout": rollout, "conditions": [
                { "type": "Reconciling", "status": "True", "reason": reason, "message": "waits for somebody" },
            ] },
        })
    };
    let rollout = |state: &str| json!({ "state": state, "attempt": "bbbbbbbbbb-7", "outcome": "Promoted", "previousRevision": "aaaaaaaaaa" });
    for (reason, status) in
        [("AwaitingApproval", "Suspended"), ("Frozen", "Suspended"), ("Deploying", "Progressing")]
    {
        let told = health(&folder, &with(reason, rollout("AwaitingApproval")));
        assert_eq!(told, (status.to_string(), "waits for somebody".to_string()), "{reason}");
    }
    for (state, actions) in [
        ("AwaitingApproval", vec!["abort", "approve", "pause"]),
        ("Deploying", vec!["abort", "pause"]),
        ("Soaking", vec!["abort", "pause"]),
        ("Retiring", vec!["pause", "undo"]),
    ] {
        assert_eq!(offered(&folder, &with("any", rollout(state))), actions, "{state}");
    }
    // A service that was never released blue-green.
    assert_eq!(offered(&folder, &with("any", Value::Null)), ["pause"]);
    let waiting = with("any", rollout("AwaitingApproval"));
    for (action, annotations) in [
        ("approve", vec!["approve: bbbbbbbbbb-7", "approved-by: system:serviceaccount:argocd:argocd-server"]),
        ("abort", vec!["abort: bbbbbbbbbb-7"]),
        ("undo", vec!["undo: bbbbbbbbbb-7"]),
    ] {
        let change = changed(&folder, &waiting, action);
        for annotation in annotations {
            assert!(change.contains(&format!("platform.visiobook.com/{annotation}\n")), "{change}");
        }
    }
}
