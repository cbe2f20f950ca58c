//! Correlation ids and trace context (D26, D78, X19, G27).

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, InvalidHeaderName};
use uuid::Uuid;

use crate::contract::{CORRELATION_ID_HEADER, REQUEST_ID_HEADER};

/// Bytes that an id of the client's may have.
const LONGEST_ID: usize = 128;
/// Bytes of a `traceparent` of version 00.
const TRACEPARENT_LENGTH: usize = 55;

const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID_HEADER);
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Finds or makes the id of a request, under the configured header (D26) and under `x-request-id` (X19).
#[derive(Clone, Debug)]
pub struct Correlation {
    header: HeaderName,
}

/// The id of a request: printable ASCII, 1 to 128 bytes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorrelationId(HeaderValue);

impl CorrelationId {
    /// The id for logs and envelopes.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id as a header has it.
    pub fn value(&self) -> &HeaderValue {
        &self.0
    }
}

impl Default for Correlation {
    fn default() -> Self {
        Correlation { header: HeaderName::from_static(CORRELATION_ID_HEADER) }
    }
}

impl Correlation {
    /// With another header than `x-correlation-id` (D26).
    pub fn new(header: &str) -> Result<Correlation, InvalidHeaderName> {
        Ok(Correlation { header: HeaderName::from_bytes(header.as_bytes())? })
    }

    /// The first usable id of the configured header and `x-request-id`, else a UUIDv4 (X19).
    pub fn resolve(&self, headers: &HeaderMap) -> CorrelationId {
        let found = [&self.header, &REQUEST_ID]
            .into_iter()
            .filter_map(|name| headers.get(name))
            .find(|value| is_usable(value.as_bytes()));
        match found {
            Some(value) => CorrelationId(value.clone()),
            None => CorrelationId(hyphenated(Uuid::new_v4())),
        }
    }

    /// Set both headers, on the request to the application and on the response (D26, D78).
    pub fn set(&self, headers: &mut HeaderMap, id: &CorrelationId) {
        headers.insert(&self.header, id.0.clone());
        headers.insert(REQUEST_ID, id.0.clone());
    }
}

/// W3C trace context of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace(HeaderValue);

impl Trace {
    /// The one that the request carries if it is valid; else a new one, and no `tracestate` of an unknown trace.
    ///
    /// A new one is marked as sampled, which is what tracing SDKs decide for a trace that begins with them.
    pub fn admit(headers: &mut HeaderMap) -> Trace {
        let mut found = headers.get_all(TRACEPARENT).iter();
        if let (Some(value), None) = (found.next(), found.next())
            && is_traceparent(value.as_bytes())
        {
            return Trace(value.clone());
        }
        let trace = Trace(traceparent(Uuid::new_v4(), Uuid::new_v4()));
        headers.insert(TRACEPARENT, trace.0.clone());
        headers.remove(TRACESTATE);
        trace
    }

    /// The 32 digits that logs name the trace by.
    pub fn id(&self) -> &str {
        self.0.to_str().ok().and_then(|value| value.get(3..35)).unwrap_or_default()
    }
}

fn is_usable(id: &[u8]) -> bool {
    (1..=LONGEST_ID).contains(&id.len())
        && id.iter().all(|byte| (b' '..=b'~').contains(byte))
        && id.iter().any(|byte| *byte != b' ')
}

/// Whether it is `00-<trace>-<parent>-<flags>`; of a later version, whether it begins like that.
fn is_traceparent(value: &[u8]) -> bool {
    let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    if value.len() < TRACEPARENT_LENGTH {
        return false;
    }
    let (version, trace, parent, flags) = (&value[..2], &value[3..35], &value[36..52], &value[53..55]);
    let has_end = match value.get(TRACEPARENT_LENGTH) {
        None => true,
        Some(byte) => version != b"00" && *byte == b'-' && value.iter().all(u8::is_ascii_graphic),
    };
    has_end
        && [value[2], value[35], value[52]] == *b"---"
        && [version, trace, parent, flags].into_iter().all(is_hex)
        && version != b"ff"
        && !is_zero(trace)
        && !is_zero(parent)
}

