//! Lines, events and boundaries of an event stream, told chunk by chunk.
//!
//! Invariant: the state is a few bytes and does not grow with a line or an event, and any chunking
//! of the same bytes leads to the same lines, events and boundaries. Chunks and events have nothing
//! to do with each other on the wire, so a line is handed on in fragments, as they come; what a
//! reader of lines must remember between two fragments is its own affair.
//!
//! The rules are those of WHATWG HTML, section 9.2.5 and 9.2.6 (server-sent events): CR, LF and
//! CRLF end a line, in any mixture; one byte order mark at the very start is no part of the first
//! line; a blank line ends an event.

use memchr::memchr2;

/// Takes the lines of a stream, as a [`Scanner`] finds them.
pub trait LineSink {
    /// A piece of a line, without its line end and without the byte order mark.
    ///
    /// `starts` and `ends` say whether the line begins and is over with this piece; a line that
    /// lies whole in one chunk is one piece with both. The piece that ends a line may be empty. A
    /// blank line is no line here: it is [`LineSink::block_end`].
    fn fragment(&mut self, bytes: &[u8], starts: bool, ends: bool);

    /// A blank line: the block of lines before it is over. Blocks may be empty.
    fn block_end(&mut self);
}

/// Follows an event stream without keeping any of it.
#[derive(Debug, Clone, Default)]
pub struct Scanner {
    events: u64,
    at: At,
    style: Style,
    /// The bytes of a byte order mark seen at the very start; [`BOM_DONE`] once that is settled.
    bom: u8,
    /// How much of `data:` the line in progress began with, or [`NOT_DATA`].
    data_prefix: u8,
    /// Whether a line of the block in progress has a `data` field.
    has_data: bool,
    /// Whether the last byte was a CR that ended a line; an LF now belongs to it.
    after_cr: bool,
}

/// Where the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// Before the first line, or behind a blank line.
    #[default]
    Block,
    /// At the start of a further line of a block.
    Line,
    /// Inside a line.
    Inside,
}

/// How the last line ended for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Style {
    #[default]
    Unknown,
    Lf,
    CrLf,
    /// A CR that something else than an LF followed.
    Cr,
}

const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];
const BOM_DONE: u8 = u8::MAX;
const DATA: &[u8] = b"data:";
const NOT_DATA: u8 = u8::MAX;

impl Scanner {
    /// A scanner before the first byte of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows the next bytes of the stream.
    pub fn feed(&mut self, chunk: &[u8], sink: &mut impl LineSink) {
        let mut rest = if self.bom == BOM_DONE {
            chunk
        } else {
            self.after_bom(chunk, sink)
        };
        while let Some(&first) = rest.first() {
            if self.after_cr {
                self.after_cr = false;
                if first == b'\n' {
                    self.style = Style::CrLf;
                    rest = &rest[1..];
                    continue;
                }
                self.style = Style::Cr;
            }
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                self.line(rest, false, sink);
                return;
            };
            self.line(&rest[..end], true, sink);
            if rest[end] == b'\r' {
                self.after_cr = true;
            } else {
                self.style = Style::Lf;
            }
            rest = &rest[end + 1..];
        }
    }

    /// Whether the next byte is the first of a block, whatever came before.
    #[inline]
    pub fn begins_block(&self) -> bool {
        self.at == At::Block && !self.after_cr && self.bom == BOM_DONE
    }

    /// Takes one event as shown that is known: a block with a `data` field, whose lines end with LF. To be
    /// called where [`Scanner::begins_block`] is true.
    #[inline]
    pub fn pass_event(&mut self) {
        self.events += 1;
        self.style = Style::Lf;
    }

    /// The events that were dispatched so far to a client that follows the standard: blocks with a
    /// `data` field, even an empty one, whose blank line has come. Comments, and blocks of only
    /// `id`, `event` or `retry`, are none; neither is a block at the stream's end without its
    /// blank line, since a client discards it.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether the stream stands between two events, where whole blocks may be put in: at the very
    /// start, and behind a blank line.
    ///
    /// Not so when the blank line's CR may be the first half of a CRLF. In a stream whose line
    /// before ended with a bare CR, this one counts as bare, too: such a stream would else never
    /// have a boundary while it is silent. (Should an LF follow all the same, it comes out as one
    /// more blank line, which changes nothing.)
    ///
    /// Whoever puts bytes in at the very start takes the place that a byte order mark must have;
    /// one that comes later would become part of the first field's name.
    pub fn at_boundary(&self) -> bool {
        self.at == At::Block
            && (!self.after_cr || self.style == Style::Cr)
            && (self.bom == 0 || self.bom == BOM_DONE)
    }

    /// Steps over a byte order mark, in however many pieces it comes.
    fn after_bom<'a>(&mut self, chunk: &'a [u8], sink: &mut impl LineSink) -> &'a [u8] {
        let mut rest = chunk;
        while let Some((&byte, behind)) = rest.split_first() {
            let seen = usize::from(self.bom);
            if byte != BOM[seen] {
                self.bom = BOM_DONE;
                if seen > 0 {
                    // It looked like a mark and was the first line.
                    self.line(&BOM[..seen], false, sink);
                }
                break;
            }
            rest = behind;
            self.bom += 1;
            if seen + 1 == BOM.len() {
                self.bom = BOM_DONE;
                break;
            }
        }
        rest
    }

    fn line(&mut self, bytes: &[u8], ends: bool, sink: &mut impl LineSink) {
        let starts = self.at != At::Inside;
        if starts && bytes.is_empty() {
            // The caller gives an empty piece only where a line ends: a blank line.
            self.events += u64::from(self.has_data);
            self.has_data = false;
            self.at = At::Block;
            sink.block_end();
            return;
        }
        if starts && bytes.len() >= DATA.len() {
            self.data_prefix = if bytes.starts_with(DATA) {
                DATA.len() as u8
            } else {
                NOT_DATA
            };
        } else {
            self.match_data(bytes, starts);
        }
        self.at = if ends { At::Line } else { At::Inside };
        if ends {
            // `data` alone on a line is a field, too, with an empty value.
            self.has_data |= matches!(self.data_prefix, 4 | 5);
        }
        sink.fragment(bytes, starts, ends);
    }

    /// The slow way to compare with `data:`, for a line that begins in small pieces.
    fn match_data(&mut self, bytes: &[u8], starts: bool) {
        if starts {
            self.data_prefix = 0;
        }
        for &byte in bytes {
            let seen = usize::from(self.data_prefix);
            if seen >= DATA.len() {
                return;
            }
            self.data_prefix = if byte == DATA[seen] {
                self.data_prefix + 1
            } else {
                NOT_DATA
            };
        }
    }
}

#[cfg(test)]
#[path = "scanner_tests.rs"]
mod tests;
