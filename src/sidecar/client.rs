//! Who is calling: the address outside the trusted proxies.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HOST, HeaderName, HeaderValue};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Other names under which applications look for the client or its request: believed from trusted peers alone.
static OTHER_CLAIMS: [HeaderName; 4] = [
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-server"),
];

/// Ranges whose X-Forwarded-For is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// The other end of a connection; known once, when it is accepted.
#[derive(Clone, Debug)]
pub struct Peer {
    address: IpAddr,
    is_trusted: bool,
    value: HeaderValue,
}

/// Who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The address that limits and logs go by.
    pub address: IpAddr,
    /// Whether every hop is in the trusted ranges: no limit by address.
    pub is_internal: bool,
}

impl TrustedProxies {
    /// Those of the settings.
    pub fn new(ranges: &[IpNet]) -> TrustedProxies {
        TrustedProxies(IpNet::aggregate(&ranges.to_vec()))
    }

    /// Look at the other end of a new connection.
    pub fn peer(&self, address: IpAddr) -> Peer {
        let address = address.to_canonical();
        Peer { address, is_trusted: self.contain(address), value: address_value(address) }
    }

    /// The rightmost hop of X-Forwarded-For outside the trusted ranges, if the peer may tell.
    ///
    /// What stands left of that hop, or of one that is no address, anybody may have written.
    pub fn resolve(&self, peer: &Peer, headers: &HeaderMap) -> Client {
        let mut client = Client { address: peer.address, is_internal: peer.is_trusted };
        if !peer.is_trusted {
            return client;
        }
        for line in headers.get_all(FORWARDED_FOR).iter().rev() {
            for hop in line.as_bytes().rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if hop.is_empty() {
                    continue;
                }
                let Some(address) = parse(hop) else {
                    return Client { is_internal: false, ..client };
                };
                client = Client { address, is_internal: self.contain(address) };
                if !client.is_internal {
                    return client;
                }
            }
        }
        client
    }

    fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(&address))
    }
}

impl Peer {
    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Tell the application who calls, in the place of what the client said.
    ///
    /// X-Forwarded-For is that one address, which every framework reads alike, from whichever end it counts.
    pub fn forward(&self, client: &Client, headers: &mut HeaderMap) {
        let is_peer = client.address == self.address;
        let address = if is_peer { self.value.clone() } else { address_value(client.address) };
        headers.insert(FORWARDED_FOR, address);
        headers.remove(FORWARDED);
        if !self.is_trusted {
            for name in &OTHER_CLAIMS {
                headers.remove(name);
            }
        }
        let kept = |name: &HeaderName, is_valid: fn(&[u8]) -> bool| {
            self.is_trusted && only(headers, name).is_some_and(|value| is_valid(value.as_bytes()))
        };
        let keeps_proto = kept(&FORWARDED_PROTO, |proto| matches!(proto, b"http" | b"https"));
        let keeps_host = kept(&FORWARDED_HOST, is_host);
        if !keeps_proto {
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
        }
        if !keeps_host {
            match headers.get(HOST).cloned() {
                Some(host) => headers.insert(FORWARDED_HOST, host),
                None => headers.remove(FORWARDED_HOST),
            };
        }
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn is_host(host: &[u8]) -> bool {
    !host.is_empty()
        && host.iter().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
        })
}

/// `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]` or `[::1]:80`.
fn parse(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?;
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(bare) => IpAddr::V6(bare.parse().ok()?),
        None => match hop.parse() {
            Ok(address) => address,
            Err(_) => hop.parse::<SocketAddr>().ok()?.ip(),
        },
    };
    Some(address.to_canonical())
}

