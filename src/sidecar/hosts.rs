//! Refuses hosts that are not ours (D77).
//!
//! A request that does not name one host is answered 400 (RFC 9112 3.2); one for a host that is not ours 421, which
//! tells a browser that shares a connection between names to open another (RFC 9110 15.5.20).

use http::header::HOST;
use http::{HeaderMap, StatusCode, Uri};

use super::answer::Answer;

/// Host names that are answered; none: all.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    exact: Vec<String>,
    /// What follows the one label of `*.`.
    parents: Vec<String>,
}

impl Hosts {
    /// Those of the settings.
    pub fn new(names: &[String]) -> Result<Hosts, String> {
        let mut hosts = Hosts::default();
        for name in names {
            let (kind, bare) = match name.strip_prefix("*.") {
                Some(parent) => (&mut hosts.parents, parent),
                None => (&mut hosts.exact, name.as_str()),
            };
            let is_ipv6 = bare.starts_with('[') && bare.ends_with(']');
            if bare.is_empty() || (!is_ipv6 && !bare.bytes().all(is_in_name)) {
                return Err(format!(
                    "hosts: {name:?} is no host name: write it as `api.visiobook.com` or `*.visiobook.com`, without scheme, port and path"
                ));
            }
            kind.push(bare.trim_end_matches('.').to_ascii_lowercase());
        }
        Ok(hosts)
    }

    /// The host that a request names, without its port, if it is ours.
    pub fn admit<'a>(&self, uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, Answer> {
        let host = named(uri, headers).ok_or_else(|| {
            Answer::new(
                StatusCode::BAD_REQUEST,
                "INVALID_INPUT",
                "The request must name one host: send one Host header",
            )
        })?;
        if self.contain(host) {
            return Ok(host);
        }
        Err(Answer::new(
            StatusCode::MISDIRECTED_REQUEST,
            "MISDIRECTED_REQUEST",
            "This host is not served here: call the service by a name of its `hosts`",
        ))
    }

    fn contain(&self, host: &str) -> bool {
        if self.exact.is_empty() && self.parents.is_empty() {
            return true;
        }
        let is = |name: &String| name.eq_ignore_ascii_case(host);
        let is_child = |parent: &String| {
            host.split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && parent.eq_ignore_ascii_case(rest))
        };
        self.exact.iter().any(is) || self.parents.iter().any(is_child)
    }
}

/// The one host of a request, of its target or of its Host header; none where there are several or none.
fn named<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut lines = headers.get_all(HOST).iter();
    let (line, more) = (lines.next(), lines.next());
    if more.is_some() {
        return None;
    }
    let said = match line {
        Some(line) => Some(without_port(line.to_str().ok()?)?),
        None => None,
    };
    match (uri.authority(), said) {
        (None, said) => said,
        (Some(authority), None) => without_port(authority.as_str()),
        // Two parts of the way could each believe another one.
        (Some(authority), Some(said)) => {
            without_port(authority.as_str()).filter(|host| host.eq_ignore_ascii_case(said))
        }
    }
}

/// `host:port` without its port and the dot of the root; none where it is no host.
fn without_port(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')? + 2;
            let address = &authority[1..end - 1];
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (&authority[..end], &authority[end..])
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let host = &authority[..end];
            let host = host.strip_suffix('.').unwrap_or(host);
            let is_name = !host.is_empty() && !host.starts_with('.') && host.bytes().all(is_in_name);
            (Some(host).filter(|_| is_name)?, &authority[end..])
        }
    };
    let has_port =
        port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    (port.is_empty() || has_port).then_some(host)
}

fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn hosts(names: &[&str]) -> Hosts {
        Hosts::new(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>()).unwrap()
    }

    fn status(hosts: &Hosts, target: &str, lines: &[&str]) -> u16 {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HOST, HeaderValue::from_str(line).unwrap());
        }
        hosts.admit(&target.parse().unwrap(), &headers).map_or_else(|answer| answer.status.as_u16(), |_| 200)
    }

    #[test]
    fn only_hosts_of_the_list_are_answered() {
        let ours = hosts(&["API.visiobook.com", "*.dev.visiobook.com", "[::1]"]);
        for (host, expected) in [
            ("api.visiobook.com", 200),
            ("API.VISIOBOOK.COM", 200),
            ("api.visiobook.com:8443", 200),
            ("api.visiobook.com.", 200),
            ("x.dev.visiobook.com", 200),
            ("[::1]:80", 200),
            ("visiobook.com", 421),
            ("dev.visiobook.com", 421),
            ("a.b.dev.visiobook.com", 421),
            ("api.visiobook.com.evil.com", 421),
            ("evilapi.visiobook.com", 421),
            ("*.dev.visiobook.com", 400),
            (".dev.visiobook.com", 400),
            ("", 400),
            (":80", 400),
            ("api.visiobook.com:80:80", 400),
            ("api.visiobook.com:http", 400),
            ("api.visiobook.com@evil.com", 400),
            ("api.visiobook.com, evil.com", 400),
            ("api.visiobook.com/x", 400),
            ("[::1", 400),
            ("[evil]", 400),
        ] {
            assert_eq!(status(&ours, "/", &[host]), expected, "{host}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let all = Hosts::default();
        assert_eq!(status(&all, "/", &["anything"]), 200);
        assert_eq!(status(&all, "/", &[]), 400);
        assert_eq!(status(&all, "/", &["a", "a"]), 400);
        assert_eq!(status(&all, "http://a:80/", &[]), 200);
        assert_eq!(status(&all, "http://a/", &["A:80"]), 200);
        assert_eq!(status(&all, "http://a/", &["b"]), 400);
    }

    #[test]
    fn a_name_that_cannot_match_is_refused_at_start() {
        for name in ["", "*.", "https://a.com", "a.com:80", "a*.com", "a.com/x"] {
            let error = Hosts::new(&[name.to_string()]).unwrap_err();
            assert!(error.starts_with("hosts: "), "{error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_but_the_names_gets_through(host in "[ -~]{0,40}") {
            let ours = hosts(&["api.visiobook.com", "*.dev.visiobook.com"]);
            let bare = host.split(':').next().unwrap().trim_end_matches('.').to_ascii_lowercase();
            if status(&ours, "/", &[&host]) == 200 {
                prop_assert!(bare == "api.visiobook.com" || bare.ends_with(".dev.visiobook.com"));
            }
        }
    }
}
