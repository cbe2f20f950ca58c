use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::api::Phase;
use crate::facts::{ContainerFact, DeploymentFact, JobEnd, JobFact, RevisionFact, SecretFact, Spot};

fn valid(image: &str) -> Result<Valid, Vec<Refusal>> {
    let shape = Shape { image: image.into(), ..Shape::default() };
    Ok(Valid { shape, serving: Serving { replicas: 3, ..Serving::default() }, ..Valid::default() })
}

fn with_secret(image: &str) -> Result<Valid, Vec<Refusal>> {
    let mut valid = valid(image).unwrap();
    valid.shape.secrets.insert("A".into(), crate::api::KeyRef { name: "s".into(), key: "k".into() });
    Ok(valid)
}

fn refused() -> Result<Valid, Vec<Refusal>> {
    Err(vec![Refusal { rule: "rule", field: "spec.image".into(), message: "no".into() }])
}

/// A cluster in which the revision of `verdict` runs and is stored.
fn running(verdict: &Result<Valid, Vec<Refusal>>) -> Facts {
    let valid = verdict.as_ref().unwrap();
    let hash = valid.shape.revision();
    let data = json!({ "shape": valid.shape, "template": { "spec": "as it was" }, "config": { "A": "1" }, "number": 4 });
    let serving = serde_json::to_string(&valid.serving).ok();
    Facts {
        deployments: BTreeMap::from([(
            Colour::Blue,
            DeploymentFact { revision: hash.clone(), replicas: 2, ..Default::default() },
        )]),
        selected: Some(Colour::Blue),
        revisions: vec![RevisionFact { hash, number: 4, data, serving }],
        ..Facts::default()
    }
}

fn secret(digest: &str) -> BTreeMap<(String, String), SecretFact> {
    BTreeMap::from([(("s".into(), "k".into()), SecretFact::Present { digest: digest.into(), length: 40 })])
}

#[test]
fn the_first_revision_starts_in_blue_and_is_new() {
    let decision = step(&valid("a:1"), &Facts::default());
    let wanted = decision.revision.unwrap();
    assert_eq!((decision.colour, decision.reason, wanted.number), (Colour::Blue, Reason::NewRevision, 1));
    assert!(wanted.stored.is_none());
}

#[test]
fn what_runs_is_repaired_from_what_was_stored_and_never_rendered_again() {
    let verdict = valid("a:1");
    let decision = step(&verdict, &running(&verdict));
    assert_eq!(decision.reason, Reason::Stable);
    assert_eq!(decision.revision.unwrap().stored.unwrap().template, json!({ "spec": "as it was" }));
}

#[test]
fn a_new_revision_counts_up() {
    let decision = step(&valid("a:2"), &running(&valid("a:1")));
    assert_eq!((decision.reason, decision.revision.unwrap().number), (Reason::NewRevision, 5));
}

#[test]
fn a_refused_resource_keeps_what_runs_and_what_stands_around_it() {
    let before = valid("a:1");
    let decision = step(&refused(), &running(&before));
    assert_eq!(decision.reason, Reason::Refused);
    assert_eq!(decision.revision.unwrap().hash, before.as_ref().unwrap().shape.revision());
    assert_eq!(decision.serving, Some(before.unwrap().serving));
}

#[test]
fn a_missing_secret_holds_back_the_new_revision_only() {
    let before = valid("a:1");
    let decision = step(&with_secret("a:2"), &running(&before));
    assert_eq!((decision.reason, decision.held.len()), (Reason::SecretsMissing, 1));
    assert_eq!(decision.revision.unwrap().hash, before.unwrap().shape.revision());
    assert_eq!(step(&with_secret("a:2"), &Facts::default()).revision, None);
}

