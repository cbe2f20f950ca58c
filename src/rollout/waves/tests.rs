use std::collections::VecDeque;

use proptest::prelude::*;
use serde_json::json;

use super::super::release::{first, time};
use super::super::{Reason, step};
use super::*;
use crate::api::VisiobookEnvironmentSpec;
use crate::check::{Release, Serving, Shape, Valid};
use crate::facts::{Marks, RevisionFact};

const SOAK: i64 = 30;

fn production(waves: serde_json::Value) -> EnvironmentFact {
    let spec: VisiobookEnvironmentSpec = serde_json::from_value(json!({
        "type": "production", "rollout": { "deadlineSeconds": 60, "waves": waves },
    }))
    .expect("environment");
    EnvironmentFact::Governed { name: "production".into(), spec: Box::new(spec) }
}

/// A service that says `image`, under an environment that says `level`.
fn valid(image: &str, level: &str) -> Valid {
    let env = [("LEVEL".to_string(), level.to_string())].into();
    let shape = Shape { image: image.into(), env, ..Shape::default() };
    Valid { shape, own: image.into(), ..Valid::default() }
}

fn blue_green(image: &str, level: &str) -> Valid {
    let release = Release { deadline: 60, soak: SOAK, warm: 60, approval: true, ..Release::default() };
    Valid { serving: Serving { release: Some(release), ..Serving::default() }, ..valid(image, level) }
}

fn stored(valid: &Valid) -> RevisionFact {
    let hash = valid.shape.revision();
    let data = json!({ "shape": valid.shape, "template": {}, "config": {}, "number": 1 });
    let serving = serde_json::to_string(&valid.serving).ok();
    RevisionFact { hash, number: 1, data, serving }
}

fn settled(revision: &str) -> DeploymentFact {
    let pods = 2;
    DeploymentFact {
        revision: revision.into(),
        replicas: pods,
        status_replicas: pods,
        updated: pods,
        ready: pods,
        available: pods,
        observed: true,
        ..DeploymentFact::default()
    }
}

/// A cluster in which this runs.
fn running(valid: &Valid) -> Facts {
    let hash = valid.shape.revision();
    Facts {
        environment: production(json!({})),
        deployments: [(Colour::Blue, settled(&hash))].into(),
        selected: Some(Colour::Blue),
        release: valid.serving.release.as_ref().map(|_| first(Colour::Blue, &hash)),
        marks: [(hash, Marks { own: Some(valid.own.clone()), wave: None })].into(),
        revisions: vec![stored(valid)],
        now: 1000,
        ..Facts::default()
    }
}

fn admitted(facts: &Facts) -> Facts {
    Facts { admission: Some(Admission::Admitted { generation: 7 }), ..facts.clone() }
}

fn terms(cap: i32) -> Terms {
    let max_concurrent = Some(IntOrString::Int(cap));
    Terms { environment: "production".into(), generation: 7, max_concurrent, ..Terms::default() }
}

fn name(name: &str) -> ServiceName {
    ("shop".into(), name.into())
}

const WAITING: Standing = Standing::Waiting { unwell: false, has_place: false };

#[test]
fn a_number_is_a_number_and_percent_are_rounded_up() {
    let percent = |text: &str| Some(IntOrString::String(text.into()));
    for (said, concerned, most) in [
        (None, 0, 1),
        (None, 6, 1),
        (None, 11, 2),
        (None, 1000, 100),
        (percent("25%"), 5, 2),
        (percent("100%"), 7, 7),
        (Some(IntOrString::Int(3)), 1000, 3),
    ] {
        assert_eq!(cap(said.as_ref(), concerned), most, "{said:?} of {concerned}");
    }
}

