//! Whatever somebody changes of what is ours is put back and reported; what is theirs stays.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kube::api::{DeleteParams, PatchParams};
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::api::names;

use crate::support::{Field, INTRUDER, Site, events, eventually, is, kubectl, owned, quick};

/// Services that share the fields of a kind between them, so that they are changed side by side.
const SHARDS: usize = 4;

/// Every kind of child, with as many of its fields as a resource can bring about. It wants no pods: changed templates
/// would only start and stop them.
fn rich() -> Value {
    quick(json!({
        "replicas": 0,
        "stack": "nodejs",
        "args": ["serve"],
        "env": { "GREETING": "hello", "SECOND": "two" },
        "config": { "COLOUR": "blue" },
        "configFiles": { "files": { "config.yaml": "a: 1\n" } },
        "secrets": { "API_TOKEN": { "name": "tokens", "key": "api" } },
        "autoscaling": { "enabled": true, "minReplicas": 2, "maxReplicas": 4, "behavior": { "scaleDown": { "stabilizationWindowSeconds": 30 } } },
        "service": { "port": 8000, "annotations": { "team": "users" } },
        "serviceAccount": { "annotations": { "team": "users" } },
        "disruptionBudget": { "minAvailable": 1 },
        "ingress": { "hosts": ["users.example.com"], "annotations": { "team": "users" } },
        "networkPolicy": { "allowFrom": [{ "namespace": "shop", "service": "cart" }] },
        "pod": {
            "labels": { "tier": "back" },
            "annotations": { "example.com/note": "kept" },
            "nodeSelector": { "kubernetes.io/os": "linux" },
            "tolerations": [{ "key": "example.com/busy", "operator": "Exists", "effect": "NoSchedule" }],
            "topologySpreadConstraints": [{ "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": { "matchLabels": { "app": "users" } } }],
            "priorityClassName": "system-cluster-critical",
            "hostAliases": [{ "ip": "10.0.0.1", "hostnames": ["old.example.com"] }],
            "dnsConfig": { "options": [{ "name": "ndots", "value": "2" }] },
            "volumes": [{ "name": "data", "emptyDir": { "sizeLimit": "10Mi" } }],
            "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
        },
    }))
}

/// Fields that drift nowhere: the API server lets nobody change them, or only together with others of ours that
/// refer to them.
const UNCHANGEABLE: &[(Kind, &str)] = &[
    (Kind::Deployment, "spec.selector"),
    (Kind::Deployment, "spec.strategy.type"),
    (Kind::Deployment, "spec.template.metadata.labels.version"),
    (Kind::Deployment, "spec.template.metadata.labels[app.kubernetes.io/name]"),
    (Kind::Deployment, "spec.template.spec.containers[name=app]"),
    (Kind::Deployment, "spec.template.spec.containers[name=app].livenessProbe.successThreshold"),
    (Kind::Deployment, "spec.template.spec.initContainers[name=sidecar].restartPolicy"),
    (Kind::Deployment, "spec.template.spec.restartPolicy"),
    (Kind::Deployment, "spec.template.spec.volumes[name=config]"),
    (Kind::Deployment, "spec.template.spec.volumes[name=data]"),
    (Kind::Deployment, "spec.template.spec.volumes[name=tmp]"),
    (Kind::Deployment, "spec.template.spec.volumes[name=tmp].emptyDir"),
    (Kind::Deployment, "spec.template.spec.volumes[name=var-cache]"),
    (Kind::Deployment, "spec.template.spec.volumes[name=var-cache].emptyDir"),
    (Kind::ConfigMap, "data.API_GATEWAY_URL"),
    (Kind::ConfigMap, "data.COLOUR"),
    (Kind::ConfigMap, "data.CORRELATION_ID_HEADER"),
    (Kind::ConfigMap, "data[config.yaml]"),
    (Kind::ConfigMap, "immutable"),
    (Kind::ControllerRevision, "data"),
    (Kind::NetworkPolicy, "spec.policyTypes"),
];

