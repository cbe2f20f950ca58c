//! Environments govern: what they forbid never gets in, what they give is kept, and nobody walks around them.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::api::{VisiobookEnvironment, VisiobookService, names};

use crate::support::people::{Rights, client_of};
use crate::support::{INTRUDER, STANDIN, Site, audit, eventually, is, kubectl, message, try_kubectl};

const APPROVE: &str = "platform.visiobook.com/approve";
const APPROVED_BY: &str = "platform.visiobook.com/approved-by";
const ATTEST: &str = "attest.platform.visiobook.com/database-backup";
const BREAK_GLASS: &str = "platform.visiobook.com/break-glass";
const BREAK_GLASS_BY: &str = "platform.visiobook.com/break-glass-by";
const BREAK_GLASS_REASON: &str = "platform.visiobook.com/break-glass-reason";

/// A production environment whose groups are named after the namespace of the test, so that tests share nobody.
fn production(more: Value) -> Value {
    let mut spec = json!({
        "type": "production",
        "defaults": { "replicas": 0, "autoscaling": { "enabled": false } },
    });
    visiobook::plan::merge(&mut spec, more);
    spec
}

fn group(site: &Site, role: &str) -> String {
    format!("{}:{role}", site.namespace)
}

/// The environment's groups, once they are bound.
async fn with_people(name: &str, more: Value) -> Site {
    let site = Site::new(name, production(json!({}))).await;
    let access = json!({
        "view": [group(&site, "developers")], "edit": [group(&site, "maintainers")], "approve": [group(&site, "approvers")],
    });
    let mut spec = production(json!({ "access": access }));
    visiobook::plan::merge(&mut spec, more);
    site.environment(&site.namespace, spec).await;
    for role in visiobook::api::names::ROLES {
        eventually(&format!("a binding of {role}"), || async {
            site.child(Kind::RoleBinding, role).await.ok_or("none")
        })
        .await;
    }
    site
}

async fn person(site: &Site, name: &str, role: &str) -> Client {
    client_of(name, &[&group(site, role)]).await
}

/// Annotations of a service, changed by somebody; null takes one out.
async fn annotate(client: &Client, site: &Site, annotations: Value) -> Result<(), String> {
    patch(client, site, json!({ "metadata": { "annotations": annotations } })).await
}

async fn patch(client: &Client, site: &Site, patch: Value) -> Result<(), String> {
    let services: Api<VisiobookService> = Api::namespaced(client.clone(), &site.namespace);
    let answer = services.patch("users", &PatchParams::default(), &Patch::Merge(&patch)).await;
    answer.map(drop).map_err(|error| error.to_string())
}

/// Roles reach the authorizer a moment after they are stored.
async fn may_read(client: &Client, site: &Site) {
    let services: Api<VisiobookService> = Api::namespaced(client.clone(), &site.namespace);
    eventually("the right to read", || async { services.get("users").await.map(drop) }).await;
}

fn told(answer: Result<(), String>, words: &[&str]) {
    let told = answer.expect_err("admitted");
    for word in words {
        assert!(told.contains(word), "no \"{word}\" in: {told}");
    }
}

async fn environment(site: &Site) -> VisiobookEnvironment {
    let environments: Api<VisiobookEnvironment> = Api::all(site.client.clone());
    environments.get(&site.namespace).await.expect("environment")
}

