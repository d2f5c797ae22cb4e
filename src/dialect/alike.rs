//! An event that differs from an earlier one in nothing but its text.
//!
//! A backend writes the events of an answer from one template: an id, a model, and the next words at one
//! place. Once an event was read that carries text and nothing else, the next one is compared with it,
//! which costs a tenth of reading it. Invariant: what is [alike](Alike::text_in) would be read as the
//! event that was learnt, but for the length of its text. For it is the same bytes around a string that
//! stays one string, having neither a quote nor a backslash; whoever reads events looks at keys and
//! their values, and of this value, as was tried out, only at its length.

use std::ops::Range;

use memchr::memchr2;

use super::content::{self, Sight};
use super::glance;
use super::members::strings;
use crate::config::Dialect;

/// A line of data, and where its text stands in it.
#[derive(Debug, Clone)]
pub(super) struct Alike {
    line: Box<[u8]>,
    text: Range<usize>,
}

impl Alike {
    /// The longest line that is learnt, in bytes.
    pub(super) const LONGEST: usize = 512;

    /// Learns from a line that holds one whole document, in which `sight` was seen and no usage. None where
    /// that is no text, or not that of one string.
    pub(super) fn learn(dialect: Dialect, line: &[u8], sight: Sight) -> Option<Self> {
        if line.len() > Self::LONGEST || glance::may_show(dialect, line.trim_ascii()) {
            return None;
        }
        let fits = |place: &Range<usize>| place.len() as u64 == sight.text;
        let text = strings(line)
            .filter(fits)
            .find(|place| is_text(dialect, line, place, sight))?;
        let line = line.into();
        Some(Self { line, text })
    }

    /// The bytes of text in `line`, if that is alike.
    pub(super) fn text_in(&self, line: &[u8]) -> Option<usize> {
        let (before, after) = (&self.line[..self.text.start], &self.line[self.text.end..]);
        let text = line.strip_prefix(before)?.strip_suffix(after)?;
        let is_one = !text.is_empty() && memchr2(b'"', b'\\', text).is_none();
        is_one.then_some(text.len())
    }
}

/// Whether the string at `place` is the text that was seen: shorter and longer ones in its place are seen as such.
fn is_text(dialect: Dialect, line: &[u8], place: &Range<usize>, sight: Sight) -> bool {
    [1, place.len() + 1].into_iter().all(|len| {
        let other = vec![b'+'; len];
        let line = [&line[..place.start], &other, &line[place.end..]].concat();
        let seen = content::in_event(dialect, line.trim_ascii());
        let text = len as u64;
        seen == Sight { text, ..sight }
    })
}