#[test]
fn a_rotated_secret_marks_the_pods_and_a_new_digest_key_does_not() {
    let verdict = with_secret("a:1");
    let mut facts = running(&verdict);
    facts.secrets = secret("key1:one");
    let first = step(&verdict, &facts);
    assert!(!first.rotation.rotates && first.rotation.mark.is_none(), "the first digest restarts nothing");
    facts.deployments.get_mut(&Colour::Blue).unwrap().secrets_digest = first.rotation.digest.clone();
    assert!(!step(&verdict, &facts).rotation.rotates);

    facts.secrets = secret("key1:two");
    let rotated = step(&verdict, &facts);
    assert!(rotated.rotation.rotates && rotated.rotation.mark.is_some());
    assert_eq!(rotated.rotation.at, Some(facts.now));
    let deployment = facts.deployments.get_mut(&Colour::Blue).unwrap();
    let before = std::mem::replace(
        deployment,
        DeploymentFact {
            secrets_digest: rotated.rotation.digest.clone(),
            secrets_rotation: rotated.rotation.mark.clone(),
            secrets_rotated: rotated.rotation.at,
            ..deployment.clone()
        },
    );
    facts.now += 60;
    let later = step(&verdict, &facts).rotation;
    assert!(!later.rotates && later.at == rotated.rotation.at, "the Deployment remembers when it was");
    facts.deployments.insert(Colour::Blue, before);
    assert_eq!(rotated.reason, Reason::Stable, "a rotation is no new revision");

    let mut edited = facts.clone();
    edited.deployments.get_mut(&Colour::Blue).unwrap().secrets_digest = Some("key1:edited".into());
    let edited = step(&verdict, &edited).rotation;
    assert!(!edited.rotates && edited.digest == rotated.rotation.digest, "an edited digest is put back");

    facts.secrets = secret("key2:two");
    let rekeyed = step(&verdict, &facts);
    assert!(!rekeyed.rotation.rotates && rekeyed.rotation.digest != first.rotation.digest);
}

#[test]
fn a_deployment_whose_revision_is_lost_is_left_alone() {
    let before = valid("a:1");
    let mut facts = running(&before);
    facts.revisions.clear();
    let decision = step(&refused(), &facts);
    assert_eq!((decision.reason, decision.revision), (Reason::RevisionLost, None));
}

#[test]
fn what_another_release_stored_is_used_as_far_as_it_can_be_read_and_kept_as_it_is() {
    let verdict = valid("a:1");
    let mut facts = running(&verdict);
    let data = &mut facts.revisions[0].data;
    data["added"] = json!({ "later": true });
    data["shape"]["added"] = json!("later");
    let expected = data.clone();
    let decision = step(&verdict, &facts);
    assert_eq!(decision.reason, Reason::Stable);
    assert_eq!(decision.revision.unwrap().stored.unwrap().data, expected, "it can never be changed");
}

#[test]
fn a_revision_of_a_form_that_is_not_known_goes_on_until_the_next_one() {
    let verdict = valid("a:1");
    for broken in [json!({ "format": 2, "pods": [] }), json!({ "format": "two" }), json!({ "shape": 1 })] {
        let mut facts = running(&verdict);
        facts.revisions[0].data = broken.clone();
        let decision = step(&verdict, &facts);
        assert_eq!((decision.reason, decision.revision), (Reason::RevisionUnreadable, None), "{broken}");
        assert!(decision.message.contains("Install the release"), "{}", decision.message);

        let refused = step(&refused(), &facts);
        assert_eq!((refused.reason, refused.revision), (Reason::Refused, None));
        assert!(refused.message.contains("cannot read"), "{}", refused.message);

        let next = step(&valid("a:2"), &facts);
        assert_eq!(next.reason, Reason::NewRevision);
        let next = next.revision.unwrap();
        assert!(next.stored.is_none() && next.number == 5, "rendered anew: {next:?}");

        // Back to what cannot be read, while something else runs.
        let mut facts = running(&valid("a:2"));
        let hash = verdict.as_ref().unwrap().shape.revision();
        facts.revisions.push(RevisionFact { hash, number: 3, data: broken, serving: None });
        let back = step(&verdict, &facts);
        assert_eq!(back.reason, Reason::RevisionUnreadable);
        assert_eq!(back.revision.unwrap().shape.image, "a:2", "what runs goes on");
    }
}

