//! Releases from one colour to the other: what goes wrong with others (T1-T12, T22), with an operator that can be
//! watched, killed and lied to.

use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::api::names::{self, Colour};
use visiobook::api::{Outcome, ReleaseState, RolloutStatus, VisiobookService};

use crate::support::operator::Stage;
use crate::support::proxy::{Proxy, Verdict};
use crate::support::{Site, eventually, is, quick};

/// The next version, which is good.
pub(super) fn second() -> Value {
    quick(json!({ "env": { "RELEASE": "2" } }))
}

/// One whose image is nowhere.
fn bad() -> Value {
    let mut spec = second();
    spec["image"] = "ghcr.io/visiobook-esp/user-service:bad".into();
    spec
}

pub(super) async fn stage(name: &str, rollout: Value) -> Stage {
    let mut all = json!({ "strategy": "BlueGreen", "soakSeconds": 2, "warmSeconds": 3600 });
    visiobook::plan::merge(&mut all, rollout);
    let environment = json!({
        "type": "development", "rollout": all,
        "defaults": { "replicas": 2, "autoscaling": { "enabled": false } },
    });
    Stage::governed(name, environment).await
}

pub(super) fn rollout(service: &VisiobookService) -> Option<&RolloutStatus> {
    service.status.as_ref()?.rollout.as_ref()
}

/// Wait for a state, and tell where the releases stand in it.
pub(super) async fn state(site: &Site, name: &str, state: ReleaseState) -> RolloutStatus {
    let told = site.until(name, state.as_str(), |service| {
        crate::support::observed(service) && rollout(service).is_some_and(|rollout| rollout.state == state)
    });
    rollout(&told.await).expect("a release").clone()
}

pub(super) async fn ended(site: &Site, name: &str, outcome: Outcome) -> RolloutStatus {
    let told = site.until(name, outcome.as_str(), |service| {
        rollout(service).is_some_and(|rollout| rollout.outcome == Some(outcome))
    });
    rollout(&told.await).expect("a release").clone()
}

pub(super) async fn order(site: &Site, name: &str, annotation: &str, attempt: Option<&str>) {
    let patch = json!({ "metadata": { "annotations": { annotation: attempt } } });
    site.services().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("an order");
}

/// Approve under one's own name, and tell it.
pub(super) async fn approve(site: &Site, name: &str, attempt: &str) -> String {
    let reviews: Api<SelfSubjectReview> = Api::all(site.client.clone());
    let answer =
        reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.expect("a review");
    let me = answer.status.and_then(|status| status.user_info?.username).expect("a name");
    let patch = json!({ "metadata": { "annotations": { names::APPROVE: attempt, names::APPROVED_BY: me } } });
    site.services().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("approved");
    me
}

pub(super) async fn selects(site: &Site, name: &str) -> Option<Colour> {
    let service = site.child(Kind::Service, name).await?;
    Colour::parse(service["spec"]["selector"]["version"].as_str()?)
}

