//! Judges of what every answer of the traffic carries: correlation, time, security.

use super::catalog::Check;
use super::client::Answer;
use super::survey::{CORRELATION_ID, REQUEST_ID, Survey};
use super::verdict::{Blocked, Verdict, failed, skipped};
use crate::contract::{CORRELATION_ID_HEADER, PROCESS_TIME_HEADER, REQUEST_ID_HEADER};

/// What the clocks of two processes may differ by, in milliseconds.
const SLACK: f64 = 5.0;
/// Seconds for which a browser has to remember TLS (D60).
const HSTS_SECONDS: u64 = 31_536_000;
/// Headers that must not be there twice.
const SINGLE: [&str; 9] = [
    CORRELATION_ID_HEADER,
    REQUEST_ID_HEADER,
    PROCESS_TIME_HEADER,
    "x-content-type-options",
    "x-frame-options",
    "x-xss-protection",
    "strict-transport-security",
    "content-security-policy",
    "referrer-policy",
];

pub const CHECKS: &[Check] = &[
    Check {
        id: "correlation/echo",
        requirements: &["D26"],
        expected: "x-correlation-id comes back as it was sent, also beside an x-request-id",
        way_out: "take x-correlation-id first, and answer with it",
        judge: |survey| expect_header(&survey.unknown, CORRELATION_ID_HEADER, CORRELATION_ID),
    },
    Check {
        id: "correlation/request-id",
        requirements: &["D26", "X19"],
        expected: "without an x-correlation-id, x-request-id is the correlation id",
        way_out: "resolve the id: x-correlation-id, then x-request-id, then a new one",
        judge: |survey| expect_header(&survey.with_request_id, CORRELATION_ID_HEADER, REQUEST_ID),
    },
    Check {
        id: "correlation/request-id-echo",
        requirements: &["D78", "X19"],
        expected: "x-request-id comes back as it was sent",
        way_out: "answer with the x-request-id of the request too",
        judge: |survey| expect_header(&survey.with_request_id, REQUEST_ID_HEADER, REQUEST_ID),
    },
    Check {
        id: "correlation/generated",
        requirements: &["D26", "X19"],
        expected: "a request without an id gets a new one, each another",
        way_out: "make a UUID where none was sent, and answer with it",
        judge: generated,
    },
    Check {
        id: "headers/process-time",
        requirements: &["D28", "X29"],
        expected: "x-process-time is the milliseconds it took",
        way_out: "send milliseconds as a plain number, without a unit",
        judge: process_time,
    },
    Check {
        id: "headers/security",
        requirements: &["D60"],
        expected: "the six security headers are there, as strict as the contract's",
        way_out: "set nosniff, DENY, HSTS of a year, a content security policy and a referrer policy on every answer",
        judge: security,
    },
    Check {
        id: "headers/once",
        requirements: &["D26", "D60"],
        expected: "none of these headers is there twice",
        way_out: "set a header in one place: the sidecar leaves those that the application sets",
        judge: once,
    },
];

fn answered(asked: &super::client::Asked) -> Result<&Answer, Blocked> {
    asked.as_ref().or_else(|_| skipped("there was no answer"))
}

fn expect_header(asked: &super::client::Asked, name: &str, expected: &str) -> Verdict {
    match answered(asked)?.header(name) {
        Some(found) if found == expected => Ok(found.into()),
        found => failed(format!("{name}: {}", found.unwrap_or("not there"))),
    }
}

fn generated(survey: &Survey) -> Verdict {
    let [one, other] = &survey.without_id;
    let id = |answer: &Answer| answer.header(CORRELATION_ID_HEADER).unwrap_or_default().to_string();
    let (one, other) = (id(answered(one)?), id(answered(other)?));
    if one.is_empty() || other.is_empty() || one == other {
        return failed(format!("{one:?} and {other:?}"));
    }
    Ok(one)
}

fn process_time(survey: &Survey) -> Verdict {
    let answer = answered(&survey.unknown)?;
    let Some(text) = answer.header(PROCESS_TIME_HEADER) else { return failed("not there") };
    match text.parse::<f64>() {
        Ok(time) if (0.0..=answer.milliseconds + SLACK).contains(&time) => Ok(text.into()),
        Ok(_) => failed(format!("{text}, and the answer took {:.0} ms", answer.milliseconds)),
        Err(_) => failed(text),
    }
}

/// Whether a value is as strict as the contract's.
type Fits = fn(&str) -> bool;

fn security(survey: &Survey) -> Verdict {
    let answer = answered(&survey.unknown)?;
    let strict: [(&str, Fits); 6] = [
        ("x-content-type-options", |value| value.eq_ignore_ascii_case("nosniff")),
        ("x-frame-options", |value| ["DENY", "SAMEORIGIN"].contains(&value.to_ascii_uppercase().as_str())),
        ("x-xss-protection", |value| ["0", "1; mode=block"].contains(&value)),
        ("strict-transport-security", |value| max_age(value).is_some_and(|age| age >= HSTS_SECONDS)),
        ("content-security-policy", |value| !value.trim().is_empty()),
        ("referrer-policy", |value| !value.trim().is_empty() && !value.contains("unsafe-url")),
    ];
    for (name, fits) in strict {
        match answer.header(name) {
            Some(value) if fits(value) => {}
            found => return failed(format!("{name}: {}", found.unwrap_or("not there"))),
        }
    }
    Ok("six".into())
}

fn max_age(value: &str) -> Option<u64> {
    value.split(';').find_map(|part| part.trim().to_ascii_lowercase().strip_prefix("max-age=")?.parse().ok())
}

fn once(survey: &Survey) -> Verdict {
    let headers = &answered(&survey.unknown)?.headers;
    match SINGLE.into_iter().find(|name| headers.get_all(*name).iter().count() > 1) {
        Some(name) => failed(format!("{name} is there {} times", headers.get_all(name).iter().count())),
        None => Ok("once each".into()),
    }
}
