//! Judges of /health and /ready.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::catalog::Check;
use super::client::Asked;
use super::survey::Survey;
use super::verdict::{
    Blocked, Verdict, expect_json, expect_status, failed, field, object, showing, shown, skipped,
};

/// How far clocks may be apart.
const MOST_SKEW: SignedDuration = SignedDuration::from_mins(5);

pub const CHECKS: &[Check] = &[
    Check {
        id: "health/status",
        requirements: &["C31", "D01", "D17"],
        expected: "GET /health answers 200",
        way_out: "answer /health on the contract's port; a 503 says which dependency fails",
        judge: |survey| expect_status(&survey.health, 200),
    },
    Check {
        id: "health/json",
        requirements: &["D01"],
        expected: "/health is a JSON object, as application/json",
        way_out: "send a JSON object with Content-Type: application/json; plain OK is no answer",
        judge: |survey| expect_json(&survey.health),
    },
    Check {
        id: "health/word",
        requirements: &["D01", "D02", "C31"],
        expected: "status is \"healthy\" with 200, \"unhealthy\" with 503",
        way_out: "set the field status to the word that fits the status code",
        judge: |survey| expect_word(&survey.health, "healthy", "unhealthy"),
    },
    Check {
        id: "health/identity",
        requirements: &["D01", "D12", "C31"],
        expected: "service and version are texts, and those of the spec",
        way_out: "tell SERVICE_NAME and SERVICE_VERSION in the fields service and version",
        judge: identity,
    },
    Check {
        id: "health/timestamp",
        requirements: &["D14"],
        expected: "timestamp is now, in RFC 3339 with its offset",
        way_out: "send the time as 2026-01-31T12:00:00Z, and check the clock",
        judge: |survey| expect_timestamp(&survey.health, survey.now),
    },
    Check {
        id: "health/uptime",
        requirements: &["D01", "D13"],
        expected: "uptime is a number of seconds that does not fall",
        way_out: "send the seconds since the process started, as a number",
        judge: uptime,
    },
    Check {
        id: "health/dependencies",
        requirements: &["D01", "D06", "D07"],
        expected: "dependencies says \"healthy\" or \"unhealthy\" of each, those in external_services too",
        way_out: "send dependencies: {database, redis, external_services: {<name>}}; leave out what is not used",
        judge: dependencies,
    },
    Check {
        id: "health/head",
        requirements: &["D01", "D16"],
        expected: "HEAD /health answers as GET does",
        way_out: "answer HEAD with the status and the headers of GET",
        judge: |survey| expect_head(&survey.health_head, &survey.health),
    },
    Check {
        id: "health/method",
        requirements: &["D17", "D40"],
        expected: "POST /health answers 405",
        way_out: "refuse every method but GET and HEAD with 405",
        judge: |survey| expect_status(&survey.health_post, 405),
    },
    Check {
        id: "health/for-peers",
        requirements: &["C31", "D07"],
        expected: "/health is answered on the port of traffic too: services ask each other there",
        way_out: "answer http://<service>/health like the contract's port",
        judge: |survey| expect_for_peers(survey, &survey.health_for_peers),
    },
    Check {
        id: "ready/status",
        requirements: &["C31", "D03", "D17"],
        expected: "GET /ready answers 200",
        way_out: "answer /ready on the contract's port; a 503 says which check fails",
        judge: |survey| expect_status(&survey.ready, 200),
    },
    Check {
        id: "ready/json",
        requirements: &["D03"],
        expected: "/ready is a JSON object, as application/json",
        way_out: "send a JSON object with Content-Type: application/json; plain READY is no answer",
        judge: |survey| expect_json(&survey.ready),
    },
    Check {
        id: "ready/word",
        requirements: &["D03", "D04", "C31"],
        expected: "status is \"ready\" with 200, \"not_ready\" with 503",
        way_out: "set the field status to the word that fits the status code",
        judge: |survey| expect_word(&survey.ready, "ready", "not_ready"),
    },
    Check {
        id: "ready/timestamp",
        requirements: &["D14"],
        expected: "timestamp is now, in RFC 3339 with its offset",
        way_out: "send the time as 2026-01-31T12:00:00Z, and check the clock",
        judge: |survey| expect_timestamp(&survey.ready, survey.now),
    },
    Check {
        id: "ready/checks",
        requirements: &["D03"],
        expected: "checks holds database_migrations, external_dependencies and configuration, all true when ready",
        way_out: "send checks with these three as booleans; ready means that each is true",
        judge: checks,
    },
    Check {
        id: "ready/head",
        requirements: &["D03", "D16"],
        expected: "HEAD /ready answers as GET does",
        way_out: "answer HEAD with the status and the headers of GET",
        judge: |survey| expect_head(&survey.ready_head, &survey.ready),
    },
    Check {
        id: "ready/for-peers",
        requirements: &["C31", "D17"],
        expected: "/ready is answered on the port of traffic too",
        way_out: "answer http://<service>/ready like the contract's port",
        judge: |survey| expect_for_peers(survey, &survey.ready_for_peers),
    },
];

