//! The fields that we put into a request, beside those it came with.
//!
//! To put a field into a map costs many times what it costs to write it out. Hardly anybody asks for ours
//! before the request is written, so they wait in a list; whoever wants all fields in one place joins them first.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// Fields of ours, each name once. The request came with none of them.
#[derive(Debug, Clone, Default)]
pub struct Added {
    lines: Option<Arc<Lines>>,
    fields: Vec<Field>,
}

type Field = (HeaderName, HeaderValue);

/// Room for what most requests are given beside [`Lines`].
const ROOM: usize = 4;

impl Added {
    /// Adds a field.
    pub fn push(&mut self, name: HeaderName, value: HeaderValue) {
        if self.fields.capacity() == 0 {
            self.fields.reserve_exact(ROOM);
        }
        self.fields.push((name, value));
    }

    /// Adds what is written already.
    pub fn share(&mut self, lines: Arc<Lines>) {
        self.lines = Some(lines);
    }

    /// The value of the field `name`.
    pub fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        let shared = self.lines.iter().flat_map(|lines| &lines.fields);
        let mut all = self.fields.iter().chain(shared);
        all.find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Those that are written already, as they stand in a head of HTTP/1.1.
    pub fn written(&self) -> &[u8] {
        self.lines.as_ref().map_or(&[], |lines| &lines.text)
    }

    /// The others.
    pub fn unwritten(&self) -> impl ExactSizeIterator<Item = (&HeaderName, &HeaderValue)> {
        self.fields.iter().map(|(name, value)| (name, value))
    }

    /// Puts all of them in among the others of the request.
    pub fn join(&mut self, headers: &mut HeaderMap) {
        if let Some(lines) = self.lines.take() {
            for (name, value) in &lines.fields {
                headers.insert(name, value.clone());
            }
        }
        for (name, value) in self.fields.drain(..) {
            headers.insert(name, value);
        }
    }
}

/// Fields that are the same for many requests, written once.
#[derive(Debug)]
pub struct Lines {
    fields: Vec<Field>,
    text: Vec<u8>,
}

impl Lines {
    /// Writes `fields`.
    pub fn new(fields: Vec<Field>) -> Self {
        let mut text = Vec::new();
        for (name, value) in &fields {
            let parts = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"];
            text.extend(parts.into_iter().flatten());
        }
        Self { fields, text }
    }

    /// The fields themselves.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }
}
