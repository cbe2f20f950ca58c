//! Cross-origin calls (D61, D63, X28).
//!
//! Where origins are configured, the sidecar alone answers for them: the application's own CORS headers go.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, Method, Response, StatusCode, Uri};

/// Methods that may be called: those of D61, and PATCH (X28).
const METHODS: HeaderValue = HeaderValue::from_static("POST, OPTIONS, GET, PUT, PATCH, DELETE");
/// Headers that may be sent: those of D61, and X-Request-ID (X28).
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, accept, origin, Cache-Control, \
     X-Requested-With, X-Correlation-ID, X-Request-ID",
);
/// What an application may have answered itself.
static ANSWERED: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// Origins that browsers may call from.
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Vec<HeaderValue>,
    /// `*` is in the list: the others may call too, without credentials.
    allows_any: bool,
}

/// Whether a browser asks if it may call (Fetch 3.3.6).
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

impl Cors {
    /// With the origins of the settings; none: CORS is left to the application.
    pub fn new(origins: &[String]) -> Result<Option<Cors>, String> {
        let mut cors = Cors { origins: Vec::new(), allows_any: false };
        for origin in origins {
            match origin.as_str() {
                "*" => cors.allows_any = true,
                _ => cors.origins.push(parse(origin).ok_or_else(|| {
                    format!("corsOrigins: {origin:?} is no origin: write it as `https://www.visiobook.com` or `http://localhost:3000`, or `*` for any without credentials")
                })?),
            }
        }
        Ok((!origins.is_empty()).then_some(cors))
    }

    /// The answer to a preflight: 204, whether the origin may call or not (D61).
    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response<()>> {
        if !is_preflight(method, headers) {
            return None;
        }
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::NO_CONTENT;
        self.allow(headers.get(ORIGIN), response.headers_mut());
        if response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        }
        Some(response)
    }

    /// Tell the browser on an answer whether `origin` may read it (X28). On every answer, the sidecar's own too.
    pub fn allow(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        for name in &ANSWERED {
            headers.remove(name);
        }
        if !self.origins.is_empty() {
            vary(headers, &VARY_ORIGIN);
        }
        let Some(origin) = origin else { return };
        // The configured value is cloned, never the client's.
        if let Some(listed) = self.origins.iter().find(|listed| *listed == origin) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, listed.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        } else if self.allows_any {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
    }
}

static VARY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");

/// Add to `vary`, unless it is there.
pub(super) fn vary(headers: &mut HeaderMap, on: &HeaderValue) {
    let is_there = headers.get_all(VARY).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .any(|name| name == b"*" || name.eq_ignore_ascii_case(on.as_bytes()))
    });
    if !is_there {
        headers.append(VARY, on.clone());
    }
}

