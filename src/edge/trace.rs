//! The ids by which a request is found again: `X-Request-Id` and W3C Trace Context's `traceparent`.
//!
//! A request id is ours to give: one that came along is believed from trusted peers only, else a
//! client could put another's id, or a line of its own, into our log. A `traceparent` belongs to the
//! trace of whoever made it: a valid one passes unchanged with its `tracestate`, from anyone, as
//! Trace Context §3.2 has it for a hop that records no span of its own. What makes that safe is that
//! it is only an id of fixed shape; an operator who wants none of it from outside removes the header
//! on the way in. An invalid or absent one gets a fresh one, and a `tracestate` without a valid
//! parent goes (§3.3).
//!
//! Fresh parents are marked sampled: a tracer behind us that follows its parent would otherwise
//! record nothing at all.

use std::fmt;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// The ids of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// `X-Request-Id`, as it goes to the upstream and back to the client. Always visible ASCII.
    pub request_id: HeaderValue,
    /// The trace that the request is part of.
    pub trace_id: TraceId,
}

/// A trace id: 32 lower-case hexadecimal digits, not all of them 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

/// The field that carries the request's id, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest request id that is believed.
const LONGEST: usize = 128;

/// Length of `version-traceid-parentid-flags`.
const PARENT: usize = 55;

impl Trace {
    /// Reads the ids of a request, or makes them, and puts them into `headers`.
    pub fn of(headers: &mut HeaderMap, trusted: bool) -> Self {
        let trace_id = continued(headers).unwrap_or_else(|| begin(headers));
        let request_id = match believed(headers).filter(|_| trusted) {
            Some(id) => id.clone(),
            None => {
                let id = value(&hex::<32>(fastrand::u128(1..)));
                headers.insert(REQUEST_ID, id.clone());
                id
            }
        };
        Self {
            request_id,
            trace_id,
        }
    }

    /// The request id as text.
    pub fn request_id(&self) -> &str {
        // Visible ASCII by how it is made.
        self.request_id.to_str().unwrap_or_default()
    }
}

