//! A stream, cut into single events.
//!
//! Invariant: what is kept between two chunks is the event in progress and nothing else, each byte
//! is looked at a fixed number of times, and any chunking of the same bytes leads to the same
//! events. The rules are those of WHATWG HTML, sections 9.2.5 and 9.2.6 (server-sent events).

use std::mem;

use bytes::Bytes;
use memchr::{memchr, memchr_iter};
use thiserror::Error;

use super::event::{DATA_LINE, Frame, field, milliseconds, put_data};
use super::scanner::{LineSink, Scanner};

/// Most bytes of an `id` line. Servers take no more of one field of a request's head, so a longer
/// id could never be shown to the backend again.
const LONGEST_ID_LINE: usize = 8 * 1024;

/// A buffer of at most so many bytes is used again for the next event.
const REUSED: usize = 16 * 1024;

/// A buffer begins with so many bytes, if an event may have them.
const FIRST: usize = 256;

/// What one block of an event stream says: the lines up to a blank one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The event; none if no line has a `data` field.
    pub frame: Option<Frame>,
    /// The `id` field, which may be empty.
    pub id: Option<Box<str>>,
    /// The `retry` field in milliseconds. It is in the frame, too.
    pub retry: Option<u64>,
}

/// An event has more bytes than allowed. The stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TooLarge {
    /// The lines of the event.
    #[error("an event has more than {most} bytes")]
    Event {
        /// The bytes that are allowed.
        most: usize,
    },
    /// Its `id` line.
    #[error("an event's id line has more than {most} bytes")]
    Id {
        /// The bytes that are allowed.
        most: usize,
    },
}

/// Cuts an event stream into blocks.
///
/// The lines with the fields `event`, `data` and `retry` are kept as they came, but for their line
/// ends; all other lines mean nothing to a client and are dropped, as is a byte order mark.
#[derive(Debug)]
pub struct Splitter {
    scanner: Scanner,
    gathered: Gathered,
}

impl Splitter {
    /// A splitter before the first byte of a stream, for events of at most so many bytes in the
    /// lines that are kept, with a line end of one byte for each.
    pub fn new(most: usize) -> Self {
        Self {
            scanner: Scanner::new(),
            gathered: Gathered::new(most),
        }
    }

    /// A splitter that keeps lines with no known field as data. Google puts an error into a stream as
    /// bare JSON over several lines, and its SDK reads it so; a client that follows the standard then
    /// sees it, too.
    pub fn keeping_strays(most: usize) -> Self {
        let mut splitter = Self::new(most);
        splitter.gathered.keeps_strays = true;
        splitter
    }

    /// Shows the next bytes of the stream, and hands out the blocks that end with them. A block
    /// that says nothing (of comments, say) is left out.
    ///
    /// # Errors
    ///
    /// [`TooLarge`], for good, once an event is; the blocks before it are handed out.
    pub fn feed(&mut self, chunk: &[u8], out: &mut impl FnMut(Block)) -> Result<(), TooLarge> {
        if self.gathered.fault.is_none() {
            let gathered = &mut self.gathered;
            self.scanner.feed(chunk, &mut Sink { gathered, out });
        }
        self.gathered.fault.map_or(Ok(()), Err)
    }

    /// Hands out the block in progress at the end of a stream, as if its blank line had come.
    ///
    /// The standard discards such a block, since it may be cut off in the middle. Several backends
    /// leave the last blank line out, though, so it is worth having where the stream is known to
    /// have come whole.
    ///
    /// # Errors
    ///
    /// As of [`Splitter::feed`].
    pub fn finish(&mut self, out: &mut impl FnMut(Block)) -> Result<(), TooLarge> {
        self.feed(b"\n\n", out)
    }

    /// Whether the stream stands between two events: no field of a further one has come, nor what
    /// may become one. Comments are none.
    pub fn is_between(&self) -> bool {
        self.gathered.is_empty()
    }
}

/// The block in progress.
#[derive(Debug)]
struct Gathered {
    most: usize,
    /// Whether a line with no known field is data.
    keeps_strays: bool,
    /// The lines that are kept, each with its LF; behind them the line in progress, unless it is
    /// an `id` line or to be dropped.
    lines: Vec<u8>,
    /// Where the line in progress begins.
    line: usize,
    field: Field,
    id_line: Vec<u8>,
    id: Option<Box<str>>,
    retry: Option<u64>,
    has_data: bool,
    fault: Option<TooLarge>,
}

/// The field of the line in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// Its name has not come whole; so far it may be one that means something.
    Unknown,
    Data,
    Event,
    Retry,
    Id,
    /// A comment, or a field that means nothing.
    Dropped,
}

/// The names of the fields that mean something, each with its colon.
const NAMES: [&[u8]; 4] = [b"data:", b"event:", b"retry:", b"id:"];

