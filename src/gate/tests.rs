use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;

fn subject(depends_on: &[Dependency], continuous: bool) -> Subject<'_> {
    Subject { namespace: "shop", depends_on, gated: true, continuous }
}

fn dependency(name: &str) -> Dependency {
    Dependency { name: name.into(), ..Dependency::default() }
}

fn pod(said: Option<bool>) -> GatedPod {
    let said = said.map(|open| Word { open, reason: "Before".into(), message: "before".into() });
    GatedPod { name: "a-1".into(), uid: "1".into(), revision: "r1".into(), answers: true, said }
}

/// A pod of a stored revision that depends on `users`, which is as told.
fn facts(pod: GatedPod, users: Standing) -> Facts {
    let data = json!({ "shape": {
        "dependsOn": [{ "name": "users" }], "secrets": { "TOKEN": { "name": "s", "key": "k" } },
    } });
    let revision = RevisionFact { hash: "r1".into(), number: 1, data, serving: None };
    Facts {
        gated_pods: vec![pod],
        revisions: vec![revision],
        dependencies: [(("shop".to_string(), "users".to_string()), users)].into(),
        secrets: [(("s".into(), "k".into()), SecretFact::Present { digest: String::new(), length: 1 })]
            .into(),
        now: NOW,
        ..Facts::default()
    }
}

fn away() -> Standing {
    Standing::NotReady { since: Some(NOW - 1) }
}

fn word(facts: &Facts, continuous: bool) -> Option<(bool, String, String)> {
    let users = [dependency("users")];
    let gating = judge(&subject(&users, continuous), facts);
    gating.verdicts.into_iter().next().map(|it| (it.word.open, it.word.reason, it.word.message))
}

#[test]
fn a_pod_is_let_in_once_it_answers_and_what_it_depends_on_is_ready() {
    let there = Standing::Ready { since: NOW };
    let told = word(&facts(pod(None), there.clone()), false).unwrap();
    assert_eq!((told.0, told.1.as_str()), (true, "Passed"));
    let starting = GatedPod { answers: false, ..pod(None) };
    assert_eq!(word(&facts(starting.clone(), there), false), None, "the kubelet keeps it out already");
    assert_eq!(word(&facts(starting, away()), false), None);
    let foreign = word(&facts(pod(None), Standing::Foreign), false).unwrap();
    assert!(foreign.0, "nothing is known of what is not ours");
}

#[test]
fn what_it_waits_for_is_told_with_its_time_and_once() {
    let standing = Standing::NotReady { since: Some(NOW) };
    let (open, reason, message) = word(&facts(pod(None), standing.clone()), false).unwrap();
    assert_eq!((open, reason.as_str()), (false, "WaitingForDependencies"));
    assert_eq!(message, "waiting for shop/users: not ready since 08:00:00Z on 2027-01-15");
    let told = GatedPod { said: Some(Word { open, reason, message }), ..pod(None) };
    let again = facts(told, standing);
    assert_eq!(word(&again, false), None, "the same is not written again");
    let users = [dependency("users")];
    assert!(!judge(&subject(&users, false), &again).waiting.is_empty(), "it waits all the same");
    for (standing, words) in [
        (Standing::NotReady { since: None }, "not looked at yet"),
        (Standing::Leaving, "being deleted"),
        (Standing::Missing, "there is no VisiobookService and no Service of that name"),
    ] {
        let (open, _, message) = word(&facts(pod(None), standing), false).unwrap();
        assert!(!open && message.contains(words), "{message}");
    }
}

#[test]
fn who_waits_for_many_is_told_twice_whatever_comes_first() {
    let names: Vec<String> = (0..20).map(|number| format!("s{number:02}")).collect();
    let needs: Vec<Dependency> = names.iter().map(|name| dependency(name)).collect();
    let mut many = facts(pod(None), Standing::Ready { since: 0 });
    many.revisions.clear();
    let place = |name: &String| ("shop".to_string(), name.clone());
    many.dependencies = names.iter().map(|name| (place(name), away())).collect();
    let mut told = Vec::new();
    for at in 0..=names.len() {
        let gating = judge(&subject(&needs, false), &many);
        let left = names.len() - at;
        assert_eq!((gating.lacking.len(), gating.waiting.is_empty()), (left, left == 0), "told elsewhere");
        for verdict in gating.verdicts {
            many.gated_pods[0].said = Some(verdict.word.clone());
            told.push(verdict.word.reason);
        }
        if let Some(name) = names.get(at) {
            many.dependencies.insert(place(name), Standing::Ready { since: NOW });
        }
    }
    assert_eq!(told, ["WaitingForDependencies", "Passed"]);
    // Another reason is news.
    let mut other = facts(pod(None), away());
    other.gated_pods[0].said =
        Some(Word { open: false, reason: "WaitingForDependencies".into(), ..Word::default() });
    assert_eq!(word(&other, false), None);
    other.secrets.clear();
    assert_eq!(word(&other, false).unwrap().1, "WaitingForSecrets");
}

#[test]
fn a_revision_that_has_passed_lets_its_later_pods_in_whatever_is_away() {
    let mut late = facts(pod(None), away());
    assert!(!word(&late, false).unwrap().0);
    late.passed.insert("r1".into());
    assert!(word(&late, false).unwrap().0);
    late.passed = ["r2".to_string()].into();
    assert!(!word(&late, false).unwrap().0, "another revision says nothing of this one");
    // The record was lost, and a pod that takes requests is left.
    late.gated_pods.push(GatedPod { name: "a-2".into(), uid: "2".into(), ..pod(Some(true)) });
    let users = [dependency("users")];
    let gating = judge(&subject(&users, false), &late);
    assert!(gating.verdicts.len() == 1 && gating.verdicts[0].word.open);
    assert!(gating.passed.contains("r1"));
}

