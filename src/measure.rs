//! Queries of a Prometheus that have to keep within limits for a while: what the new pods of a release are held against
//! once they serve.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;

use crate::conformance::client::Client;

/// Between two readings.
const PAUSE: Duration = Duration::from_secs(5);
/// Readings outside of its limits, one after the other, after which a query has failed: one may be chance.
const IN_A_ROW: u32 = 3;
/// What stands for the time since the first reading in a query: what was before is not the new pods'.
const WINDOW: &str = "$window";
/// The least that it stands for.
const LEAST_WINDOW: u64 = 15;
/// Longest time that one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A query, and what its one value has to keep within.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// What people call it.
    pub name: String,
    /// PromQL that comes to one value.
    pub query: String,
    /// The least it may be.
    pub min: Option<f64>,
    /// The most it may be.
    pub max: Option<f64>,
}

/// What Prometheus said to a query: one number, or why there is none.
pub type Reading = Result<f64, String>;

/// How a query does.
#[derive(Clone, Debug, Default, PartialEq)]
struct Course {
    /// Readings outside of its limits, the last ones in a row.
    broken: u32,
    /// What is wrong with the last reading, if anything is.
    wrong: Option<String>,
    /// Whether there was any number.
    known: bool,
}

impl Limit {
    /// What is wrong with a number, if anything is.
    pub fn judge(&self, value: f64) -> Result<(), String> {
        let rounded = (value * 1000.0).round() / 1000.0;
        match (self.min, self.max) {
            (_, Some(max)) if value > max => Err(format!("{}: {rounded} is above {max}", self.name)),
            (Some(min), _) if value < min => Err(format!("{}: {rounded} is below {min}", self.name)),
            _ => Ok(()),
        }
    }
}

impl Course {
    fn take(&mut self, limit: &Limit, reading: Reading) {
        match reading {
            Ok(value) => {
                self.known = true;
                self.wrong = limit.judge(value).err();
                self.broken = if self.wrong.is_some() { self.broken + 1 } else { 0 };
            }
            // Neither good nor bad: it decides only if it is the last word.
            Err(why) => self.wrong = Some(format!("{}: {why}", limit.name)),
        }
    }
}

/// The one number in an answer of Prometheus to an instant query.
pub fn read(status: u16, body: &Value) -> Reading {
    if status != 200 {
        let why = body["error"].as_str().unwrap_or("no reason given");
        return Err(format!("Prometheus answers {status}: {why}"));
    }
    let data = &body["data"];
    let value = match (data["resultType"].as_str(), data["result"].as_array().map(Vec::as_slice)) {
        (Some("scalar"), Some([_, value])) => value,
        (Some("vector"), Some([one])) => &one["value"][1],
        (Some("vector"), Some([])) => return Err("no data, which is no success".into()),
        (Some("vector"), Some(many)) => {
            return Err(format!("{} values instead of one: put sum() or max() around it", many.len()));
        }
        _ => return Err("the query comes to no single value".into()),
    };
    match value.as_str().and_then(|value| value.parse::<f64>().ok()) {
        Some(value) if !value.is_nan() => Ok(value),
        _ => Err("no number, which is no success".into()),
    }
}

