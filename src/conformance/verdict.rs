//! What a judge says: what it saw where all is well, or why not.

use serde_json::{Map, Value};

use super::client::{Answer, Asked};

/// `Ok` is what was seen.
pub type Verdict = Result<String, Blocked>;

/// No pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Blocked {
    /// The contract is broken; what was seen in place of it.
    Failed(String),
    /// There is nothing to judge; why.
    Skipped(String),
}

/// Broken, with what was seen.
pub fn failed<T>(observed: impl Into<String>) -> Result<T, Blocked> {
    Err(Blocked::Failed(observed.into()))
}

/// Nothing to judge, and why.
pub fn skipped<T>(reason: impl Into<String>) -> Result<T, Blocked> {
    Err(Blocked::Skipped(reason.into()))
}

/// The status of an answer, which has to be `expected`.
pub fn expect_status(asked: &Asked, expected: u16) -> Verdict {
    match asked {
        Ok(answer) if answer.status == expected => Ok(answer.status.to_string()),
        Ok(answer) => failed(answer.told()),
        Err(reason) => failed(reason.clone()),
    }
}

/// The media type of an answer, which has to be `expected`, whatever its parameters.
pub fn expect_type(asked: &Asked, expected: &str) -> Verdict {
    let answer = asked.as_ref().or_else(|_| skipped("there was no answer"))?;
    let found = answer.header("content-type").unwrap_or("no content type");
    let media = found.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case(expected) { Ok(found.into()) } else { failed(found) }
}

/// An answer that shows something: 200, or 503 with what fails. Anything else is the failure of another check.
pub fn showing(asked: &Asked) -> Result<&Answer, Blocked> {
    let answer = asked.as_ref().or_else(|_| skipped("there was no answer"))?;
    if matches!(answer.status, 200 | 503) {
        Ok(answer)
    } else {
        skipped(format!("it answers {}", answer.status))
    }
}

/// Such an answer has to be a JSON object.
pub fn expect_json(asked: &Asked) -> Verdict {
    let answer = showing(asked)?;
    let media = expect_type(asked, "application/json")?;
    match answer.json() {
        Some(Value::Object(_)) => Ok(media),
        _ => failed("the body is no JSON object"),
    }
}

/// Its object; a body that is none is the failure of another check.
pub fn object(asked: &Asked) -> Result<Map<String, Value>, Blocked> {
    match showing(asked)?.json() {
        Some(Value::Object(object)) => Ok(object),
        _ => skipped("the body is no JSON object"),
    }
}

/// A field of an object in camelCase or snake_case: both are spoken (X01).
pub fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.iter().find(|(key, _)| plain(key).eq(plain(name))).map(|(_, value)| value)
}

fn plain(name: &str) -> impl Iterator<Item = char> + '_ {
    name.chars().filter(|letter| *letter != '_').map(|letter| letter.to_ascii_lowercase())
}

/// A value as it is shown, cut where it grows long.
pub fn shown(value: Option<&Value>) -> String {
    value.map_or("nothing".into(), |value| cut(&value.to_string()))
}

/// A text that fits on a line.
pub fn cut(text: &str) -> String {
    const MOST: usize = 160;
    let line: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}
