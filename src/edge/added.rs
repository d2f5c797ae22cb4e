//! The fields that we put into a request, beside those it came with.
//!
//! To put a field into a map costs many times what it costs to write it out. Hardly anybody asks for ours
//! before the request is written, so they wait in a list; whoever wants all fields in one place joins them first.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// Fields of ours, in order. The request came with none of their names.
#[derive(Debug, Clone, Default)]
pub struct Added(Vec<(HeaderName, HeaderValue)>);

/// Room for what most requests are given.
const ROOM: usize = 10;

impl Added {
    /// Adds a field of which there is none yet.
    pub fn push(&mut self, name: HeaderName, value: HeaderValue) {
        if self.0.capacity() == 0 {
            self.0.reserve_exact(ROOM);
        }
        self.0.push((name, value));
    }

    /// The value of the field `name`.
    pub fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Puts them in among the others.
    pub fn join(&mut self, headers: &mut HeaderMap) {
        for (name, value) in self.0.drain(..) {
            headers.insert(name, value);
        }
    }
}