#[test]
fn what_only_the_environment_changes_asks_first_and_what_ran_goes_on() {
    for (before, after) in [
        (valid("a:1", "info"), valid("a:1", "debug")),
        (blue_green("a:1", "info"), blue_green("a:1", "debug")),
    ] {
        let facts = running(&before);
        let decision = step(&Ok(after.clone()), &facts);
        assert!(decision.asks(&facts), "{decision:?}");
        assert_eq!((decision.reason, &decision.standing), (Reason::WaitsForWave, &WAITING));
        assert_eq!(decision.revision.expect("a revision").hash, before.shape.revision());
        assert_eq!(decision.other, None);

        let why = "waits for the wave: 2 of 2";
        let facts = Facts { admission: Some(Admission::Waits(why.into())), ..facts };
        let waiting = step(&Ok(after.clone()), &facts);
        assert!(!waiting.asks(&facts) && waiting.message.contains(why), "{}", waiting.message);
        if let Some(release) = waiting.release {
            assert!(release.reason.contains(why), "{}", release.reason);
        }

        let facts = admitted(&facts);
        let decision = step(&Ok(after.clone()), &facts);
        assert_eq!(decision.standing, Standing::Running, "{decision:?}");
        let begins = decision.other.and_then(|other| other.revision).or(decision.revision).expect("begins");
        assert_eq!(begins.hash, after.shape.revision());
        let wave = begins.wave.expect("marked");
        assert_eq!(
            (wave.environment.as_str(), wave.generation, wave.since, wave.done),
            ("production", 7, 1000, false)
        );
    }
}

#[test]
fn what_a_service_changes_itself_asks_nobody_even_with_a_change_of_its_environment() {
    for after in [valid("a:2", "info"), valid("a:2", "debug")] {
        let decision = step(&Ok(after.clone()), &running(&valid("a:1", "info")));
        let revision = decision.revision.expect("a revision");
        assert_eq!((revision.hash, revision.wave), (after.shape.revision(), None));
        assert_eq!((decision.reason, decision.standing), (Reason::NewRevision, Standing::Apart));
    }
    let decision = step(&Ok(blue_green("a:2", "debug")), &running(&blue_green("a:1", "info")));
    assert_eq!((decision.reason, decision.standing), (Reason::Releasing, Standing::Apart));
}

#[test]
fn what_needs_no_new_pods_and_what_no_environment_governs_is_never_held() {
    let (before, after) = (valid("a:1", "info"), Ok(valid("a:1", "debug")));
    let mut none = running(&before);
    let pods = none.deployments.get_mut(&Colour::Blue).expect("pods");
    (pods.replicas, pods.status_replicas) = (0, 0);
    let free = Facts { environment: EnvironmentFact::Unlabelled, ..running(&before) };
    for facts in [none, free] {
        assert_eq!(step(&after, &facts).reason, Reason::NewRevision);
    }
    let mut around = before.clone();
    around.serving.replicas = 9;
    let decision = step(&Ok(around), &running(&before));
    assert_eq!((decision.reason, decision.standing), (Reason::Stable, Standing::Apart));
}

#[test]
fn a_revision_of_an_older_operator_counts_as_changed_by_the_environment_and_is_marked_where_it_stands() {
    let before = valid("a:1", "info");
    let facts = Facts { marks: BTreeMap::new(), ..running(&before) };
    assert!(step(&Ok(valid("a:1", "debug")), &facts).asks(&facts));
    let decision = step(&Ok(before), &facts);
    assert_eq!(decision.revision.and_then(|revision| revision.own).as_deref(), Some("a:1"));
}