/// Services that are settled, each with fields that somebody else put there.
async fn settled(site: &Site) -> Vec<String> {
    site.secret("tokens", &[("api", "value")]).await;
    let services: Vec<String> = (0..SHARDS).map(|shard| format!("drifter-{shard}")).collect();
    for service in &services {
        site.apply(service, rich()).await;
    }
    for service in &services {
        site.ready(service).await;
    }
    // A rotation leaves a mark, which is ours too.
    site.secret("tokens", &[("api", "rotated")]).await;
    for service in &services {
        eventually("the mark of the rotation", || async {
            let deployment = site.existing(Kind::Deployment, &format!("{service}-blue")).await;
            if deployment.to_string().contains(names::SECRETS_ROTATION) { Ok(()) } else { Err(()) }
        })
        .await;
        site.ready(service).await;
        for (kind, child) in site.all_children(service).await {
            let guest = json!({ "metadata": { "annotations": { "guest.example.com/note": "mine" }, "labels": { "guest": "mine" } } });
            let params = PatchParams { field_manager: Some("guest".into()), ..PatchParams::default() };
            let name = child["metadata"]["name"].as_str().expect("name");
            site.children(kind).patch(name, &params, &kube::api::Patch::Merge(&guest)).await.expect("guest");
        }
    }
    services
}

/// A field that is ours, of which object.
#[derive(Clone, Debug)]
struct Target {
    kind: Kind,
    name: String,
    manager: &'static str,
    field: Field,
}

fn targets(children: &[(Kind, Value)], wanted: impl Fn(Kind) -> bool) -> Vec<Target> {
    let mut targets = Vec::new();
    for (kind, child) in children.iter().filter(|(kind, _)| wanted(*kind)) {
        let general = owned(child, names::MANAGER);
        let switch = owned(child, names::SWITCH_MANAGER).into_iter().filter(|field| !general.contains(field));
        let managed = general
            .iter()
            .map(|field| (names::MANAGER, field.clone()))
            .chain(switch.map(|field| (names::SWITCH_MANAGER, field)));
        let name = child["metadata"]["name"].as_str().expect("name").to_string();
        targets.extend(managed.map(|(manager, field)| Target {
            kind: *kind,
            name: name.clone(),
            manager,
            field,
        }));
    }
    targets
}

/// What became of a change by somebody else.
enum Outcome {
    /// It was put back.
    Repaired,
    /// No change was admitted.
    Unchangeable,
    /// It stayed; this is what it stayed as.
    Stayed(String),
}

/// Change one field, and look whether it is put back and ours again.
async fn change(site: &Site, target: &Target) -> Outcome {
    let Target { kind, name, manager, field } = target;
    let before = site.existing(*kind, name).await;
    let wanted = field.value(&before).cloned();
    for change in field.changes(&before) {
        let Ok(changed) = site.meddle(*kind, name, change.clone()).await else { continue };
        let changed = serde_json::to_value(changed).expect("json");
        if field.value(&changed).cloned() == wanted && field.belongs_to(&changed, manager) {
            // Admitted without effect: the API server filled in what was there before.
            continue;
        }
        let started = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = site.child(*kind, name).await.unwrap_or_default();
            if field.value(&now).cloned() == wanted && field.belongs_to(&now, manager) {
                return Outcome::Repaired;
            }
            if started.elapsed() > Duration::from_secs(20) {
                return Outcome::Stayed(format!("{} of {} {name}: {change}", field.shown, kind.as_str()));
            }
        }
    }
    Outcome::Unchangeable
}

