//! Bounded names for paths: the templates of the settings, else `unmatched` (E18).

use http::Method;
use matchit::Router;

/// Name of every path that fits no template.
pub const UNMATCHED: &str = "unmatched";

/// The templates, compiled.
pub struct Routes {
    names: Vec<String>,
    /// By template.
    router: Router<Methods>,
}

/// The routes of one path, by method: none for all.
type Methods = Vec<(Option<Method>, Route)>;

/// A route, as a number: cheap to pass around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route(pub u16);

impl Route {
    /// No template fits.
    pub const UNMATCHED: Route = Route(0);
}

impl Routes {
    /// Compile templates: `/api/v1/users/{id}`, or with a method before it. The error names the template.
    pub fn new(templates: &[String]) -> Result<Routes, String> {
        let mut names = vec![UNMATCHED.to_string()];
        let mut by_path: Vec<(&str, Methods)> = Vec::new();
        for template in templates {
            let (method, path) = split(template)?;
            let number = names.iter().position(|name| name == path).unwrap_or(names.len());
            if number == names.len() {
                names.push(path.to_string());
            }
            let route = Route(u16::try_from(number).map_err(|_| "more than 65,000 templates".to_string())?);
            match by_path.iter_mut().find(|(known, _)| *known == path) {
                Some((_, methods)) => methods.push((method, route)),
                None => by_path.push((path, vec![(method, route)])),
            }
        }
        let mut router = Router::new();
        for (path, methods) in by_path {
            router.insert(path, methods).map_err(|error| format!("{path:?}: {error}"))?;
        }
        Ok(Routes { names, router })
    }

    /// The route of a request.
    pub fn find(&self, method: &Method, path: &str) -> Route {
        let Ok(found) = self.router.at(path) else { return Route::UNMATCHED };
        let fits = |(of, _): &&(Option<Method>, Route)| of.as_ref().is_none_or(|of| of == method);
        found.value.iter().find(fits).map_or(Route::UNMATCHED, |(_, route)| *route)
    }

    /// Its name.
    pub fn name(&self, route: Route) -> &str {
        self.names.get(usize::from(route.0)).map_or(UNMATCHED, String::as_str)
    }
}

/// `GET /path` into method and path.
pub fn split(template: &str) -> Result<(Option<Method>, &str), String> {
    let (method, path) = match template.split_once(' ') {
        Some((method, path)) => {
            let known = method.parse().ok().filter(|_| method.bytes().all(|byte| byte.is_ascii_uppercase()));
            (Some(known.ok_or_else(|| format!("{template:?}: {method:?} is no method"))?), path.trim_start())
        }
        None => (None, template),
    };
    if !path.starts_with('/') {
        return Err(format!("{template:?} must start with / or with a method and /"));
    }
    Ok((method, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(templates: &[&str]) -> Result<Routes, String> {
        Routes::new(&templates.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a_path_is_named_by_its_template() {
        let routes =
            routes(&["/api/v1/users/{id}", "GET /api/v1/users", "POST /api/v1/users", "/files/{*path}"])
                .unwrap();
        let name = |method: &Method, path: &str| routes.name(routes.find(method, path)).to_string();
        assert_eq!(name(&Method::GET, "/api/v1/users/42"), "/api/v1/users/{id}");
        assert_eq!(name(&Method::DELETE, "/api/v1/users/42"), "/api/v1/users/{id}");
        assert_eq!(name(&Method::POST, "/api/v1/users"), "/api/v1/users");
        assert_eq!(name(&Method::DELETE, "/api/v1/users"), UNMATCHED);
        assert_eq!(name(&Method::GET, "/files/a/b"), "/files/{*path}");
        assert_eq!(name(&Method::GET, "/wp-login.php"), UNMATCHED);
    }

    #[test]
    fn a_bad_template_is_named() {
        for template in ["users", "GET users", "get /users", "/users/{id", "/users/{id}/{id"] {
            let error = routes(&[template]).err().unwrap();
            assert!(error.contains(template), "{error}");
        }
        assert!(routes(&["/a/{x}", "/a/{y}"]).is_err(), "two names for one path");
    }
}
