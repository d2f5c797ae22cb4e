//! An event that differs from an earlier one in nothing but its text.
//!
//! A backend writes the events of an answer from one template: an id, a model, the next words at one place, and
//! perhaps a number, padding or some other string that is new each time. So an event that carries text and
//! nothing else is kept, and those behind it are compared with it, which costs a tenth of reading them.
//! Invariant: what is alike would be read as the kept one was, but for the length of its text. For it is the same
//! bytes around other values at a few places; and whoever reads events looks at keys and their values, and of
//! the values at these places, as was tried out, at nothing but the length of the text.

use std::ops::Range;

use memchr::memmem;

use super::content::{self, Sight};
use super::document::type_marker;
use super::gathered::Extract;
use super::glance;
use super::marker::Marker;
use super::places::{Place, places};
use super::usage::Counts;
use crate::config::Dialect;

/// What the events of one answer have in common, as far as they have.
#[derive(Debug, Clone, Default)]
pub(super) struct Alike {
    known: Option<Box<Event>>,
    /// Events that had to be read so far.
    read: u32,
    /// Those that were taken since one was learnt from.
    taken: u32,
}

/// A whole event with its blank line, and the places where others differ from it.
#[derive(Debug, Clone)]
struct Event {
    bytes: Box<[u8]>,
    /// In their order.
    open: Box<[Open]>,
}

/// A place that is open.
#[derive(Debug, Clone)]
struct Open {
    place: Place,
    /// Whether it is the event's text, which must not be empty.
    is_text: bool,
}

/// The longest event that is kept, in bytes.
const LONGEST: usize = 512;
/// The most open places: comparing around more of them would cost as much as reading.
const MOST_OPEN: usize = 4;
/// To learn costs about as much as so many events save that are taken.
const COST: u32 = 64;
/// What ends an event. Streams with other line ends are read.
const END: &[u8] = b"\n\n";
const DATA: &[u8] = b"data:";

impl Alike {
    /// Takes a whole event off the front of `bytes`, which begin behind a blank line: the length of its text, and
    /// what stands behind it. None if it is not alike.
    #[inline]
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8]) -> Option<(usize, &'a [u8])> {
        let taken = self.known.as_deref()?.take(bytes)?;
        self.taken = self.taken.saturating_add(1);
        Some(taken)
    }

    /// Learns from the last event of `bytes`, which end behind a blank line and were read; where it is worth it. In
    /// an answer in which nothing is alike, that is more and more rarely.
    pub(super) fn learn(&mut self, dialect: Dialect, bytes: &[u8]) {
        self.read = self.read.saturating_add(1);
        if self.read.is_power_of_two() || self.taken >= COST {
            self.taken = 0;
            let learnt = Event::learn(dialect, last_event(bytes), self.known.as_deref());
            self.known = learnt.map(Box::new).or(self.known.take());
        }
    }
}

impl Event {
    fn take<'a>(&self, bytes: &'a [u8]) -> Option<(usize, &'a [u8])> {
        let (mut at, mut rest, mut text) = (0, bytes, 0);
        for Open { place, is_text } in &self.open {
            let here = place.range();
            rest = rest.strip_prefix(&self.bytes[at..here.start])?;
            let len = place.len_in(rest)?;
            if *is_text {
                text = len;
            }
            at = here.end;
            rest = &rest[len..];
        }
        let behind = rest.strip_prefix(&self.bytes[at..])?;
        (text > 0).then_some((text, behind))
    }

    /// None if it carries anything but the text of one string. Open are its text, and the places at which the one
    /// that was `known` has other values between the same bytes.
    #[cold]
    fn learn(dialect: Dialect, bytes: &[u8], known: Option<&Self>) -> Option<Self> {
        if bytes.len() > LONGEST {
            return None;
        }
        let document = only_document(dialect, bytes)?;
        let sight = seen(dialect, document)?;
        let found = places(document);
        let text = found
            .iter()
            .find(|place| is_text(dialect, document, place, sight))?;
        let differs = differing(document, &found, known);
        if differs.iter().filter(|&&differs| differs).count() > MOST_OPEN {
            return None;
        }
        let start = bytes.len() - document.len() - END.len();
        let mut open = Vec::new();
        for (place, differs) in found.iter().zip(differs) {
            let is_text = place == text;
            if differs && !is_text && !is_idle(dialect, document, place, sight) {
                return None;
            }
            if differs || is_text {
                let place = place.behind(start);
                open.push(Open { place, is_text });
            }
        }
        let (bytes, open) = (bytes.into(), open.into_boxed_slice());
        (open.len() <= MOST_OPEN).then_some(Self { bytes, open })
    }

    fn document(&self) -> &[u8] {
        let lines = self.bytes.strip_suffix(END).unwrap_or_default();
        let start = memmem::find(lines, DATA).map_or(lines.len(), |at| at + DATA.len());
        lines[start..].trim_ascii_start()
    }
}