#[test]
fn the_size_comes_from_the_resource_then_the_last_size_and_once_from_the_environment() {
    let (verdict, fresh) = (valid("a:1"), Facts::default());
    let (first, seen) = (step(&verdict, &fresh), running(&verdict));
    let later = step(&verdict, &seen);
    assert_eq!(size(None, None, &first, &fresh), 3, "the environment's default");
    assert_eq!(size(Some(7), Some(4), &later, &seen), 7, "the resource");
    assert_eq!(size(None, Some(4), &later, &seen), 4, "the last size");
    assert_eq!(size(None, None, &later, &seen), 2, "what runs, when the status is lost");
    assert_eq!(size(Some(0), None, &later, &seen), 0, "zero is a size");
}

#[test]
fn an_edited_selector_moves_nothing_and_a_lost_record_is_found_again() {
    let verdict = valid("a:1");
    let both = |facts: &mut Facts| {
        let blue = facts.deployments[&Colour::Blue].clone();
        facts.deployments.insert(Colour::Green, blue);
    };
    let colour = |recorded: Option<Colour>, selected: Option<Colour>, change: &dyn Fn(&mut Facts)| {
        let mut facts = Facts { recorded, selected, ..running(&verdict) };
        change(&mut facts);
        step(&verdict, &facts).colour
    };
    let (blue, green) = (Some(Colour::Blue), Some(Colour::Green));
    assert_eq!(colour(blue, green, &both), Colour::Blue, "the record wins");
    assert_eq!(colour(None, green, &both), Colour::Green, "without it the selector");
    assert_eq!(colour(None, green, &|_| {}), Colour::Blue, "unless it names nothing that runs");
    assert_eq!(colour(green, blue, &|_| {}), Colour::Blue, "nor is a record believed that names nothing");
    assert_eq!(
        colour(green, None, &|facts| facts.deployments.clear()),
        Colour::Green,
        "what was deleted comes back"
    );
}

/// A resource with a migration.
fn migrating(image: &str) -> Result<Valid, Vec<Refusal>> {
    let mut valid = valid(image).unwrap();
    valid.shape.migration =
        Some(crate::api::Migration { args: vec!["migrate".into()], ..Default::default() });
    Ok(valid)
}

/// The migration of an attempt, as it is seen.
fn job(attempt: &str, end: Option<bool>) -> JobFact {
    let revision = attempt.rsplit_once('-').unwrap().0.to_string();
    JobFact {
        name: crate::api::names::job("users", Phase::Migration, attempt),
        phase: Phase::Migration,
        attempt: attempt.into(),
        revision,
        made: 1000,
        deadline: 1300,
        ready: true,
        end: end.map(|succeeded| JobEnd { succeeded, message: "BackoffLimitExceeded".into() }),
    }
}

#[test]
fn the_pods_of_a_first_revision_wait_for_its_migration_which_is_named_after_it() {
    let verdict = migrating("a:1");
    let hash = verdict.as_ref().unwrap().shape.revision();
    let decision = step(&verdict, &Facts { now: 1000, ..Facts::default() });
    assert_eq!((decision.reason, &decision.revision), (Reason::Migrating, &None));
    let run = decision.jobs.run.unwrap();
    assert_eq!((run.phase, run.attempt), (Phase::Migration, format!("{hash}-1")));
    assert_eq!(decision.jobs.waiting.unwrap().hash, hash);
    let done = Facts { now: 1100, jobs: vec![job(&format!("{hash}-1"), Some(true))], ..Facts::default() };
    let decision = step(&verdict, &done);
    assert_eq!(decision.reason, Reason::NewRevision);
    let revision = decision.revision.unwrap();
    assert!(
        revision.migration.is_some_and(|past| past.succeeded),
        "it is recorded in the pass that starts pods"
    );
    assert!(decision.jobs.run.is_none());
}

