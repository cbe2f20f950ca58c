//! Judges of /kpis.

use serde_json::Value;

use super::catalog::Check;
use super::metrics::expect_hidden;
use super::survey::Survey;
use super::verdict::{Verdict, expect_json, expect_status, failed, field, object, shown, skipped};

/// Numbers that are always there.
const NUMBERS: [&str; 7] = [
    "averageResponseTime",
    "p95ResponseTime",
    "p99ResponseTime",
    "throughput",
    "uptime",
    "errorRate",
    "successRate",
];
/// Numbers that not every service can know: null where it does not.
const OPTIONAL: [&str; 3] = ["cpuUsage", "memoryUsage", "diskUsage"];
/// Those that are percentages.
const PERCENTAGES: [&str; 6] = ["uptime", "errorRate", "successRate", "cpuUsage", "memoryUsage", "diskUsage"];
/// What rounding may cost.
const ROUNDING: f64 = 0.1;

pub const CHECKS: &[Check] = &[
    Check {
        id: "kpis/status",
        requirements: &["E30"],
        expected: "GET /kpis answers 200",
        way_out: "answer /kpis on the contract's port",
        judge: |survey| expect_status(&survey.kpis, 200),
    },
    Check {
        id: "kpis/json",
        requirements: &["E30"],
        expected: "/kpis is a JSON object, as application/json",
        way_out: "send a JSON object with Content-Type: application/json",
        judge: |survey| expect_json(&survey.kpis),
    },
    Check {
        id: "kpis/fields",
        requirements: &["E30", "E31", "E33"],
        expected: "ten numbers (CPU, memory and disk may be null) and the object businessMetrics",
        way_out: "send every field as a number, and businessMetrics: {} where there are none",
        judge: fields,
    },
    Check {
        id: "kpis/ranges",
        requirements: &["E30", "E34", "E35"],
        expected: "percentages are from 0 to 100, times and throughput not negative",
        way_out: "uptime, rates and usages are percentages, not fractions of something else; times are milliseconds",
        judge: ranges,
    },
    Check {
        id: "kpis/percentiles",
        requirements: &["E32"],
        expected: "p95ResponseTime is at most p99ResponseTime",
        way_out: "take the nearest rank, ceil(p/100·n) − 1, of the sorted times of one window",
        judge: |survey| {
            let (p95, p99) = (number(survey, "p95ResponseTime")?, number(survey, "p99ResponseTime")?);
            let told = format!("{p95} and {p99}");
            if p95 <= p99 { Ok(told) } else { failed(told) }
        },
    },
    Check {
        id: "kpis/rates",
        requirements: &["E35"],
        expected: "errorRate and successRate are 100 together",
        way_out: "successRate is 100 − errorRate",
        judge: |survey| {
            let (errors, successes) = (number(survey, "errorRate")?, number(survey, "successRate")?);
            let told = format!("{errors} and {successes}");
            if (errors + successes - 100.0).abs() <= ROUNDING { Ok(told) } else { failed(told) }
        },
    },
    Check {
        id: "kpis/business",
        requirements: &["E30"],
        expected: "businessMetrics shows every KPI of the spec as a number or null",
        way_out: "measure it in the application's metrics, and map it in spec.kpis",
        judge: business,
    },
    Check {
        id: "kpis/hidden",
        requirements: &["E30", "D17"],
        expected: "/kpis on the port of traffic answers 404",
        way_out: "show KPIs on the contract's port only",
        judge: |survey| expect_hidden(survey, &survey.kpis_outside),
    },
];

/// A number, whose absence is the failure of another check.
fn number(survey: &Survey, name: &str) -> Result<f64, super::verdict::Blocked> {
    let object = object(&survey.kpis)?;
    field(&object, name).and_then(Value::as_f64).map_or_else(|| skipped(format!("{name} is no number")), Ok)
}

fn fields(survey: &Survey) -> Verdict {
    let object = object(&survey.kpis)?;
    let wrong = |name: &&str| {
        let found = field(&object, name);
        let null = found.is_some_and(Value::is_null) && OPTIONAL.contains(name);
        !null && !found.is_some_and(Value::is_number)
    };
    if let Some(name) = NUMBERS.iter().chain(&OPTIONAL).copied().find(|name| wrong(name)) {
        return failed(format!("{name} is {}", shown(field(&object, name))));
    }
    match field(&object, "businessMetrics") {
        Some(Value::Object(_)) => Ok("all are there".into()),
        other => failed(format!("businessMetrics is {}", shown(other))),
    }
}

fn ranges(survey: &Survey) -> Verdict {
    let object = object(&survey.kpis)?;
    for name in NUMBERS.iter().chain(&OPTIONAL) {
        let Some(value) = field(&object, name).and_then(Value::as_f64) else { continue };
        let most = if PERCENTAGES.contains(name) { 100.0 + ROUNDING } else { f64::INFINITY };
        if !(0.0..=most).contains(&value) {
            return failed(format!("{name} is {value}"));
        }
    }
    Ok("all within".into())
}

fn business(survey: &Survey) -> Verdict {
    if survey.spec.kpis.is_empty() {
        return skipped("the spec names no kpis");
    }
    let object = object(&survey.kpis)?;
    let Some(Value::Object(told)) = field(&object, "businessMetrics") else {
        return skipped("businessMetrics is not there");
    };
    for name in &survey.spec.kpis {
        match told.get(name) {
            Some(Value::Number(_) | Value::Null) => {}
            other => return failed(format!("{name} is {}", shown(other))),
        }
    }
    Ok(survey.spec.kpis.join(", "))
}
