//! What an environment gives its namespaces, and what is told of it.

use jiff::Timestamp;
use serde_json::{Value, json};
use visiobook::api::{PodSecurityLevel, VisiobookEnvironmentSpec, VisiobookEnvironmentStatus};
use visiobook::facts::Failure;
use visiobook::plan;
use visiobook::rollout::waves::{Progress, Standing, Terms, Wave};
use visiobook::status::{Listed, Overview, Place, Violation, report_environment};

fn spec(value: Value) -> VisiobookEnvironmentSpec {
    serde_json::from_value(value).expect("environment")
}

fn planned(value: Value) -> Vec<Value> {
    plan::govern("staging", &spec(value), "shop").objects.into_iter().map(|planned| planned.object).collect()
}

/// What is told of an environment called production, from what is seen of it beside these.
fn told(
    said: &VisiobookEnvironmentSpec,
    places: &[Place],
    wave: Option<&Progress>,
) -> VisiobookEnvironmentStatus {
    report(said, places, wave, &[], &VisiobookEnvironmentStatus::default(), Timestamp::UNIX_EPOCH)
}

fn report(
    spec: &VisiobookEnvironmentSpec,
    places: &[Place],
    wave: Option<&Progress>,
    violations: &[Violation],
    previous: &VisiobookEnvironmentStatus,
    now: Timestamp,
) -> VisiobookEnvironmentStatus {
    let listed = Listed { known: vec!["production".into()], everywhere: true };
    let seen = Overview {
        name: "production",
        wave,
        spec,
        generation: 7,
        listed: &listed,
        places,
        services: 20,
        violations,
        previous,
    };
    report_environment(&seen, now)
}

/// Status, reason and message of a condition.
fn says<'a>(status: &'a VisiobookEnvironmentStatus, type_: &str) -> (&'a str, &'a str, &'a str) {
    let condition = status.conditions.iter().find(|condition| condition.type_ == type_).expect(type_);
    (&condition.status, &condition.reason, &condition.message)
}

#[test]
fn an_environment_that_says_nothing_gives_nothing() {
    assert_eq!(
        planned(json!({ "type": "production", "access": {}, "quota": { "hard": {} } })),
        Vec::<Value>::new()
    );
}

#[test]
fn what_is_given_belongs_to_no_object_and_is_spelled_as_it_is_stored() {
    let given = planned(json!({
        "type": "staging",
        "quota": { "hard": { "requests.cpu": "2000m", "pods": "10" } },
        "limitRange": { "limits": [
            { "type": "Container", "max": { "cpu": "1000m" }, "default": { "memory": "1024Mi" }, "min": { "cpu": "10m" } },
            { "type": "Pod", "max": { "cpu": "2" } },
        ] },
        "access": { "view": ["a", "b"], "approve": ["c"] },
    }));
    assert_eq!(given.len(), 4);
    for object in &given {
        assert!(object["metadata"].get("ownerReferences").is_none(), "{object}");
        assert_eq!(object["metadata"]["labels"]["platform.visiobook.com/environment"], "staging");
        assert_eq!(object["metadata"]["namespace"], "shop");
    }
    assert_eq!(given[0]["spec"]["hard"], json!({ "requests.cpu": "2", "pods": "10" }));
    assert_eq!(
        given[1]["spec"]["limits"],
        json!([
            {
                "type": "Container", "max": { "cpu": "1" }, "min": { "cpu": "10m" },
                "default": { "cpu": "1", "memory": "1Gi" }, "defaultRequest": { "cpu": "1", "memory": "1Gi" },
            },
            { "type": "Pod", "max": { "cpu": "2" } },
        ])
    );
    assert_eq!(given[2]["roleRef"]["name"], "visiobook-viewer");
    assert_eq!(given[2]["subjects"].as_array().map(Vec::len), Some(2));
    assert_eq!(given[3]["roleRef"]["name"], "visiobook-approver");
}

