//! What is told of an environment.

use jiff::Timestamp;

use super::conditions::{say, stamp};
use crate::api::{PodSecurityLevel, VisiobookEnvironmentSpec, VisiobookEnvironmentStatus, WaveStatus};
use crate::check;
use crate::facts::Failure;
use crate::rollout::waves::{self, Progress};

/// A namespace whose label names the environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// What its Pod Security label enforces.
    pub enforces: PodSecurityLevel,
    /// Why what the environment puts into it is not all there.
    pub failure: Option<Failure>,
    /// Why its Pod Security label could not be raised.
    pub not_raised: Option<String>,
}

/// Which environments exist, and whether all of them know this one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// Their names, in order.
    pub known: Vec<String>,
    /// Whether the status of each of the others lists this one: until then the API server refuses its label.
    pub everywhere: bool,
}

/// A service in one of them that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// `namespace/name`.
    pub service: String,
    /// What it was told.
    pub message: String,
}

/// Names in a message, before it says only how many more there are.
const NAMED: usize = 10;

/// Everything that a pass over an environment knows at its end.
pub struct Overview<'a> {
    /// Its name.
    pub name: &'a str,
    /// How far its waves are, where there are any.
    pub wave: Option<&'a Progress>,
    /// Its spec.
    pub spec: &'a VisiobookEnvironmentSpec,
    /// Generation of the resource.
    pub generation: i64,
    /// Who knows of it.
    pub listed: &'a Listed,
    /// Its namespaces.
    pub places: &'a [Place],
    /// Services in them.
    pub services: usize,
    /// Those that break a rule.
    pub violations: &'a [Violation],
    /// What was published last.
    pub previous: &'a VisiobookEnvironmentStatus,
}

/// The status of an environment.
pub fn report_environment(seen: &Overview<'_>, now: Timestamp) -> VisiobookEnvironmentStatus {
    let Overview { name, wave, spec, generation, listed, places, services, violations, previous } = *seen;
    let failed: Vec<String> = places
        .iter()
        .filter_map(|place| {
            place.failure.as_ref().map(|failure| format!("{}: {}", place.name, failure.message))
        })
        .collect();
    let unknown = check::unknown_zones(spec);
    let ready = match places.iter().find_map(|place| place.failure.as_ref()) {
        Some(failure) => say("Ready", "False", failure.reason, first_of(&failed)),
        None if !unknown.is_empty() => say(
            "Ready",
            "False",
            "TimeZoneUnknown",
            format!(
                "spec.rollout.freezes: {} is no time zone of the IANA database, so its times count as UTC: name one such as Europe/Paris",
                unknown.join(", ")
            ),
        ),
        None if !listed.everywhere => {
            say("Ready", "False", "Listing", "the other environments are told of this one")
        }
        None if places.is_empty() => {
            say("Ready", "True", "Unused", "no namespace has this environment's label")
        }
        None => say("Ready", "True", "InPlace", "every namespace has what the environment puts into it"),
    };
    let conforming = if violations.is_empty() {
        say("Conforming", "True", "NoViolations", "every service keeps the rules")
    } else {
        let told: Vec<String> =
            violations.iter().map(|it| format!("{}: {}", it.service, it.message)).collect();
        let message = format!("they run as they were last accepted; {}", first_of(&told));
        say("Conforming", "False", "Violations", message)
    };
    let conditions = vec![ready, conforming, pod_security(spec, places), released(name, wave)];
    let count = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
    VisiobookEnvironmentStatus {
        observed_generation: Some(generation),
        namespaces: count(places.len()),
        services: count(services),
        violations: count(violations.len()),
        environments: listed.known.clone(),
        wave: wave.map(|wave| wave.status.clone()).filter(|wave| concerned(wave) > 0),
        conditions: stamp(conditions, generation, &previous.conditions, now),
    }
}

/// Services that a change concerns.
fn concerned(wave: &WaveStatus) -> i32 {
    wave.done + wave.running + wave.waiting + wave.held + wave.failed
}

/// Whether what the environment asks for runs everywhere.
fn released(name: &str, wave: Option<&Progress>) -> super::conditions::Said {
    let Some(wave) = wave.filter(|wave| concerned(&wave.status) > 0) else {
        return say("Released", "True", "Complete", "no service waits for a wave");
    };
    let WaveStatus { done, running, waiting, held, failed, .. } = wave.status;
    let mut told = format!(
        "{done} of {} services are done, {running} are being released, {waiting} wait",
        concerned(&wave.status)
    );
    if held > 0 {
        told += &format!(", {held} are ready and wait for an approval or the end of a freeze");
    }
    if failed > 0 {
        told += &format!(", {failed} have failed");
    }
    if wave.halted {
        return say("Released", "False", "Halted", format!("{told}; {}", waves::halted(wave, name)));
    }
    if running + waiting + held > 0 {
        return say("Released", "False", "Releasing", told);
    }
    if failed > 0 {
        return say("Released", "False", "Failed", format!("{told}: {}", wave.status.failures.join(", ")));
    }
    say("Released", "True", "Complete", told)
}

fn pod_security(spec: &VisiobookEnvironmentSpec, places: &[Place]) -> super::conditions::Said {
    let Some(wanted) = &spec.pod_security else {
        return say("PodSecurity", "Unknown", "NotAsked", "spec.podSecurity says nothing");
    };
    let level = wanted.enforce.as_str();
    let lenient: Vec<String> = places
        .iter()
        .filter(|place| place.enforces < wanted.enforce)
        .map(|place| match &place.not_raised {
            Some(why) => format!("{}: {why}", place.name),
            None => place.name.clone(),
        })
        .collect();
    if lenient.is_empty() {
        return say("PodSecurity", "True", "Enforced", format!("every namespace enforces {level}"));
    }
    let message = format!(
        "label these namespaces pod-security.kubernetes.io/enforce={level}, or set spec.podSecurity.mode to Set: {}",
        first_of(&lenient)
    );
    say("PodSecurity", "False", "TooLenient", message)
}

fn first_of(told: &[String]) -> String {
    let first = told.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    match told.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first}; and {more} more"),
    }
}
