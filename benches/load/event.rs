//! The numbered events: made by the backend, checked by the client.
//!
//! Invariant: every event carries its place in its stream and the time it was sent, in fields of
//! fixed width, so that making one is patching a template and reading one is finding a mark. A
//! client can so tell lost, repeated and reordered events from whole streams.

use memchr::{memchr, memmem};

const BEFORE: &[u8] = b"data: {\"id\":\"chatcmpl-load\",\"object\":\"chat.completion.chunk\",\
\"created\":1760000000,\"model\":\"load\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"";
const AFTER: &[u8] = b"\"},\"finish_reason\":null}]}\n\n";
const MARK: &[u8] = b"#load ";
const DIGITS: usize = 20;
const ID: &[u8] = b"id: 00000000000000000000\n";
/// The last event and the marker of OpenAI's chat completions.
pub const CLOSING: &[u8] = b"data: {\"id\":\"chatcmpl-load\",\"object\":\"chat.completion.chunk\",\
\"created\":1760000000,\"model\":\"load\",\"choices\":[{\"index\":0,\"delta\":{},\
\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// One event as an HTTP chunk (RFC 9112 §7.1), patched for each sending; 200 bytes and framing if nobody
/// asks for more.
pub struct EventChunk {
    bytes: Vec<u8>,
    /// Of an event that has one.
    id_at: Option<usize>,
    sequence_at: usize,
    stamp_at: usize,
}

impl EventChunk {
    /// A chunk whose numbers are still zero.
    pub fn new() -> Self {
        Self::sized(0, false)
    }

    /// The same, at least `event_bytes` long without its framing, with the number as its id or without.
    pub fn sized(event_bytes: usize, has_id: bool) -> Self {
        let id: &[u8] = if has_id { ID } else { b"" };
        let least = id.len() + BEFORE.len() + MARK.len() + DIGITS + 1 + DIGITS + AFTER.len();
        let length = least.max(event_bytes);
        let mut bytes = format!("{length:x}\r\n").into_bytes();
        let id_at = has_id.then_some(bytes.len() + b"id: ".len());
        bytes.extend_from_slice(id);
        bytes.extend_from_slice(BEFORE);
        bytes.extend_from_slice(MARK);
        let sequence_at = bytes.len();
        bytes.extend_from_slice(&[b'0'; DIGITS]);
        bytes.push(b' ');
        let stamp_at = bytes.len();
        bytes.extend_from_slice(&[b'0'; DIGITS]);
        bytes.extend(std::iter::repeat_n(b'.', length - least));
        bytes.extend_from_slice(AFTER);
        bytes.extend_from_slice(b"\r\n");
        Self {
            bytes,
            id_at,
            sequence_at,
            stamp_at,
        }
    }

    /// The chunk for event number `sequence`, sent at `stamp` nanoseconds.
    pub fn numbered(&mut self, sequence: u64, stamp: u64) -> &[u8] {
        if let Some(at) = self.id_at {
            write_digits(&mut self.bytes[at..at + DIGITS], sequence);
        }
        write_digits(
            &mut self.bytes[self.sequence_at..self.sequence_at + DIGITS],
            sequence,
        );
        write_digits(
            &mut self.bytes[self.stamp_at..self.stamp_at + DIGITS],
            stamp,
        );
        &self.bytes
    }
}

/// The data of an event that somebody else frames, [`DATA`] bytes without a line's end.
pub fn numbered_data(sequence: u64, stamp: u64) -> [u8; DATA] {
    let mut data = [b'.'; DATA];
    data[..MARK.len()].copy_from_slice(MARK);
    let (first, second) = (MARK.len(), MARK.len() + DIGITS + 1);
    write_digits(&mut data[first..first + DIGITS], sequence);
    data[second - 1] = b' ';
    write_digits(&mut data[second..second + DIGITS], stamp);
    data
}

/// The length of [`numbered_data`].
pub const DATA: usize = 100;