pub(super) async fn selected(site: &Site, name: &str, colour: Colour) {
    eventually(&format!("traffic on {}", colour.as_str()), || async {
        let now = selects(site, name).await;
        if now == Some(colour) { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t12_a_release_alternates_colours_and_an_undo_is_a_switch() {
    let stage = stage("alternate", json!({})).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    let reached = |mut spec: Value| {
        spec["ingress"] = json!({ "hosts": ["users.example"], "preview": true });
        spec
    };
    site.apply("users", reached(quick(json!({})))).await;
    let first = site.ready("users").await;
    let first = rollout(&first).expect("a record").clone();
    assert_eq!((first.state, first.colour, first.number), (ReleaseState::Stable, Colour::Blue, 0));
    let blue = site.pod_uids("users").await;
    assert!(site.child(Kind::Ingress, "users-preview").await.is_none(), "there is nothing to preview");

    site.apply("users", reached(second())).await;
    let promoted = state(site, "users", ReleaseState::Retiring).await;
    assert_eq!((promoted.colour, promoted.outcome), (Colour::Green, Some(Outcome::Promoted)));
    assert_eq!(promoted.previous_revision.as_ref(), Some(&first.revision));
    assert_eq!(selects(site, "users").await, Some(Colour::Green));
    let status = site.services().get("users").await.expect("users").status.expect("status");
    assert_eq!(status.active_colour, Some(Colour::Green));
    assert!(status.selector.is_some_and(|selector| selector.ends_with("version=green")));
    let both = site.pod_uids("users").await;
    assert!(both.len() == 4 && blue.iter().all(|uid| both.contains(uid)), "the old colour keeps its pods");
    let preview = site.existing(Kind::Service, "users-preview").await;
    assert_eq!(preview["spec"]["selector"]["version"], "blue", "it leads to what does not serve");
    let way = site.existing(Kind::Ingress, "users-preview").await;
    let rule = &way["spec"]["rules"][0];
    assert_eq!(rule["host"], "preview-users.example");
    assert_eq!(rule["http"]["paths"][0]["backend"]["service"]["name"], "users-preview");
    let deleted = site.children(Kind::Ingress).delete("users-preview", &DeleteParams::default()).await;
    deleted.expect("the way to the preview is deleted");
    eventually("the way to the preview", || async {
        let now = site.child(Kind::Ingress, "users-preview").await;
        now.filter(|now| now["metadata"]["uid"] != way["metadata"]["uid"]).map(drop).ok_or(())
    })
    .await;

    // What shapes no pod starts no release.
    let attempt = promoted.attempt.clone().expect("an attempt");
    let mut annotated = reached(second());
    annotated["service"] = json!({ "annotations": { "team": "users" } });
    site.apply("users", annotated).await;
    eventually("the annotation", || async {
        let service = site.existing(Kind::Service, "users").await;
        if service["metadata"]["annotations"]["team"] == "users" { Ok(()) } else { Err(service) }
    })
    .await;
    let after = site.services().get("users").await.expect("users");
    assert_eq!(rollout(&after).and_then(|rollout| rollout.attempt.clone()), Some(attempt.clone()));

    let started = Instant::now();
    order(site, "users", names::UNDO, Some(&attempt)).await;
    selected(site, "users", Colour::Blue).await;
    assert!(started.elapsed() < Duration::from_secs(30), "an undo took {:?}", started.elapsed());
    let undone = ended(site, "users", Outcome::RolledBack).await;
    assert_eq!((undone.colour, &undone.revision), (Colour::Blue, &first.revision));
    let service = site.condition("users", "Stalled", "True", "RolledBack").await;
    assert!(is(&service, "Ready", "True"));
    assert_eq!(undone.history.len(), 1, "{:?}", undone.history);
    for kind in [Kind::Service, Kind::Ingress] {
        eventually("no preview", || async { site.child(kind, "users-preview").await.map_or(Ok(()), Err) })
            .await;
    }

    // The same resource starts nothing, until somebody asks for it.
    order(site, "users", names::RETRY, Some(&attempt)).await;
    let again = state(site, "users", ReleaseState::Retiring).await;
    assert_eq!((again.number, again.colour), (2, Colour::Green));
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn t10_a_release_that_never_gets_ready_ends_at_its_deadline_and_takes_nothing_with_it() {
    let stage = stage("deadline", json!({})).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    let blue = site.pod_uids("users").await;
    let mut hurried = bad();
    hurried["rollout"] = json!({ "deadlineSeconds": 8 });
    site.apply("users", hurried).await;
    let given_up = ended(site, "users", Outcome::DeadlineExceeded).await;
    assert!(given_up.reason.contains(names::RETRY), "{}", given_up.reason);
    assert_eq!((given_up.state, given_up.colour), (ReleaseState::Stable, Colour::Blue));
    assert_eq!(selects(site, "users").await, Some(Colour::Blue));
    eventually("the pods of the bad version to go", || async {
        let now = site.pod_uids("users").await;
        if now == blue { Ok(()) } else { Err(now) }
    })
    .await;
    assert!(site.child(Kind::Deployment, "users-green").await.is_none());

    // It is tried again where somebody asks for it, and not twice.
    let attempt = given_up.attempt.expect("an attempt");
    order(site, "users", names::RETRY, Some(&attempt)).await;
    let retried = state(site, "users", ReleaseState::Deploying).await;
    assert_eq!(retried.number, 2);
    let ended = ended(site, "users", Outcome::DeadlineExceeded).await;
    assert_eq!((ended.number, ended.history.len()), (2, 2));
    // What is corrected needs no word.
    site.apply("users", second()).await;
    assert_eq!(state(site, "users", ReleaseState::Retiring).await.colour, Colour::Green);
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn t02_a_selector_that_is_edited_or_taken_away_goes_back_to_what_is_recorded() {
    let stage = stage("selector", json!({ "approval": true })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    site.apply("users", second()).await;
    let waiting = state(site, "users", ReleaseState::AwaitingApproval).await;
    // A look at a release that waits costs no request.
    proxy.quiet(Duration::from_secs(6)).await;
    let mark = proxy.mark();
    order(site, "users", "team.example.com/any", Some("news")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked: Vec<_> = proxy.since(mark).into_iter().filter(|call| !call.is_upkeep()).collect();
    assert!(asked.is_empty(), "{asked:?}");
    let record = "/metadata/annotations/platform.visiobook.com~1release";
    for meddling in [
        json!([{ "op": "replace", "path": "/spec/selector/version", "value": "green" }]),
        json!([{ "op": "remove", "path": "/spec/selector" }]),
        json!([{ "op": "remove", "path": record }, { "op": "replace", "path": "/spec/selector/version", "value": "green" }]),
        json!([{ "op": "replace", "path": record, "value": serde_json::to_string(&RolloutStatus { colour: Colour::Green, ..waiting.clone() }).expect("json") }]),
    ] {
        site.meddle(Kind::Service, "users", meddling.clone()).await.expect("changed");
        eventually(&format!("{meddling} to be undone"), || async {
            let service = site.existing(Kind::Service, "users").await;
            let told = service["metadata"]["annotations"][names::RELEASE].as_str().unwrap_or_default();
            let told: Option<RolloutStatus> = serde_json::from_str(told).ok();
            let whole =
                told.is_some_and(|told| told.colour == Colour::Blue && told.attempt == waiting.attempt);
            if whole && service["spec"]["selector"]["version"] == "blue" { Ok(()) } else { Err(service) }
        })
        .await;
    }
    // Deleted, and the status with it: it comes back as it was.
    site.children(Kind::Service).delete("users", &Default::default()).await.expect("deleted");
    selected(site, "users", Colour::Blue).await;
    let still = state(site, "users", ReleaseState::AwaitingApproval).await;
    assert_eq!(still.attempt, waiting.attempt);
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn t01_an_abort_wins_before_and_after_the_switch() {
    let stage = stage("abort", json!({ "approval": true, "soakSeconds": 600 })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    site.apply("users", second()).await;
    let first = state(site, "users", ReleaseState::AwaitingApproval).await.attempt.expect("an attempt");
    approve(site, "users", "0000000000-1").await;
    order(site, "users", names::ABORT, Some("0000000000-1")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    state(site, "users", ReleaseState::AwaitingApproval).await;
    order(site, "users", names::ABORT, Some(&first)).await;
    assert_eq!(ended(site, "users", Outcome::Aborted).await.colour, Colour::Blue);
    order(site, "users", names::RETRY, Some(&first)).await;
    let second = site
        .until("users", "the second attempt", |service| {
            rollout(service).is_some_and(|r| r.number == 2 && r.state == ReleaseState::AwaitingApproval)
        })
        .await;
    let second = rollout(&second).and_then(|rollout| rollout.attempt.clone()).expect("an attempt");
    let me = approve(site, "users", &second).await;
    let soaking = state(site, "users", ReleaseState::Soaking).await;
    assert_eq!((soaking.colour, soaking.approved_by.as_deref()), (Colour::Green, Some(&*me)));

    let pods: Api<Pod> = Api::namespaced(site.client.clone(), &site.namespace);
    order(site, "users", names::ABORT, Some(&second)).await;
    let started = Instant::now();
    selected(site, "users", Colour::Blue).await;
    assert!(started.elapsed() < Duration::from_secs(30), "an abort took {:?}", started.elapsed());
    assert_eq!(ended(site, "users", Outcome::Aborted).await.number, 2);
    eventually("the pods of the new version to go", || async {
        let green = format!("{}=users,{}=green", names::NAME, names::VERSION);
        let left = pods.list(&ListParams::default().labels(&green)).await.expect("pods").items.len();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn t01_a_version_that_dies_after_the_switch_gives_its_traffic_back_by_itself() {
    let stage = stage("dead", json!({ "soakSeconds": 600 })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    let blue = site.pod_uids("users").await;
    site.apply("users", second()).await;
    state(site, "users", ReleaseState::Soaking).await;
    selected(site, "users", Colour::Green).await;
    site.kill("users", Colour::Green).await;
    let back = ended(site, "users", Outcome::RolledBack).await;
    assert_eq!((back.colour, back.state), (Colour::Blue, ReleaseState::Stable));
    assert_eq!(selects(site, "users").await, Some(Colour::Blue));
    assert!(back.history[0].reason.contains("0 of 2 pods were ready"), "{:?}", back.history);
    eventually("the old pods alone", || async {
        let now = site.pod_uids("users").await;
        if now == blue { Ok(()) } else { Err(now) }
    })
    .await;
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_pods_that_die_while_a_release_waits_hold_it_back_until_others_are_ready() {
    let stage = stage("dying-pods", json!({ "approval": true, "soakSeconds": 600 })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    site.apply("users", second()).await;
    let attempt = state(site, "users", ReleaseState::AwaitingApproval).await.attempt.expect("an attempt");
    // The API server answers no question about endpoints while one is approved: nothing moves unseen.
    let mark = proxy.mark();
    proxy.rule(|call| if call.kind == "endpointslices" { Verdict::CutBefore } else { Verdict::Forward });
    site.kill("users", Colour::Green).await;
    approve(site, "users", &attempt).await;
    eventually("the operator to ask", || async {
        let asked = proxy.since(mark).iter().filter(|call| call.kind == "endpointslices").count();
        if asked >= 2 { Ok(()) } else { Err(asked) }
    })
    .await;
    assert_eq!(selects(site, "users").await, Some(Colour::Blue));
    proxy.forward();
    let soaking = state(site, "users", ReleaseState::Soaking).await;
    assert_eq!((soaking.colour, soaking.pods), (Colour::Green, Some(2)));
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn t05_a_size_that_changes_all_the_time_holds_no_release_up() {
    let stage = stage("flapping", json!({})).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    site.apply("users", second()).await;
    let flap = async {
        for replicas in [3, 2].into_iter().cycle() {
            let scale = json!({ "spec": { "replicas": replicas } });
            let patch = Patch::Merge(&scale);
            site.services().patch_scale("users", &PatchParams::default(), &patch).await.expect("scaled");
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    };
    tokio::select! {
        () = flap => {}
        promoted = ended(site, "users", Outcome::Promoted) => assert_eq!(promoted.colour, Colour::Green),
    }
    let sizes = |object: Value| object["spec"]["replicas"].as_i64();
    eventually("one size", || async {
        let blue = sizes(site.existing(Kind::Deployment, "users-blue").await);
        let green = sizes(site.existing(Kind::Deployment, "users-green").await);
        if blue == green { Ok(()) } else { Err((blue, green)) }
    })
    .await;
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn t11_an_operator_that_dies_at_any_write_of_a_release_leaves_one_that_the_next_one_ends() {
    let stage = stage("dying", json!({ "soakSeconds": 1, "warmSeconds": 1 })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    drop(operator);
    let mut colour = Colour::Blue;
    for write in 1..=12usize {
        let mut operator = stage.operator(&proxy);
        operator.leads().await;
        proxy.kill_at(write, operator.pid(), write % 2 == 0);
        site.apply("users", quick(json!({ "env": { "WRITE": write.to_string() } }))).await;
        let done = async {
            site.until("users", "its end", |service| {
                crate::support::observed(service)
                    && rollout(service).is_some_and(|r| {
                        r.state == ReleaseState::Stable && r.outcome == Some(Outcome::Promoted)
                    })
            })
            .await;
        };
        tokio::select! {
            _ = operator.ended() => {}
            () = done => {}
        }
        proxy.forward();
        drop(operator);
        let operator = stage.operator(&proxy);
        operator.leads().await;
        colour = colour.other();
        let end = site
            .until("users", "the next one to end it", |service| {
                crate::support::observed(service)
                    && is(service, "Reconciling", "False")
                    && rollout(service).is_some_and(|r| {
                        r.state == ReleaseState::Stable && r.colour == colour && r.number == write as i64
                    })
            })
            .await;
        assert_eq!(
            rollout(&end).and_then(|rollout| rollout.outcome),
            Some(Outcome::Promoted),
            "write {write}"
        );
        assert_eq!(selects(site, "users").await, Some(colour), "write {write}");
        eventually("the old colour to go", || async {
            match site.child(Kind::Deployment, &names::coloured("users", colour.other())).await {
                None => Ok(()),
                Some(there) => Err(there["metadata"].clone()),
            }
        })
        .await;
        drop(operator);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_changes_both_ways_and_the_colour_that_serves_stays() {
    let stage = stage("strategies", json!({ "strategy": "RollingUpdate", "warmSeconds": 1 })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    let blue_green = |more: Value| {
        let mut spec = quick(json!({ "rollout": { "strategy": "BlueGreen" } }));
        visiobook::plan::merge(&mut spec, more);
        spec
    };
    site.apply("users", quick(json!({}))).await;
    let plain = site.ready("users").await;
    assert!(rollout(&plain).is_none(), "no release was ever made");
    let pods = site.pod_uids("users").await;
    site.apply("users", blue_green(json!({}))).await;
    state(site, "users", ReleaseState::Stable).await;
    assert_eq!(site.pod_uids("users").await, pods, "a strategy shapes no pod");
    site.apply("users", blue_green(json!({ "env": { "RELEASE": "2" } }))).await;
    assert_eq!(ended(site, "users", Outcome::Promoted).await.colour, Colour::Green);
    state(site, "users", ReleaseState::Stable).await;
    eventually("one colour", || async {
        let left = site.pod_uids("users").await;
        if left.len() == 2 { Ok(()) } else { Err(left) }
    })
    .await;
    let pods = site.pod_uids("users").await;

    site.apply("users", second()).await;
    site.ready("users").await;
    assert_eq!(site.pod_uids("users").await, pods);
    site.apply("users", quick(json!({ "env": { "RELEASE": "3" } }))).await;
    eventually("the third version in the same colour", || async {
        let green = site.existing(Kind::Deployment, "users-green").await;
        let env = green["spec"]["template"]["spec"]["containers"][0]["env"].to_string();
        if env.contains("\"RELEASE\",\"value\":\"3\"") { Ok(()) } else { Err(env) }
    })
    .await;
    let end = site.ready("users").await;
    let record = rollout(&end).expect("a record");
    assert_eq!((record.colour, record.state), (Colour::Green, ReleaseState::Stable));
    assert_eq!(
        end.status.as_ref().and_then(|status| status.active_revision.clone()).as_ref(),
        Some(&record.revision)
    );
    assert!(site.child(Kind::Deployment, "users-blue").await.is_none());
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_holds_releases_back_until_somebody_breaks_the_glass_and_lets_an_undo_through() {
    let freezes =
        json!([{ "reason": "sales", "from": "2026-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z" }]);
    let stage = stage("freeze", json!({ "freezes": freezes })).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    // What a service needs to exist is made.
    site.apply("users", quick(json!({}))).await;
    let first = site.ready("users").await;
    let pods = site.pod_uids("users").await;

    site.apply("users", second()).await;
    let waits = site.condition("users", "Reconciling", "True", "Frozen").await;
    let told = crate::support::message(&waits, "Reconciling");
    assert!(told.contains("2099-01-01T00:00:00Z (sales)"), "{told}");
    // It costs nothing to wait.
    proxy.quiet(Duration::from_secs(6)).await;
    assert_eq!(site.pod_uids("users").await, pods, "it started in a freeze");

    let asked = rollout(&waits).and_then(|rollout| rollout.asked.clone()).expect("what is asked for");
    let attempt = format!("{}-1", asked.revision);
    assert!(told.contains(&format!("{}={attempt} ", names::BREAK_GLASS)), "{told}");
    let me = approve(site, "users", "0000000000-0").await;
    let glass = json!({ "metadata": { "annotations": {
        names::BREAK_GLASS: attempt, names::BREAK_GLASS_BY: me, names::BREAK_GLASS_REASON: "customers cannot pay",
    } } });
    site.services().patch("users", &PatchParams::default(), &Patch::Merge(&glass)).await.expect("broken");
    let promoted = ended(site, "users", Outcome::Promoted).await;
    assert_eq!((promoted.colour, promoted.attempt.as_ref()), (Colour::Green, Some(&attempt)));
    let kept = promoted.history[0].break_glass.clone().expect("who broke the glass");
    assert_eq!((kept.by, kept.reason), (me, "customers cannot pay".to_string()));

    order(site, "users", names::UNDO, Some(&attempt)).await;
    let undone = ended(site, "users", Outcome::RolledBack).await;
    assert_eq!(Some(&undone.revision), rollout(&first).map(|rollout| &rollout.revision));
    drop(operator);
}

/// Somebody who is told: what came, and whether they answer at all.
async fn receiver() -> (String, std::sync::Arc<std::sync::Mutex<Vec<Value>>>) {
    let told: std::sync::Arc<std::sync::Mutex<Vec<Value>>> = Default::default();
    let keep = told.clone();
    let take = move |body: String| {
        keep.lock().expect("messages").push(serde_json::from_str(&body).expect("JSON"));
        std::future::ready("ok")
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/told", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(take)).await });
    (url, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn c29_people_are_told_once_of_each_release_also_when_the_operator_dies_meanwhile() {
    let stage = stage("told", json!({ "approval": true })).await;
    let site = &stage.site;
    let (url, told) = receiver().await;
    // Nobody is there; a connection that is taken and never answered; one that is no URL; a Secret that is missing.
    let nobody = { std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port") };
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let slow = format!("http://{}/", silent.local_addr().expect("an address"));
    let nobody = format!("http://{nobody}/hidden");
    site.secret("addresses", &[("good", &*url), ("nobody", &*nobody), ("slow", &*slow), ("bad", "hidden")])
        .await;
    let hook = |name: &str, key: &str| json!({ "name": name, "webhook": { "urlFrom": { "name": "addresses", "key": key } } });
    let slack = json!({ "name": "slack", "slack": { "urlFrom": { "name": "addresses", "key": "good" } } });
    let missing = json!({ "name": "missing", "webhook": { "urlFrom": { "name": "nothing", "key": "url" } } });
    let environment = json!({
        "type": "development", "defaults": { "replicas": 2, "autoscaling": { "enabled": false } },
        "rollout": { "strategy": "BlueGreen", "soakSeconds": 2, "warmSeconds": 3600, "approval": true },
        "notifications": [hook("good", "good"), slack, hook("nobody", "nobody"), hook("slow", "slow"), hook("bad", "bad"), missing],
    });
    site.environment(&site.namespace, environment).await;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    site.apply("users", second()).await;
    let attempt = state(site, "users", ReleaseState::AwaitingApproval).await.attempt.expect("an attempt");
    let count = |event: &str| {
        told.lock().expect("messages").iter().filter(|message| message["event"] == event).count()
    };
    // To both who listen: one that is not sent yet when its operator dies is lost.
    let listened = |messages: usize| {
        let told = told.lock().expect("messages");
        if told.len() >= messages { Ok(()) } else { Err(told.clone()) }
    };
    eventually("the wait to be told", || async { listened(2) }).await;
    assert_eq!(count("AwaitingApproval"), 1);
    // Killed, and again: what was told is not told again.
    drop(operator);
    let operator = stage.operator(&proxy);
    operator.leads().await;
    let started = Instant::now();
    approve(site, "users", &attempt).await;
    ended(site, "users", Outcome::Promoted).await;
    assert!(started.elapsed() < Duration::from_secs(30), "it waited for those who are told");
    eventually("the end to be told", || async { listened(4) }).await;
    drop(operator);
    let operator = stage.operator(&proxy);
    operator.leads().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let all = told.lock().expect("messages").clone();
    assert_eq!((all.len(), count("AwaitingApproval"), count("Promoted")), (4, 1, 1), "{all:?}");
    let message = &all.iter().find(|message| message["event"] == "Promoted").expect("told")["message"];
    assert!(
        message.as_str().is_some_and(|text| text.contains(&format!("release {attempt} of"))),
        "{message}"
    );
    let slack = all.iter().filter_map(|message| message["text"].as_str());
    assert!(slack.clone().any(|text| text.starts_with("[users] SUCCESS: ")), "{all:?}");

    // Those who were not told are named, and their secrets are not.
    order(site, "users", names::UNDO, Some(&attempt)).await;
    let wanted = [
        ("bad", "is no http(s) URL"),
        ("missing", "does not exist"),
        ("slow", "it may have arrived"),
        ("nobody", "onnect"),
    ];
    eventually("the events", || async {
        let events = crate::support::events(site, "users").await;
        let failed: Vec<&str> =
            events.iter().filter_map(|event| event.strip_prefix("NotificationFailed: ")).collect();
        assert!(failed.iter().all(|note| !note.contains("hidden")), "{failed:?}");
        let told = |(name, why): &(&str, &str)| {
            failed.iter().any(|note| note.starts_with(&format!("{name} was not told")) && note.contains(why))
        };
        if wanted.iter().all(told) { Ok(()) } else { Err(events) }
    })
    .await;
    let text = operator.metrics().await;
    for line in [
        r#"kind="webhook",outcome="failed""#,
        r#"kind="webhook",outcome="unknown""#,
        r#"kind="slack",outcome="delivered""#,
    ] {
        let count = text.lines().find(|l| l.starts_with("visiobook_notifications_total") && l.contains(line));
        assert!(count.is_some_and(|count| !count.ends_with(" 0")), "{line} in {text}");
    }
}
