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
mod tests;
