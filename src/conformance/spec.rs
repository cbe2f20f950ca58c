//! What a service says of itself, so that more of the contract can be checked: a YAML document of its team.

use serde::Deserialize;

use super::catalog;

/// What is known of a service beforehand. Every field is optional; what is not told is not checked.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Spec {
    /// Name that /health has to tell (D12).
    pub service: Option<String>,
    /// Version that /health has to tell (D12).
    pub version: Option<String>,
    /// Its routes, as `GET /api/v1/books/{id}`: the labels of metrics. The first one with a parameter is asked.
    pub routes: Vec<String>,
    /// A route that needs a token, as `GET /api/v1/books` (D65).
    pub protected_route: Option<String>,
    /// Origins that browsers may call from (D61, X28).
    pub cors_origins: Vec<String>,
    /// What it depends on, as /health names it: `database`, `redis`, or a service (D01).
    pub dependencies: Vec<String>,
    /// Business KPIs that /kpis has to show (E36).
    pub kpis: Vec<String>,
    /// Whether others send traffic meanwhile, or several instances answer: growth of counters is then not judged, nor what the instance that was asked does not show.
    pub shared: bool,
    /// Checks that are left out, by their id.
    pub skip: Vec<String>,
}

/// Why a document is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no YAML, or says what nobody knows.
    #[error("{0}")]
    Yaml(String),
    /// A route is none.
    #[error("{field}: {value:?} is no route: write it as `GET /api/v1/books/{{id}}`")]
    Route {
        /// Where it stands.
        field: &'static str,
        /// What stands there.
        value: String,
    },
    /// A check that does not exist.
    #[error("skip: there is no check {0:?}: `visiobook conformance --list` shows them")]
    Check(String),
}

impl Spec {
    /// Read a document.
    pub fn read(yaml: &str) -> Result<Spec, Error> {
        if yaml.trim().is_empty() {
            return Ok(Spec::default());
        }
        let spec: Spec = serde_saphyr::from_str(yaml).map_err(|error| Error::Yaml(error.to_string()))?;
        for (field, value) in spec
            .routes
            .iter()
            .map(|route| ("routes", route))
            .chain(spec.protected_route.iter().map(|route| ("protectedRoute", route)))
        {
            Route::read(value).ok_or_else(|| Error::Route { field, value: value.clone() })?;
        }
        match spec.skip.iter().find(|id| !catalog::all().any(|check| check.id == id.as_str())) {
            Some(unknown) => Err(Error::Check(unknown.clone())),
            None => Ok(spec),
        }
    }

    /// The route that is asked as an example: one with a parameter shows more.
    pub fn example(&self) -> Option<Route<'_>> {
        let asked = || {
            self.routes.iter().filter_map(|route| Route::read(route)).filter(|route| route.method == "GET")
        };
        asked().find(|route| route.template.contains('{')).or_else(|| asked().next())
    }
}

/// A method and a template.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Route<'a> {
    /// GET where none is written.
    pub method: &'a str,
    /// Its path, with parameters in braces.
    pub template: &'a str,
}

impl<'a> Route<'a> {
    /// Read `GET /path` or `/path`.
    pub fn read(text: &'a str) -> Option<Route<'a>> {
        let (method, template) = text.split_once(' ').unwrap_or(("GET", text));
        let method_is_one = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
        let path_is_one = template.starts_with('/') && !template.contains(char::is_whitespace);
        (method_is_one && path_is_one).then_some(Route { method, template })
    }

    /// A path that the template covers.
    pub fn path(&self) -> String {
        let segments: Vec<&str> =
            self.template.split('/').map(|part| if part.contains('{') { "1" } else { part }).collect();
        segments.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read() {
        let spec = Spec::read(
            "service: books\nroutes: [GET /api/v1/books, 'GET /api/v1/books/{id}']\nprotectedRoute: POST /api/v1/books\nskip: [kpis/business]\n",
        )
        .unwrap();
        assert_eq!(spec.example().unwrap().path(), "/api/v1/books/1");
        assert_eq!(spec.service.as_deref(), Some("books"));
        assert_eq!(Spec::read("").unwrap(), Spec::default());
    }

    #[test]
    fn what_is_wrong_is_refused_by_name() {
        for (yaml, named) in [
            ("route: []", "route"),
            ("routes: [books]", "routes: \"books\""),
            ("routes: ['get /books']", "routes: \"get /books\""),
            ("protectedRoute: GET books", "protectedRoute: \"GET books\""),
            ("skip: [health/smile]", "health/smile"),
            ("shared: perhaps", "shared"),
        ] {
            let told = Spec::read(yaml).unwrap_err().to_string();
            assert!(told.contains(named), "{yaml}: {told}");
        }
    }
}
