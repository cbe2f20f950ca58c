//! Judges of /metrics: what is there, and whether it counts what was sent.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::Check;
use super::client::Asked;
use super::exposition::{Exposition, Sample, number};
use super::probes::expect_head;
use super::survey::Survey;
use super::verdict::{Blocked, Verdict, cut, expect_status, expect_type, failed, skipped};

const DURATION: &str = "http_request_duration_seconds";
const REQUESTS: &str = "http_requests_total";
const ERRORS: &str = "http_request_errors_total";
const IN_FLIGHT: &str = "http_requests_in_flight";
/// Bounds of the durations (E01).
const BUCKETS: [f64; 6] = [0.1, 0.5, 1.0, 2.0, 5.0, f64::INFINITY];

pub const CHECKS: &[Check] = &[
    Check {
        id: "metrics/status",
        requirements: &["C31", "D05", "D17"],
        expected: "GET /metrics answers 200",
        way_out: "answer /metrics on the contract's port",
        judge: |survey| expect_status(&survey.metrics[0], 200),
    },
    Check {
        id: "metrics/type",
        requirements: &["D05"],
        expected: "the content type is text/plain",
        way_out: "send Content-Type: text/plain; version=0.0.4; charset=utf-8",
        judge: |survey| match &survey.metrics[0] {
            Ok(answer) if answer.status != 200 => skipped(format!("it answers {}", answer.status)),
            asked => expect_type(asked, "text/plain"),
        },
    },
    Check {
        id: "metrics/text",
        requirements: &["D05"],
        expected: "Prometheus can read every line",
        way_out: "use the stack's Prometheus library; the line that cannot be read is named",
        judge: |survey| match text(&survey.metrics[2])? {
            Ok(read) => Ok(format!("{} samples", read.samples.len())),
            Err(line) => failed(cut(&line)),
        },
    },
    Check {
        id: "metrics/families",
        requirements: &["D05"],
        expected: "no family and no series is there twice",
        way_out: "register each metric once; beside a sidecar, leave the HTTP metrics to it",
        judge: families,
    },
    Check {
        id: "metrics/head",
        requirements: &["D05", "D16"],
        expected: "HEAD /metrics answers as GET does",
        way_out: "answer HEAD with the status and the headers of GET",
        judge: |survey| expect_head(&survey.metrics_head, &survey.metrics[2]),
    },
    Check {
        id: "metrics/duration",
        requirements: &["E01"],
        expected: "histogram http_request_duration_seconds{method, route, status_code}, buckets .1 .5 1 2 5",
        way_out: "declare it with exactly these labels and buckets, in seconds",
        judge: duration,
    },
    Check {
        id: "metrics/requests",
        requirements: &["E02"],
        expected: "counter http_requests_total{method, route, status_code}",
        way_out: "declare it with exactly these labels",
        judge: |survey| expect_family(survey, REQUESTS, "counter", &["method", "route", "status_code"]),
    },
    Check {
        id: "metrics/errors",
        requirements: &["E03"],
        expected: "counter http_request_errors_total{method, route, error_type: client_error | server_error}",
        way_out: "count 400-499 as client_error and 500 and up as server_error, with exactly these labels",
        judge: errors,
    },
    Check {
        id: "metrics/in-flight",
        requirements: &["E12"],
        expected: "gauge http_requests_in_flight, not negative",
        way_out: "raise it when a request comes in, and lower it when its answer is out, also after a failure",
        judge: in_flight,
    },
    Check {
        id: "metrics/histograms",
        requirements: &["E01"],
        expected: "buckets add up, and the last one is the count",
        way_out: "count a value in every bucket it fits into, +Inf included",
        judge: histograms,
    },
    Check {
        id: "metrics/counted",
        requirements: &["E02"],
        expected: "http_requests_total grows by what was sent",
        way_out: "count every request once, 404 too; if others send HEAD meanwhile, say `shared: true` in the spec",
        judge: |survey| {
            let sent = survey.counted.iter().filter(|asked| asked.is_ok()).count();
            expect_growth(survey, sent, |read| read.sum(REQUESTS, ("method", "HEAD")))
        },
    },
    Check {
        id: "metrics/timed",
        requirements: &["E01"],
        expected: "http_request_duration_seconds_count grows by what was sent",
        way_out: "observe the duration of every request once, 404 too",
        judge: |survey| {
            let sent = survey.counted.iter().filter(|asked| asked.is_ok()).count();
            expect_growth(survey, sent, |read| read.sum(&format!("{DURATION}_count"), ("method", "HEAD")))
        },
    },
    Check {
        id: "metrics/errors-counted",
        requirements: &["E03"],
        expected: "http_request_errors_total grows by the errors that were answered",
        way_out: "count every answer from 400 on once, by its kind",
        judge: |survey| {
            let refused = |asked: &&Asked| asked.as_ref().is_ok_and(|answer| answer.status >= 400);
            match survey.counted.iter().filter(refused).count() {
                0 => skipped("the service answers unknown paths without an error"),
                errors => expect_growth(survey, errors, |read| read.sum(ERRORS, ("method", "HEAD"))),
            }
        },
    },
    Check {
        id: "metrics/route",
        requirements: &["E18"],
        expected: "the label route is the template of the route",
        way_out: "label with /api/v1/books/{id} as the spec writes it, not with the path that was asked",
        judge: route,
    },
    Check {
        id: "metrics/bounded",
        requirements: &["E18"],
        expected: "a flood of unknown paths adds at most one value of route",
        way_out: "give all paths without a route one label, such as `unmatched`",
        judge: bounded,
    },
    Check {
        id: "metrics/hidden",
        requirements: &["D05", "D17"],
        expected: "/metrics on the port of traffic answers 404",
        way_out: "show metrics on the contract's port only",
        judge: |survey| expect_hidden(survey, &survey.metrics_outside),
    },
];

