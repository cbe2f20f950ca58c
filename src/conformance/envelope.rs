//! Judges of errors: the envelope that every one of them has (D40).

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::catalog::Check;
use super::client::{Answer, Asked};
use super::survey::Survey;
use super::verdict::{Blocked, Verdict, expect_type, failed, field, shown, skipped};
use crate::contract::CORRELATION_ID_HEADER;

/// Seconds that clocks may be apart.
const MOST_SKEW: f64 = 300.0;

pub const CHECKS: &[Check] = &[
    Check {
        id: "errors/status",
        requirements: &["D40"],
        expected: "a path that does not exist answers 404 (401 where every path needs a token)",
        way_out: "answer unknown paths with 404, not with a page",
        judge: status,
    },
    Check {
        id: "errors/type",
        requirements: &["D40"],
        expected: "an error is application/json",
        way_out: "send Content-Type: application/json with every error, the framework's own too",
        judge: |survey| expect_type(&Ok(error_of(&survey.unknown)?.clone()), "application/json"),
    },
    Check {
        id: "errors/envelope",
        requirements: &["D40", "X18"],
        expected: "{error: {code: the status code, message, correlationId, timestamp}}",
        way_out: "replace the framework's own error page; beside a sidecar, set errors.envelope",
        judge: |survey| expect_envelope(error_of(&survey.unknown)?),
    },
    Check {
        id: "errors/correlation",
        requirements: &["D40", "D26"],
        expected: "the envelope's correlationId is the answer's x-correlation-id",
        way_out: "put the id of the request into both",
        judge: correlation,
    },
    Check {
        id: "errors/timestamp",
        requirements: &["D40", "X18"],
        expected: "the envelope's timestamp is now, in Unix seconds",
        way_out: "send seconds, not milliseconds, as a number",
        judge: timestamp,
    },
    Check {
        id: "errors/contract-port",
        requirements: &["D40"],
        expected: "404 and 405 of the contract's port are envelopes too",
        way_out: "answer unknown paths and methods there with the same envelope",
        judge: contract_port,
    },
];

/// An answer that is an error; whether there has to be one is the question of `errors/status`.
fn error_of(asked: &Asked) -> Result<&Answer, Blocked> {
    match asked {
        Ok(answer) if answer.status >= 400 => Ok(answer),
        Ok(answer) => skipped(format!("an unknown path answers {}", answer.status)),
        Err(_) => skipped("there was no answer"),
    }
}

fn status(survey: &Survey) -> Verdict {
    match &survey.unknown {
        Ok(answer) if matches!(answer.status, 401 | 404) => Ok(answer.status.to_string()),
        Ok(answer) if answer.status < 400 && survey.spec.routes.is_empty() => {
            skipped(format!("an unknown path answers {}, and the spec names no routes", answer.status))
        }
        Ok(answer) => failed(answer.told()),
        Err(reason) => failed(reason.clone()),
    }
}

fn envelope(answer: &Answer) -> Option<Map<String, Value>> {
    match answer.json()?.get("error")? {
        Value::Object(error) => Some(error.clone()),
        _ => None,
    }
}

/// The envelope of D40; `correlation_id` is accepted (X18).
pub fn expect_envelope(answer: &Answer) -> Verdict {
    let Some(error) = envelope(answer) else { return failed(answer.told()) };
    let text = |name: &str| field(&error, name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    let wrong = [
        ("code", field(&error, "code").and_then(Value::as_u64) == Some(answer.status.into())),
        ("message", text("message")),
        ("correlationId", text("correlationId")),
        ("timestamp", field(&error, "timestamp").is_some_and(Value::is_number)),
    ];
    match wrong.into_iter().find(|(_, fits)| !fits) {
        Some((name, _)) => failed(format!("{name} is {} in a {}", shown(field(&error, name)), answer.status)),
        None => Ok(shown(Some(&Value::Object(error)))),
    }
}

fn correlation(survey: &Survey) -> Verdict {
    let answer = error_of(&survey.unknown)?;
    let Some(error) = envelope(answer) else { return skipped("there is no envelope") };
    let (told, header) =
        (field(&error, "correlationId").and_then(Value::as_str), answer.header(CORRELATION_ID_HEADER));
    match (told, header) {
        (Some(told), Some(header)) if told == header => Ok(told.into()),
        (Some(told), Some(header)) => failed(format!("{told}, and the header says {header}")),
        _ => skipped("one of the two is missing"),
    }
}

fn timestamp(survey: &Survey) -> Verdict {
    let Some(error) = envelope(error_of(&survey.unknown)?) else { return skipped("there is no envelope") };
    match field(&error, "timestamp").and_then(Value::as_f64) {
        Some(seconds) => expect_now(seconds, survey.now),
        None => skipped("timestamp is no number"),
    }
}

fn expect_now(seconds: f64, now: Timestamp) -> Verdict {
    let apart = (now.as_millisecond() as f64 / 1000.0 - seconds).abs();
    if apart <= MOST_SKEW {
        Ok(seconds.to_string())
    } else {
        failed(format!("{seconds}, and it is {}", now.as_second()))
    }
}

fn contract_port(survey: &Survey) -> Verdict {
    if survey.one_port {
        return skipped("contract and traffic share a port");
    }
    match &survey.lost {
        Ok(answer) if answer.status == 404 => expect_envelope(answer)?,
        Ok(answer) => return failed(answer.told()),
        Err(reason) => return failed(reason.clone()),
    };
    match &survey.health_post {
        Ok(answer) if answer.status >= 400 => expect_envelope(answer),
        _ => Ok("404".into()),
    }
}
