//! Routes that need no token (D67).
//!
//! A path is matched as it came, for so it goes on. What an application could read as another path, or another
//! method, is not public, whatever the pattern says.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, request};
use matchit::Router;

/// Headers by which frameworks let a request name another method or path than its own.
const OVERRIDES: [&str; 6] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
];

/// Routes that need no token.
#[derive(Default)]
pub struct PublicRoutes {
    of_any_method: Router<()>,
    of_method: Vec<(Method, Router<()>)>,
}

impl PublicRoutes {
    /// Patterns such as `POST /api/v1/users` or `/api/v1/public/{*rest}`; GET stands for HEAD too.
    pub fn new(patterns: &[String]) -> Result<PublicRoutes, String> {
        let mut routes = PublicRoutes::default();
        for pattern in patterns {
            routes.add(pattern).map_err(|reason| {
                format!("auth.publicRoutes: {pattern:?} {reason}: write it as `POST /api/v1/users` or `/api/v1/public/{{*rest}}`")
            })?;
        }
        Ok(routes)
    }

    fn add(&mut self, pattern: &str) -> Result<(), String> {
        let (method, path) = match pattern.split_once(' ') {
            Some((method, path)) => (Some(method), path),
            None => (None, pattern),
        };
        let bare: String = path.chars().filter(|letter| !matches!(letter, '{' | '}' | '*')).collect();
        if !is_plain(&bare) {
            return Err("is no plain path".into());
        }
        let router = match method {
            None => &mut self.of_any_method,
            Some(method) if method.bytes().all(|byte| byte.is_ascii_uppercase()) => {
                let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
                let index =
                    self.of_method.iter().position(|(known, _)| *known == method).unwrap_or_else(|| {
                        self.of_method.push((method, Router::new()));
                        self.of_method.len() - 1
                    });
                &mut self.of_method[index].1
            }
            Some(_) => return Err("has no method in capital letters".into()),
        };
        router.insert(path, ()).map_err(|error| format!("does not fit: {error}"))
    }

    /// Whether a request needs no token.
    pub fn contain(&self, request: &request::Parts) -> bool {
        let path = request.uri.path();
        let method = if request.method == Method::HEAD { &Method::GET } else { &request.method };
        let mut routers = self.of_method.iter().filter(|(of, _)| of == method || *of == request.method);
        let matches =
            self.of_any_method.at(path).is_ok() || routers.any(|(_, router)| router.at(path).is_ok());
        matches && is_plain(path) && !is_overridden(&request.headers, request.uri.query())
    }
}

/// Whether every application reads a request alike: its path and its method are what they look like, and it asks for nothing
/// else.
pub fn is_unmistakable(request: &request::Parts) -> bool {
    let asks_more =
        [CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE].iter().any(|name| request.headers.contains_key(name));
    is_plain(request.uri.path()) && !is_overridden(&request.headers, request.uri.query()) && !asks_more
}

/// Whether every application reads a path alike: no escapes, no dot segments, no empty ones, no parameters.
fn is_plain(path: &str) -> bool {
    let is_safe = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~' | b'@' | b':' | b'+' | b',' | b'=')
    };
    path.starts_with('/')
        && path.bytes().all(is_safe)
        && !path.contains("//")
        && path.split('/').all(|segment| !matches!(segment, "." | ".."))
}

