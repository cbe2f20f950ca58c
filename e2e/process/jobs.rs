//! Jobs of releases: migrations and checks that fail, never end or cannot start, and an operator that dies among them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::watcher;
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::api::names::{self, Colour};
use visiobook::api::{Outcome, Phase, ReleaseState};

use super::rollout::{approve, ended, order, rollout, second, selected, selects, stage, state};
use crate::support::proxy::Proxy;
use crate::support::{Site, events, eventually, is, message, observed, quick};

/// An image with an interpreter, so that a test can say what its Jobs do.
pub const PYTHON: &str = "docker.io/visiobook/example-python:1.0.0";

/// A service whose migration is this program; `release` makes revisions differ.
fn migrating(program: &str, release: &str) -> Value {
    quick(json!({
        "stack": "python", "image": PYTHON, "env": { "RELEASE": release },
        "migration": { "command": ["/interpreter", "-c", program], "retries": 0, "deadlineSeconds": 60 },
    }))
}

/// A check that is this program.
fn check(program: &str) -> Value {
    json!({ "checks": { "deadlineSeconds": 60, "job": { "image": PYTHON, "command": ["/interpreter", "-c", program] } } })
}

/// The second version, under such a check.
fn checked(program: &str) -> Value {
    let mut spec = second();
    spec["rollout"] = check(program);
    spec
}

const DONE: &str = "print('done')";
const FAILS: &str = "import sys; print('no such table', file=sys.stderr); sys.exit(3)";
/// Asks what it is to check, as a team's smoke test would.
const ASKS: &str = "import os, urllib.request; assert urllib.request.urlopen(os.environ['VISIOBOOK_CHECK_URL']).status == 200";