/// Nothing of the contract's own port is answered to everybody.
pub fn expect_hidden(survey: &Survey, asked: &Asked) -> Verdict {
    if survey.one_port {
        return skipped("contract and traffic share a port");
    }
    match asked {
        Ok(answer) if answer.status == 404 => Ok("404".into()),
        Ok(answer) => failed(answer.told()),
        Err(reason) => failed(reason.clone()),
    }
}

fn text(asked: &Asked) -> Result<Result<Exposition, String>, Blocked> {
    match asked {
        Ok(answer) if answer.status == 200 => Ok(Exposition::read(&answer.text())),
        _ => skipped("/metrics has no answer"),
    }
}

/// What is shown in the end; an unreadable text is the failure of another check.
fn read(asked: &Asked) -> Result<Exposition, Blocked> {
    text(asked)?.or_else(|_| skipped("the metrics cannot be read"))
}

fn families(survey: &Survey) -> Verdict {
    let read = read(&survey.metrics[2])?;
    match read.doubled.first() {
        Some(first) => failed(format!("{} times, first {}", read.doubled.len(), cut(first))),
        None => Ok(format!("{} families", read.types.len())),
    }
}

/// A family of a type, every sample of it with exactly these labels.
fn expect_family(survey: &Survey, name: &str, kind: &str, labels: &[&str]) -> Verdict {
    let read = read(&survey.metrics[2])?;
    expect_type_of(survey, &read, name, kind)?;
    expect_labels(survey, read.named(name), labels)
}

fn expect_type_of(survey: &Survey, read: &Exposition, name: &str, kind: &str) -> Verdict {
    match read.types.get(name) {
        Some(found) if found == kind => Ok(found.clone()),
        Some(found) => failed(format!("{name} is a {found}")),
        None => missing(survey, format!("there is no # TYPE {name}")),
    }
}

/// What one instance does not show, another one that was asked may.
fn missing(survey: &Survey, what: String) -> Verdict {
    match survey.spec.shared {
        true => skipped("the service is shared: what this instance does not show, another may"),
        false => failed(what),
    }
}

fn expect_labels<'a>(survey: &Survey, samples: impl Iterator<Item = &'a Sample>, labels: &[&str]) -> Verdict {
    let expected: BTreeSet<&str> = labels.iter().copied().collect();
    let mut series = 0;
    for sample in samples {
        series += 1;
        let found: BTreeSet<&str> = sample.labels.keys().map(String::as_str).collect();
        if found != expected {
            let found: Vec<&str> = found.into_iter().collect();
            return failed(format!("{}{{{}}}", sample.name, found.join(", ")));
        }
    }
    match series {
        0 => missing(survey, "no series after requests were sent".into()),
        _ => Ok(format!("{series} series")),
    }
}

fn duration(survey: &Survey) -> Verdict {
    let read = read(&survey.metrics[2])?;
    expect_type_of(survey, &read, DURATION, "histogram")?;
    let bucket = format!("{DURATION}_bucket");
    let seen = expect_labels(survey, read.named(&bucket), &["method", "route", "status_code", "le"])?;
    for (_, bounds) in bounds(&read, &bucket) {
        let found: Vec<f64> = bounds.iter().map(|(bound, _)| *bound).collect();
        if found != BUCKETS {
            return failed(format!("buckets {found:?}"));
        }
    }
    Ok(seen)
}

