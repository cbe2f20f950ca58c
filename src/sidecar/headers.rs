//! Headers of answers and of the way between: security (D60), hop by hop, spellings.

use http::HeaderMap;
use http::header::{
    self, CONNECTION, CONTENT_LENGTH, Entry, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};

/// Security headers of every answer (D60).
static SECURITY: [(HeaderName, HeaderValue); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::X_XSS_PROTECTION, HeaderValue::from_static("1; mode=block")),
    (header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000; includeSubDomains")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'")),
    (header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin")),
];

/// Headers of one connection, beside `connection`, `te` and what `connection` names (RFC 9110 7.6.1).
///
/// `trailer` is not among them: it announces what the other side is to be sent as well.
static HOP_BY_HOP: [HeaderName; 6] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Headers that the sidecar sets or believes: the application must not find a second spelling of one.
const OURS: [&str; 12] = [
    "x-correlation-id",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-real-ip",
    "x-csrf-token",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
];

/// Set the security headers that the application does not set (D60).
pub fn secure(headers: &mut HeaderMap) {
    for (name, value) in &SECURITY {
        if let Entry::Vacant(vacant) = headers.entry(name) {
            vacant.insert(value.clone());
        }
    }
}

/// Take off what concerns one connection only, whichever way it goes; `te: trailers` stays, gRPC needs it.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if headers.contains_key(TE) {
        let takes_trailers = tokens(headers, TE).any(|token| token.eq_ignore_ascii_case(b"trailers"));
        match takes_trailers {
            true => headers.insert(TE, HeaderValue::from_static("trailers")),
            false => headers.remove(TE),
        };
    }
}

/// Take off spellings such as `x_forwarded_for`, which servers that pass headers as variables read as ours.
pub fn strip_spellings(headers: &mut HeaderMap) {
    strip(headers, |name| {
        let has_mark = name.iter().any(|byte| *byte != b'-' && !byte.is_ascii_alphanumeric());
        has_mark && OURS.iter().any(|ours| spells(name, ours))
    });
}

/// Whether a name is ours, with any mark in place of a dash; names of a `HeaderMap` are in lower case.
pub(super) fn spells(name: &[u8], ours: &str) -> bool {
    name.len() == ours.len()
        && name.iter().zip(ours.bytes()).all(|(byte, our)| match our {
            b'-' => !byte.is_ascii_alphanumeric(),
            our => *byte == our,
        })
}

/// Remove every header whose name is meant.
pub(super) fn strip(headers: &mut HeaderMap, is_meant: impl Fn(&[u8]) -> bool) {
    // Nearly no request has one, so this allocates for nearly none.
    let meant: Vec<HeaderName> =
        headers.keys().filter(|name| is_meant(name.as_str().as_bytes())).cloned().collect();
    for name in meant {
        headers.remove(name);
    }
}

/// Headers that `connection` names, without those that frame the message or say whom it is for.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens(headers, CONNECTION)
        .filter(|token| !token.eq_ignore_ascii_case(b"close") && !token.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| ![HOST, CONTENT_LENGTH, TE].contains(name))
        .collect()
}

/// The tokens of a list, over all its lines.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn every_answer_has_the_six_security_headers() {
        let mut answer = HeaderMap::new();
        secure(&mut answer);
        for (name, value) in [
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("X-XSS-Protection", "1; mode=block"),
            ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
            ("Content-Security-Policy", "default-src 'self'"),
            ("Referrer-Policy", "strict-origin-when-cross-origin"),
        ] {
            assert_eq!(answer[name], value);
        }
        let once = answer.clone();
        secure(&mut answer);
        assert_eq!(answer, once);
    }

    #[test]
    fn what_the_application_sets_stays() {
        let mut answer = headers(&[("X-Frame-Options", "SAMEORIGIN")]);
        secure(&mut answer);
        assert_eq!(answer.get_all("x-frame-options").iter().collect::<Vec<_>>(), ["SAMEORIGIN"]);
        assert_eq!(answer.len(), 6);
    }

    #[test]
    fn what_concerns_one_connection_ends_with_it() {
        let mut request = headers(&[
            ("connection", "close, X-Drop"),
            ("connection", "x-also , host, content-length, te, not a token"),
            ("x-drop", "1"),
            ("x-drop", "2"),
            ("x-also", "1"),
            ("x-stay", "1"),
            ("host", "a"),
            ("content-length", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "gzip;q=0.5, Trailers"),
            ("trailer", "x-sum"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
        ]);
        strip_hop_by_hop(&mut request);
        assert_eq!(names(&request), ["content-length", "host", "te", "trailer", "x-stay"]);
        assert_eq!(request["te"], "trailers");
        let mut request = headers(&[("te", "gzip")]);
        strip_hop_by_hop(&mut request);
        assert!(request.is_empty());
    }

    #[test]
    fn second_spellings_of_our_headers_go() {
        let mut request = headers(&[
            ("X_Forwarded_For", "6.6.6.6"),
            ("x-forwarded_for", "6.6.6.6"),
            ("x.request.id", "1"),
            ("X_Original_URL", "/admin"),
            ("x-forwarded-for", "1.1.1.1"),
            ("api_key", "1"),
        ]);
        strip_spellings(&mut request);
        assert_eq!(names(&request), ["api_key", "x-forwarded-for"]);
    }

    proptest! {
        #[test]
        fn nothing_of_the_connection_is_left(said in "[a-zA-Z,_ -]{0,80}", value in "[ -~]{0,20}") {
            let mut request = HeaderMap::new();
            for token in said.split(',') {
                if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(token.trim().as_bytes()), HeaderValue::from_str(&value)) {
                    request.append(name, value);
                }
            }
            request.append(CONNECTION, HeaderValue::from_str(&said).unwrap());
            strip_hop_by_hop(&mut request);
            prop_assert!(request.keys().all(|name| [HOST, CONTENT_LENGTH, TE].contains(name)), "{request:?}");
        }

        #[test]
        fn no_value_breaks_a_line(values in proptest::collection::vec(("[a-z_-]{1,12}", proptest::collection::vec(any::<u8>(), 0..20)), 0..10)) {
            let mut message = HeaderMap::new();
            for (name, value) in &values {
                if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
                    message.append(name, value);
                }
            }
            strip_hop_by_hop(&mut message);
            strip_spellings(&mut message);
            secure(&mut message);
            prop_assert!(message.values().all(|value| !value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))));
        }
    }
}