/// An origin as browsers write it: in lower case, without the scheme's own port.
fn parse(origin: &str) -> Option<HeaderValue> {
    let uri: Uri = origin.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?.to_ascii_lowercase(), uri.authority()?);
    let is_bare = matches!(uri.path_and_query().map(|path| path.as_str()), None | Some("/"));
    let ends_bare = !origin.ends_with(['/', '?', '#']);
    let host = authority.host().to_ascii_lowercase();
    if !is_bare || !ends_bare || host.is_empty() || authority.as_str().contains(['@', '*']) {
        return None;
    }
    let port = match (scheme.as_str(), authority.port_u16()) {
        ("http", Some(80)) | ("https", Some(443)) => None,
        (_, port) => port,
    };
    let text = match port {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        Cors::new(&origins.iter().map(|origin| origin.to_string()).collect::<Vec<_>>()).unwrap().unwrap()
    }

    fn allowed(cors: &Cors, origin: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            "access-control-allow-origin",
            HeaderValue::from_static("https://the-application-says.com"),
        );
        headers.insert("access-control-expose-headers", HeaderValue::from_static("*"));
        headers.insert("vary", HeaderValue::from_static("Accept-Encoding"));
        cors.allow(Some(&HeaderValue::from_str(origin).unwrap()), &mut headers);
        headers
    }

    #[test]
    fn a_listed_origin_is_reflected_with_credentials() {
        let cors = cors(&["https://Visiobook.com:443", "http://localhost:3000"]);
        for origin in ["https://visiobook.com", "http://localhost:3000"] {
            let headers = allowed(&cors, origin);
            assert_eq!(headers["access-control-allow-origin"], origin);
            assert_eq!(headers["access-control-allow-credentials"], "true");
            assert_eq!(headers.get_all("vary").iter().collect::<Vec<_>>(), ["Accept-Encoding", "Origin"]);
            assert!(!headers.contains_key("access-control-expose-headers"));
        }
    }

    #[test]
    fn no_other_origin_is() {
        let cors = cors(&["https://visiobook.com", "http://localhost:3000"]);
        for origin in [
            "http://visiobook.com",
            "https://visiobook.com:8443",
            "https://visiobook.com.evil.com",
            "https://evilvisiobook.com",
            "https://www.visiobook.com",
            "https://visiobook.com/",
            "HTTPS://VISIOBOOK.COM",
            "http://localhost",
            "null",
            "*",
            "",
        ] {
            let headers = allowed(&cors, origin);
            assert!(!headers.contains_key("access-control-allow-origin"), "{origin}");
            assert!(!headers.contains_key("access-control-allow-credentials"), "{origin}");
            assert_eq!(headers.get_all("vary").iter().count(), 2, "a cache must not mix them up");
        }
    }

    #[test]
    fn any_origin_may_call_without_credentials_where_a_star_is_listed() {
        let cors = cors(&["*", "https://visiobook.com"]);
        let headers = allowed(&cors, "https://anywhere.com");
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert!(!headers.contains_key("access-control-allow-credentials"));
        assert_eq!(allowed(&cors, "https://visiobook.com")["access-control-allow-credentials"], "true");
    }

    #[test]
    fn a_preflight_is_answered_and_nothing_else() {
        let cors = cors(&["https://visiobook.com"]);
        let mut headers = HeaderMap::new();
        assert!(cors.preflight(&Method::OPTIONS, &headers).is_none());
        headers.insert("origin", HeaderValue::from_static("https://visiobook.com"));
        assert!(cors.preflight(&Method::OPTIONS, &headers).is_none());
        headers.insert("access-control-request-method", HeaderValue::from_static("PATCH"));
        assert!(cors.preflight(&Method::POST, &headers).is_none());

        let answer = cors.preflight(&Method::OPTIONS, &headers).unwrap();
        assert_eq!(answer.status(), 204);
        assert_eq!(
            answer.headers()["access-control-allow-methods"],
            "POST, OPTIONS, GET, PUT, PATCH, DELETE"
        );
        assert_eq!(
            answer.headers()["access-control-allow-headers"],
            "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, accept, origin, Cache-Control, X-Requested-With, X-Correlation-ID, X-Request-ID"
        );
        assert_eq!(answer.headers()["vary"], "Origin");

        headers.insert("origin", HeaderValue::from_static("https://evil.com"));
        let answer = cors.preflight(&Method::OPTIONS, &headers).unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().len()), (204, 1));
    }

    #[test]
    fn an_origin_that_cannot_match_is_refused_at_start() {
        assert!(Cors::new(&[]).unwrap().is_none());
        for origin in [
            "",
            "null",
            "visiobook.com",
            "https://a.com/",
            "https://a.com/x",
            "https://*.a.com",
            "https://u@a.com",
            "//a.com",
        ] {
            let error = Cors::new(&[origin.to_string()]).unwrap_err();
            assert!(error.starts_with("corsOrigins: "), "{error}");
        }
    }

    proptest! {
        #[test]
        fn credentials_go_to_listed_origins_only(origin in "[ -~]{0,40}") {
            let cors = cors(&["https://visiobook.com", "*"]);
            let headers = allowed(&cors, &origin);
            prop_assert_eq!(headers.contains_key("access-control-allow-credentials"), origin.trim() == "https://visiobook.com");
        }
    }
}