/// Change every field of ours, of the kinds that are `wanted`, one after the other. Answers with those that nobody
/// could change.
async fn change_every_field(
    site: &Site,
    wanted: impl Fn(Kind) -> bool + Copy,
) -> BTreeSet<(&'static str, String)> {
    let services = settled(site).await;
    let shards = services.iter().enumerate().map(|(shard, service)| async move {
        let targets = targets(&site.all_children(service).await, wanted);
        let (mut repaired, mut unchangeable, mut stayed) = (Vec::new(), Vec::new(), Vec::new());
        for target in targets.into_iter().skip(shard).step_by(SHARDS) {
            match change(site, &target).await {
                Outcome::Repaired => repaired.push(target),
                Outcome::Unchangeable => unchangeable.push((target.kind.as_str(), target.field.shown)),
                Outcome::Stayed(change) => stayed.push(change),
            }
        }
        (service, repaired, unchangeable, stayed)
    });
    let outcome = futures::future::join_all(shards).await;
    let stayed: Vec<&String> = outcome.iter().flat_map(|(_, _, _, stayed)| stayed).collect();
    assert!(stayed.is_empty(), "not put back: {stayed:#?}");

    let mut silent = Vec::new();
    for (service, repaired, _, _) in &outcome {
        assert!(repaired.len() > 5, "hardly anything of {service} was changed: {repaired:?}");
        site.stays_untouched(service, 2).await;
        let told = events(site, service).await;
        for Target { kind, name, field, .. } in repaired {
            // Whoever removes a field leaves no trace of it, and with its only item a list is gone.
            let list =
                field.shown.rsplit_once('[').filter(|_| field.is_item).map(|(list, _)| format!("{list} of"));
            let who = |event: &&String| {
                event.contains(&format!("{INTRUDER} changed {}", field.shown))
                    || event.contains(&format!("somebody changed {}", field.shown))
                    || list.as_ref().is_some_and(|list| event.contains(&format!("somebody changed {list}")))
            };
            let of = format!(" of {} {name}", kind.as_str());
            let told = told
                .iter()
                .filter(who)
                .any(|event| event.starts_with("DriftRepaired") && event.contains(&of));
            if !told {
                silent.push(format!("{}{of}", field.shown));
            }
        }
        for (kind, child) in site.all_children(service).await {
            let meta = &child["metadata"];
            let left = (&meta["annotations"]["guest.example.com/note"], &meta["labels"]["guest"]);
            assert_eq!(left, (&json!("mine"), &json!("mine")), "{}", kind.as_str());
        }
    }
    assert!(silent.is_empty(), "put back and not told: {silent:#?}");
    let logs =
        kubectl(&["logs", "-n", "visiobook-system", "deployment/visiobook-operator", "--since=10m"], None);
    let idle = |line: &&str| line.contains("an apply changed nothing") && line.contains("drifter-");
    let idle: Vec<&str> = logs.lines().filter(idle).collect();
    assert!(idle.is_empty(), "{idle:#?}");
    outcome.into_iter().flat_map(|(_, _, unchangeable, _)| unchangeable).collect()
}

