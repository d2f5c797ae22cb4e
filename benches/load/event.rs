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
/// The last event and the marker of OpenAI's chat completions.
pub const CLOSING: &[u8] = b"data: {\"id\":\"chatcmpl-load\",\"object\":\"chat.completion.chunk\",\
\"created\":1760000000,\"model\":\"load\",\"choices\":[{\"index\":0,\"delta\":{},\
\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// One event as an HTTP chunk (RFC 9112 §7.1), patched for each sending; 200 bytes and framing.
pub struct EventChunk {
    bytes: Vec<u8>,
    sequence_at: usize,
    stamp_at: usize,
}

impl EventChunk {
    /// A chunk whose numbers are still zero.
    pub fn new() -> Self {
        let length = BEFORE.len() + MARK.len() + DIGITS + 1 + DIGITS + AFTER.len();
        let mut bytes = format!("{length:x}\r\n").into_bytes();
        bytes.extend_from_slice(BEFORE);
        bytes.extend_from_slice(MARK);
        let sequence_at = bytes.len();
        bytes.extend_from_slice(&[b'0'; DIGITS]);
        bytes.push(b' ');
        let stamp_at = bytes.len();
        bytes.extend_from_slice(&[b'0'; DIGITS]);
        bytes.extend_from_slice(AFTER);
        bytes.extend_from_slice(b"\r\n");
        Self {
            bytes,
            sequence_at,
            stamp_at,
        }
    }

    /// The chunk for event number `sequence`, sent at `stamp` nanoseconds.
    pub fn numbered(&mut self, sequence: u64, stamp: u64) -> &[u8] {
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
    /// Any other event that has data.
    Foreign,
}

/// Cuts a stream of bytes into events, however it was split on the way.
#[derive(Default)]
pub struct EventReader {
    partial: Vec<u8>,
    current: Option<Seen>,
}

impl EventReader {
    /// Takes the next bytes and calls `found` for each event that they end.
    pub fn feed(&mut self, mut bytes: &[u8], found: &mut impl FnMut(Seen)) {
        while let Some(end) = memchr(b'\n', bytes) {
            if self.partial.is_empty() {
                line(&mut self.current, &bytes[..end], found);
            } else {
                self.partial.extend_from_slice(&bytes[..end]);
                line(&mut self.current, &self.partial, found);
                self.partial.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.partial.extend_from_slice(bytes);
    }
}

fn line(current: &mut Option<Seen>, line: &[u8], found: &mut impl FnMut(Seen)) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        if let Some(seen) = current.take() {
            found(seen);
        }
    } else if let Some(data) = line.strip_prefix(b"data:") {
        *current = Some(classify(data));
    }
}

fn classify(data: &[u8]) -> Seen {
    if data.trim_ascii() == b"[DONE]" {
        return Seen::Done;
    }
    let Some(at) = memmem::find(data, MARK) else {
        return Seen::Foreign;
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
