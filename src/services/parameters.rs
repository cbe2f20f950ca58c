//! Parameters of a request: the query, and ids in the path.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use url::form_urlencoded;

use super::failure::{Detail, Failure};

/// The query, each parameter once.
#[derive(Debug, Default, PartialEq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query. One parameter twice is refused: two readers could take different ones.
    pub fn read(query: &str) -> Result<Query, Failure> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name.contains('\0') || value.contains('\0') {
                return Err(refuse("query", "must not contain the character NUL"));
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(refuse(&name, "is given twice"));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Query(pairs))
    }

    /// A parameter's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The fields that are filtered by, as `filter[status]=active` does.
    pub fn filters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, value)| {
            Some((name.strip_prefix("filter[")?.strip_suffix(']')?, value.as_str()))
        })
    }

    /// A whole number, however large: what no number holds is the largest.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refuse(name, "must be a whole number"));
        }
        let beyond = if digits.len() < text.len() { i64::MIN } else { i64::MAX };
        Ok(Some(text.parse().unwrap_or(beyond)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query, Failure> {
        Query::read(parts.uri.query().unwrap_or_default())
    }
}

/// The `{id}` of the path, as it was written.
pub struct PathId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PathId, Infallible> {
        let parameters = RawPathParams::from_request_parts(parts, state).await;
        let id = parameters.ok().and_then(|parameters| {
            parameters.iter().find(|(name, _)| *name == "id").map(|(_, value)| value.to_owned())
        });
        Ok(PathId(id.unwrap_or_default()))
    }
}

impl PathId {
    /// The UUID that it is, in its usual spelling; else `message` (X25).
    pub fn uuid(&self, message: &'static str) -> Result<uuid::Uuid, Failure> {
        let is_hyphenated = self.0.len() == 36;
        uuid::Uuid::parse_str(&self.0).ok().filter(|_| is_hyphenated).ok_or_else(|| Failure::invalid(message))
    }
}

/// A parameter that is wrong.
pub fn refuse(name: &str, rule: &str) -> Failure {
    let field: String = name.chars().take(64).collect();
    let detail = Detail { field, message: rule.to_owned() };
    Failure { details: vec![detail], ..Failure::invalid(super::body::INVALID) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_once_and_strictly() {
        let query = Query::read("page=2&filter[status]=active&filter%5Brole%5D=admin&q=%25_%27").unwrap();
        assert_eq!(query.get("page"), Some("2"));
        assert_eq!(query.filters().collect::<Vec<_>>(), [("status", "active"), ("role", "admin")]);
        assert_eq!(query.get("q"), Some("%_'"));
        assert!(Query::read("a=1&a=2").is_err() && Query::read("a=%00").is_err());
    }

    #[test]
    fn numbers_are_whole_and_may_be_huge() {
        let number = |text: &str| Query::read(&format!("n={text}")).unwrap().number("n").map_err(|_| ());
        assert_eq!(number("7"), Ok(Some(7)));
        assert_eq!(number("-7"), Ok(Some(-7)));
        assert_eq!(number("99999999999999999999999999"), Ok(Some(i64::MAX)));
        assert_eq!(number("-99999999999999999999999999"), Ok(Some(i64::MIN)));
        for none in ["", "-", "1.5", "1e3", "0x1", "ten", "%2B1", " 1"] {
            assert_eq!(number(none), Err(()), "{none}");
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = "0b4ff2e0-7d4e-4f6e-9e0c-3c0a1f5f3f11";
        assert!(PathId(id.into()).uuid("no").is_ok());
        for other in ["", "1", &id.replace('-', ""), &format!("{{{id}}}"), &format!("urn:uuid:{id}")] {
            assert!(PathId(other.to_string()).uuid("no").is_err(), "{other}");
        }
    }
}