/// What makes a line data.
const DATA_NAME: &[u8] = b"data: ";

/// The bytes of the longest.
const LONGEST_NAME: usize = "retry:".len();

impl Field {
    /// The field of a line that begins so.
    fn of(start: &[u8], ends: bool) -> Self {
        let head = &start[..start.len().min(LONGEST_NAME)];
        let colon = head.iter().position(|&byte| byte == b':');
        if colon.is_none() && !ends {
            let may_be_known = NAMES.iter().any(|name| name.starts_with(head));
            return if may_be_known {
                Self::Unknown
            } else {
                Self::Dropped
            };
        }
        match &head[..colon.unwrap_or(head.len())] {
            b"data" => Self::Data,
            b"event" => Self::Event,
            b"retry" => Self::Retry,
            b"id" => Self::Id,
            _ => Self::Dropped,
        }
    }
}

impl Gathered {
    fn new(most: usize) -> Self {
        Self {
            most,
            keeps_strays: false,
            lines: Vec::new(),
            line: 0,
            field: Field::Dropped,
            id_line: Vec::new(),
            id: None,
            retry: None,
            has_data: false,
            fault: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty()
            && matches!(self.field, Field::Dropped)
            && self.id.is_none()
            && self.retry.is_none()
            && self.fault.is_none()
    }

    fn piece(&mut self, bytes: &[u8], starts: bool, ends: bool) -> Result<(), TooLarge> {
        if starts {
            self.line = self.lines.len();
            self.field = Field::of(bytes, ends);
            if self.is_stray(bytes) {
                self.field = Field::Data;
                self.lines.extend_from_slice(DATA_NAME);
            }
        } else if self.field == Field::Unknown {
            return self.next_of_unknown(bytes, ends);
        }
        self.take(bytes)?;
        if ends { self.line_end() } else { Ok(()) }
    }

    /// Goes on with a line that began in pieces smaller than its field's name.
    fn next_of_unknown(&mut self, bytes: &[u8], ends: bool) -> Result<(), TooLarge> {
        let missing = LONGEST_NAME - (self.lines.len() - self.line);
        let (name, rest) = bytes.split_at(missing.min(bytes.len()));
        self.lines.extend_from_slice(name);
        self.field = Field::of(&self.lines[self.line..], ends);
        if self.is_stray(&self.lines[self.line..]) {
            self.field = Field::Data;
            self.lines
                .splice(self.line..self.line, DATA_NAME.iter().copied());
        }
        match self.field {
            Field::Id => self.id_line.extend(self.lines.drain(self.line..)),
            Field::Dropped => self.lines.truncate(self.line),
            _ => {}
        }
        self.take(rest)?;
        if ends { self.line_end() } else { Ok(()) }
    }

    /// Whether a line that begins so is to be kept although its field is not known.
    fn is_stray(&self, start: &[u8]) -> bool {
        self.keeps_strays && self.field == Field::Dropped && !start.starts_with(b":")
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        match self.field {
            Field::Dropped => Ok(()),
            // No more than a field's name, which may turn out to be dropped.
            Field::Unknown => {
                self.lines.extend_from_slice(bytes);
                Ok(())
            }
            Field::Id => {
                if self.id_line.len() + bytes.len() > LONGEST_ID_LINE {
                    let most = LONGEST_ID_LINE;
                    return Err(TooLarge::Id { most });
                }
                self.id_line.extend_from_slice(bytes);
                Ok(())
            }
            Field::Data | Field::Event | Field::Retry => append(&mut self.lines, bytes, self.most),
        }
    }

    fn line_end(&mut self) -> Result<(), TooLarge> {
        match mem::replace(&mut self.field, Field::Dropped) {
            Field::Data => self.has_data = true,
            Field::Retry => {
                let (_, value) = field(&self.lines[self.line..]);
                self.retry = milliseconds(value).or(self.retry);
            }
            Field::Event => {}
            Field::Id => {
                let (_, value) = field(&self.id_line);
                if memchr(0, value).is_none() {
                    self.id = Some(String::from_utf8_lossy(value).into());
                }
                self.id_line.clear();
                return Ok(());
            }
            Field::Unknown | Field::Dropped => return Ok(()),
        }
        self.lines.push(b'\n');
        Ok(())
    }

    fn block(&mut self) -> Option<Block> {
        let block = Block {
            frame: mem::take(&mut self.has_data).then(|| frame(&mut self.lines)),
            id: self.id.take(),
            retry: self.retry.take(),
        };
        empty(&mut self.lines);
        let says = block.frame.is_some() || block.id.is_some() || block.retry.is_some();
        says.then_some(block)
    }

    fn fail(&mut self, fault: TooLarge) {
        self.fault = Some(fault);
        self.lines = Vec::new();
        self.id_line = Vec::new();
    }
}

/// Appends a part of a line, whose end must have room, too.
fn append(lines: &mut Vec<u8>, bytes: &[u8], most: usize) -> Result<(), TooLarge> {
    let needed = lines.len() + bytes.len() + 1;
    if needed > most {
        return Err(TooLarge::Event { most });
    }
    if needed > lines.capacity() {
        // Doubled, so that many small pieces are moved but a few times; yet never past the bound.
        let room = needed.max(2 * lines.capacity()).max(FIRST).min(most);
        lines.reserve_exact(room - lines.len());
    }
    lines.extend_from_slice(bytes);
    Ok(())
}

/// The frame of these lines, in bytes of its own.
fn frame(lines: &mut Vec<u8>) -> Frame {
    Frame::from_lines(if lines.capacity() > REUSED {
        mem::take(lines).into_boxed_slice().into()
    } else {
        Bytes::copy_from_slice(lines)
    })
}

struct Sink<'a, F> {
    gathered: &'a mut Gathered,
    out: &'a mut F,
}