/// The buckets of each series, by their bound.
fn bounds(read: &Exposition, bucket: &str) -> BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> {
    let mut series: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in read.named(bucket) {
        let bound = sample.labels.get("le").and_then(|bound| number(bound)).unwrap_or(f64::NAN);
        series.entry(sample.without("le")).or_default().push((bound, sample.value));
    }
    for bounds in series.values_mut() {
        bounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    series
}

fn histograms(survey: &Survey) -> Verdict {
    let read = read(&survey.metrics[2])?;
    let mut seen = 0;
    for (name, _) in read.types.iter().filter(|(_, kind)| *kind == "histogram") {
        for (labels, bounds) in bounds(&read, &format!("{name}_bucket")) {
            seen += 1;
            let count = read.named(&format!("{name}_count")).find(|sample| sample.labels == labels);
            let last = bounds.last().copied().unwrap_or_default();
            let grows = bounds.windows(2).all(|pair| pair[0].1 <= pair[1].1);
            if !grows || last.0 != f64::INFINITY || count.is_none_or(|count| count.value != last.1) {
                let count = count.map_or("none".into(), |count| count.value.to_string());
                return failed(cut(&format!("{name}{labels:?}: buckets {bounds:?}, count {count}")));
            }
        }
    }
    if seen == 0 { skipped("there is no histogram") } else { Ok(format!("{seen} series")) }
}

fn errors(survey: &Survey) -> Verdict {
    let read = read(&survey.metrics[2])?;
    expect_type_of(survey, &read, ERRORS, "counter")?;
    if read.named(ERRORS).next().is_none() {
        return Ok("no errors yet".into());
    }
    let seen = expect_labels(survey, read.named(ERRORS), &["method", "route", "error_type"])?;
    let known = |sample: &&Sample| {
        sample.has(("error_type", "client_error")) || sample.has(("error_type", "server_error"))
    };
    match read.named(ERRORS).find(|sample| !known(sample)) {
        Some(other) => failed(format!("error_type {:?}", other.labels.get("error_type"))),
        None => Ok(seen),
    }
}

fn in_flight(survey: &Survey) -> Verdict {
    let read = read(&survey.metrics[2])?;
    expect_type_of(survey, &read, IN_FLIGHT, "gauge")?;
    let sum: f64 = read.named(IN_FLIGHT).map(|sample| sample.value).sum();
    let there = read.named(IN_FLIGHT).next().is_some();
    if there && sum >= 0.0 {
        Ok(sum.to_string())
    } else {
        failed(if there { sum.to_string() } else { "no sample".into() })
    }
}

fn expect_growth(survey: &Survey, sent: usize, sum: impl Fn(&Exposition) -> f64) -> Verdict {
    if survey.spec.shared {
        return skipped("the service is shared: its counters count others too");
    }
    if sent == 0 {
        return skipped("HEAD of an unknown path has no answer");
    }
    let grown = sum(&read(&survey.metrics[1])?) - sum(&read(&survey.metrics[0])?);
    let told = format!("grew by {grown} for {sent} HEAD requests");
    if grown == sent as f64 { Ok(told) } else { failed(told) }
}

fn route(survey: &Survey) -> Verdict {
    let Some(example) = survey.spec.example() else { return skipped("the spec names no GET route") };
    let routes = routes(&read(&survey.metrics[2])?);
    if routes.contains(example.template) {
        return Ok(example.template.into());
    }
    let seen: Vec<String> = routes.into_iter().collect();
    missing(survey, cut(&format!("{} was asked; there are {}", example.path(), seen.join(", "))))
}

fn bounded(survey: &Survey) -> Verdict {
    let before = routes(&read(&survey.metrics[1])?);
    let after = routes(&read(&survey.metrics[2])?);
    let new: Vec<&str> = after.difference(&before).map(String::as_str).collect();
    if new.len() > 1 && !survey.spec.shared {
        return failed(cut(&format!("{} new: {}", new.len(), new.join(", "))));
    }
    Ok(format!("{} new", new.len()))
}

fn routes(read: &Exposition) -> BTreeSet<String> {
    read.named(REQUESTS).filter_map(|sample| sample.labels.get("route").cloned()).collect()
}
