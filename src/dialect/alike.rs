//! An event that differs from an earlier one in nothing but its text.
//!
//! A backend writes the events of an answer from one template: an id, a model, and the next words at one
//! place. So an event that carries text and nothing else is kept, and those behind it are compared with it,
//! which costs a tenth of reading them. Invariant: what is alike would be read as the kept one was, but for the
//! length of its text. For it is the same bytes around another string; and whoever reads events looks at
//! keys and their values, and of this value, as was tried out, only at its length.

use std::ops::Range;

use memchr::memmem;

use super::content::{self, Sight};
use super::document::type_marker;
use super::gathered::Extract;
use super::glance;
use super::marker::Marker;
use super::members::strings;
use super::usage::Counts;
use crate::config::Dialect;

/// What the events of one answer have in common, as far as they have.
#[derive(Debug, Clone, Default)]
pub(super) struct Alike {
    known: Option<Box<Event>>,
    /// How often in a row it was learnt and nothing alike came.
    in_vain: u8,
}

/// A whole event with its blank line, and where its text is.
#[derive(Debug, Clone)]
struct Event {
    bytes: Box<[u8]>,
    text: Range<usize>,
}

/// The longest event that is kept, in bytes.
const LONGEST: usize = 512;
/// After so many events that nothing alike came behind, no more are learnt.
const MOST_IN_VAIN: u8 = 16;
/// What ends an event. Streams with other line ends are read.
const END: &[u8] = b"\n\n";

impl Alike {
    /// Takes a whole event off the front of `bytes`, which begin behind a blank line: the length of its text, and
    /// what stands behind it. None if it is not alike.
    #[inline]
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8]) -> Option<(usize, &'a [u8])> {
        let known = self.known.as_deref()?;
        let rest = bytes.strip_prefix(&known.bytes[..known.text.start])?;
        let len = text_len(rest)?;
        let behind = rest[len..].strip_prefix(&known.bytes[known.text.end..])?;
        self.in_vain = 0;
        (len > 0).then_some((len, behind))
    }

    /// Learns from the last event of `bytes`, which end behind a blank line and were read.
    pub(super) fn learn(&mut self, dialect: Dialect, bytes: &[u8]) {
        if self.in_vain < MOST_IN_VAIN {
            self.in_vain += 1;
            let learnt = Event::learn(dialect, last_event(bytes));
            self.known = learnt.map(Box::new).or(self.known.take());
        }
    }
}

impl Event {
    /// None if it carries anything but the text of one string.
    #[cold]
    fn learn(dialect: Dialect, bytes: &[u8]) -> Option<Self> {
        if bytes.len() > LONGEST {
            return None;
        }
        let document = only_document(dialect, bytes)?;
        let sight = content::in_event(dialect, document);
        if glance::may_show(dialect, document)
            || (!sight.delta && Counts::of(dialect, Extract::of(document)).is_some())
        {
            return None;
        }
        let fits = |place: &Range<usize>| !place.is_empty() && place.len() as u64 == sight.text;
        let place = strings(document)
            .filter(fits)
            .find(|place| is_text(dialect, document, place, sight))?;
        let before = bytes.len() - document.len() - END.len();
        Some(Self {
            bytes: bytes.into(),
            text: before + place.start..before + place.end,
        })
    }
}

/// The bytes behind the last blank line but the one at the end.
fn last_event(bytes: &[u8]) -> &[u8] {
    let earlier = bytes.strip_suffix(END).unwrap_or_default();
    let start = memmem::rfind(earlier, END).map_or(0, |at| at + END.len());
    &bytes[start..]
}

/// The data of an event that has no other line, but perhaps a name before it that says nothing about the
/// answer's end; the data is one object, and stands at the end of its line.
fn only_document(dialect: Dialect, event: &[u8]) -> Option<&[u8]> {
    let lines = event.strip_suffix(END)?;
    let data = match lines.strip_prefix(b"event:") {
        None => lines,
        Some(lines) => {
            let (name, data) = lines.split_at(memchr::memchr(b'\n', lines)?);
            let says = type_marker(dialect, name.strip_prefix(b" ").unwrap_or(name));
            (says == Marker::None).then(|| &data[1..])?
        }
    };
    let document = data.strip_prefix(b"data:")?.trim_ascii_start();
    let is_one = document.starts_with(b"{") && document.ends_with(b"}");
    (is_one && !document.iter().any(u8::is_ascii_control)).then_some(document)
}

/// Whether the string at `place` is the text that was seen: shorter and longer ones in its place are seen as such.
fn is_text(dialect: Dialect, document: &[u8], place: &Range<usize>, sight: Sight) -> bool {
    [1, place.len() + 1].into_iter().all(|len| {
        let other = vec![b'+'; len];
        let document = [&document[..place.start], &other, &document[place.end..]].concat();
        let text = len as u64;
        content::in_event(dialect, &document) == Sight { text, ..sight }
    })
}

/// The length of the string that `bytes` begin with, down to its quote; none if it is not closed in this line.
fn text_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += odd_byte(bytes.get(at..)?)?;
        match bytes[at] {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => return None,
        }
    }
}

/// Where the first quote, backslash or control character is. Eight bytes are looked at at once: texts are short,
/// and a search that is made for long ones would take longer to begin than to end.
fn odd_byte(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xFF;
    /// Sets the highest bit of each byte that is below `limit`, and perhaps of some behind the first of them.
    fn below(limit: u8, word: u64) -> u64 {
        word.wrapping_sub(ONES * u64::from(limit)) & !word & (ONES << 7)
    }
    let same = |byte: u8, word: u64| below(1, word ^ (ONES * u64::from(byte)));
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let odd = below(b' ', word) | same(b'"', word) | same(b'\\', word);
        if odd != 0 {
            return Some(8 * index + odd.trailing_zeros() as usize / 8);
        }
    }
    let is_odd = |&byte: &u8| byte < b' ' || matches!(byte, b'"' | b'\\');
    let found = rest.iter().position(is_odd)?;
    Some(bytes.len() - rest.len() + found)
}

#[cfg(test)]
#[path = "alike_tests.rs"]
mod tests;
