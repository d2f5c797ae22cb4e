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

use bytes::Bytes;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::added::Added;

/// The ids of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// `X-Request-Id`, as it goes to the upstream and back to the client. Always visible ASCII.
    pub request_id: HeaderValue,
    /// The trace that the request is part of.
    pub trace_id: TraceId,
    /// The parent to go on with, where none came along.
    parent: Option<HeaderValue>,
    /// Whether the request came with its id.
    is_named: bool,
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
    /// Reads the ids of a request, or makes them. What is not believed is taken out of `headers`, and
    /// [`Trace::add`] puts ours in its place.
    pub fn of(headers: &mut HeaderMap, trusted: bool) -> Self {
        // Most callers bring no ids, and a look at each name costs less than to ask the map for every id.
        if !headers.keys().any(is_id) {
            return Self::begin();
        }
        let mut trace = Self::begin();
        match continued(headers) {
            Some(id) => (trace.trace_id, trace.parent) = (id, None),
            None => {
                headers.remove(TRACEPARENT);
                headers.remove(TRACESTATE);
            }
        }
        match believed(headers).filter(|_| trusted) {
            Some(id) => (trace.request_id, trace.is_named) = (id.clone(), true),
            None => {
                headers.remove(REQUEST_ID);
            }
        }
        trace
    }

    /// Begins a trace.
    fn begin() -> Self {
        let trace_id = TraceId(hex(fastrand::u128(..).max(1)));
        // Both values share one piece of memory.
        let mut ids = *b"00-00000000000000000000000000000000-0000000000000000-0100000000000000000000000000000000";
        ids[3..35].copy_from_slice(&trace_id.0);
        ids[36..52].copy_from_slice(&hex::<16>(u128::from(fastrand::u64(..).max(1))));
        ids[PARENT..].copy_from_slice(&hex::<32>(fastrand::u128(..).max(1)));
        let mut parent = Bytes::copy_from_slice(&ids);
        let request_id = parent.split_off(PARENT);
        Self {
            request_id: value(request_id),
            trace_id,
            parent: Some(value(parent)),
            is_named: false,
        }
    }

    /// Adds the ids that the request did not come with.
    pub fn add(&self, added: &mut Added) {
        if !self.is_named {
            added.push(REQUEST_ID, self.request_id.clone());
        }
        if let Some(parent) = &self.parent {
            added.push(TRACEPARENT, parent.clone());
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

/// Whether a field is one of those that are read here.
fn is_id(name: &HeaderName) -> bool {
    matches!(name.as_str(), "traceparent" | "tracestate" | "x-request-id")
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

/// The two hexadecimal digits of each byte.
const PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// The lowest `N` hexadecimal digits of `number`; `N` is even.
fn hex<const N: usize>(number: u128) -> [u8; N] {
    let mut digits = [b'0'; N];
    let bytes = number.to_be_bytes();
    for (pair, byte) in digits
        .chunks_exact_mut(2)
        .zip(&bytes[bytes.len() - N / 2..])
    {
        pair.copy_from_slice(&PAIRS[usize::from(*byte)]);
    }
    digits
}

fn value(digits: Bytes) -> HeaderValue {
    // Digits and dashes are always a field value.
    HeaderValue::from_maybe_shared(digits).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests;