impl<F: FnMut(Block)> LineSink for Sink<'_, F> {
    fn fragment(&mut self, bytes: &[u8], starts: bool, ends: bool) {
        if self.gathered.fault.is_some() {
            return;
        }
        if let Err(fault) = self.gathered.piece(bytes, starts, ends) {
            self.gathered.fail(fault);
        }
    }

    fn block_end(&mut self) {
        if self.gathered.fault.is_some() {
            return;
        }
        if let Some(block) = self.gathered.block() {
            (self.out)(block);
        }
    }
}

/// Cuts a stream whose events are lines: NDJSON, or plain text.
///
/// Each line that is not empty is an event with the line as its data. LF and CRLF end a line; a CR
/// inside one would end a line of an event stream, and parts the data as it does in [`Frame::new`].
#[derive(Debug)]
pub struct Lines {
    most: usize,
    /// The line in progress.
    line: Vec<u8>,
    fault: Option<TooLarge>,
}

impl Lines {
    /// A reader before the first byte of a stream, for events of at most so many bytes, the name of
    /// the field and the line end included.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            line: Vec::new(),
            fault: None,
        }
    }

    /// Shows the next bytes of the stream, and hands out the events whose lines end with them.
    ///
    /// # Errors
    ///
    /// [`TooLarge`], for good, once an event is; the events before it are handed out.
    pub fn feed(&mut self, chunk: &[u8], out: &mut impl FnMut(Block)) -> Result<(), TooLarge> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let fed = self.cut(chunk, out);
        if let Err(fault) = fed {
            self.fault = Some(fault);
            self.line = Vec::new();
        }
        fed
    }

    /// Hands out a last line without a line end.
    ///
    /// # Errors
    ///
    /// As of [`Lines::feed`].
    pub fn finish(&mut self, out: &mut impl FnMut(Block)) -> Result<(), TooLarge> {
        self.feed(b"\n", out)
    }

    /// Whether the stream stands between two lines.
    pub fn is_between(&self) -> bool {
        self.line.is_empty() && self.fault.is_none()
    }

    fn cut(&mut self, chunk: &[u8], out: &mut impl FnMut(Block)) -> Result<(), TooLarge> {
        let mut rest = chunk;
        while let Some(end) = memchr(b'\n', rest) {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if self.line.is_empty() {
                put_event(line, self.most, out)?;
                continue;
            }
            self.gather(line)?;
            put_event(&self.line, self.most, out)?;
            empty(&mut self.line);
        }
        self.gather(rest)
    }

    /// Keeps a part of the line in progress. A CR at its end may yet belong to the line's end.
    fn gather(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        let Some(last) = bytes.last() else {
            return Ok(());
        };
        let content = self.line.len() + bytes.len() - usize::from(*last == b'\r');
        if content > 0 && content + DATA_LINE > self.most {
            return Err(TooLarge::Event { most: self.most });
        }
        // A CR and a line end fit in the place of the field's name, and an empty line may have both.
        append(&mut self.line, bytes, self.most.max(2))
    }
}

/// Hands out the event of a line, unless it is empty.
fn put_event(line: &[u8], most: usize, out: &mut impl FnMut(Block)) -> Result<(), TooLarge> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Ok(());
    }
    let breaks = memchr_iter(b'\r', line).count();
    let len = line.len() + DATA_LINE + breaks * (DATA_LINE - 1);
    if len > most {
        return Err(TooLarge::Event { most });
    }
    let mut event = Vec::with_capacity(len);
    put_data(line, &mut event);
    out(Block {
        frame: Some(Frame::from_lines(event.into_boxed_slice().into())),
        id: None,
        retry: None,
    });
    Ok(())
}

/// Empties a buffer, and gives a large one back.
fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > REUSED {
        *buffer = Vec::new();
    }
}

#[cfg(test)]
#[path = "splitter_tests.rs"]
mod tests;
