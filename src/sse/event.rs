//! One event, as its lines.
//!
//! The rules are those of WHATWG HTML, sections 9.2.5 and 9.2.6 (server-sent events).

use std::borrow::Cow;

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memchr2, memchr3};
use thiserror::Error;

/// Most bytes of an id that a publisher or a backend gives to an event that is kept.
pub const LONGEST_ID: usize = 256;

/// The lines of one event, as a log keeps them: each ended by one LF, no `id` line, no blank line
/// at the end, and at least one `data` line.
///
/// The id is not in it, because the same event has other ids on other routes. It holds exactly its
/// own bytes and keeps no larger buffer alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(Bytes);

/// What the lines of an event say to a client that follows the standard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The event's name; none where a client would call it `message` for want of one.
    pub event: Option<Cow<'a, str>>,
    /// The `data` lines, with an LF between two.
    pub data: String,
    /// The time to wait before a client connects anew, in milliseconds.
    pub retry: Option<u64>,
}

/// Why something cannot be, or be part of, an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadEvent {
    /// A name that would end its line.
    #[error("an event's name must not contain CR, LF or NUL")]
    Name,
    /// An empty id: it tells clients to forget the one they have.
    #[error("an event's id must not be empty")]
    EmptyId,
    /// An id too long to come back in a request's head.
    #[error("an event's id has {len} bytes; at most {LONGEST_ID} are allowed")]
    LongId {
        /// The bytes it has.
        len: usize,
    },
    /// An id that would end its line, or that clients ignore.
    #[error("an event's id must not contain CR, LF or NUL")]
    Id,
}

impl Frame {
    /// An event of this name, data and `retry` in milliseconds. CR, LF and CRLF in `data` all come
    /// out as line breaks. An empty name is none.
    ///
    /// # Errors
    ///
    /// [`BadEvent::Name`] if the name contains CR, LF or NUL.
    pub fn new(name: Option<&str>, data: &str, retry: Option<u64>) -> Result<Self, BadEvent> {
        let name = name.unwrap_or_default();
        if memchr3(b'\r', b'\n', 0, name.as_bytes()).is_some() {
            return Err(BadEvent::Name);
        }
        let retry = retry.map(|retry| retry.to_string()).unwrap_or_default();
        let head = name.len() + retry.len() + "event: \nretry: \n".len();
        let mut lines = Vec::with_capacity(head + data.len() + DATA_LINE);
        for (field, value) in [("event: ", name), ("retry: ", &retry)] {
            if !value.is_empty() {
                lines.extend_from_slice(field.as_bytes());
                lines.extend_from_slice(value.as_bytes());
                lines.push(b'\n');
            }
        }
        put_data(data.as_bytes(), &mut lines);
        Ok(Self::from_lines(lines.into_boxed_slice().into()))
    }

    /// The event of lines that are as [`Frame`] says.
    pub(crate) fn from_lines(lines: Bytes) -> Self {
        debug_assert!(lines.ends_with(b"\n") && !lines.ends_with(b"\n\n"));
        Self(lines)
    }

    /// The lines, the last with its LF.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never so: an event has a `data` line.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the lines say. Bytes that are not UTF-8 come out as U+FFFD, as in every client.
    pub fn parts(&self) -> Parts<'_> {
        let mut event = None;
        let mut data = None::<String>;
        let mut retry = None;
        let mut start = 0;
        for end in memchr_iter(b'\n', &self.0) {
            let (field, value) = field(&self.0[start..end]);
            start = end + 1;
            match field {
                b"data" => {
                    let data = match &mut data {
                        Some(data) => {
                            data.push('\n');
                            data
                        }
                        none => none.insert(String::with_capacity(value.len())),
                    };
                    push_text(data, value);
                }
                b"event" => event = Some(String::from_utf8_lossy(value)),
                b"retry" => retry = milliseconds(value).or(retry),
                _ => {}
            }
        }
        Parts {
            event: event.filter(|name| !name.is_empty()),
            data: data.unwrap_or_default(),
            retry,
        }
    }
}

/// Appends `value`, in which bytes that are no UTF-8 become U+FFFD. Nearly always it is, and is then checked once.
fn push_text(text: &mut String, value: &[u8]) {
    match str::from_utf8(value) {
        Ok(value) => text.push_str(value),
        Err(_) => text.push_str(&String::from_utf8_lossy(value)),
    }
}

/// Bytes that a `data` line has besides its value.
pub(super) const DATA_LINE: usize = "data: \n".len();

/// Appends the `data` lines of a value, split at CR, LF and CRLF.
pub(super) fn put_data(data: &[u8], lines: &mut Vec<u8>) {
    let mut rest = data;
    loop {
        let end = memchr2(b'\n', b'\r', rest);
        lines.extend_from_slice(b"data: ");
        lines.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
        lines.push(b'\n');
        let Some(end) = end else { return };
        let line_end = if rest[end..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        rest = &rest[end + line_end..];
    }
}

/// A line's field and value. One blank behind the colon is no part of the value; a line without a
/// colon is a field with an empty value.
pub(super) fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(colon) = memchr(b':', line) else {
        return (line, &[]);
    };
    let value = &line[colon + 1..];
    (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
}

/// The value of a `retry` field: only digits, and none beyond what 64 bits hold.
pub(super) fn milliseconds(value: &[u8]) -> Option<u64> {
    // A sign is no digit, and the standard library would take one.
    let is_number = value.iter().all(u8::is_ascii_digit);
    let text = str::from_utf8(value).ok().filter(|_| is_number)?;
    text.parse().ok()
}

/// The id that a publisher or a backend gave to an event, if it can be one.
///
/// # Errors
///
/// A [`BadEvent`] if it is empty, is longer than [`LONGEST_ID`], or contains CR, LF or NUL.
pub fn event_id_text(id: &str) -> Result<Box<str>, BadEvent> {
    if id.is_empty() {
        return Err(BadEvent::EmptyId);
    }
    if id.len() > LONGEST_ID {
        return Err(BadEvent::LongId { len: id.len() });
    }
    if memchr3(b'\r', b'\n', 0, id.as_bytes()).is_some() {
        return Err(BadEvent::Id);
    }
    Ok(id.into())
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