/// The pods of Jobs that were ever there, by uid, with the names of their Jobs.
fn watch(site: &Site) -> Arc<Mutex<BTreeSet<(String, String)>>> {
    let seen: Arc<Mutex<BTreeSet<(String, String)>>> = Arc::default();
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), &site.namespace);
    let collected = seen.clone();
    tokio::spawn(async move {
        let events = watcher(pods, watcher::Config::default().labels(names::JOB_OF));
        futures::pin_mut!(events);
        while let Some(event) = events.next().await {
            if let Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) = event {
                let job = pod.labels().get("batch.kubernetes.io/job-name").cloned().unwrap_or_default();
                collected.lock().expect("a lock").insert((job, pod.uid().unwrap_or_default()));
            }
        }
    });
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_fails_leaves_what_serves_alone_is_told_and_can_be_tried_again() {
    let stage = stage("migration-fails", json!({})).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", migrating(DONE, "1")).await;
    site.ready("users").await;
    let before = site.pod_uids("users").await;
    site.apply("users", migrating(FAILS, "2")).await;
    let failed = ended(site, "users", Outcome::Failed).await;
    assert_eq!((failed.state, failed.colour), (ReleaseState::Stable, Colour::Blue));
    let why = &failed.history[0].reason;
    assert!(why.contains("container migrate of pod") && why.contains("code 3: no such table"), "{why}");
    let service = site.condition("users", "Stalled", "True", "Failed").await;
    assert!(is(&service, "Ready", "True") && message(&service, "Stalled").contains("no such table"));
    assert_eq!(site.pod_uids("users").await, before, "no pod of it has started, and none has gone");
    assert!(site.child(Kind::Deployment, "users-green").await.is_none());
    eventually("the failure to be told", || async {
        let told = events(site, "users").await;
        if told.iter().any(|event| event.starts_with("MigrationFailed: ") && event.contains("no such table"))
        {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    let attempt = failed.attempt.expect("an attempt");
    let job = site.existing(Kind::Job, &names::job("users", Phase::Migration, &attempt)).await;
    assert_eq!(job["metadata"]["ownerReferences"][0]["name"], "users");

    // Another try is another attempt, and its Job takes the place of the one before it.
    order(site, "users", names::RETRY, Some(&attempt)).await;
    let again = site
        .until("users", "the second try", |service| {
            rollout(service).is_some_and(|r| r.number == 2 && r.outcome == Some(Outcome::Failed))
        })
        .await;
    let again = rollout(&again).and_then(|rollout| rollout.attempt.clone()).expect("an attempt");
    assert_ne!(again, attempt);
    eventually("one Job", || async {
        let jobs = site.children(Kind::Job).list(&ListParams::default()).await.expect("jobs");
        let names: Vec<String> = jobs.items.iter().map(ResourceExt::name_any).collect();
        if names == [names::job("users", Phase::Migration, &again)] { Ok(()) } else { Err(names) }
    })
    .await;
    // What is corrected needs no word.
    site.apply("users", migrating(DONE, "3")).await;
    assert_eq!(state(site, "users", ReleaseState::Retiring).await.colour, Colour::Green);
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_first_revision_starts_before_its_migration_in_either_strategy() {
    let stage = stage("migration-first", json!({ "strategy": "RollingUpdate" })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", migrating(FAILS, "1")).await;
    let service = site.condition("users", "Stalled", "True", "MigrationFailed").await;
    let told = message(&service, "Ready");
    assert!(is(&service, "Ready", "False") && told.contains("no such table"), "{told}");
    assert!(site.child(Kind::Deployment, "users-blue").await.is_none());
    site.apply("users", migrating(DONE, "2")).await;
    site.ready("users").await;
    let before = site.pod_uids("users").await;
    site.apply("users", migrating(FAILS, "3")).await;
    let service = site.condition("users", "Stalled", "True", "MigrationFailed").await;
    assert!(is(&service, "Ready", "True"), "{:?}", service.status);
    assert_eq!(site.pod_uids("users").await, before);
    // Back to what has run already: nothing is migrated again.
    let seen = watch(site);
    site.apply("users", migrating(DONE, "2")).await;
    site.condition("users", "Stalled", "False", "Running").await;
    assert_eq!(site.pod_uids("users").await, before);
    let again: Vec<_> =
        seen.lock().expect("a lock").iter().filter(|(job, _)| !job.contains("-1-")).cloned().collect();
    assert!(again.is_empty(), "{again:?}");
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn t11_a_migration_runs_once_though_its_operator_dies_at_any_write() {
    let stage = stage("migration-dying", json!({ "soakSeconds": 1, "warmSeconds": 1 })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", migrating(DONE, "0")).await;
    site.ready("users").await;
    drop(operator);
    let seen = watch(site);
    for write in 1..=12usize {
        let mut operator = stage.operator(&proxy);
        operator.leads().await;
        proxy.kill_at(write, operator.pid(), write % 2 == 0);
        site.apply("users", migrating(DONE, &write.to_string())).await;
        let promoted = |number: i64| {
            site.until("users", "its end", move |service| {
                observed(service)
                    && rollout(service).is_some_and(|r| {
                        (r.state, r.number, r.outcome)
                            == (ReleaseState::Stable, number, Some(Outcome::Promoted))
                    })
            })
        };
        tokio::select! {
            _ = operator.ended() => {}
            _ = promoted(write as i64) => {}
        }
        proxy.forward();
        drop(operator);
        let operator = stage.operator(&proxy);
        operator.leads().await;
        let end = promoted(write as i64).await;
        let end = rollout(&end).expect("a record");
        let done = end.jobs.iter().any(|job| job.phase == Phase::Migration && job.succeeded);
        assert!(done, "write {write}: {:?}", end.jobs);
        let job = names::job("users", Phase::Migration, end.attempt.as_deref().unwrap_or_default());
        let ran = seen.lock().expect("a lock").iter().filter(|(name, _)| *name == job).count();
        assert_eq!(ran, 1, "write {write}: {job} had {ran} pods");
        drop(operator);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_before_the_switch_ends_the_release_and_one_that_passes_lets_it_go_on() {
    let stage = stage("check-before", json!({})).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", quick(json!({ "networkPolicy": { "enabled": true } }))).await;
    site.ready("users").await;
    site.apply("users", checked(FAILS)).await;
    let failed = ended(site, "users", Outcome::Failed).await;
    assert_eq!((failed.colour, selects(site, "users").await), (Colour::Blue, Some(Colour::Blue)));
    let why = &failed.history[0].reason;
    assert!(why.contains("the check before the switch failed") && why.contains("no such table"), "{why}");
    assert!(failed.history[0].switched.is_none(), "traffic never moved");

    let mut good = checked(ASKS);
    good["env"]["RELEASE"] = "3".into();
    good["networkPolicy"] = json!({ "enabled": true });
    site.apply("users", good).await;
    let promoted = state(site, "users", ReleaseState::Retiring).await;
    let jobs: Vec<_> = promoted.jobs.iter().map(|job| (job.phase, job.succeeded)).collect();
    assert_eq!(jobs, [(Phase::Preview, true), (Phase::Live, true)], "let in through the service's policy");
    eventually("the Jobs to go once they are recorded", || async {
        let jobs = site.children(Kind::Job).list(&ListParams::default()).await.expect("jobs").items;
        if jobs.is_empty() { Ok(()) } else { Err(jobs.iter().map(ResourceExt::name_any).collect::<Vec<_>>()) }
    })
    .await;
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_after_the_switch_returns_traffic_by_itself() {
    let stage = stage("check-after", json!({ "soakSeconds": 2 })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    let blue = site.pod_uids("users").await;
    let program = "import os, sys; sys.exit(os.environ['VISIOBOOK_CHECK_PHASE'] == 'live')";
    site.apply("users", checked(program)).await;
    let back = ended(site, "users", Outcome::RolledBack).await;
    assert_eq!((back.colour, back.state), (Colour::Blue, ReleaseState::Stable));
    let past = &back.history[0];
    assert!(past.switched.is_some() && past.reason.contains("the check after the switch failed"), "{past:?}");
    selected(site, "users", Colour::Blue).await;
    eventually("the old pods alone", || async {
        let now = site.pod_uids("users").await;
        if now == blue { Ok(()) } else { Err(now) }
    })
    .await;
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_held_against_the_contract_and_one_that_breaks_it_ends() {
    let stage = stage("conformance", json!({ "checks": { "conformance": true } })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    // Callers get the application's own answers, without the ids of the contract.
    let mut bare = second();
    bare["sidecar"] = json!({ "mode": "Observe" });
    site.apply("users", bare).await;
    let failed = ended(site, "users", Outcome::Failed).await;
    assert_eq!((failed.colour, selects(site, "users").await), (Colour::Blue, Some(Colour::Blue)));
    let why = &failed.history[0].reason;
    assert!(why.contains("container conformance") && why.contains("correlation/echo"), "{why}");

    let good = json!({ "env": { "RELEASE": "3" }, "sidecar": { "errors": { "envelope": true } } });
    site.apply("users", quick(good)).await;
    let promoted = state(site, "users", ReleaseState::Retiring).await;
    let jobs: Vec<_> = promoted.jobs.iter().map(|job| (job.phase, job.succeeded)).collect();
    assert_eq!(jobs, [(Phase::Preview, true), (Phase::Live, true)]);
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn t09_a_check_that_cannot_start_ends_at_its_deadline_with_the_reason_and_takes_the_new_colour_with_it()
{
    let stage = stage("check-nowhere", json!({ "deadlineSeconds": 300 })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    let blue = site.pod_uids("users").await;
    let mut nowhere = checked(DONE);
    nowhere["rollout"]["checks"]["deadlineSeconds"] = 60.into();
    nowhere["rollout"]["checks"]["job"]["image"] = "ghcr.io/visiobook-esp/user-service:bad".into();
    site.apply("users", nowhere).await;
    let waits = site.until("users", "the reason while it waits", |service| {
        rollout(service).is_some_and(|r| r.state == ReleaseState::Verifying && r.reason.contains("ImagePull"))
    });
    waits.await;
    let failed = ended(site, "users", Outcome::Failed).await;
    let why = &failed.history[0].reason;
    assert!(why.contains("did not end within 60 s; container check of pod"), "{why}");
    eventually("the new colour and its Job to go", || async {
        let (now, jobs) =
            (site.pod_uids("users").await, site.children(Kind::Job).list(&ListParams::default()).await);
        let jobs = jobs.expect("jobs").items.len();
        if now == blue && jobs == 0 { Ok(()) } else { Err((now, jobs)) }
    })
    .await;
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn t03_t06_t08_while_a_check_runs_the_preview_answers_a_new_size_counts_and_an_approval_moves_traffic_once()
 {
    let stage = stage("check-meanwhile", json!({ "approval": true, "soakSeconds": 600 })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    site.apply("users", checked("import time; time.sleep(15)")).await;
    let attempt = state(site, "users", ReleaseState::Verifying).await.attempt.expect("an attempt");
    // T8: approved while it is still checked, again and again.
    for _ in 0..5 {
        approve(site, "users", &attempt).await;
    }
    // T6: scaled up meanwhile.
    let scale = json!({ "spec": { "replicas": 3 } });
    site.services()
        .patch_scale("users", &PatchParams::default(), &Patch::Merge(&scale))
        .await
        .expect("scaled");
    let slices: Api<EndpointSlice> = Api::namespaced(site.client.clone(), &site.namespace);
    let preview = ListParams::default().labels("kubernetes.io/service-name=users-preview");
    // T3: until traffic moves, the preview leads to what is checked.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        let service = site.services().get("users").await.expect("users");
        let now = rollout(&service).expect("a release").clone();
        assert_eq!(now.state, ReleaseState::Verifying, "{now:?}");
        assert_eq!(selects(site, "users").await, Some(Colour::Blue), "it is not checked yet");
        let listed = slices.list(&preview).await.expect("slices");
        let endpoints = listed.items.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        let ready = endpoints.filter(|e| e.conditions.as_ref().and_then(|c| c.ready) != Some(false)).count();
        assert!(ready > 0, "the preview leads to nobody: {}", now.reason);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let soaking = state(site, "users", ReleaseState::Soaking).await;
    assert_eq!((soaking.colour, soaking.pods, soaking.number), (Colour::Green, Some(3), 1));
    assert!(soaking.jobs.iter().any(|job| job.phase == Phase::Preview && job.succeeded));
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_colour_that_has_no_room_is_told_as_its_release_begins() {
    let stage = stage("no-room", json!({ "deadlineSeconds": 12 })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    site.apply_object(json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "team" }, "spec": { "hard": { "pods": "3" } } }))
        .await;
    eventually("the quota to be counted", || async {
        let quota = site.children(Kind::ResourceQuota).get("team").await.expect("a quota");
        if quota.data["status"]["used"]["pods"] == "2" { Ok(()) } else { Err(quota.data["status"].clone()) }
    })
    .await;
    site.apply("users", second()).await;
    let failed = ended(site, "users", Outcome::DeadlineExceeded).await;
    let why = &failed.history[0].reason;
    assert!(why.contains("exceeded quota: team"), "{why}");
    let told = events(site, "users").await;
    let room = "NoRoom: ResourceQuota team allows 3 of pods, of which 2 is taken; 2 pods more need 2";
    assert!(told.iter().any(|event| event.starts_with(room)), "{told:?}");
    assert_eq!(selects(site, "users").await, Some(Colour::Blue));
    drop(operator);
}
