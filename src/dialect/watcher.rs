//! Watches an answer go by: how many events, whether it stands between two of them, whether the
//! backend has said that it is finished, and what it has told besides.
//!
//! Invariant: any chunking of a body gives the same answers. The state is small (its exact bound is
//! tested); beside it, a document that comes in pieces is kept until it is read, 64 KiB at most,
//! the first error's data, 4 KiB at most, and one event to compare others with, 512 bytes at most. Nothing is kept back or changed.

use super::alike::Alike;
use super::lines::{EventLines, JsonLines};
use super::marker::Marker;
use super::recognise::BodyKind;
use super::told::Told;
use super::trouble::trouble_in_event;
use super::unstreamed::Unstreamed;
use super::usage::Usage;
use crate::config::{Dialect, Trouble};
use crate::sse::{LineSink, Scanner};

/// Watches one response body.
#[derive(Debug, Clone)]
pub struct Watcher {
    dialect: Dialect,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    /// An event stream whose dialect has markers.
    Events(Scanner, EventLines, Alike),
    /// One that has none.
    PlainEvents(Scanner),
    Lines(JsonLines),
    Opaque(Unstreamed),
}

impl Watcher {
    /// A watcher before the first byte of a body.
    pub fn new(dialect: Dialect, kind: BodyKind) -> Self {
        let body = match kind {
            BodyKind::Sse if speaks_events(dialect) => {
                Body::Events(Scanner::new(), EventLines::new(dialect), Alike::default())
            }
            BodyKind::Sse => Body::PlainEvents(Scanner::new()),
            BodyKind::Ndjson => Body::Lines(JsonLines::new(dialect)),
            BodyKind::Opaque => Body::Opaque(Unstreamed::new(dialect)),
        };
        Self { dialect, body }
    }

    /// Shows the next bytes of the body.
    #[inline]
    pub fn feed(&mut self, chunk: &[u8]) {
        match &mut self.body {
            Body::Events(scanner, lines, alike) => {
                let rest = pass_alike(scanner, lines, alike, chunk);
                if !rest.is_empty() {
                    scanner.feed(rest, lines);
                    // Somebody waits for the first event, and it is seldom like the others.
                    let is_time = scanner.begins_block() && scanner.events() > 1;
                    if is_time && lines.told().looks_for_no_model() {
                        alike.learn(self.dialect, rest);
                    }
                }
            }
            Body::PlainEvents(scanner) => scanner.feed(chunk, &mut Unread),
            Body::Lines(lines) => lines.feed(chunk),
            Body::Opaque(document) => document.feed(chunk),
        }
    }

    /// Whether the body stands between two events, where bytes of ours may go in. Never so in an
    /// opaque body. For event streams see [`Scanner::at_boundary`]; in NDJSON it is behind a line.
    #[inline]
    pub fn at_boundary(&self) -> bool {
        match &self.body {
            Body::Events(scanner, ..) | Body::PlainEvents(scanner) => scanner.at_boundary(),
            Body::Lines(lines) => lines.at_boundary(),
            Body::Opaque(_) => false,
        }
    }

    /// The events so far: as [`Scanner::events`] counts them, or lines of NDJSON that are over and
    /// not blank. An opaque body has none.
    #[inline]
    pub fn events(&self) -> u64 {
        match &self.body {
            Body::Events(scanner, ..) | Body::PlainEvents(scanner) => scanner.events(),
            Body::Lines(lines) => lines.events(),
            Body::Opaque(_) => 0,
        }
    }

    /// What the answer has said about its own end so far.
    pub fn marker(&self) -> Marker {
        match &self.body {
            Body::Events(_, lines, _) => lines.marker(),
            Body::Lines(lines) => lines.marker(),
            Body::PlainEvents(_) | Body::Opaque(_) => Marker::None,
        }
    }

    /// What the answer has said it took, and what went by. An opaque body tells it at its end, if
    /// it is JSON in the clear.
    pub fn usage(&self) -> Usage {
        match &self.body {
            Body::Opaque(document) => document.usage(self.dialect),
            _ => self
                .told()
                .map_or_else(Usage::default, |told| told.usage(self.dialect)),
        }
    }

    /// Whether content has come: text, reasoning, a tool call, audio, an image, a refusal. A ping,
    /// a role alone, an empty delta, a comment or an error is none, nor is what opens an answer
    /// (`message_start`, `response.created`). Never told of an opaque body.
    pub fn has_content(&self) -> bool {
        self.told()
            .is_some_and(|told| told.has_content(self.dialect))
    }

    /// The data of the first event that told an error, its first 4 KiB. Some exactly where
    /// [`Watcher::marker`] is [`Marker::Failed`]; empty where only the event's name told it.
    pub fn error(&self) -> Option<&[u8]> {
        self.told()?.error()
    }

    /// What the first error that it told means; none where it told none.
    pub fn trouble(&self) -> Option<Trouble> {
        let error = self.error()?;
        Some(trouble_in_event(self.dialect, error))
    }

    /// The model that the answer says it comes from: the first one named, as it is written in the
    /// JSON, its first 256 bytes.
    pub fn model(&self) -> Option<&str> {
        match &self.body {
            Body::Opaque(document) => document.model(self.dialect),
            _ => self.told()?.model(),
        }
    }

    fn told(&self) -> Option<&Told> {
        match &self.body {
            Body::Events(_, lines, _) => Some(lines.told()),
            Body::Lines(lines) => Some(lines.told()),
            Body::PlainEvents(_) | Body::Opaque(_) => None,
        }
    }

    /// The dialect it was made for.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The kind of body it was made for.
    pub fn kind(&self) -> BodyKind {
        match &self.body {
            Body::Events(..) | Body::PlainEvents(_) => BodyKind::Sse,
            Body::Lines(_) => BodyKind::Ndjson,
            Body::Opaque(_) => BodyKind::Opaque,
        }
    }
}

/// Takes the events off the front of `chunk` that differ from an earlier one in their text only.
#[inline]
fn pass_alike<'a>(
    scanner: &mut Scanner,
    lines: &mut EventLines,
    alike: &mut Alike,
    chunk: &'a [u8],
) -> &'a [u8] {
    let mut rest = chunk;
    while !rest.is_empty()
        && scanner.begins_block()
        && let Some((text, behind)) = alike.take(rest)
    {
        scanner.pass_event();
        lines.add_text(text);
        rest = behind;
    }
    rest
}

/// Whether answers of this dialect and kind say when they are finished, and errors can be put
/// into them.
pub(super) fn has_markers(dialect: Dialect, kind: BodyKind) -> bool {
    match kind {
        BodyKind::Sse => speaks_events(dialect),
        BodyKind::Ndjson => dialect == Dialect::Ollama,
        BodyKind::Opaque => false,
    }
}

fn speaks_events(dialect: Dialect) -> bool {
    match dialect {
        Dialect::OpenaiChat
        | Dialect::OpenaiText
        | Dialect::OpenaiResponses
        | Dialect::AnthropicMessages
        | Dialect::Gemini => true,
        Dialect::Plain | Dialect::Ollama | Dialect::Bedrock => false,
    }
}

/// Reads no lines.
struct Unread;

impl LineSink for Unread {
    fn fragment(&mut self, _bytes: &[u8], _starts: bool, _ends: bool) {}
    fn block_end(&mut self) {}
}

#[cfg(test)]
#[path = "watcher_tests.rs"]
mod tests;