fn is_overridden(headers: &HeaderMap, query: Option<&str>) -> bool {
    OVERRIDES.iter().any(|name| headers.contains_key(*name))
        || query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("_method")))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn routes(patterns: &[&str]) -> PublicRoutes {
        PublicRoutes::new(&patterns.iter().map(|pattern| pattern.to_string()).collect::<Vec<_>>()).unwrap()
    }

    fn request(method: &str, target: &str) -> request::Parts {
        Request::builder().method(method).uri(target).body(()).unwrap().into_parts().0
    }

    #[test]
    fn public_routes_are_those_of_the_patterns() {
        let routes =
            routes(&["POST /api/v1/users", "GET /api/v1/books/{id}", "/api/v1/public/{*rest}", "/open"]);
        for (method, target, is_public) in [
            ("POST", "/api/v1/users", true),
            ("POST", "/api/v1/users?next=/x", true),
            ("GET", "/api/v1/users", false),
            ("post", "/api/v1/users", false),
            ("POST", "/api/v1/users/1", false),
            ("GET", "/api/v1/books/1", true),
            ("HEAD", "/api/v1/books/1", true),
            ("DELETE", "/api/v1/books/1", false),
            ("DELETE", "/api/v1/public/a/b.css", true),
            ("GET", "/api/v1/public", false),
            ("GET", "/api/v1/publicity", false),
            ("GET", "/open", true),
            ("OPTIONS", "*", false),
        ] {
            assert_eq!(routes.contain(&request(method, target)), is_public, "{method} {target}");
        }
    }

    #[test]
    fn what_could_be_read_as_another_path_is_not_public() {
        let routes = routes(&["POST /api/v1/users", "/api/v1/public/{*rest}", "GET /api/v1/books/{id}"]);
        for target in [
            "/api/v1/users/",
            "//api/v1/users",
            "/api//v1/users",
            "/api/v1/./users",
            "/api/v1/x/../users",
            "/api/v1/users;admin=1",
            "/API/v1/users",
            "/api/v1/user%73",
            "/api/v1%2fusers",
            "/api/v1/users%00",
            "/api/v1/users%20",
            "/api/v1/public/../admin",
            "/api/v1/public/..",
            "/api/v1/public/./x",
            "/api/v1/public/%2e%2e/admin",
            "/api/v1/public/%2E%2E%2Fadmin",
            "/api/v1/public/..%2fadmin",
            "/api/v1/public/..%5cadmin",
            "/api/v1/public/%252e%252e/admin",
            "/api/v1/public/..;/admin",
            "/api/v1/public/%c0%ae%c0%ae/admin",
            "/api/v1/public//admin",
            "/api/v1/public/a;b",
            "/api/v1/books/1%2f..%2fadmin",
            "/api/v1/books/..",
            "http://host/api/v1/public/../admin",
        ] {
            for method in ["POST", "GET"] {
                assert!(!routes.contain(&request(method, target)), "{method} {target}");
            }
        }
    }

    #[test]
    fn a_request_that_names_another_method_or_path_is_not_public() {
        let routes = routes(&["POST /api/v1/users"]);
        for name in OVERRIDES {
            let mut request = request("POST", "/api/v1/users");
            request.headers.insert(name, http::HeaderValue::from_static("DELETE"));
            assert!(!routes.contain(&request), "{name}");
        }
        assert!(!routes.contain(&request("POST", "/api/v1/users?a=1&_method=DELETE")));
    }

    #[test]
    fn a_pattern_that_cannot_match_is_refused_at_start() {
        for pattern in ["", "users", "get /x", "/a//b", "/a/../b", "/a%20b", "POST  /x", "/a/{b", "/{*a}/b"] {
            let error = PublicRoutes::new(&[pattern.to_string()]).err().unwrap();
            assert!(error.starts_with("auth.publicRoutes: "), "{error}");
        }
        assert!(PublicRoutes::new(&["/a".into(), "/a".into()]).is_err());
    }

    proptest! {
        #[test]
        fn a_public_path_stays_where_it_is_after_any_decoding(rest in "[a-z./%25ecf;\\\\]{0,20}") {
            let routes = routes(&["/public/{*rest}"]);
            let target = format!("/public/{rest}");
            prop_assume!(target.parse::<http::Uri>().is_ok());
            if routes.contain(&request("GET", &target)) {
                prop_assert!(!target.contains(['%', ';', '\\']) && !target.contains("//"));
                prop_assert!(!target.split('/').any(|segment| segment == "." || segment == ".."));
            }
        }
    }
}