fn address_value(address: IpAddr) -> HeaderValue {
    // Digits, dots and colons are a header's value.
    HeaderValue::try_from(address.to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()])
    }

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn the_client_is_the_rightmost_hop_outside_the_trusted_ranges() {
        for (peer, lines, address, is_internal) in [
            ("203.0.113.9", &["1.1.1.1"][..], "203.0.113.9", false),
            ("10.0.0.1", &[], "10.0.0.1", true),
            ("::ffff:10.0.0.1", &["203.0.113.5"], "203.0.113.5", false),
            ("10.0.0.1", &["6.6.6.6, 203.0.113.5, 10.1.1.1"], "203.0.113.5", false),
            ("10.0.0.1", &["6.6.6.6, 203.0.113.5", "10.1.1.1"], "203.0.113.5", false),
            ("10.0.0.1", &["203.0.113.5", "10.1.1.1", ""], "203.0.113.5", false),
            ("10.0.0.1", &["10.2.2.2, 10.1.1.1"], "10.2.2.2", true),
            ("10.0.0.1", &["203.0.113.5:4711"], "203.0.113.5", false),
            ("10.0.0.1", &["2001:db8::1"], "2001:db8::1", false),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1", false),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1", false),
            ("10.0.0.1", &["::ffff:203.0.113.5"], "203.0.113.5", false),
            ("10.0.0.1", &["::ffff:10.3.3.3"], "10.3.3.3", true),
            ("fd00::1", &[" 203.0.113.5 ,, 10.1.1.1 , "], "203.0.113.5", false),
            // Not an address: nobody vouches for what stands left of it.
            ("10.0.0.1", &["203.0.113.5, unknown, 10.1.1.1"], "10.1.1.1", false),
            ("10.0.0.1", &["999.1.1.1"], "10.0.0.1", false),
            ("10.0.0.1", &["203.0.113.5:99999"], "10.0.0.1", false),
            ("10.0.0.1", &["[203.0.113.5]"], "10.0.0.1", false),
            ("10.0.0.1", &["fe80::1%eth0"], "10.0.0.1", false),
        ] {
            let proxies = proxies();
            let peer = proxies.peer(peer.parse().unwrap());
            let client = Client { address: address.parse().unwrap(), is_internal };
            assert_eq!(proxies.resolve(&peer, &headers(lines)), client, "{lines:?}");
        }
    }

    #[test]
    fn the_application_is_told_what_is_known() {
        let said = |headers: &mut HeaderMap| {
            for (name, value) in [
                ("x-forwarded-for", "6.6.6.6, 203.0.113.5"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "api.visiobook.com"),
                ("x-real-ip", "6.6.6.6"),
                ("forwarded", "for=6.6.6.6"),
                ("host", "users"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
        };
        for (peer, address, proto, host, has_real_ip) in [
            ("10.0.0.1", "203.0.113.5", "https", "api.visiobook.com", true),
            ("198.51.100.1", "198.51.100.1", "http", "users", false),
        ] {
            let (proxies, mut headers) = (proxies(), HeaderMap::new());
            said(&mut headers);
            let peer = proxies.peer(peer.parse().unwrap());
            peer.forward(&proxies.resolve(&peer, &headers), &mut headers);
            assert_eq!(headers["x-forwarded-for"], address);
            assert_eq!(headers["x-forwarded-proto"], proto);
            assert_eq!(headers["x-forwarded-host"], host);
            assert_eq!(headers.contains_key("x-real-ip"), has_real_ip);
            assert!(!headers.contains_key("forwarded"));
        }
    }

    #[test]
    fn a_doubtful_scheme_or_host_is_replaced() {
        for (proto, host) in [("https, http", "a, b"), ("javascript", "a/b"), ("", "")] {
            let (proxies, mut headers) = (proxies(), HeaderMap::new());
            headers.insert("x-forwarded-proto", HeaderValue::from_static(proto));
            headers.insert("x-forwarded-host", HeaderValue::from_static(host));
            let peer = proxies.peer("10.0.0.1".parse().unwrap());
            peer.forward(&proxies.resolve(&peer, &headers), &mut headers);
            assert_eq!(headers["x-forwarded-proto"], "http");
            assert!(!headers.contains_key("x-forwarded-host"));
        }
    }

    proptest! {
        #[test]
        fn nobody_chooses_an_address_by_prepending(forged in "[0-9a-f:., \\[\\]unkow]{0,60}", last in any::<[u8; 4]>()) {
            let last = IpAddr::from(last);
            let proxies = proxies();
            prop_assume!(!proxies.contain(last));
            let peer = proxies.peer("10.0.0.1".parse().unwrap());
            let line = format!("{forged}, {last}, 10.9.9.9");
            let client = proxies.resolve(&peer, &headers(&[&line]));
            prop_assert_eq!(client, Client { address: last, is_internal: false });
        }

        #[test]
        fn an_untrusted_peer_is_the_client_whatever_it_says(said in "[ -~]{0,60}", peer in any::<[u8; 16]>()) {
            let proxies = proxies();
            let address = IpAddr::from(peer).to_canonical();
            prop_assume!(!proxies.contain(address));
            let peer = proxies.peer(address);
            prop_assert_eq!(proxies.resolve(&peer, &headers(&[&said])), Client { address, is_internal: false });
        }
    }
}