#[test]
fn an_environment_tells_what_failed_who_breaks_its_rules_and_who_is_too_lenient() {
    let said = spec(json!({ "type": "production", "podSecurity": { "enforce": "baseline" } }));
    let failure = Failure { reason: "NameTaken", message: "LimitRange x exists".into(), transient: false };
    let place = |name: &str, enforces| Place { name: name.into(), enforces, failure: None, not_raised: None };
    let mut places = [place("a", PodSecurityLevel::Privileged), place("b", PodSecurityLevel::Restricted)];
    places[1].failure = Some(failure);
    let violations: Vec<Violation> = (0..12)
        .map(|index| Violation {
            service: format!("a/{index:02}"),
            message: "spec.image: no [image-tag]".into(),
        })
        .collect();
    let overview = |previous: &VisiobookEnvironmentStatus, now: Timestamp| {
        report(&said, &places, None, &violations, previous, now)
    };
    let status = overview(&VisiobookEnvironmentStatus::default(), Timestamp::UNIX_EPOCH);
    assert_eq!((status.namespaces, status.services, status.violations), (2, 20, 12));
    assert_eq!(says(&status, "Ready"), ("False", "NameTaken", "b: LimitRange x exists"));
    let (conforming, _, message) = says(&status, "Conforming");
    assert!(
        conforming == "False" && message.contains("a/09: ") && message.ends_with("and 2 more"),
        "{message}"
    );
    let (enforced, _, message) = says(&status, "PodSecurity");
    assert!(enforced == "False" && message.ends_with(": a"), "{message}");

    // The same again keeps its times, so nothing is published.
    let later = Timestamp::from_second(99).expect("time");
    assert_eq!(overview(&status, later), status);
}

#[test]
fn a_time_zone_that_nobody_knows_is_told_by_its_name() {
    let freeze = |zone: &str| json!({ "reason": "weekend", "weekly": { "from": "Fri 16:00", "to": "Mon 08:00", "timeZone": zone } });
    let said = |freezes: Value| spec(json!({ "type": "production", "rollout": { "freezes": freezes } }));
    let wrong = told(&said(json!([freeze("Europe/Paris"), freeze("Mars/Base")])), &[], None);
    let (ready, reason, message) = says(&wrong, "Ready");
    assert_eq!((ready, reason), ("False", "TimeZoneUnknown"));
    assert!(message.contains("Mars/Base is no time zone"), "{message}");
    let right = told(&said(json!([freeze("Europe/Paris")])), &[], None);
    assert_eq!(says(&right, "Ready").0, "True");
}

#[test]
fn an_environment_tells_how_far_its_wave_is_and_who_has_halted_it() {
    let said = spec(json!({ "type": "production" }));
    let report = |wave: &Progress| told(&said, &[], Some(wave));
    let nothing = report(&Progress::default());
    assert_eq!((says(&nothing, "Released").1, nothing.wave.is_none()), ("Complete", true));
    assert_eq!(says(&nothing, "Released").0, "True");

    let terms = Terms { environment: "production".into(), generation: 3, ..Terms::default() };
    let mut wave = Wave::default();
    let waiting = Standing::Waiting { unwell: false, has_place: false };
    for (uid, standing) in [
        ("a", Standing::Done { generation: 3 }),
        ("b", Standing::Done { generation: 2 }),
        ("c", Standing::Held),
        ("d", Standing::Running),
        ("e", waiting),
    ] {
        wave.note(uid, &("shop".into(), uid.into()), standing);
    }
    let status = report(&wave.progress(&terms));
    let message = "1 of 4 services are done, 1 are being released, 1 wait, 1 are ready and wait for an approval or the end of a freeze";
    assert_eq!(says(&status, "Released"), ("False", "Releasing", message));
    let told = status.wave.expect("a wave");
    assert_eq!((told.done, told.running, told.waiting, told.held, told.max_concurrent), (1, 1, 1, 1, 1));

    wave.note("d", &("shop".into(), "d".into()), Standing::Failed { revision: "0123456789".into() });
    let status = report(&wave.progress(&terms));
    let (_, reason, message) = says(&status, "Released");
    assert!(reason == "Halted" && message.contains("shop/d@0123456789"), "{message}");
    let failures = status.wave.as_ref().expect("a wave").failures.join(" ");
    let goes_on = Terms { continued: Terms::continued(&failures), ..terms };
    assert_eq!(says(&report(&wave.progress(&goes_on)), "Released").1, "Releasing");
}