#[test]
fn a_service_is_running_until_its_pods_have_arrived_and_fails_at_the_deadline() {
    let (before, after) = (valid("a:1", "info"), valid("a:1", "debug"));
    let hash = after.shape.revision();
    let mut facts = running(&before);
    facts.revisions.push(stored(&after));
    let wave = WaveMark { environment: "production".into(), generation: 7, since: 1000, done: false };
    facts.marks.insert(hash.clone(), Marks { own: Some("a:1".into()), wave: Some(wave) });
    facts.deployments.insert(Colour::Blue, DeploymentFact { available: 1, ..settled(&hash) });
    let verdict = Ok(after);
    let decision = step(&verdict, &facts);
    assert_eq!((decision.standing, decision.wake_at), (Standing::Running, Some(1060)));
    let late = Facts { now: 1060, ..facts.clone() };
    assert_eq!(step(&verdict, &late).standing, Standing::Failed { revision: hash.clone() });

    facts.deployments.insert(Colour::Blue, settled(&hash));
    let decision = step(&verdict, &facts);
    assert_eq!(decision.standing, Standing::Done { generation: 7 });
    assert!(decision.revision.and_then(|revision| revision.wave).expect("marked").done);
    // Pods that a node loses later are no business of the wave.
    let marks = facts.marks.get_mut(&hash).and_then(|marks| marks.wave.as_mut()).expect("marked");
    marks.done = true;
    facts.deployments.insert(Colour::Blue, DeploymentFact { available: 1, ..settled(&hash) });
    assert_eq!(step(&verdict, &facts).standing, Standing::Done { generation: 7 });
}

#[test]
fn a_release_that_waits_for_an_approval_is_held_and_one_that_ended_badly_has_failed() {
    let (before, after) = (blue_green("a:1", "info"), blue_green("a:1", "debug"));
    let hash = after.shape.revision();
    let mut facts = admitted(&running(&before));
    let begun = step(&Ok(after.clone()), &facts);
    let mut record = begun.release.expect("a release");
    let wave = begun.other.and_then(|other| other.revision).and_then(|revision| revision.wave);
    facts.admission = None;
    facts.revisions.push(stored(&after));
    facts.marks.insert(hash.clone(), Marks { own: Some("a:1".into()), wave });
    facts.release = Some(record.clone());
    assert_eq!(step(&Ok(after.clone()), &facts).standing, Standing::Running);

    record.state = ReleaseState::AwaitingApproval;
    facts.release = Some(record.clone());
    assert_eq!(step(&Ok(after.clone()), &facts).standing, Standing::Held);

    // Nobody approves, and the next generation is let in in its place.
    let next = step(&Ok(blue_green("a:1", "warn")), &facts);
    assert_eq!(next.standing, Standing::Waiting { unwell: false, has_place: true });

    record.state = ReleaseState::Stable;
    record.outcome = Some(Outcome::DeadlineExceeded);
    record.rejected_revision = Some(hash.clone());
    facts.release = Some(record.clone());
    let failed = step(&Ok(after.clone()), &facts);
    assert_eq!((failed.standing.clone(), failed.asks(&facts)), (Standing::Failed { revision: hash }, false));
    // Somebody has it tried again: no wave is waited for.
    facts.orders.retry.clone_from(&record.attempt);
    let retried = step(&Ok(after), &facts);
    assert_eq!(retried.standing, Standing::Waiting { unwell: false, has_place: true });
}

#[test]
fn a_release_that_its_service_takes_back_ends_though_what_it_asks_for_instead_has_to_wait() {
    let (before, new) = (blue_green("a:1", "info"), blue_green("a:2", "info"));
    let mut facts = running(&before);
    facts.release = step(&Ok(new.clone()), &facts).release;
    facts.revisions.push(stored(&new));
    facts.marks.insert(new.shape.revision(), Marks { own: Some(new.own), wave: None });
    // Its environment has changed as well, and lets nobody in yet.
    facts.admission = Some(Admission::Waits("waits for the wave".into()));
    let decision = step(&Ok(blue_green("a:1", "debug")), &facts);
    let record = decision.release.clone().expect("a release");
    assert_eq!((record.state, record.outcome), (ReleaseState::Stable, Some(Outcome::Superseded)));
    assert_eq!((record.revision, decision.reason), (before.shape.revision(), Reason::WaitsForWave));
    assert_eq!((decision.other, &decision.standing), (None, &WAITING));
}

