//! What an event or a line carries, in whole lines or in pieces of them.
//!
//! Invariant: a line read whole and the same line read in pieces show the same. A whole line is
//! nearly always dismissed by a [`glance`]; pieces go through a [`Document`], which is slower, but
//! only the few lines that a chunk's end cuts come so.

use super::document::Document;
use super::glance;
use super::marker::Marker;
use crate::config::Dialect;

/// The payload of an event or a line: JSON, or `[DONE]`.
///
/// The data of one event may stand on several lines and is then one document; but a line that has
/// a whole object, from `{` to `}`, is taken for itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Payload {
    document: Document,
    /// Whether the line in progress has shown anything but blanks.
    begun: bool,
    /// Whether it began a document, with `{`.
    opened: bool,
    /// Its last byte that is not blank.
    last: u8,
    /// How much of `[DONE]` it began with, or [`NOT_DONE`].
    done: u8,
}

const DONE: &[u8] = b"[DONE]";
const NOT_DONE: u8 = u8::MAX;

impl Payload {
    /// Forgets what is in progress: a new event or line begins.
    pub(super) fn reset(&mut self) {
        self.document.reset();
    }

    /// A line that lies whole in one chunk. Gives what it shows; a line always shows something,
    /// even if that is [`Marker::None`].
    pub(super) fn whole(&mut self, dialect: Dialect, line: &[u8]) -> Option<Marker> {
        let text = line.trim_ascii();
        if self.document.is_fresh()
            && text.starts_with(b"{")
            && text.ends_with(b"}")
            && !glance::may_show(dialect, text)
        {
            return Some(Marker::None);
        }
        self.piece(dialect, line, true, true)
    }

    /// A piece of a line. Gives what closed within it, or with it.
    pub(super) fn piece(
        &mut self,
        dialect: Dialect,
        bytes: &[u8],
        starts: bool,
        ends: bool,
    ) -> Option<Marker> {
        if starts {
            self.begun = false;
            self.opened = false;
            self.last = 0;
            self.done = NOT_DONE;
        }
        let text = bytes.trim_ascii();
        let mut shown = None;
        if let (Some(&first), Some(&last)) = (text.first(), text.last()) {
            if !self.begun {
                self.begun = true;
                self.opened = first == b'{' && self.document.is_fresh();
                let may_be_done = first == b'[' && self.document.is_fresh();
                self.done = if may_be_done && has_done(dialect) {
                    0
                } else {
                    NOT_DONE
                };
                shown = shown.max(self.match_done(bytes.trim_ascii_start()));
            } else {
                shown = shown.max(self.match_done(bytes));
            }
            self.last = last;
            shown = shown.max(self.document.feed(dialect, bytes));
        } else {
            // Only blanks: they end the chance of a `[DONE]`, and are nothing in JSON but text.
            self.done = if self.begun && !bytes.is_empty() {
                NOT_DONE
            } else {
                self.done
            };
            shown = shown.max(self.document.feed(dialect, bytes));
        }
        if ends {
            shown = shown.max(Some(Marker::None));
            if self.opened && self.last == b'}' {
                self.document.reset();
            }
        }
        shown
    }

    /// Compares the line on with `[DONE]`; what stands behind it does not matter, as to the SDKs.
    fn match_done(&mut self, bytes: &[u8]) -> Option<Marker> {
        for &byte in bytes {
            let seen = usize::from(self.done);
            if seen >= DONE.len() {
                return None;
            }
            self.done = if byte == DONE[seen] {
                self.done + 1
            } else {
                NOT_DONE
            };
            if usize::from(self.done) == DONE.len() {
                return Some(Marker::Done);
            }
        }
        None
    }
}

/// Whether `[DONE]` ends an answer in this dialect.
fn has_done(dialect: Dialect) -> bool {
    matches!(
        dialect,
        Dialect::OpenaiChat | Dialect::OpenaiText | Dialect::OpenaiResponses
    )
}