/// Wait until a condition of the environment has this status and says these words.
async fn says(site: &Site, type_: &str, status: &str, words: &[&str]) -> VisiobookEnvironment {
    eventually(&format!("{type_}={status} {words:?}"), || async {
        let environment = environment(site).await;
        let conditions = environment.status.iter().flat_map(|status| &status.conditions);
        let found = conditions.clone().any(|condition| {
            condition.type_ == type_
                && condition.status == status
                && words.iter().all(|word| condition.message.contains(word))
        });
        if found { Ok(environment) } else { Err(environment.status) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_reads_production_and_changes_nothing_in_it() {
    let site = with_people("developer", json!({})).await;
    site.apply("users", json!({ "image": STANDIN })).await;
    site.secret("keys", &[("token", "secret")]).await;
    let developer = person(&site, "dora", "developers").await;
    may_read(&developer, &site).await;

    let forbidden = ["is forbidden", "dora"];
    told(patch(&developer, &site, json!({ "spec": { "replicas": 2 } })).await, &forbidden);
    told(annotate(&developer, &site, json!({ APPROVE: "a-1", APPROVED_BY: "dora" })).await, &forbidden);
    let secrets: Api<Secret> = Api::namespaced(developer.clone(), &site.namespace);
    assert!(secrets.get("keys").await.expect_err("a secret is read").to_string().contains("is forbidden"));
    assert!(secrets.list(&ListParams::default()).await.is_err(), "secrets are listed");
    let services: Api<VisiobookService> = Api::namespaced(developer.clone(), &site.namespace);
    assert!(services.delete("users", &DeleteParams::default()).await.is_err(), "a service is deleted");
    // Elsewhere nobody knows them.
    let elsewhere: Api<VisiobookService> = Api::namespaced(developer, "default");
    assert!(elsewhere.list(&ListParams::default()).await.is_err(), "services of others are read");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_approver_approves_under_their_own_name_and_nothing_else_at_once() {
    let site = with_people("approve", json!({})).await;
    site.apply("users", json!({ "image": STANDIN })).await;
    let maintainer = person(&site, "mara", "maintainers").await;
    let approver = person(&site, "ada", "approvers").await;
    may_read(&maintainer, &site).await;
    may_read(&approver, &site).await;

    let by = |name: &str| json!({ APPROVE: "a-1", APPROVED_BY: name });
    told(annotate(&maintainer, &site, by("mara")).await, &["mara may not approve users", "[approval-right]"]);
    told(annotate(&maintainer, &site, by("ada")).await, &["[approval-right]"]);
    told(annotate(&approver, &site, json!({ APPROVE: "a-1" })).await, &["set it to ada", "[approval-name]"]);
    told(annotate(&approver, &site, by("mara")).await, &["set it to ada", "[approval-name]"]);
    told(annotate(&maintainer, &site, json!({ APPROVED_BY: "ada" })).await, &["[approval-name]"]);
    let both = json!({ "metadata": { "annotations": by("ada") }, "spec": { "replicas": 1 } });
    told(patch(&approver, &site, both).await, &["change spec first", "[approval-alone]"]);
    let spec = json!({ "spec": { "image": "ghcr.io/visiobook/other:1.0" } });
    told(patch(&approver, &site, spec).await, &["ada may not change users", "[edit-right]"]);
    patch(&maintainer, &site, json!({ "spec": { "env": { "A": "1" } } })).await.expect("who may edit, may");
    let born = json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
        "metadata": { "name": "born", "namespace": site.namespace, "annotations": { APPROVE: "a-1", APPROVED_BY: "x" } },
        "spec": { "image": STANDIN },
    });
    let (made, answer) = try_kubectl(&["create", "-f", "-"], Some(&born.to_string()));
    assert!(!made && answer.contains("[approval-"), "{answer}");

    // The same for a release in a freeze, which has to say why too.
    let glass = |name: &str, why: Option<&str>| json!({ BREAK_GLASS: "a-1", BREAK_GLASS_BY: name, BREAK_GLASS_REASON: why });
    let why = Some("customers cannot pay");
    told(
        annotate(&maintainer, &site, glass("mara", why)).await,
        &["mara may not release", "[break-glass-right]"],
    );
    told(annotate(&approver, &site, glass("mara", why)).await, &["set it to ada", "[break-glass-name]"]);
    told(annotate(&approver, &site, glass("ada", None)).await, &["[break-glass-reason]"]);
    told(annotate(&approver, &site, glass("ada", Some(" "))).await, &["[break-glass-reason]"]);
    told(annotate(&maintainer, &site, json!({ BREAK_GLASS_REASON: "any" })).await, &["[break-glass-name]"]);
    let both = json!({ "metadata": { "annotations": glass("ada", why) }, "spec": { "replicas": 1 } });
    told(patch(&approver, &site, both).await, &["change spec first", "[break-glass-alone]"]);
    annotate(&approver, &site, glass("ada", why)).await.expect("an approver breaks the glass");
    told(
        annotate(&maintainer, &site, json!({ BREAK_GLASS_REASON: "other" })).await,
        &["[break-glass-right]"],
    );
    let back = json!({ BREAK_GLASS: null, BREAK_GLASS_BY: null, BREAK_GLASS_REASON: null });
    annotate(&maintainer, &site, back).await.expect("taken back");

    annotate(&approver, &site, by("ada")).await.expect("an approver approves");
    is_audited(&site, "ada").await;
    // Who approved stays on record: nobody changes the name, and other changes leave it alone.
    told(annotate(&maintainer, &site, json!({ APPROVED_BY: "mara" })).await, &["[approval-right]"]);
    told(annotate(&maintainer, &site, json!({ APPROVED_BY: null })).await, &["[approval-right]"]);
    patch(&maintainer, &site, json!({ "spec": { "replicas": 1 } })).await.expect("an editor edits");
    // Withdrawing takes no more than the right to edit.
    annotate(&maintainer, &site, json!({ APPROVE: null, APPROVED_BY: null })).await.expect("withdrawn");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_edit_attests_under_their_own_name_with_evidence_and_nothing_else_at_once() {
    let site = with_people("attest", json!({})).await;
    site.apply("users", json!({ "image": STANDIN })).await;
    let maintainer = person(&site, "mara", "maintainers").await;
    let approver = person(&site, "ada", "approvers").await;
    may_read(&maintainer, &site).await;
    may_read(&approver, &site).await;

    let says = |value: &str| json!({ ATTEST: value });
    for nothing in ["yes", "a-1 mara", "a-1 mara ", "a-1 mara   "] {
        told(annotate(&maintainer, &site, says(nothing)).await, &["[attestation-evidence]"]);
    }
    told(
        annotate(&maintainer, &site, says("a-1 ada backups/4711")).await,
        &["say mara there", "[attestation-name]"],
    );
    let both =
        json!({ "metadata": { "annotations": says("a-1 mara backups/4711") }, "spec": { "replicas": 1 } });
    told(patch(&maintainer, &site, both).await, &["change spec first", "[attestation-alone]"]);

    annotate(&maintainer, &site, says("a-1 mara backups/4711 of 03:00")).await.expect("attested");
    // What stands is nobody else's to change, but everybody's to take back; other changes leave it alone.
    told(annotate(&approver, &site, says("a-1 mara backups/4712")).await, &["[attestation-name]"]);
    patch(&maintainer, &site, json!({ "spec": { "replicas": 1 } })).await.expect("an editor edits");
    annotate(&approver, &site, says("a-2 ada backups/4712")).await.expect("attested anew");
    annotate(&maintainer, &site, json!({ ATTEST: null })).await.expect("taken back");
}

/// The API server's own record names who changed the service, where it can be read.
async fn is_audited(site: &Site, user: &str) {
    let Some(file) = audit::log() else { return };
    let who = |line: &str| {
        let event: Value = serde_json::from_str(line).ok()?;
        let changed = event["verb"] == "patch" && event["responseStatus"]["code"] == 200;
        changed.then(|| event["impersonatedUser"]["username"].as_str().map(str::to_string))?
    };
    eventually(&format!("a record of {user}"), || async {
        let log = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        let path = format!("/namespaces/{}/visiobookservices/users", site.namespace);
        let told = log.lines().filter(|line| line.contains(&path)).filter_map(who).any(|name| name == user);
        if told { Ok(()) } else { Err("nobody is named".to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_made_stricter_only_if_asked_and_never_laxer() {
    let folder = format!("{}/config/pod-security", env!("CARGO_MANIFEST_DIR"));
    kubectl(&["apply", "--server-side", "--force-conflicts", "-k", &folder], None);
    let asked =
        |level: &str, mode: &str| production(json!({ "podSecurity": { "enforce": level, "mode": mode } }));
    let site = Site::new("strictness", asked("baseline", "Report")).await;
    says(&site, "PodSecurity", "False", &[&site.namespace]).await;
    let label = || async {
        let namespaces: Api<Namespace> = Api::all(site.client.clone());
        let namespace = namespaces.get(&site.namespace).await.expect("namespace");
        namespace.labels().get("pod-security.kubernetes.io/enforce").cloned()
    };
    assert_eq!(label().await, None);
    for (level, enforced) in [("restricted", "restricted"), ("baseline", "restricted")] {
        site.environment(&site.namespace, asked(level, "Set")).await;
        says(&site, "PodSecurity", "True", &[level]).await;
        assert_eq!(label().await.as_deref(), Some(enforced));
    }
    kubectl(&["delete", "-k", &folder], None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_with_every_right_approves_only_where_the_environment_names_it() {
    let site = with_people("accounts", json!({})).await;
    site.apply("users", json!({ "image": STANDIN })).await;
    let account = json!({ "kind": "ServiceAccount", "name": "argocd", "namespace": "argocd" });
    let all = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let _rights = Rights::grant(&site, "argocd", all, account);
    let name = "system:serviceaccount:argocd:argocd";
    let argocd = client_of(name, &[]).await;
    may_read(&argocd, &site).await;
    let by = json!({ APPROVE: "a-1", APPROVED_BY: name });
    told(annotate(&argocd, &site, by.clone()).await, &["is a service account", "[approval-account]"]);

    let named = production(
        json!({ "access": { "approverAccounts": [{ "namespace": "argocd", "name": "argocd" }] } }),
    );
    site.environment(&site.namespace, named).await;
    eventually("the account to be named", || annotate(&argocd, &site, by.clone())).await;

    // Without an environment no account is named.
    annotate(&argocd, &site, json!({ APPROVE: null, APPROVED_BY: null })).await.expect("withdrawn");
    site.label(None).await;
    eventually("the built-in rules", || async {
        let services: Api<VisiobookService> = Api::namespaced(argocd.clone(), &site.namespace);
        let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
        let by = json!({ "metadata": { "annotations": { APPROVE: "a-2", APPROVED_BY: name } } });
        match services.patch("users", &dry_run, &Patch::Merge(&by)).await {
            Err(error) if error.to_string().contains("[approval-account]") => Ok(()),
            other => Err(other.map(drop)),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stricter_environment_marks_what_runs_and_takes_annotations_but_no_further_change() {
    let site = with_people("outlawed", json!({})).await;
    site.apply("users", json!({ "image": STANDIN })).await;
    site.condition("users", "Accepted", "True", "Valid").await;
    let before = eventually("a Deployment", || async {
        site.child(Kind::Deployment, "users-blue").await.ok_or("none")
    })
    .await;

    let approver = person(&site, "ada", "approvers").await;
    may_read(&approver, &site).await;
    annotate(&approver, &site, json!({ APPROVE: "a-1", APPROVED_BY: "ada" })).await.expect("approved");

    let strict = production(
        json!({ "images": { "registries": ["registry.example"] }, "limits": { "minReplicas": 2, "replicas": 3 }, "defaults": { "replicas": 2 } }),
    );
    site.environment(&site.namespace, strict).await;
    let service = site.condition("users", "Accepted", "False", "Refused").await;
    assert!(message(&service, "Accepted").contains("take the image from registry.example [image-registry]"));
    let name = format!("{}/users", site.namespace);
    let told_of = says(&site, "Conforming", "False", &[&name, "[image-registry]", "run as they were"]).await;
    let status = told_of.status.expect("status");
    assert_eq!((status.namespaces, status.services, status.violations), (1, 1, 1));

    let admin = &site.client;
    // Neither a release that somebody stops nor a yes that is taken back is a change of what is forbidden.
    annotate(admin, &site, json!({ names::ABORT: "a-1" })).await.expect("stopped");
    annotate(admin, &site, json!({ APPROVE: null, APPROVED_BY: null })).await.expect("withdrawn");
    told(patch(admin, &site, json!({ "spec": { "env": { "A": "1" } } })).await, &["[image-registry]"]);
    for (size, rule) in [("4", "[replicas-ceiling]"), ("1", "[replicas-minimum]")] {
        let (scaled, answer) =
            try_kubectl(&["scale", "vbs/users", "-n", &site.namespace, "--replicas", size], None);
        assert!(!scaled && answer.contains(rule), "{answer}");
    }
    let after = site.existing(Kind::Deployment, "users-blue").await;
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["spec"]["template"], before["spec"]["template"], "what runs was changed");

    site.environment(&site.namespace, production(json!({}))).await;
    site.condition("users", "Accepted", "True", "Valid").await;
    says(&site, "Conforming", "True", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_environment_gives_its_namespaces_is_kept_and_outlives_it() {
    let given = json!({
        "quota": { "hard": { "requests.cpu": "2000m", "requests.nvidia.com/gpu": "2" } },
        "limitRange": { "limits": [{ "type": "Container", "max": { "cpu": "1000m" }, "min": { "memory": "16Mi" } }] },
        "podSecurity": { "enforce": "restricted" },
    });
    let site = with_people("given", given).await;
    says(&site, "Ready", "True", &["every namespace"]).await;
    let quota = site.existing(Kind::ResourceQuota, "visiobook-environment").await;
    assert_eq!(quota["spec"]["hard"], json!({ "requests.cpu": "2", "requests.nvidia.com/gpu": "2" }));
    let range = site.existing(Kind::LimitRange, "visiobook-environment").await;
    assert_eq!(range["spec"]["limits"][0]["default"], json!({ "cpu": "1" }));
    // A quota has a status of Kubernetes' own, and an environment a list of the others: neither says who wrote it.
    let versions = || async {
        let range = site.existing(Kind::LimitRange, "visiobook-environment").await;
        let binding = site.existing(Kind::RoleBinding, "visiobook-viewer").await;
        [range, binding].map(|object| object["metadata"]["resourceVersion"].clone())
    };
    // The label of the namespace is not the operator's to change, unless it is asked to.
    says(&site, "PodSecurity", "False", &[&site.namespace, "pod-security.kubernetes.io/enforce=restricted"])
        .await;
    let settled = versions().await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(versions().await, settled, "an environment that nobody touches is written to");

    // Whoever changes what is given sees it put back.
    let widen = json!([{ "op": "replace", "path": "/spec/hard/requests.cpu", "value": "100" }]);
    site.meddle(Kind::ResourceQuota, "visiobook-environment", widen).await.expect(INTRUDER);
    let join = json!([{ "op": "add", "path": "/subjects/-", "value": { "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve" } }]);
    site.meddle(Kind::RoleBinding, "visiobook-approver", join).await.expect(INTRUDER);
    site.children(Kind::RoleBinding)
        .delete("visiobook-viewer", &DeleteParams::default())
        .await
        .expect("deleted");
    eventually("everything to be put back", || async {
        let quota = site.existing(Kind::ResourceQuota, "visiobook-environment").await;
        let approvers = site.existing(Kind::RoleBinding, "visiobook-approver").await;
        let viewers = site.child(Kind::RoleBinding, "visiobook-viewer").await;
        let kept = quota["spec"]["hard"]["requests.cpu"] == "2"
            && approvers["subjects"].as_array().is_some_and(|subjects| subjects.len() == 1)
            && viewers.is_some();
        if kept { Ok(()) } else { Err((quota, approvers, viewers)) }
    })
    .await;

    // What the environment no longer gives goes; what it gives stays when it goes itself.
    let access = json!({ "access": { "approve": [group(&site, "approvers")] } });
    site.environment(&site.namespace, production(access)).await;
    eventually("the quota to go", || async {
        match site.child(Kind::ResourceQuota, "visiobook-environment").await {
            None => Ok(()),
            some => Err(some),
        }
    })
    .await;
    site.apply("users", json!({ "image": STANDIN })).await;
    site.condition("users", "Accepted", "True", "Valid").await;
    let environments: Api<VisiobookEnvironment> = Api::all(site.client.clone());
    environments.delete(&site.namespace, &DeleteParams::default()).await.expect("deleted");
    let service = site.condition("users", "Accepted", "False", "Refused").await;
    assert!(message(&service, "Accepted").contains("[environment-exists]"), "{:?}", service.status);
    assert!(site.child(Kind::RoleBinding, "visiobook-approver").await.is_some(), "approvers are locked out");
    assert!(site.child(Kind::Deployment, "users-blue").await.is_some(), "what runs was torn down");
    eventually("the label to be refused", || async {
        match site.would_apply("users", json!({ "image": STANDIN, "env": { "A": "1" } })).await {
            Err(error) if error.to_string().contains("[environment-exists]") => Ok(()),
            other => Err(other.map(|service| service.spec)),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_moves_follows_its_new_environment_and_keeps_what_runs() {
    let site = Site::new("moves", production(json!({ "quota": { "hard": { "pods": "9" } } }))).await;
    site.apply("users", json!({ "image": STANDIN })).await;
    site.condition("users", "Accepted", "True", "Valid").await;
    let hard = |quota: Option<Value>| quota.map(|quota| quota["spec"]["hard"]["pods"].clone());
    eventually("a quota", || async {
        site.child(Kind::ResourceQuota, "visiobook-environment").await.ok_or("none")
    })
    .await;

    let other = format!("{}-other", site.namespace);
    let spec =
        production(json!({ "images": { "requireDigest": true }, "quota": { "hard": { "pods": "3" } } }));
    site.environment(&other, spec).await;
    site.label(Some(&other)).await;
    let service = site.condition("users", "Accepted", "False", "Refused").await;
    assert!(message(&service, "Accepted").contains("[image-digest]"), "{:?}", service.status);
    assert!(!is(&service, "Reconciling", "True"), "{:?}", service.status);
    assert!(site.child(Kind::Deployment, "users-blue").await.is_some(), "what runs was torn down");
    eventually("the quota of the new environment", || async {
        let quota = hard(site.child(Kind::ResourceQuota, "visiobook-environment").await);
        if quota == Some("3".into()) { Ok(()) } else { Err(quota) }
    })
    .await;
    let left = says(&site, "Ready", "True", &["no namespace"]).await.status.expect("status");
    assert_eq!((left.namespaces, left.services, left.violations), (0, 0, 0));
    kubectl(&["delete", "vbe", &other], None);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_assign_an_environment_changes_the_label_that_names_it() {
    let site = Site::new("label", production(json!({}))).await;
    let user = format!("nina-{}", site.namespace);
    let subject = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user });
    let namespaces = ["namespaces", "namespaces/status", "namespaces/finalize"];
    let rules = json!([{ "apiGroups": [""], "resources": namespaces, "verbs": ["get", "create", "update", "patch"] }]);
    let _rights = Rights::grant(&site, "namespaces", rules, subject.clone());
    let nina = client_of(&user, &[]).await;
    let own: Api<Namespace> = Api::all(nina.clone());
    eventually("the right to read", || async { own.get(&site.namespace).await.map(drop) }).await;

    let refused = |answer: kube::Result<Namespace>| {
        told(answer.map(drop).map_err(|error| error.to_string()), &["verb assign", "[environment-label]"]);
    };
    for label in [Value::Null, json!("elsewhere")] {
        let label = json!({ "metadata": { "labels": { "platform.visiobook.com/environment": label } } });
        refused(own.patch(&site.namespace, &PatchParams::default(), &Patch::Merge(&label)).await);
        refused(own.patch_status(&site.namespace, &PatchParams::default(), &Patch::Merge(&label)).await);
    }
    let mut bare = own.get(&site.namespace).await.expect("namespace");
    bare.labels_mut().remove("platform.visiobook.com/environment");
    let request = http::Request::put(format!("/api/v1/namespaces/{}/finalize", site.namespace))
        .header("content-type", "application/json")
        .body(
            serde_json::to_vec(&json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": bare.metadata, "spec": bare.spec,
            }))
            .expect("json"),
        );
    refused(nina.request::<Namespace>(request.expect("request")).await);
    let born = json!({ "metadata": { "name": format!("{}-born", site.namespace), "labels": { "platform.visiobook.com/environment": site.namespace } } });
    let born: Namespace = serde_json::from_value(born).expect("namespace");
    refused(own.create(&Default::default(), &born).await);
    // Other labels are nobody's business.
    let label = json!({ "metadata": { "labels": { "team": "a" } } });
    own.patch(&site.namespace, &PatchParams::default(), &Patch::Merge(&label)).await.expect("another label");

    let assign = json!([{ "apiGroups": ["platform.visiobook.com"], "resources": ["visiobookenvironments"], "resourceNames": [site.namespace], "verbs": ["assign"] }]);
    let _more = Rights::grant(&site, "assign", assign, subject);
    let label = json!({ "metadata": { "labels": { "platform.visiobook.com/environment": null } } });
    eventually("the right to assign", || async {
        own.patch(&site.namespace, &PatchParams::default(), &Patch::Merge(&label)).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_crds_are_deleted_on_purpose_only() {
    for name in ["visiobookservices.platform.visiobook.com", "visiobookenvironments.platform.visiobook.com"] {
        let (deleted, answer) = try_kubectl(&["delete", "crd", name, "--dry-run=server"], None);
        assert!(!deleted && answer.contains("platform.visiobook.com/allow-deletion"), "{answer}");
    }
    let all = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All";
    let (deleted, answer) = try_kubectl(&["delete", "--raw", all], None);
    assert!(!deleted && answer.contains("[crd-deletion]"), "{answer}");
}