fn traceparent(trace: Uuid, parent: Uuid) -> HeaderValue {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
    let mut buffer = Uuid::encode_buffer();
    text[3..35].copy_from_slice(trace.simple().encode_lower(&mut buffer)[..32].as_bytes());
    text[36..52].copy_from_slice(parent.simple().encode_lower(&mut buffer)[..16].as_bytes());
    // Hexadecimal digits and dashes are a header's value.
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
}

fn hyphenated(id: Uuid) -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn headers(pairs: &[(&str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        headers
    }

    fn is_uuid_v4(id: &str) -> bool {
        Uuid::parse_str(id).is_ok_and(|id| id.get_version_num() == 4) && id.len() == 36
    }

    #[test]
    fn the_id_is_the_correlation_id_then_the_request_id_then_a_new_one() {
        let resolve = |pairs: &[(&str, &[u8])]| Correlation::default().resolve(&headers(pairs));
        let long = [b'a'; 129];
        assert_eq!(resolve(&[("x-request-id", b"r"), ("x-correlation-id", b"c")]).as_str(), "c");
        assert_eq!(resolve(&[("x-request-id", b"r")]).as_str(), "r");
        assert_eq!(resolve(&[("x-correlation-id", b""), ("x-request-id", b"r")]).as_str(), "r");
        assert_eq!(resolve(&[("x-correlation-id", &long[..128])]).as_str().len(), 128);
        for bad in [&b""[..], b"  ", b"a\tb", "é".as_bytes(), &long] {
            assert!(is_uuid_v4(resolve(&[("x-correlation-id", bad)]).as_str()), "{bad:?}");
        }
        assert!(is_uuid_v4(resolve(&[]).as_str()));
    }

    #[test]
    fn another_header_may_carry_it_and_both_are_set_once() {
        let correlation = Correlation::new("X-Trace-Token").unwrap();
        let mut request =
            headers(&[("x-trace-token", b"one"), ("x-trace-token", b"two"), ("x-request-id", b"r")]);
        let id = correlation.resolve(&request);
        correlation.set(&mut request, &id);
        assert_eq!(request.get_all("x-trace-token").iter().collect::<Vec<_>>(), ["one"]);
        assert_eq!(request.get_all("x-request-id").iter().collect::<Vec<_>>(), ["one"]);
        assert!(Correlation::new("not a header").is_err());
    }

    #[test]
    fn a_valid_trace_goes_on_and_an_invalid_one_is_replaced() {
        for valid in [VALID, "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"] {
            let mut request = headers(&[("traceparent", valid.as_bytes()), ("tracestate", b"a=1")]);
            assert_eq!(Trace::admit(&mut request).id(), "0af7651916cd43dd8448eb211c80319c");
            assert_eq!(request["traceparent"], valid);
            assert_eq!(request["tracestate"], "a=1");
        }
        for invalid in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00.more",
        ] {
            let mut request = headers(&[("traceparent", invalid.as_bytes()), ("tracestate", b"a=1")]);
            let trace = Trace::admit(&mut request);
            assert!(is_traceparent(request["traceparent"].as_bytes()), "{invalid}");
            assert_eq!(request["traceparent"].to_str().unwrap()[3..35], *trace.id());
            assert!(!request.contains_key("tracestate"), "{invalid}");
        }
        let mut twice = headers(&[("traceparent", VALID.as_bytes()), ("traceparent", VALID.as_bytes())]);
        assert_ne!(Trace::admit(&mut twice).id(), &VALID[3..35]);
        assert_eq!(twice.get_all("traceparent").iter().count(), 1);
    }

    proptest! {
        #[test]
        fn whatever_comes_in_printable_ids_go_out(id in proptest::collection::vec(any::<u8>(), 0..200), trace in "[0-9a-f-]{0,60}") {
            let mut request = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&id) {
                request.insert("x-correlation-id", value);
            }
            request.insert("traceparent", HeaderValue::from_str(&trace).unwrap());
            let correlation = Correlation::default();
            let found = correlation.resolve(&request);
            correlation.set(&mut request, &found);
            Trace::admit(&mut request);
            for name in ["x-correlation-id", "x-request-id", "traceparent"] {
                let values: Vec<_> = request.get_all(name).iter().collect();
                prop_assert_eq!(values.len(), 1);
                prop_assert!(is_usable(values[0].as_bytes()));
            }
            prop_assert!(is_traceparent(request["traceparent"].as_bytes()));
        }
    }
}