#[test]
fn a_migration_that_fails_leaves_what_runs_alone_until_somebody_asks_for_another_try() {
    let mut facts = running(&valid("a:1"));
    let next = migrating("a:2");
    let hash = next.as_ref().unwrap().shape.revision();
    let attempt = format!("{hash}-1");
    facts.now = 1100;
    facts.jobs = vec![job(&attempt, Some(false))];
    let failed = step(&next, &facts);
    assert_eq!(failed.reason, Reason::MigrationFailed);
    let old = valid("a:1").unwrap().shape.revision();
    assert_eq!(failed.revision.map(|revision| revision.hash), Some(old));
    for word in ["BackoffLimitExceeded", crate::api::names::RETRY, &attempt, "goes on"] {
        assert!(failed.message.contains(word), "{word}: {}", failed.message);
    }
    let recorded = failed.jobs.waiting.unwrap().migration.unwrap();
    assert!(!recorded.succeeded && recorded.attempt == attempt);
    assert_eq!(failed.jobs.kept, [job(&attempt, None).name], "its log can be read");
    assert_eq!(failed.spots, [Spot::Job(job(&attempt, None).name)].into(), "its pods say why");

    // Recorded, the Job may go; an order for another attempt does nothing.
    facts.jobs.clear();
    facts.migrations.insert(hash.clone(), recorded);
    facts.orders.retry = Some(format!("{hash}-2"));
    let still = step(&next, &facts);
    assert!(still.reason == Reason::MigrationFailed && still.jobs.run.is_none());
    facts.orders.retry = Some(attempt);
    assert_eq!(step(&next, &facts).jobs.run.unwrap().attempt, format!("{hash}-2"));
    facts.jobs = vec![job(&format!("{hash}-2"), Some(true))];
    assert_eq!(step(&next, &facts).reason, Reason::NewRevision);
    // What was recorded as done is never done again.
    facts.migrations.get_mut(&hash).unwrap().succeeded = true;
    facts.jobs.clear();
    assert_eq!(step(&next, &facts).reason, Reason::NewRevision);
}

#[test]
fn a_migration_that_does_not_get_on_is_looked_at_and_given_up_at_its_deadline() {
    let verdict = migrating("a:1");
    let attempt = format!("{}-1", verdict.as_ref().unwrap().shape.revision());
    let waits = JobFact { ready: false, ..job(&attempt, None) };
    let mut facts = Facts { now: 1005, jobs: vec![waits.clone()], ..Facts::default() };
    let early = step(&verdict, &facts);
    assert!(early.spots.is_empty() && early.wake_at.is_some_and(|at| at <= 1020), "{:?}", early.wake_at);
    facts.now = 1020;
    let spot = Spot::Job(waits.name.clone());
    assert_eq!(step(&verdict, &facts).spots, [spot.clone()].into());
    let container = ContainerFact {
        pod: "users-1".into(),
        name: "migrate".into(),
        waiting: Some("ImagePullBackOff".into()),
        message: Some("not found".into()),
        ..ContainerFact::default()
    };
    facts.looked.insert(spot, vec![container]);
    let told = step(&verdict, &facts);
    assert!(
        told.message.contains("container migrate of pod users-1: ImagePullBackOff: not found"),
        "{}",
        told.message
    );
    assert!(told.jobs.kept == [waits.name.clone()] && told.spots.is_empty());
    facts.now = 1300;
    let late = step(&verdict, &facts);
    assert_eq!(late.reason, Reason::MigrationFailed);
    assert!(late.message.contains("did not end within 300 s; container migrate"), "{}", late.message);
    assert!(late.jobs.kept.is_empty() && late.jobs.run.is_none(), "it is stopped");
}

#[test]
fn a_migration_that_was_begun_is_not_stopped_for_another_revision() {
    let mut facts = running(&valid("a:1"));
    let (second, third) = (migrating("a:2"), migrating("a:3"));
    let attempt = format!("{}-1", second.as_ref().unwrap().shape.revision());
    facts.now = 1100;
    facts.jobs = vec![job(&attempt, None)];
    let waits = step(&third, &facts);
    assert!(waits.reason == Reason::Migrating && waits.jobs.run.is_none(), "{}", waits.message);
    assert_eq!(waits.jobs.kept, [job(&attempt, None).name]);
    assert!(waits.message.contains("waits for the migration of revision"), "{}", waits.message);
    // A change that is refused stops it as little.
    assert_eq!(step(&refused(), &facts).jobs.kept.len(), 1);
    facts.jobs = vec![job(&attempt, Some(true))];
    assert!(step(&third, &facts).jobs.run.is_some());
}