/// At which of its places a document has another value than the one that was `known`, or that had one there
/// already. At none, if anything else is different.
fn differing(document: &[u8], found: &[Place], known: Option<&Event>) -> Vec<bool> {
    let mut differs = vec![false; found.len()];
    let Some(known) = known else { return differs };
    let other = known.document();
    let others = places(other);
    if around(document, found).ne(around(other, &others)) {
        return differs;
    }
    let start = known.bytes.len() - other.len() - END.len();
    for ((differs, place), other_place) in differs.iter_mut().zip(found).zip(&others) {
        let moved = other_place.behind(start);
        *differs = document[place.range()] != other[other_place.range()]
            || known.open.iter().any(|open| open.place == moved);
    }
    differs
}

/// The bytes before, between and behind places.
fn around<'a>(document: &'a [u8], places: &'a [Place]) -> impl Iterator<Item = &'a [u8]> {
    let starts = [0]
        .into_iter()
        .chain(places.iter().map(|it| it.range().end));
    let ends = places.iter().map(|it| it.range().start);
    let ends = ends.chain([document.len()]);
    starts.zip(ends).map(|(start, end)| &document[start..end])
}

/// What is seen of a document's content; none if it tells anything else, or might.
fn seen(dialect: Dialect, document: &[u8]) -> Option<Sight> {
    let sight = content::in_event(dialect, document);
    let counts = || Counts::of(dialect, Extract::of(document)).is_some();
    let tells = glance::may_show(dialect, document) || (!sight.delta && counts());
    (!tells).then_some(sight)
}

/// Whether the value at `place` is the text that was seen: shorter and longer ones in its place are seen as such.
fn is_text(dialect: Dialect, document: &[u8], place: &Place, sight: Sight) -> bool {
    let len = place.range().len();
    let fits = matches!(place, Place::Text(_)) && len > 0 && len as u64 == sight.text;
    fits && [1, len + 1].into_iter().all(|len| {
        let text = len as u64;
        let tried = with(document, place, &vec![b'+'; len]);
        seen(dialect, &tried) == Some(Sight { text, ..sight })
    })
}

/// Whether the value at `place` says nothing: with other ones the same is seen. A type says what the rest means,
/// and not all there are can be tried.
fn is_idle(dialect: Dialect, document: &[u8], place: &Place, sight: Sight) -> bool {
    let before = document[..place.range().start].trim_ascii_end();
    let key = before
        .strip_suffix(b"\"")
        .unwrap_or(before)
        .trim_ascii_end();
    let is_type = key
        .strip_suffix(b":")
        .is_some_and(|key| key.trim_ascii_end().ends_with(b"\"type\""));
    let says_nothing = |other: &&[u8]| seen(dialect, &with(document, place, other)) == Some(sight);
    !is_type && place.others().iter().all(says_nothing)
}

fn with(document: &[u8], place: &Place, value: &[u8]) -> Vec<u8> {
    let Range { start, end } = place.range();
    [&document[..start], value, &document[end..]].concat()
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
    let document = data.strip_prefix(DATA)?.trim_ascii_start();
    let is_one = document.starts_with(b"{") && document.ends_with(b"}");
    (is_one && !document.iter().any(u8::is_ascii_control)).then_some(document)
}

#[cfg(test)]
#[path = "alike_tests.rs"]
mod tests;