/// Hold all limits for a time that begins when there is something to read of each. New pods have to be scraped first, so
/// that takes a while; how long, `patience` says.
///
/// # Errors
/// Those that were broken three times in a row or at the end, or that nothing was to be read of.
pub async fn hold(
    prometheus: &str,
    limits: &[Limit],
    time: Duration,
    patience: Duration,
) -> Result<(), Vec<String>> {
    let client = Client::new(TIMEOUT);
    let mut courses = vec![Course::default(); limits.len()];
    let begun = Instant::now();
    let mut known_since: Option<Instant> = None;
    loop {
        let window = format!("{}s", begun.elapsed().as_secs().max(LEAST_WINDOW));
        for (limit, course) in limits.iter().zip(&mut courses) {
            let query = limit.query.replace(WINDOW, &window);
            course.take(limit, ask(&client, prometheus, &query).await);
        }
        let wrong = |courses: &[Course]| courses.iter().filter_map(|course| course.wrong.clone()).collect();
        if courses.iter().any(|course| course.broken >= IN_A_ROW) {
            return Err(wrong(&courses));
        }
        if known_since.is_none() && courses.iter().all(|course| course.known) {
            known_since = Some(Instant::now());
        }
        let over = match known_since {
            Some(since) => since.elapsed() >= time,
            None => begun.elapsed() >= patience,
        };
        if over {
            let wrong: Vec<String> = wrong(&courses);
            return if wrong.is_empty() { Ok(()) } else { Err(wrong) };
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask(client: &Client, prometheus: &str, query: &str) -> Reading {
    let url = format!("{}/api/v1/query", prometheus.trim_end_matches('/'));
    let url = url::Url::parse_with_params(&url, [("query", query)])
        .map_err(|error| format!("{prometheus} is no URL: {error}"))?;
    let answer = client.ask(Method::GET, url.as_str(), &[]).await?;
    read(answer.status, &answer.json().unwrap_or_default())
}

/// Limits from what is said of each name.
///
/// # Errors
/// What is said of a name that no query has, a query without a limit, and a number that is none.
pub fn limits(
    queries: &[(String, String)],
    min: &[(String, String)],
    max: &[(String, String)],
) -> Result<Vec<Limit>, String> {
    let numbers = |flag: &str, said: &[(String, String)]| -> Result<BTreeMap<String, f64>, String> {
        said.iter()
            .map(|(name, number)| {
                if !queries.iter().any(|(query, _)| query == name) {
                    return Err(format!("{flag} {name}: there is no --query of this name"));
                }
                let number = number.parse::<f64>().ok().filter(|number| number.is_finite());
                let number = number.ok_or(format!("{flag} {name}: write a number, such as {name}=5"))?;
                Ok((name.clone(), number))
            })
            .collect()
    };
    let (min, max) = (numbers("--min", min)?, numbers("--max", max)?);
    queries
        .iter()
        .map(|(name, query)| {
            let limit = Limit {
                name: name.clone(),
                query: query.clone(),
                min: min.get(name).copied(),
                max: max.get(name).copied(),
            };
            match (limit.min, limit.max) {
                (None, None) => Err(format!("--query {name}: say its --min, its --max or both")),
                _ => Ok(limit),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn limit(min: Option<f64>, max: Option<f64>) -> Limit {
        Limit { name: "errors".into(), query: "q".into(), min, max }
    }

    #[test]
    fn a_value_keeps_within_both_limits_and_may_touch_them() {
        let limit = limit(Some(1.0), Some(5.0));
        assert_eq!([1.0, 3.0, 5.0].map(|value| limit.judge(value)), [Ok(()), Ok(()), Ok(())]);
        assert_eq!(limit.judge(5.12345), Err("errors: 5.123 is above 5".into()));
        assert_eq!(limit.judge(0.5), Err("errors: 0.5 is below 1".into()));
    }

    #[test]
    fn one_reading_outside_may_be_chance_and_three_in_a_row_are_not() {
        let limit = limit(None, Some(1.0));
        let mut course = Course::default();
        for (value, broken) in [(2.0, 1), (2.0, 2), (0.0, 0), (2.0, 1)] {
            course.take(&limit, Ok(value));
            assert_eq!(course.broken, broken);
        }
        // Nothing to read is no news, but no success either.
        course.take(&limit, Err("no answer".into()));
        assert_eq!((course.broken, course.wrong.as_deref()), (1, Some("errors: no answer")));
        course.take(&limit, Ok(0.0));
        assert_eq!((course.broken, course.wrong), (0, None));
    }

    #[test]
    fn no_data_and_no_number_are_no_success() {
        let vector = |result: Value| json!({ "data": { "resultType": "vector", "result": result } });
        let value = |value: &str| json!({ "value": [0, value] });
        assert_eq!(read(200, &vector(json!([value("1.5")]))), Ok(1.5));
        assert_eq!(read(200, &json!({ "data": { "resultType": "scalar", "result": [0, "2"] } })), Ok(2.0));
        assert_eq!(read(200, &vector(json!([value("+Inf")]))), Ok(f64::INFINITY));
        for (status, body, why) in [
            (200, vector(json!([])), "no data"),
            (200, vector(json!([value("NaN")])), "no number"),
            (200, vector(json!([value("1"), value("2")])), "2 values"),
            (200, json!({}), "no single value"),
            (400, json!({ "error": "parse error" }), "parse error"),
        ] {
            let told = read(status, &body).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn what_is_said_of_no_query_or_says_nothing_is_refused_by_name() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        let query = pairs(&[("errors", "vector(0)")]);
        let good = limits(&query, &[], &pairs(&[("errors", "1")])).unwrap();
        assert_eq!((good[0].min, good[0].max), (None, Some(1.0)));
        for (min, max, why) in [
            (&[][..], &[][..], "--query errors: say"),
            (&[("errors", "x")][..], &[][..], "--min errors: write a number"),
            (&[][..], &[("latency", "1")][..], "--max latency: there is no --query"),
        ] {
            let told = limits(&query, &pairs(min), &pairs(max)).unwrap_err();
            assert!(told.starts_with(why), "{told}");
        }
    }
}