impl TraceId {
    /// The digits.
    pub fn as_str(&self) -> &str {
        // Only ever made of ASCII digits.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

/// The one value of a field; none if there are several.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// A request id that is fit to be logged and passed on.
fn believed(headers: &HeaderMap) -> Option<&HeaderValue> {
    only(headers, &REQUEST_ID).filter(|id| {
        (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    })
}

/// The trace id of a valid `traceparent`.
fn continued(headers: &HeaderMap) -> Option<TraceId> {
    trace_id(only(headers, &TRACEPARENT)?.as_bytes())
}

/// Begins a trace in place of whatever was there.
fn begin(headers: &mut HeaderMap) -> TraceId {
    let id = TraceId(hex(fastrand::u128(1..)));
    let mut parent = *b"00-00000000000000000000000000000000-0000000000000000-01";
    parent[3..35].copy_from_slice(&id.0);
    parent[36..52].copy_from_slice(&hex::<16>(u128::from(fastrand::u64(1..))));
    headers.insert(TRACEPARENT, value(&parent));
    headers.remove(TRACESTATE);
    id
}

/// Trace Context §3.2.2: version `00` has exactly this form; a later one may go on after a dash;
/// `ff` is none. Ids of zeros are none.
fn trace_id(parent: &[u8]) -> Option<TraceId> {
    let (known, more) = parent.split_at_checked(PARENT)?;
    let (version, trace, span, flags) = (&known[..2], &known[3..35], &known[36..52], &known[53..]);
    let dashes = known[2] == b'-' && known[35] == b'-' && known[52] == b'-';
    let digits = [version, trace, span, flags].iter().all(|part| {
        part.iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    let end = more.is_empty() || (version != b"00" && more[0] == b'-');
    let given = |id: &[u8]| id.iter().any(|byte| *byte != b'0');
    if dashes && digits && end && version != b"ff" && given(trace) && given(span) {
        trace.try_into().ok().map(TraceId)
    } else {
        None
    }
}

/// The lowest `N` hexadecimal digits of `number`.
fn hex<const N: usize>(mut number: u128) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
    digits
}

fn value(digits: &[u8]) -> HeaderValue {
    // Digits and dashes are always a field value.
    HeaderValue::from_bytes(digits).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn hexadecimal() {
        assert_eq!(&hex::<4>(0xabcde), b"bcde");
        assert_eq!(&hex::<32>(u128::MAX), &[b'f'; 32]);
    }

    #[test]
    fn fresh_ids_are_put_in() {
        let mut headers = map(&[("tracestate", "a=b")]);
        let trace = Trace::of(&mut headers, false);
        assert_eq!(trace.request_id().len(), 32);
        assert_eq!(headers["x-request-id"], trace.request_id());
        let parent = headers["traceparent"].to_str().unwrap();
        assert_eq!(trace_id(parent.as_bytes()), Some(trace.trace_id));
        assert_eq!(&parent[3..35], trace.trace_id.as_str());
        assert!(!headers.contains_key("tracestate"));
        let other = Trace::of(&mut map(&[]), true);
        assert_ne!(other.request_id, trace.request_id);
        assert_ne!(other.trace_id, trace.trace_id);
    }

    #[test]
    fn a_request_id_is_believed_from_trusted_peers_when_it_is_sane() {
        let id = |lines: &[(&'static str, &str)], trusted| {
            let mut headers = map(lines);
            let trace = Trace::of(&mut headers, trusted);
            assert_eq!(only(&headers, &REQUEST_ID), Some(&trace.request_id));
            trace.request_id().to_owned()
        };
        assert_eq!(id(&[("x-request-id", "req_1")], true), "req_1");
        assert_ne!(id(&[("x-request-id", "req_1")], false), "req_1");
        let long = "x".repeat(LONGEST);
        assert_eq!(id(&[("x-request-id", &long)], true), long);
        for bad in [format!("{long}x").as_str(), "", "a b", "\u{e9}", "a\tb"] {
            assert_eq!(id(&[("x-request-id", bad)], true).len(), 32, "{bad}");
        }
        assert_eq!(
            id(&[("x-request-id", "a"), ("x-request-id", "b")], true).len(),
            32
        );
    }

    #[test]
    fn a_valid_parent_passes_unchanged_from_anyone() {
        let sent = [
            ("traceparent", VALID),
            ("tracestate", "a=b"),
            ("tracestate", "c=d"),
        ];
        let mut headers = map(&sent);
        let trace = Trace::of(&mut headers, false);
        assert_eq!(trace.trace_id.as_str(), ID);
        headers.remove(REQUEST_ID);
        assert_eq!(headers, map(&sent));
    }

    #[test]
    fn what_is_no_parent() {
        let later = format!("01{}-extra", &VALID[2..]);
        assert_eq!(trace_id(later.as_bytes()).unwrap().as_str(), ID);
        assert!(trace_id(&later.as_bytes()[..PARENT]).is_some());
        for bad in [
            format!("{VALID}-extra"),
            format!("{VALID} "),
            format!("01{}x", &VALID[2..]),
            format!("ff{}", &VALID[2..]),
            VALID.to_uppercase(),
            VALID[..54].to_owned(),
            VALID.replace('-', "_"),
            VALID.replace(ID, &"0".repeat(32)),
            VALID.replace("b7ad6b7169203331", &"0".repeat(16)),
            format!("0x{}", &VALID[2..]),
            String::new(),
        ] {
            assert_eq!(trace_id(bad.as_bytes()), None, "{bad}");
        }
        let mut twice = map(&[("traceparent", VALID), ("traceparent", VALID)]);
        assert_ne!(Trace::of(&mut twice, true).trace_id.as_str(), ID);
        assert!(only(&twice, &TRACEPARENT).is_some());
    }

    proptest! {
        #[test]
        fn whatever_comes_a_valid_parent_leaves(
            parent in prop_oneof![any::<[u8; 56]>().prop_map(|bytes| bytes.map(|byte| byte & 0x7f | 0x20)).prop_map(Vec::from),
                "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,5})?".prop_map(String::into_bytes)],
            at in 0usize..55, with in 0x20u8..0x7f,
        ) {
            for change in [false, true] {
                let mut parent = parent.clone();
                if change { parent[at] = with }
                let Ok(sent) = HeaderValue::from_bytes(&parent) else { continue };
                let mut headers = HeaderMap::new();
                headers.insert(TRACEPARENT, sent.clone());
                let trace = Trace::of(&mut headers, false);
                let left = only(&headers, &TRACEPARENT).unwrap().clone();
                prop_assert_eq!(trace_id(left.as_bytes()), Some(trace.trace_id));
                prop_assert_eq!(left == sent, trace_id(sent.as_bytes()).is_some());
            }
        }
    }
}
