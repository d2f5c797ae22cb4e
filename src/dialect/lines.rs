//! The lines of a stream, looked at for markers.
//!
//! Two kinds of reader, one for Server-Sent Events and one for NDJSON, over the same [`Payload`].
//! A line that lies whole in one chunk is known by its first bytes; one that comes in pieces is
//! read piece by piece with a fixed state. Invariant: both ways lead to the same marker, and a
//! marker counts once its JSON is closed, or its line or event over.

use memchr::memchr;

use super::document::type_marker;
use super::marker::Marker;
use super::payload::Payload;
use super::told::Told;
use crate::config::Dialect;
use crate::sse::LineSink;

/// Looks at the lines of an event stream.
#[derive(Debug, Clone)]
pub(super) struct EventLines {
    dialect: Dialect,
    field: Field,
    /// The line's first bytes until its field is known; then the event's name as it comes.
    head: [u8; EventLines::HEAD],
    head_len: u8,
    /// What the name of the event in progress says.
    named: Marker,
    payload: Payload,
    marker: Marker,
    told: Told,
}

/// The field of a line that comes in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Field {
    #[default]
    Unknown,
    Data,
    Event,
    Other,
}

impl EventLines {
    /// More than the longest event name of interest with a blank before it: a name that is cut off
    /// here is none of them.
    const HEAD: usize = 24;

    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            field: Field::Unknown,
            head: [0; Self::HEAD],
            head_len: 0,
            named: Marker::None,
            payload: Payload::default(),
            marker: Marker::None,
            told: Told::default(),
        }
    }

    pub(super) fn marker(&self) -> Marker {
        self.marker
    }

    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// See [`Told::add_text`].
    #[inline]
    pub(super) fn add_text(&mut self, bytes: usize) {
        self.told.add_text(bytes);
    }

    fn whole_line(&mut self, line: &[u8]) {
        let (field, value) = self.split(line);
        match field {
            Field::Data => {
                let shown = self.payload.whole(self.dialect, value);
                self.show(shown);
                self.told.whole(self.dialect, value);
            }
            Field::Event => self.named = name_marker(self.dialect, value),
            Field::Other | Field::Unknown => {}
        }
    }

    fn piece(&mut self, bytes: &[u8], starts: bool, ends: bool) {
        if starts {
            self.field = Field::Unknown;
            self.head_len = 0;
        }
        match self.field {
            Field::Unknown => self.first_piece(bytes, ends),
            Field::Data => self.data_piece(bytes, false, ends),
            Field::Event => {
                self.keep(bytes);
                if ends {
                    self.name_end();
                }
            }
            Field::Other => {}
        }
    }

    /// Gathers the line's first bytes, and goes on once they tell its field.
    fn first_piece(&mut self, bytes: &[u8], ends: bool) {
        let missing = EVENT.len() - usize::from(self.head_len);
        let (first, rest) = bytes.split_at(missing.min(bytes.len()));
        self.keep(first);
        if usize::from(self.head_len) < EVENT.len() && !ends {
            return;
        }
        let head = self.head;
        let (field, value) = self.split(&head[..usize::from(self.head_len)]);
        self.field = field;
        match field {
            Field::Data => {
                let over = ends && rest.is_empty();
                self.data_piece(value, true, over);
                if !rest.is_empty() {
                    self.data_piece(rest, false, ends);
                }
            }
            Field::Event => {
                self.head_len = 0;
                self.keep(rest);
                if ends {
                    self.name_end();
                }
            }
            Field::Other | Field::Unknown => {}
        }
    }

    /// The field of a line, and its value. What is no known field is payload for Gemini: Google
    /// puts an error into a stream as bare JSON over several lines, and its SDK reads it so.
    fn split<'a>(&self, line: &'a [u8]) -> (Field, &'a [u8]) {
        if let Some(value) = line.strip_prefix(DATA) {
            (Field::Data, value)
        } else if let Some(name) = line.strip_prefix(EVENT) {
            (Field::Event, name)
        } else if self.dialect == Dialect::Gemini && !line.starts_with(b":") {
            (Field::Data, line)
        } else {
            (Field::Other, &[])
        }
    }

    fn data_piece(&mut self, bytes: &[u8], starts: bool, ends: bool) {
        let shown = self.payload.piece(self.dialect, bytes, starts, ends);
        self.show(shown);
        self.told.piece(self.dialect, bytes, starts, ends);
    }

    fn name_end(&mut self) {
        let name = self
            .head
            .get(..usize::from(self.head_len))
            .unwrap_or_default();
        self.named = name_marker(self.dialect, name);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let len = usize::from(self.head_len);
        let taken = bytes.len().min(Self::HEAD - len);
        self.head[len..len + taken].copy_from_slice(&bytes[..taken]);
        self.head_len += taken as u8;
    }

    /// Takes what a payload has shown; its event's name counts with it.
    fn show(&mut self, shown: Option<Marker>) {
        if let Some(shown) = shown {
            self.raise(shown.max(self.named));
        }
    }

    fn raise(&mut self, marker: Marker) {
        if marker == Marker::Failed && self.marker != Marker::Failed {
            self.told.fails();
        }
        self.marker = self.marker.max(marker);
    }
}

impl LineSink for EventLines {
    fn fragment(&mut self, bytes: &[u8], starts: bool, ends: bool) {
        if starts && ends {
            self.whole_line(bytes);
        } else {
            self.piece(bytes, starts, ends);
        }
    }

    fn block_end(&mut self) {
        // An event without data counts, too: several SDKs hand it on.
        self.raise(self.named);
        self.named = Marker::None;
        self.payload.reset();
        self.told.event_end(self.dialect);
    }
}

/// Looks at the lines of an NDJSON body, and counts them.
#[derive(Debug, Clone)]
pub(super) struct JsonLines {
    dialect: Dialect,
    /// Whether a byte of the line in progress has come.
    inside: bool,
    /// Whether one that is not blank has.
    content: bool,
    events: u64,
    payload: Payload,
    marker: Marker,
    told: Told,
}

impl JsonLines {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            inside: false,
            content: false,
            events: 0,
            payload: Payload::default(),
            marker: Marker::None,
            told: Told::default(),
        }
    }

    pub(super) fn feed(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some(end) = memchr(b'\n', rest) {
            self.line(&rest[..end], true);
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            self.line(rest, false);
        }
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn at_boundary(&self) -> bool {
        !self.inside
    }

    pub(super) fn marker(&self) -> Marker {
        self.marker
    }

    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    fn line(&mut self, bytes: &[u8], ends: bool) {
        let starts = !self.inside;
        self.inside = !ends;
        self.content |= !bytes.trim_ascii().is_empty();
        let shown = if starts && ends {
            self.payload.whole(self.dialect, bytes)
        } else {
            self.payload.piece(self.dialect, bytes, starts, ends)
        };
        let shown = shown.unwrap_or_default();
        if shown == Marker::Failed && self.marker != Marker::Failed {
            self.told.fails();
        }
        self.marker = self.marker.max(shown);
        if starts && ends {
            self.told.whole(self.dialect, bytes);
        } else {
            self.told.piece(self.dialect, bytes, starts, ends);
        }
        if ends {
            self.payload.reset();
            self.told.event_end(self.dialect);
            self.events += u64::from(std::mem::take(&mut self.content));
        }
    }
}

const DATA: &[u8] = b"data:";
const EVENT: &[u8] = b"event:";

/// What an event's name says. One blank behind the colon is no part of it.
fn name_marker(dialect: Dialect, value: &[u8]) -> Marker {
    type_marker(dialect, value.strip_prefix(b" ").unwrap_or(value))
}