/// The object, unless it is the short one of a check that itself failed (D02, D04).
fn full(asked: &Asked) -> Result<Map<String, Value>, Blocked> {
    let object = object(asked)?;
    match (asked, field(&object, "error")) {
        (Ok(answer), Some(error)) if answer.status == 503 => {
            skipped(format!("the answer is only an error: {}", shown(Some(error))))
        }
        _ => Ok(object),
    }
}

fn expect_word(asked: &Asked, well: &str, ill: &str) -> Verdict {
    let object = object(asked)?;
    let word = field(&object, "status").and_then(Value::as_str);
    let expected = match asked {
        Ok(answer) if answer.status == 200 => well,
        Ok(answer) if answer.status == 503 => ill,
        _ => return skipped("the status code is neither 200 nor 503"),
    };
    if word == Some(expected) { Ok(expected.into()) } else { failed(shown(field(&object, "status"))) }
}

fn identity(survey: &Survey) -> Verdict {
    let object = full(&survey.health)?;
    for (name, known) in [("service", &survey.spec.service), ("version", &survey.spec.version)] {
        let told = field(&object, name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if told.is_none() || known.as_deref().is_some_and(|known| told != Some(known)) {
            return failed(format!("{name} is {}", shown(field(&object, name))));
        }
    }
    Ok(format!("{} {}", shown(field(&object, "service")), shown(field(&object, "version"))))
}

fn expect_timestamp(asked: &Asked, now: Timestamp) -> Verdict {
    let object = object(asked)?;
    let told = shown(field(&object, "timestamp"));
    let read =
        field(&object, "timestamp").and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
    match read {
        Some(time) if now.duration_since(time).abs() <= MOST_SKEW => Ok(told),
        Some(_) => failed(format!("{told}, and it is {now:.0}")),
        None => failed(told),
    }
}

fn uptime(survey: &Survey) -> Verdict {
    let object = full(&survey.health)?;
    let first = field(&object, "uptime").and_then(Value::as_f64);
    let Some(first) = first.filter(|seconds| *seconds >= 0.0) else {
        return failed(shown(field(&object, "uptime")));
    };
    let later = full(&survey.health_later).ok();
    let later = later.and_then(|object| field(&object, "uptime")?.as_f64()).unwrap_or(first);
    if later < first && !survey.spec.shared {
        return failed(format!("{first} s, later {later} s"));
    }
    Ok(format!("{first} s"))
}

fn dependencies(survey: &Survey) -> Verdict {
    let health = full(&survey.health)?;
    let Some(Value::Object(told)) = field(&health, "dependencies") else {
        return failed(format!("dependencies is {}", shown(field(&health, "dependencies"))));
    };
    let mut names = Vec::new();
    for (name, value) in told {
        match value {
            Value::Object(external) if field(told, "external_services") == Some(value) => {
                for (name, value) in external {
                    expect_state(name, value)?;
                    names.push(name.as_str());
                }
            }
            _ => {
                expect_state(name, value)?;
                names.push(name);
            }
        }
    }
    match survey.spec.dependencies.iter().find(|name| !names.contains(&name.as_str())) {
        Some(missing) => failed(format!("{missing} is not there")),
        None => Ok(if names.is_empty() { "none".into() } else { names.join(", ") }),
    }
}

fn expect_state(name: &str, value: &Value) -> Verdict {
    match value.as_str() {
        Some(word @ ("healthy" | "unhealthy")) => Ok(word.into()),
        _ => failed(format!("{name} is {}", shown(Some(value)))),
    }
}

fn checks(survey: &Survey) -> Verdict {
    let ready = full(&survey.ready)?;
    let Some(Value::Object(told)) = field(&ready, "checks") else {
        return failed(format!("checks is {}", shown(field(&ready, "checks"))));
    };
    for name in ["database_migrations", "external_dependencies", "configuration"] {
        match field(told, name) {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) if field(&ready, "status").is_none_or(|word| word != "ready") => {}
            other => return failed(format!("{name} is {}", shown(other))),
        }
    }
    Ok(shown(Some(&Value::Object(told.clone()))))
}

/// HEAD says what GET says: the same status and media type.
pub fn expect_head(head: &Asked, get: &Asked) -> Verdict {
    let get = showing(get)?;
    let head = head.as_ref().or_else(|reason| failed(reason.clone()))?;
    if head.status != get.status || head.header("content-type") != get.header("content-type") {
        let media = head.header("content-type").unwrap_or("no content type");
        return failed(format!("{} with {media}", head.status));
    }
    Ok(head.status.to_string())
}

fn expect_for_peers(survey: &Survey, asked: &Asked) -> Verdict {
    if survey.one_port {
        return skipped("contract and traffic share a port");
    }
    let Ok(answer) = asked else { return failed(asked.as_ref().err().cloned().unwrap_or_default()) };
    let told = answer.json().is_some_and(|body| body.get("status").is_some_and(Value::is_string));
    if told && matches!(answer.status, 200 | 503) {
        Ok(answer.status.to_string())
    } else {
        failed(answer.told())
    }
}
