//! What is done to a request between its head and its route's upstream, and to the answer on its
//! way back: callers, credentials, cross-origin rules, hop-by-hop fields, forwarding, trace ids.
//!
//! Everything here is a synchronous function over header maps, called by the pipeline in this
//! order:
//!
//! 1. [`trace`]: the ids exist before anything can be refused, so that every refusal carries them;
//! 2. [`auth`]: on the request as it came; the key or token that opened the route is taken out, and
//!    [`rights`] says what its holder may do;
//! 3. [`forwarded`] and [`hop`], in either order: what a client's `Connection` names can take none
//!    of our own fields out;
//! 4. [`credentials`]: nothing of the caller's own goes along with the upstream's.
//!
//! What the first and the third put in waits in a list ([`added`]) until the request is written.
//!
//! On the way back: [`hop`], [`forwarded::via`], [`cors`].

pub mod added;
pub mod auth;
pub mod cors;
pub mod credentials;
pub mod forwarded;
pub mod hop;
pub mod rights;
mod token;
pub mod trace;

use http::HeaderMap;
use http::header::{AUTHORIZATION, Entry, HeaderName, HeaderValue};

/// Where a caller's API key or token may stand.
static KEY_FIELDS: [HeaderName; 4] = [
    AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// Whether a field is one of [`KEY_FIELDS`]: as text, which is told apart by its length first.
fn is_key_field(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authorization" | "x-api-key" | "api-key" | "x-goog-api-key"
    )
}

/// Adds `element` at the end of a list field, on one line: many readers look at one line only.
fn append_element(headers: &mut HeaderMap, name: &HeaderName, element: HeaderValue) {
    let mut lines = match headers.entry(name) {
        Entry::Vacant(vacant) => {
            vacant.insert(element);
            return;
        }
        Entry::Occupied(lines) => lines,
    };
    let mut list = Vec::new();
    for line in lines.iter().chain([&element]) {
        if !list.is_empty() {
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(line.as_bytes());
    }
    // Field values joined by a comma are a field value; if not, ours alone is truthful.
    lines.insert(HeaderValue::from_maybe_shared(bytes::Bytes::from(list)).unwrap_or(element));
}

/// The elements of a list field, over all its lines, without the spaces around them
/// (RFC 9110 §5.6.1); empty ones are left out.
fn elements<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.get_all(name).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|element| element.trim_ascii())
        .filter(|element| !element.is_empty())
}