fn listed(wanted: impl Fn(Kind) -> bool) -> BTreeSet<(&'static str, String)> {
    let listed = UNCHANGEABLE.iter().filter(|(kind, _)| wanted(*kind));
    listed.map(|(kind, path)| (kind.as_str(), path.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_the_deployment_that_somebody_changes_is_put_back_and_reported() {
    let site = Site::new("drift-pods", json!({ "type": "development" })).await;
    let wanted = |kind: Kind| kind == Kind::Deployment;
    assert_eq!(change_every_field(&site, wanted).await, listed(wanted));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_the_other_children_that_somebody_changes_is_put_back_and_reported() {
    let site = Site::new("drift-rest", json!({ "type": "development" })).await;
    let wanted = |kind: Kind| kind != Kind::Deployment;
    assert_eq!(change_every_field(&site, wanted).await, listed(wanted));
}

/// What an object holds and comes back with: not its address or number, nor how many pods there are, with the pace
/// that follows from it, nor the mark of a rotation, which only that object knew of.
fn content(object: &Value) -> Value {
    let mut content = object.clone();
    let fields = content.as_object_mut().expect("object");
    // Of what is listed neither kind nor version is told.
    for told in ["apiVersion", "kind", "metadata", "status", "revision"] {
        fields.remove(told);
    }
    if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
        for decided in ["clusterIP", "clusterIPs", "replicas", "strategy"] {
            spec.remove(decided);
        }
    }
    let marks = content.pointer_mut("/spec/template/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(marks) = marks {
        marks.retain(|mark, _| ![names::SECRETS_ROTATION, names::SECRETS_ROTATED].contains(&mark.as_str()));
    }
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn every_child_that_somebody_deletes_comes_back_and_is_reported() {
    let site = Site::new("drift-gone", json!({ "type": "development" })).await;
    let service = settled(&site).await.remove(0);
    let children = site.all_children(&service).await;
    let kinds: BTreeSet<&str> = children.iter().map(|(kind, _)| kind.as_str()).collect();
    // A token is held by installed::service_tokens, and a Job is made once.
    let wanted = |kind: &Kind| !kind.is_optional() && ![Kind::Secret, Kind::Job].contains(kind);
    let wanted: BTreeSet<&str> = Kind::ALL.into_iter().filter(wanted).map(Kind::as_str).collect();
    assert_eq!(kinds, wanted);
    for (kind, child) in children {
        let (name, uid) = (child["metadata"]["name"].as_str().expect("name"), &child["metadata"]["uid"]);
        site.children(kind).delete(name, &DeleteParams::background()).await.expect("deleted");
        let back = eventually(&format!("{} {name} to come back", kind.as_str()), || async {
            match site.child(kind, name).await {
                Some(now) if now["metadata"]["uid"] != *uid && content(&now) == content(&child) => Ok(now),
                other => Err(other),
            }
        })
        .await;
        assert_eq!(back["metadata"]["ownerReferences"], child["metadata"]["ownerReferences"]);
        let note = format!("somebody deleted {} {name}", kind.as_str());
        eventually(&note, || async {
            let told = events(&site, &service).await;
            if told.iter().any(|event| event.starts_with("DriftRepaired") && event.contains(&note)) {
                Ok(())
            } else {
                Err(told)
            }
        })
        .await;
    }
    site.ready(&service).await;
    site.stays_untouched(&service, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_loses_its_owner_is_taken_back_without_touching_pods() {
    let site = Site::new("drift-owner", json!({ "type": "development" })).await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    let pods = site.pod_uids("users").await;
    let remove = json!([{ "op": "remove", "path": "/metadata/ownerReferences" }]);
    let let_go =
        json!([{ "op": "replace", "path": "/metadata/ownerReferences/0/controller", "value": false }]);
    for (kind, child) in site.all_children("users").await {
        let name = child["metadata"]["name"].as_str().expect("name");
        let owners = &child["metadata"]["ownerReferences"];
        for patch in [&remove, &let_go] {
            site.meddle(kind, name, patch.clone()).await.expect("changed");
            eventually(&format!("{} {name} to have its owner back", kind.as_str()), || async {
                let now = site.existing(kind, name).await;
                if now["metadata"]["ownerReferences"] == *owners
                    && now["metadata"]["uid"] == child["metadata"]["uid"]
                {
                    Ok(())
                } else {
                    Err(now["metadata"].clone())
                }
            })
            .await;
        }
        let of = format!(" of {} {name}", kind.as_str());
        let tells =
            |event: &&String| event.contains("changed metadata.ownerReferences") && event.contains(&of);
        eventually(&format!("both changes{of} to be told"), || async {
            let told = events(&site, "users").await;
            if told.iter().filter(tells).count() == 2 { Ok(()) } else { Err(told) }
        })
        .await;
    }
    let service = site.ready("users").await;
    assert!(is(&service, "Accepted", "True"), "{:?}", service.status);
    assert_eq!(site.pod_uids("users").await, pods, "pods were replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_deleted_without_its_children_finds_them_when_it_is_made_again() {
    let site = Site::new("orphans", json!({ "type": "development" })).await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    let pods = site.pod_uids("users").await;
    kubectl(&["delete", "vbs/users", "-n", &site.namespace, "--cascade=orphan"], None);
    site.apply("users", quick(json!({}))).await;
    let service = site.ready("users").await;
    assert_eq!(site.pod_uids("users").await, pods, "pods were replaced");
    for (kind, child) in site.all_children("users").await {
        let owner = child["metadata"]["ownerReferences"][0]["uid"].as_str().map(str::to_string);
        assert_eq!(owner, service.metadata.uid, "{}", kind.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_that_somebody_edits_is_put_back_to_the_colour_that_serves() {
    let site = Site::new("drift-selector", json!({ "type": "development" })).await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    let selector = |service: &Value| service["spec"]["selector"].clone();
    let before = selector(&site.existing(Kind::Service, "users").await);
    assert_eq!(before["version"], "blue");
    for other in [json!({ "version": "green" }), json!({ "app": "somebody-else" })] {
        let patch = json!([{ "op": "replace", "path": "/spec/selector", "value": other }]);
        site.meddle(Kind::Service, "users", patch).await.expect("changed");
        eventually("the selector to be put back", || async {
            let now = selector(&site.existing(Kind::Service, "users").await);
            if now == before { Ok(()) } else { Err(now) }
        })
        .await;
    }
    let told = events(&site, "users").await;
    assert!(
        told.iter().any(|event| event.contains(&format!("{INTRUDER} changed spec.selector"))),
        "{told:?}"
    );
}
