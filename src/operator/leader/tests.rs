use super::*;

const ME: &str = "operator-a";
const OTHER: &str = "operator-b";
const RETRY: Duration = Duration::from_secs(2);
const DURATION: Duration = Duration::from_secs(15);

fn record(holder: &str, renewed: &str) -> Record {
    Record { holder: holder.into(), renew_time: Some(renewed.parse().unwrap()), duration: DURATION }
}

fn config() -> Config {
    Config::new("visiobook-system", "visiobook-operator", ME)
}

#[test]
fn every_situation_has_its_step() {
    let now = Instant::now();
    let today = "2026-01-02T03:04:05Z";
    let s = Duration::from_secs;
    let seen = |holder, renewed, seconds| {
        let seen_at = now.checked_sub(s(seconds)).unwrap();
        Some(Observed { record: record(holder, renewed), seen_at })
    };
    let (past, future) = ("2001-01-01T00:00:00Z", "2099-01-01T00:00:00Z");
    let table = [
        ("no lease", None, Step::Create),
        ("ours", seen(ME, today, 1), Step::Renew),
        ("ours, of an earlier process long gone", seen(ME, past, 900), Step::Renew),
        ("released just now", seen("", today, 0), Step::Take(Vacancy::Released)),
        ("another's, just seen", seen(OTHER, today, 0), Step::Wait(RETRY)),
        ("another's, seen for most of its time", seen(OTHER, today, 14), Step::Wait(s(1))),
        ("another's, frozen", seen(OTHER, today, 15), Step::Take(Vacancy::Expired)),
        ("just seen, by a clock years behind", seen(OTHER, past, 0), Step::Wait(RETRY)),
        ("frozen, by a clock years ahead", seen(OTHER, future, 16), Step::Take(Vacancy::Expired)),
    ];
    for (name, observed, step) in table {
        assert_eq!(decide(observed.as_ref(), ME, now, RETRY), step, "{name}");
    }
}

#[test]
fn the_holders_own_duration_counts() {
    let now = Instant::now();
    let mut record = record(OTHER, "2026-01-02T03:04:05Z");
    record.duration = Duration::from_secs(60);
    let observed = Observed { record, seen_at: now.checked_sub(Duration::from_secs(20)).unwrap() };
    assert_eq!(decide(Some(&observed), ME, now, RETRY), Step::Wait(RETRY));
}

#[test]
fn only_a_renewal_or_a_new_holder_is_a_sign_of_life() {
    let first = Instant::now();
    let later = first + Duration::from_secs(5);
    let seen = Observed { record: record(OTHER, "2026-01-02T03:04:05Z"), seen_at: first };
    let follow = |record| Observed::follow(Some(seen.clone()), record, later).seen_at;

    assert_eq!(follow(record(OTHER, "2026-01-02T03:04:05Z")), first, "nothing moved");
    assert_eq!(follow(record(OTHER, "2026-01-02T03:04:07Z")), later, "renewed");
    assert_eq!(follow(record(OTHER, "2026-01-02T03:04:01Z")), later, "renewed by a clock that was set back");
    assert_eq!(follow(record("operator-c", "2026-01-02T03:04:05Z")), later, "another holder");
}

#[test]
fn a_claim_holds_only_before_its_end() {
    let (sender, receiver) = watch::channel(Claim::default());
    let fence = Fence(receiver);
    assert!(!fence.holds(), "never acquired");

    sender.send_replace(Claim { until: Some(Instant::now() + Duration::from_secs(60)) });
    assert!(fence.holds());

    sender.send_replace(Claim { until: Some(Instant::now()) });
    assert!(!fence.holds(), "expired, though nobody said so");
}

#[test]
fn a_claim_outlives_its_dead_election_only_until_its_end() {
    let (sender, receiver) =
        watch::channel(Claim { until: Some(Instant::now() + Duration::from_millis(30)) });
    let fence = Fence(receiver);
    drop(sender);
    assert!(fence.holds());
    std::thread::sleep(Duration::from_millis(40));
    assert!(!fence.holds());
}

#[test]
fn who_is_alone_leads() {
    assert!(Fence::alone().holds());
}

#[test]
fn taking_counts_a_transition_and_renewing_keeps_the_rest() {
    let at = |s: &str| s.parse::<Timestamp>().unwrap();
    let created = claim(None, &config(), Step::Create, at("2026-01-02T03:04:05Z"));
    let spec = created.spec.clone().unwrap();
    assert_eq!(created.metadata.name.as_deref(), Some("visiobook-operator"));
    assert_eq!((spec.lease_transitions, spec.lease_duration_seconds), (None, Some(15)));
    assert_eq!(spec.acquire_time, spec.renew_time);

    let mut read = created;
    read.metadata.resource_version = Some("7".into());
    read.metadata.labels = Some([("team".to_owned(), "devops".to_owned())].into());
    let renewed = claim(Some(&read), &config(), Step::Renew, at("2026-01-02T03:04:07Z"));
    assert_eq!(renewed.metadata, read.metadata);
    let renewed_spec = renewed.spec.clone().unwrap();
    assert_eq!(renewed_spec.acquire_time, spec.acquire_time);
    assert_ne!(renewed_spec.renew_time, spec.renew_time);

    let taken = claim(Some(&renewed), &config(), Step::Take(Vacancy::Expired), at("2026-01-02T03:05:00Z"));
    let taken = taken.spec.unwrap();
    assert_eq!(taken.lease_transitions, Some(1));
    assert_eq!(taken.acquire_time, taken.renew_time);
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let held = claim(None, &config(), Step::Create, Timestamp::now());
    let record = Record::read(&vacate(&held, Timestamp::now()), DURATION);
    assert_eq!(record.duration, Duration::from_secs(1));
    let now = Instant::now();
    let observed = Observed { record, seen_at: now };
    assert_eq!(decide(Some(&observed), OTHER, now, RETRY), Step::Take(Vacancy::Released));
}

#[test]
fn parameters_that_could_elect_two_leaders_are_refused() {
    assert!(config().check().is_ok());
    let wrong: [fn(&mut Config); 5] = [
        |c| c.identity.clear(),
        |c| c.renew_deadline = c.lease_duration,
        |c| c.lease_duration = Duration::from_millis(15_500),
        |c| c.retry_period = Duration::ZERO,
        |c| c.retry_period = c.renew_deadline,
    ];
    for (number, spoil) in wrong.iter().enumerate() {
        let mut config = config();
        spoil(&mut config);
        assert!(config.check().is_err(), "case {number}");
    }
}
