//! Judges of what browsers of other origins are told.

use super::catalog::Check;
use super::client::{Answer, Asked};
use super::survey::{Cors, Survey};
use super::verdict::{Blocked, Verdict, failed, skipped};

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const HEADERS: [&str; 4] = ["authorization", "content-type", "x-correlation-id", "x-request-id"];

pub const CHECKS: &[Check] = &[
    Check {
        id: "cors/preflight",
        requirements: &["D61", "X28"],
        expected: "OPTIONS of a listed origin answers 204 with that origin and credentials",
        way_out: "answer preflights with 204 before routes, tokens and rate limits",
        judge: preflight,
    },
    Check {
        id: "cors/methods",
        requirements: &["D61", "X28"],
        expected: "a preflight allows GET, POST, PUT, PATCH, DELETE and OPTIONS",
        way_out: "list all of them in Access-Control-Allow-Methods",
        judge: |survey| expect_listed(&cors(survey)?.preflight, "access-control-allow-methods", &METHODS),
    },
    Check {
        id: "cors/headers",
        requirements: &["D61", "X28"],
        expected: "a preflight allows Authorization, Content-Type, X-Correlation-ID and X-Request-ID",
        way_out: "list all of them in Access-Control-Allow-Headers",
        judge: |survey| expect_listed(&cors(survey)?.preflight, "access-control-allow-headers", &HEADERS),
    },
    Check {
        id: "cors/listed",
        requirements: &["D61", "X28"],
        expected: "an answer to a listed origin names that origin, and allows credentials",
        way_out: "send Access-Control-Allow-Origin with the origin itself, never `*`, on errors too",
        judge: |survey| {
            let cors = cors(survey)?;
            expect_origin(answered(&cors.listed)?, &cors.origin)
        },
    },
    Check {
        id: "cors/stranger",
        requirements: &["X28"],
        expected: "an origin that is not listed is not allowed; where `*` is listed, without credentials",
        way_out: "send no Access-Control-Allow-Origin to origins that are not on the list",
        judge: stranger,
    },
    Check {
        id: "cors/vary",
        requirements: &["X28"],
        expected: "Vary names Origin, or a cache hands one origin's answer to another",
        way_out: "add Origin to Vary wherever the answer depends on it",
        judge: |survey| expect_listed(&cors(survey)?.listed, "vary", &["origin"]),
    },
];

fn cors(survey: &Survey) -> Result<&Cors, Blocked> {
    survey.cors.as_ref().map_or_else(|| skipped("the spec names no corsOrigins"), Ok)
}

fn answered(asked: &Asked) -> Result<&Answer, Blocked> {
    asked.as_ref().or_else(|reason| failed(reason.clone()))
}

fn preflight(survey: &Survey) -> Verdict {
    let cors = cors(survey)?;
    let answer = answered(&cors.preflight)?;
    if answer.status != 204 {
        return failed(answer.told());
    }
    expect_origin(answer, &cors.origin)
}

fn expect_origin(answer: &Answer, origin: &str) -> Verdict {
    let told = |name: &str| answer.header(name).unwrap_or("nothing").to_string();
    let (allowed, credentials) =
        (told("access-control-allow-origin"), told("access-control-allow-credentials"));
    let seen = format!("origin {allowed}, credentials {credentials}");
    if allowed == origin && credentials == "true" { Ok(seen) } else { failed(seen) }
}

fn stranger(survey: &Survey) -> Verdict {
    let answer = answered(&cors(survey)?.stranger)?;
    let any = survey.spec.cors_origins.iter().any(|origin| origin == "*");
    match answer.header("access-control-allow-origin") {
        None => Ok("not allowed".into()),
        Some("*") if any && answer.header("access-control-allow-credentials").is_none() => Ok("*".into()),
        Some(allowed) => failed(allowed),
    }
}

/// A header that is a list has to name all of these.
fn expect_listed(asked: &Asked, name: &str, expected: &[&str]) -> Verdict {
    let answer = asked.as_ref().or_else(|_| skipped("there was no answer"))?;
    let lines: Vec<&str> =
        answer.headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    let seen = lines.join(", ");
    let words: Vec<&str> = seen.split(',').map(str::trim).collect();
    match expected.iter().find(|wanted| !words.iter().any(|word| word.eq_ignore_ascii_case(wanted))) {
        Some(missing) => failed(format!("{missing} is not in {seen:?}")),
        None => Ok(seen),
    }
}