#[test]
fn what_an_environment_changes_in_a_soak_waits_for_its_wave_once_that_is_over() {
    let (before, new) = (blue_green("a:1", "info"), blue_green("a:2", "info"));
    let hash = new.shape.revision();
    let mut facts = running(&before);
    let mut record = step(&Ok(new.clone()), &facts).release.expect("a release");
    record.state = ReleaseState::Soaking;
    record.since = Some(time(facts.now - SOAK));
    record.colour = Colour::Green;
    record.previous_revision = Some(before.shape.revision());
    record.revision.clone_from(&hash);
    let attempt = record.attempt.clone();
    facts.release = Some(record);
    facts.deployments.insert(Colour::Green, settled(&hash));
    facts.revisions.push(stored(&new));
    facts.marks.insert(hash.clone(), Marks { own: Some(new.own), wave: None });
    let after = Ok(blue_green("a:2", "debug"));
    let decision = step(&after, &facts);
    let record = decision.release.expect("a release");
    assert_eq!((record.state, record.outcome), (ReleaseState::Retiring, Some(Outcome::Promoted)));
    assert_eq!((&record.attempt, decision.wake_at), (&attempt, Some(facts.now + 1)));

    facts.release = Some(record);
    let decision = step(&after, &facts);
    assert_eq!((decision.standing.clone(), decision.asks(&facts)), (WAITING, true));
    assert_eq!(decision.release.and_then(|record| record.attempt), attempt);
    let begun = step(&after, &admitted(&facts));
    assert_eq!(begun.standing, Standing::Running);
    assert_ne!(begun.release.and_then(|record| record.attempt), attempt);
}

#[test]
fn what_somebody_has_ended_is_not_tried_again_because_its_environment_changes() {
    let (before, new) = (blue_green("a:1", "info"), blue_green("a:2", "info"));
    let (old, hash) = (before.shape.revision(), new.shape.revision());
    let mut facts = admitted(&running(&before));
    let mut record = step(&Ok(new.clone()), &facts).release.expect("a release");
    facts.revisions.push(stored(&new));
    facts.marks.insert(hash.clone(), Marks { own: Some(new.own.clone()), wave: None });
    record.state = ReleaseState::Stable;
    record.outcome = Some(Outcome::Aborted);
    record.rejected_revision = Some(hash.clone());
    facts.release = Some(record.clone());
    let after = Ok(blue_green("a:2", "debug"));
    let decision = step(&after, &facts);
    let kept = decision.release.expect("a release");
    assert_eq!((&kept.attempt, &kept.rejected_revision), (&record.attempt, &Some(hash.clone())));
    assert_eq!(decision.standing, Standing::Apart);
    // What they ask for themselves is, and so is what they have tried again: as it is by now.
    let again = step(&Ok(blue_green("a:3", "debug")), &facts).release.expect("a release");
    assert_ne!(again.attempt, record.attempt);
    facts.orders.retry.clone_from(&record.attempt);
    let again = step(&after, &facts);
    let asked = blue_green("a:2", "debug").shape.revision();
    assert_eq!(again.other.and_then(|other| other.revision).map(|it| it.hash), Some(asked));
    facts.orders.retry = None;

    // An undo that is under way goes on.
    record.revision.clone_from(&hash);
    record.previous_revision = Some(old.clone());
    record.outcome = Some(Outcome::Promoted);
    facts.deployments = [(Colour::Blue, settled(&hash))].into();
    facts.orders.undo.clone_from(&record.attempt);
    record.rejected_revision = None;
    facts.release = Some(record);
    let undoing = step(&Ok(new), &facts).release.expect("a release");
    assert_eq!((undoing.attempted(), undoing.rejected_revision.as_ref()), (Some(old.as_str()), Some(&hash)));
    facts.release = Some(undoing.clone());
    let goes_on = step(&after, &facts).release.expect("a release");
    assert_eq!((goes_on.attempt, goes_on.state), (undoing.attempt, undoing.state));
}

#[test]
fn two_that_ask_in_the_same_moment_do_not_both_take_the_last_place() {
    let (mut wave, terms) = (Wave::default(), terms(1));
    assert_eq!(wave.ask("1", &name("ai"), &WAITING, &terms), Admission::Admitted { generation: 7 });
    let Admission::Waits(why) = wave.ask("2", &name("users"), &WAITING, &terms) else { panic!("let in") };
    assert_eq!(
        why,
        "waits for the wave: 1 of 1 services of environment production are being released (shop/ai); 0 more wait"
    );
    // Who has a place keeps it, whatever comes next.
    assert_eq!(wave.ask("1", &name("ai"), &WAITING, &terms), Admission::Admitted { generation: 7 });
    assert!(wave.next(&terms).is_empty());
    wave.note("1", &name("ai"), Standing::Done { generation: 7 });
    assert_eq!(wave.next(&terms), [name("users")]);
}

