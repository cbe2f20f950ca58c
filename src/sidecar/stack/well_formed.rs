//! What a request must look like to be passed on, and what becomes of it and of its answer on the way.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{Method, StatusCode, Uri, Version};

use crate::sidecar::answer::Answer;
use crate::sidecar::headers;

/// Refuse what two readers could read in two ways; bring the target into the form that applications expect.
pub(super) fn check(request: &Parts) -> Result<(), Answer> {
    let refuse = |message: &'static str| Err(Answer::new(StatusCode::BAD_REQUEST, "INVALID_INPUT", message));
    if request.method == Method::CONNECT {
        return Err(Answer::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "METHOD_NOT_ALLOWED",
            "CONNECT is not served",
        ));
    }
    let headers = &request.headers;
    if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
        return refuse("content-length and transfer-encoding exclude each other");
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(first) = lengths.next()
        && lengths.any(|other| other != first)
    {
        return refuse("content-length is given twice, with different values");
    }
    Ok(())
}

/// Bring a checked request into the form in which the application gets it.
pub(super) fn forward(request: &mut Parts, upgrade: Option<&HeaderValue>) {
    // An absolute target outranks the host header; HTTP/2 has the authority only there.
    if let Some(host) = request.uri.authority().and_then(host_of) {
        request.headers.insert(HOST, host);
    }
    if request.uri.scheme().is_some() || request.uri.authority().is_some() {
        let path = request.uri.path_and_query().cloned();
        request.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    request.version = Version::HTTP_11;
    headers::strip_hop_by_hop(&mut request.headers);
    if let Some(protocol) = upgrade {
        request.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers.insert(UPGRADE, protocol.clone());
    }
}

fn host_of(authority: &Authority) -> Option<HeaderValue> {
    let host = authority.as_str().rsplit('@').next()?;
    HeaderValue::from_str(host).ok()
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::HeaderName;

    use super::*;

    fn request(headers: &[(&'static str, &'static str)]) -> Parts {
        let mut request = Request::new(()).into_parts().0;
        for (name, value) in headers {
            request.headers.append(*name, HeaderValue::from_static(value));
        }
        request
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (headers, why) in [
            (vec![("host", "a"), ("content-length", "1"), ("transfer-encoding", "chunked")], "exclude"),
            (vec![("host", "a"), ("content-length", "1"), ("content-length", "2")], "twice"),
        ] {
            let answer = check(&request(&headers)).unwrap_err();
            assert_eq!(answer.status, 400);
            assert!(answer.message.contains(why), "{}", answer.message);
        }
        assert_eq!(check(&request(&[("host", "users:8080")])), Ok(()));
    }

    #[test]
    fn headers_of_one_connection_stay_there() {
        let mut request = request(&[
            ("host", "a"),
            ("connection", "close, X-User-Id, host"),
            ("x-user-id", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("accept", "*/*"),
        ]);
        forward(&mut request, None);
        let mut names: Vec<&str> = request.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "host", "te"]);
    }

    #[test]
    fn an_absolute_target_becomes_path_and_host() {
        let mut request = request(&[("host", "other")]);
        request.uri = "http://user@users.visiobook.com:81/a?b=c".parse().unwrap();
        forward(&mut request, None);
        assert_eq!(request.uri, "/a?b=c");
        assert_eq!(request.headers[HOST], "users.visiobook.com:81");
    }
}