/// What one whole event was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// An event of ours.
    Numbered {
        /// Its place in the stream, from 0.
        sequence: u64,
        /// When it was sent, in nanoseconds of the sender's clock.
        stamp: u64,
    },
    /// `data: [DONE]`.
    Done,
    /// An error told in the stream.
    Error,
    /// An event named `gap`: the server says that events are missing.
    Gap,
    /// Any other event that has data.
    Foreign,
}

/// Cuts bytes into lines, however they were split on the way.
#[derive(Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes and calls `found` for each line that they end, without its end.
    pub fn feed(&mut self, mut bytes: &[u8], found: &mut impl FnMut(&[u8])) {
        while let Some(end) = memchr(b'\n', bytes) {
            if self.partial.is_empty() {
                found(without_return(&bytes[..end]));
            } else {
                self.partial.extend_from_slice(&bytes[..end]);
                found(without_return(&self.partial));
                self.partial.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.partial.extend_from_slice(bytes);
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Cuts an event stream into events, however it was split on the way.
#[derive(Default)]
pub struct EventReader {
    lines: Lines,
    event: Event,
}

/// The event whose lines are coming.
#[derive(Default)]
struct Event {
    data: Option<Seen>,
    name: Option<Seen>,
    /// The last id; it counts once its block has ended.
    id: Vec<u8>,
    id_at_end: Vec<u8>,
}

impl EventReader {
    /// Takes the next bytes and calls `found` for each event that they end.
    pub fn feed(&mut self, bytes: &[u8], found: &mut impl FnMut(Seen)) {
        let Self { lines, event } = self;
        lines.feed(bytes, &mut |line| event.line(line, found));
    }

    /// The id to come back with: that of the last whole block (WHATWG HTML §9.2.6); empty before one.
    pub fn last_id(&self) -> &[u8] {
        &self.event.id_at_end
    }
}

impl Event {
    fn line(&mut self, line: &[u8], found: &mut impl FnMut(Seen)) {
        if line.is_empty() {
            let name = self.name.take();
            if self.id != self.id_at_end {
                self.id_at_end.clone_from(&self.id);
            }
            if let Some(data) = self.data.take() {
                found(name.unwrap_or(data));
            }
        } else if let Some(data) = line.strip_prefix(b"data:") {
            if !matches!(self.data, Some(Seen::Numbered { .. })) {
                self.data = Some(classify(data));
            }
        } else if let Some(id) = line.strip_prefix(b"id:") {
            self.id.clear();
            self.id
                .extend_from_slice(id.strip_prefix(b" ").unwrap_or(id));
        } else if let Some(name) = line.strip_prefix(b"event:") {
            self.name = named(name);
        }
    }
}

/// What an event is by its name alone, if that says it.
pub fn named(name: &[u8]) -> Option<Seen> {
    match name.trim_ascii() {
        b"error" => Some(Seen::Error),
        b"gap" => Some(Seen::Gap),
        _ => None,
    }
}

/// What an event with this data is; JSON text around the data, escaped, makes no difference.
pub fn classify(data: &[u8]) -> Seen {
    if data.trim_ascii() == b"[DONE]" {
        return Seen::Done;
    }
    let Some(at) = memmem::find(data, MARK) else {
        return match is_error(data.trim_ascii()) {
            true => Seen::Error,
            false => Seen::Foreign,
        };
    };
    let numbers = &data[at + MARK.len()..];
    let sequence = numbers.get(..DIGITS).and_then(read_digits);
    let stamp = numbers
        .get(DIGITS + 1..2 * DIGITS + 1)
        .and_then(read_digits);
    match (sequence, stamp) {
        (Some(sequence), Some(stamp)) => Seen::Numbered { sequence, stamp },
        _ => Seen::Foreign,
    }
}

/// How the APIs of models tell of an error in a stream.
fn is_error(data: &[u8]) -> bool {
    data.starts_with(b"{\"error\"") || data.starts_with(b"{\"type\":\"error\"")
}

fn write_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn read_digits(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