#[test]
fn no_more_are_woken_than_have_room_and_the_unwell_come_first() {
    let (mut wave, terms) = (Wave::default(), terms(2));
    for index in 0..1000 {
        wave.note(&format!("{index}"), &name(&format!("service-{index:03}")), WAITING);
    }
    wave.note("x", &name("z"), Standing::Waiting { unwell: true, has_place: false });
    assert_eq!(wave.next(&terms), [name("z"), name("service-000")]);
    assert!(wave.next(&Terms { unseen: 1, ..terms }).is_empty());
}

#[test]
fn what_waits_for_a_person_takes_no_place() {
    let (mut wave, terms) = (Wave::default(), terms(1));
    wave.note("1", &name("ai"), Standing::Held);
    assert!(matches!(wave.ask("2", &name("users"), &WAITING, &terms), Admission::Admitted { .. }));
}

#[test]
fn a_failure_halts_until_it_is_no_more_or_somebody_says_to_go_on() {
    let (mut wave, terms) = (Wave::default(), terms(5));
    wave.note("1", &name("ai"), Standing::Failed { revision: "0123456789".into() });
    let Admission::Halted(why) = wave.ask("2", &name("users"), &WAITING, &terms) else { panic!("let in") };
    assert!(why.contains("shop/ai@0123456789") && why.contains(names::CONTINUE_WAVE), "{why}");
    assert!(wave.next(&terms).is_empty());
    // In spite of that one; not of the next.
    let goes_on = Terms { continued: Terms::continued("shop/ai@0123456789, b"), ..terms.clone() };
    assert_eq!(wave.next(&goes_on), [name("users")]);
    wave.note("3", &name("media"), Standing::Failed { revision: "0123456789".into() });
    assert!(wave.next(&goes_on).is_empty());
    let lenient = Terms { halt_after: Some(3), ..terms.clone() };
    assert_eq!(wave.next(&lenient), [name("users")]);
    // Who has failed is not held by its own failure, nor by others once somebody has it tried again.
    wave.note("3", &name("media"), Standing::Apart);
    assert!(matches!(wave.ask("1", &name("ai"), &WAITING, &terms), Admission::Admitted { .. }));
    assert_eq!(wave.next(&terms), [name("users")]);
}

#[test]
fn a_rendering_of_a_newer_operator_is_a_revision_of_its_own_and_stays_when_waves_are_over() {
    let plain = valid("a:1", "info");
    let mut facts = running(&plain);
    assert_eq!(step(&Ok(plain.clone()), &facts).reason, Reason::Stable);
    let same = crate::check::digest(&json!({ "template": {}, "config": {} }));
    let rendering = |digest: &str, either: &str| crate::facts::Rendering {
        digest: digest.into(),
        either: ["x".into(), either.into()],
    };
    facts.rendering = Some(rendering("new", &same));
    assert_eq!(step(&Ok(plain.clone()), &facts).reason, Reason::Stable, "rendered alike");
    facts.rendering = Some(rendering("new", "y"));
    assert!(step(&Ok(plain.clone()), &facts).asks(&facts));
    let decision = step(&Ok(plain.clone()), &admitted(&facts));
    let wanted = decision.revision.expect("a revision");
    assert_eq!(wanted.shape.rendering.as_deref(), Some("new"));

    let rendered = Valid { shape: wanted.shape, ..plain.clone() };
    let mut facts = running(&rendered);
    for now in [None, Some(rendering("new", "y"))] {
        facts.rendering = now;
        let decision = step(&Ok(plain.clone()), &facts);
        assert_eq!(
            (decision.reason, decision.revision.expect("one").hash),
            (Reason::Stable, rendered.shape.revision())
        );
    }
    // The service's own release leaves it behind.
    facts.rendering = None;
    let next = valid("a:2", "info");
    assert_eq!(step(&Ok(next.clone()), &facts).revision.expect("one").hash, next.shape.revision());
}

