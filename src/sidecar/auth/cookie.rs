//! One cookie of a request.

use http::HeaderMap;
use http::header::COOKIE;

/// What a request has under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie<'a> {
    /// Nothing, or nothing in it.
    Absent,
    /// One value, however often.
    One(&'a str),
    /// Different values: the application may read another one than the sidecar.
    Several,
}

/// The cookie of a name, over all lines of the request.
pub fn find<'a>(headers: &'a HeaderMap, name: &str) -> Cookie<'a> {
    let mut found = Cookie::Absent;
    for line in headers.get_all(COOKIE) {
        for pair in line.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
            let Some(value) = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
            else {
                continue;
            };
            match (std::str::from_utf8(value), found) {
                (Ok(""), _) => {}
                (Ok(value), Cookie::Absent) => found = Cookie::One(value),
                (Ok(value), Cookie::One(first)) if value == first => {}
                _ => return Cookie::Several,
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_cookie_is_found_and_a_doubtful_one_told() {
        for (lines, expected) in [
            (&["a=1; sid=x; b=2"][..], Cookie::One("x")),
            (&["a=1", "sid=x"], Cookie::One("x")),
            (&["sid=a=b"], Cookie::One("a=b")),
            (&["sid=x; sid=x"], Cookie::One("x")),
            (&["sid=x; sid=y"], Cookie::Several),
            (&["sid=x", "sid=y"], Cookie::Several),
            (&["xsid=x; SID=y; sid; sid="], Cookie::Absent),
            (&[], Cookie::Absent),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, HeaderValue::from_static(line));
            }
            assert_eq!(find(&headers, "sid"), expected, "{lines:?}");
        }
    }
}