#[test]
fn latched_no_outage_takes_a_pod_out() {
    for standing in [away(), Standing::Missing, Standing::Leaving, Standing::NotReady { since: Some(0) }] {
        let mut out = facts(pod(Some(true)), standing);
        out.secrets.clear();
        out.gated_pods[0].answers = false;
        assert_eq!(word(&out, false), None);
    }
}

#[test]
fn continuous_takes_pods_out_after_a_while_and_lets_them_in_after_a_while() {
    let users = [dependency("users")];
    let judged = |said: Option<bool>, standing: Standing, passed: bool| {
        let mut facts = facts(pod(said), standing);
        facts.passed.extend(passed.then(|| "r1".to_string()));
        let gating = judge(&subject(&users, true), &facts);
        (gating.verdicts.first().map(|verdict| verdict.word.open), gating.wake_at)
    };
    let since = |seconds: i64| Standing::NotReady { since: Some(NOW - seconds) };
    assert_eq!(judged(Some(true), since(PATIENCE - 1), true), (None, Some(NOW + 1)));
    assert_eq!(judged(Some(true), since(PATIENCE), true), (Some(false), None));
    assert_eq!(judged(Some(true), Standing::Missing, true), (Some(false), None));
    assert_eq!(judged(Some(true), Standing::NotReady { since: None }, true), (None, None));
    let mut back = facts(pod(Some(true)), since(3600));
    back.leading_since = NOW - 1;
    let gating = judge(&subject(&users, true), &back);
    let led_anew = Some(NOW - 1 + PATIENCE);
    assert_eq!((gating.verdicts.len(), gating.wake_at), (0, led_anew), "nobody saw it come back meanwhile");
    let steady = |seconds: i64| Standing::Ready { since: NOW - seconds };
    assert_eq!(judged(Some(false), steady(STEADY - 1), true), (None, Some(NOW + 1)));
    assert_eq!(judged(Some(false), steady(STEADY), true), (Some(true), None));
    assert_eq!(judged(None, steady(0), false), (Some(true), None), "the first start loses no time");
    assert_eq!(judged(None, since(1), true), (Some(false), None), "a new pod waits like the others");
}

#[test]
fn a_secret_that_is_gone_holds_new_pods_of_a_revision_that_has_passed() {
    let mut gone = facts(pod(None), Standing::Ready { since: 0 });
    gone.passed.insert("r1".into());
    gone.secrets.clear();
    let (open, reason, message) = word(&gone, false).unwrap();
    assert_eq!((open, reason.as_str()), (false, "WaitingForSecrets"));
    assert_eq!(message, "waiting for key \"k\" of Secret \"s\"");
}

#[test]
fn a_cycle_is_named_whole_and_holds_nobody_who_finds_all_ready() {
    let names = ["a", "users", "a"].map(|name| ("shop".to_string(), name.to_string()));
    let mut stuck = facts(pod(None), away());
    stuck.cycle = names.to_vec();
    let (open, reason, message) = word(&stuck, false).unwrap();
    assert_eq!((open, reason.as_str()), (false, "DependencyCycle"));
    assert!(message.contains("shop/a -> shop/users -> shop/a wait for each other"), "{message}");
    let users = [dependency("users")];
    assert!(judge(&subject(&users, false), &stuck).waiting["r1"].is_for_ever());
    let mut running = facts(pod(None), Standing::Ready { since: 0 });
    running.cycle = names.to_vec();
    assert!(word(&running, false).unwrap().0, "what runs goes on");
    assert!(judge(&subject(&users, false), &running).cycle.is_some(), "and is told of all the same");
}

#[test]
fn who_waits_for_one_beside_a_cycle_is_not_stuck() {
    let mut beside = facts(pod(None), away());
    beside.cycle = ["a", "b", "a"].map(|name| ("shop".to_string(), name.to_string())).to_vec();
    let users = [dependency("users")];
    let gating = judge(&subject(&users, false), &beside);
    assert!(!gating.waiting["r1"].is_for_ever() && gating.cycle.is_some());
    assert_eq!(gating.verdicts[0].word.reason, "WaitingForDependencies");
    assert!(!gating.verdicts[0].word.message.contains("each other"));
}

#[test]
fn each_pod_waits_for_what_its_own_revision_depends_on() {
    // The resource depends on more now than the revision of the pod does.
    let more = [dependency("users"), dependency("media")];
    let mut now = facts(pod(None), Standing::Ready { since: 0 });
    now.dependencies.insert(("shop".into(), "media".into()), away());
    let gating = judge(&subject(&more, false), &now);
    assert!(gating.verdicts[0].word.open);
    assert_eq!(gating.lacking.len(), 1, "the status tells of both");
    // Of a revision that nobody has stored, the resource speaks.
    now.revisions.clear();
    assert!(!judge(&subject(&more, false), &now).verdicts[0].word.open);
    let wanted: Vec<String> =
        wanted(&subject(&more, false), &now).into_iter().map(|(_, name)| name).collect();
    assert_eq!(wanted, ["media", "users"]);
}

#[test]
fn the_gateway_is_called_by_the_name_of_its_service() {
    let gateway = dependency("api-gateway");
    assert_eq!(service_of(&gateway, "shop").1, "api-gateway-service");
    let placed = Dependency { namespace: Some("edge".into()), ..gateway };
    assert_eq!(service_of(&placed, "shop"), ("edge".into(), "api-gateway".into()));
}