/// What happens to a cluster.
#[derive(Clone, Debug)]
enum Event {
    /// The environment changes; this one breaks pods, or not.
    Environment { breaks: bool },
    /// A service changes its image.
    Own(usize),
    /// A service is looked at.
    Pass(usize),
    /// Its pods arrive, if they are any good.
    Arrive(usize),
    /// The cache learns of it.
    Show(usize),
    /// Another operator starts.
    Restart,
    /// Time passes.
    Wait(i64),
}

fn event(services: usize) -> impl Strategy<Value = Event> {
    let each = 0..services;
    prop_oneof![
        1 => any::<bool>().prop_map(|breaks| Event::Environment { breaks }),
        1 => each.clone().prop_map(Event::Own),
        8 => each.clone().prop_map(Event::Pass),
        4 => each.clone().prop_map(Event::Arrive),
        4 => each.prop_map(Event::Show),
        1 => Just(Event::Restart),
        1 => (1i64..90).prop_map(Event::Wait),
    ]
}

/// One service, as it truly is, as the cache shows it, and as its revisions are stored.
#[derive(Clone, Debug)]
struct Real {
    image: usize,
    runs: Valid,
    arrived: bool,
    shown: bool,
    marks: BTreeMap<String, Marks>,
    stored: Vec<RevisionFact>,
}

struct World {
    generation: i64,
    broken: BTreeSet<i64>,
    now: i64,
    cap: i32,
    services: Vec<Real>,
    wave: Wave,
    woken: VecDeque<usize>,
}

impl World {
    fn new(services: usize, cap: i32) -> World {
        let runs = valid("a:0", "1");
        let hash = runs.shape.revision();
        let marks = [(hash, Marks { own: Some(runs.own.clone()), wave: None })].into();
        let stored = vec![stored(&runs)];
        let real = Real { image: 0, runs, arrived: true, shown: true, marks, stored };
        World {
            generation: 1,
            broken: BTreeSet::new(),
            now: 1000,
            cap,
            services: vec![real; services],
            wave: Wave::default(),
            woken: VecDeque::new(),
        }
    }

    fn terms(&self) -> Terms {
        let unseen =
            (0..self.services.len()).filter(|index| self.wave.of(&index.to_string()).is_none()).count();
        Terms { generation: self.generation, unseen, ..terms(self.cap) }
    }

    fn asked(&self, index: usize) -> Valid {
        valid(&format!("a:{}", self.services[index].image), &self.generation.to_string())
    }

