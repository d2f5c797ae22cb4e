//! Members of a JSON object and elements of a list, found where they stand: nothing is parsed,
//! copied or allocated.
//!
//! No grammar is checked. What is cut off at its end gives what there is of it, so that the first
//! part of a document too long to be kept can be read as well as a whole one. Keys and texts are
//! given as they are written, with their escapes.

use std::sync::LazyLock;

use memchr::memchr2;
use memchr::memmem::Finder;

/// A key with its quotes, to be searched for.
pub(super) type Needle = LazyLock<Finder<'static>>;

/// One value, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A string without its quotes.
    Text(&'a [u8]),
    /// An object with its braces.
    Object(&'a [u8]),
    /// A list with its brackets.
    List(&'a [u8]),
    /// A number, `true`, `false` or `null`.
    Word(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The value that `bytes` begin with, and what stands behind it.
    pub(super) fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let bytes = bytes.trim_ascii_start();
        match bytes.first()? {
            b'"' => {
                let (text, rest) = text(&bytes[1..]);
                Some((Self::Text(text), rest))
            }
            b'{' => {
                let (object, rest) = bytes.split_at(nested_end(bytes).unwrap_or(bytes.len()));
                Some((Self::Object(object), rest))
            }
            b'[' => {
                let (list, rest) = bytes.split_at(nested_end(bytes).unwrap_or(bytes.len()));
                Some((Self::List(list), rest))
            }
            _ => {
                let ends =
                    |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
                let end = bytes.iter().position(ends).unwrap_or(bytes.len());
                let (word, rest) = bytes.split_at(end);
                Some((Self::Word(word), rest))
            }
        }
    }

    /// The same where the end of an object or a list is not looked for, but left to whoever walks
    /// through it: it is given with all that stands behind it.
    pub(super) fn open(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? {
            b'{' => Some(Self::Object(bytes)),
            b'[' => Some(Self::List(bytes)),
            _ => Self::read(bytes).map(|(value, _)| value),
        }
    }

    /// A number that is not negative; a fraction is cut off.
    pub(super) fn number(self) -> Option<u64> {
        let Self::Word(word) = self else {
            return None;
        };
        let text = std::str::from_utf8(word).ok()?;
        text.parse().ok().or_else(|| {
            let number: f64 = text.parse().ok()?;
            (0.0..1e15).contains(&number).then_some(number as u64)
        })
    }

    /// Whether there is nothing in it: `""`, `{}`, `[]`, `null`, `false`.
    pub(super) fn is_empty(self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Object(nested) | Self::List(nested) => {
                matches!(nested[1..].trim_ascii_start(), [] | [b'}' | b']', ..])
            }
            Self::Word(word) => matches!(word, [] | [b'n' | b'f', ..]),
        }
    }

    /// The members of an object; of anything else none.
    pub(super) fn members(self) -> Members<'a> {
        match self {
            Self::Object(object) => Members::of(object),
            _ => Members { rest: &[] },
        }
    }

    /// The elements of a list; of anything else none.
    pub(super) fn elements(self) -> Elements<'a> {
        match self {
            Self::List(list) => Elements { rest: &list[1..] },
            _ => Elements { rest: &[] },
        }
    }

    /// The member of this name.
    pub(super) fn member(self, name: &[u8]) -> Option<Value<'a>> {
        self.members().find(|(key, _)| *key == name).map(|it| it.1)
    }
}

/// Runs through the members of an object.
#[derive(Debug, Clone)]
pub(super) struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    /// Those of the object that `bytes` begin with.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes.strip_prefix(b"{").unwrap_or_default(),
        }
    }

    /// What stands behind the object, once its members are through.
    pub(super) fn behind(&self) -> &'a [u8] {
        let end = self.rest.trim_ascii_start();
        end.strip_prefix(b"}").unwrap_or_default()
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = text(after_comma(self.rest).strip_prefix(b"\"")?);
        let behind = rest.trim_ascii_start().strip_prefix(b":")?;
        let (value, rest) = Value::read(behind)?;
        self.rest = rest;
        Some((key, value))
    }
}

/// Runs through the elements of a list.
#[derive(Debug, Clone)]
pub(super) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = after_comma(self.rest);
        if matches!(rest, [] | [b']' | b'}', ..]) {
            return None;
        }
        let (value, rest) = Value::read(rest)?;
        // A byte that begins no value would else be read for ever.
        (rest.len() < self.rest.len()).then(|| {
            self.rest = rest;
            value
        })
    }
}

/// What stands behind each `key` of a document and its colon, at whatever depth. A key inside a
/// string does not count: its quotes are escaped there.
pub(super) fn behind_key<'a>(
    key: &'static Needle,
    document: &'a [u8],
) -> impl Iterator<Item = &'a [u8]> {
    // One search after the other: the finder's own iterator is a copy of it, which costs as much as a search.
    let mut rest = document;
    let found = std::iter::from_fn(move || {
        let at = key.find(rest)?;
        rest = &rest[at + key.needle().len()..];
        Some(rest)
    });
    found.filter_map(|behind| {
        let behind = behind.trim_ascii_start();
        Some(behind.strip_prefix(b":")?.trim_ascii_start())
    })
}

/// Where the object or list that `bytes` begin with is closed: the place behind its bracket.
pub(super) fn nested_end(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0_u32;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at += text_end(&bytes[at..])? + 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// How long an object or a list is without the blanks between its members.
pub(super) fn compact_len(nested: &[u8]) -> u64 {
    let mut len = 0;
    let mut at = 0;
    while let Some(byte) = nested.get(at) {
        let step = match byte {
            b'"' => text_end(&nested[at + 1..]).map_or(nested.len() - at, |end| end + 2),
            _ => 1,
        };
        len += if byte.is_ascii_whitespace() { 0 } else { step };
        at += step;
    }
    len as u64
}

/// The string whose opening quote stands before `bytes`, and what stands behind its closing one.
fn text(bytes: &[u8]) -> (&[u8], &[u8]) {
    match text_end(bytes) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

/// Where the closing quote of a string is.
pub(super) fn text_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[found] == b'"' {
            return Some(found);
        }
        at = found + 2;
    }
}

/// What stands behind a comma, if there is one, and blanks.
pub(super) fn after_comma(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.trim_ascii_start();
    bytes
        .strip_prefix(b",")
        .map_or(bytes, <[u8]>::trim_ascii_start)
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