    fn pass(&mut self, index: usize) {
        let (asked, uid, place) = (self.asked(index), index.to_string(), name(&format!("{index:03}")));
        let real = &self.services[index];
        let hash = real.runs.shape.revision();
        let missing = i32::from(!real.shown);
        let mut facts = Facts {
            environment: production(json!({})),
            deployments: [(Colour::Blue, DeploymentFact { available: 2 - missing, ..settled(&hash) })].into(),
            selected: Some(Colour::Blue),
            marks: real.marks.clone(),
            revisions: real.stored.clone(),
            now: self.now,
            ..Facts::default()
        };
        let mut decision = step(&Ok(asked.clone()), &facts);
        if decision.asks(&facts) {
            let terms = self.terms();
            facts.admission = Some(self.wave.ask(&uid, &place, &decision.standing, &terms));
            decision = step(&Ok(asked.clone()), &facts);
        }
        let wanted = decision.revision.expect("a revision");
        let real = &mut self.services[index];
        if wanted.hash != hash {
            // What was written is known at once, what comes of it is not.
            (real.runs, real.arrived, real.shown) = (asked, false, false);
        }
        if wanted.stored.is_none() {
            real.stored.push(stored(&real.runs));
        }
        real.marks.insert(wanted.hash, Marks { own: wanted.own, wave: wanted.wave });
        self.wave.note(&uid, &place, decision.standing);
        let next = self.wave.next(&self.terms());
        self.woken.extend(next.iter().filter_map(|(_, name)| name.parse::<usize>().ok()));
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Environment { breaks } => {
                self.generation += 1;
                if breaks {
                    self.broken.insert(self.generation);
                }
            }
            Event::Own(index) => self.services[index].image += 1,
            Event::Pass(index) => self.pass(index),
            Event::Arrive(index) => {
                let level = self.services[index].runs.shape.env["LEVEL"].parse().expect("a generation");
                self.services[index].arrived |= !self.broken.contains(&level);
            }
            Event::Show(index) => self.services[index].shown = self.services[index].arrived,
            Event::Restart => {
                self.wave = Wave::default();
                self.woken.clear();
                // A list shows things as they are.
                self.services.iter_mut().for_each(|real| real.shown = real.arrived);
            }
            Event::Wait(seconds) => self.now += seconds,
        }
    }

    /// Services whose pods are truly being replaced because of the environment, and that have not been given up.
    fn moving(&self) -> usize {
        let moves = |real: &&Real| {
            let wave = real.marks.get(&real.runs.shape.revision()).and_then(|marks| marks.wave.as_ref());
            !real.arrived && wave.is_some_and(|wave| self.now < wave.since + 60)
        };
        self.services.iter().filter(moves).count()
    }
}

proptest! {
    #[test]
    fn never_more_than_the_cap_are_under_way_and_in_the_end_all_have_arrived(
        cap in 1i32..4,
        events in prop::collection::vec(event(6), 1..120),
    ) {
        let mut world = World::new(6, cap);
        for event in &events {
            world.happen(event);
            prop_assert!(world.moving() <= cap as usize, "{} move after {event:?}", world.moving());
        }
        // The environment is corrected, and everybody is looked at once. From there on only what happens wakes anybody.
        world.happen(&Event::Environment { breaks: false });
        (0..6).for_each(|index| world.pass(index));
        for _ in 0..30 {
            prop_assert!(world.moving() <= cap as usize);
            for index in 0..6 {
                if !world.services[index].shown {
                    world.happen(&Event::Arrive(index));
                    world.happen(&Event::Show(index));
                    if world.services[index].shown {
                        world.pass(index);
                    }
                }
            }
            while let Some(index) = world.woken.pop_front() {
                world.pass(index);
            }
        }
        for index in 0..6 {
            let (runs, asked) = (&world.services[index].runs, world.asked(index));
            prop_assert_eq!(runs.shape.revision(), asked.shape.revision(), "service {} waits for ever", index);
        }
    }

    #[test]
    fn what_breaks_pods_reaches_no_more_services_than_one_wave(
        cap in 1i32..4,
        order in Just((0..6).collect::<Vec<usize>>()).prop_shuffle(),
        restarts in prop::collection::vec(any::<bool>(), 20),
    ) {
        let mut world = World::new(6, cap);
        (0..6).for_each(|index| world.pass(index));
        world.happen(&Event::Environment { breaks: true });
        for restart in restarts {
            if restart {
                world.happen(&Event::Restart);
            }
            for index in &order {
                world.happen(&Event::Arrive(*index));
                world.pass(*index);
            }
            world.happen(&Event::Wait(30));
        }
        let reached = world.services.iter().filter(|real| !real.arrived).count();
        prop_assert_eq!(reached, cap as usize);
    }
}

#[test]
fn a_name_that_nobody_has_any_more_keeps_no_place() {
    let (mut wave, name) = (Wave::default(), ("shop".to_string(), "users".to_string()));
    wave.note("1", &name, Standing::Running);
    wave.note("2", &("shop".to_string(), "books".to_string()), Standing::Running);
    assert!(wave.forget_name(&name));
    assert!(!wave.forget_name(&name));
    assert_eq!((wave.of("1"), wave.of("2")), (None, Some(&Standing::Running)));
}
