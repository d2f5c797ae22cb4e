//! A request's path as percent-decoded segments (RFC 3986 §3.3), and the paths that are refused.
//!
//! Invariant: a [`Path`] means the same to everyone who reads it. Dot segments, plain or encoded,
//! also behind an encoded slash, a backslash or before a `;` (some servers cut path parameters off
//! before they resolve dots), would let a request out of the part of a backend that its route opens.
//!
//! A path without `%` and with at most sixteen segments is read without an allocation.

use std::borrow::Cow;

use crate::config::{PathPattern, Segment};

/// Why a path is refused (400).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// `.` or `..` as a segment, in any encoding.
    #[error("the path holds a dot segment (`.` or `..`, plain or encoded)")]
    DotSegment,
    /// A control character, plain or encoded.
    #[error("the path holds the control character {0:#04x}")]
    Control(u8),
    /// What some servers read as a slash or cut off, where one route asks for a key that another does
    /// not: the two readings may be those two routes.
    #[error(
        "the path holds an encoded slash, a backslash, an empty segment or a `;`, which backends read \
         in different ways, and some routes of this gateway ask for a key"
    )]
    TwoReadings,
    /// `%` without two hexadecimal digits (RFC 3986 §2.1).
    #[error("the path holds a `%` that is not followed by two hexadecimal digits")]
    Escape,
    /// An encoded slash in the value of a parameter: as part of a longer name it would look like an end of
    /// its segment.
    #[error("the path holds an encoded slash where it names something")]
    SlashInside,
    /// The value of a parameter is no UTF-8.
    #[error("the path does not decode to UTF-8 where it names something")]
    NotText,
}

/// Refuses what backends read in different ways.
pub(super) fn one_reading(raw: &str) -> Result<(), BadPath> {
    let bytes = raw.as_bytes();
    let plain = bytes.iter().any(|byte| matches!(byte, b'\\' | b';'));
    let empty = bytes.windows(2).any(|pair| pair == b"//");
    let encoded = bytes.windows(3).any(|triple| {
        triple[0] == b'%' && matches!(&triple[1..].to_ascii_lowercase()[..], b"2f" | b"5c" | b"3b")
    });
    if plain || empty || encoded {
        return Err(BadPath::TwoReadings);
    }
    Ok(())
}

/// The decoded segments of a path. `/` has none; `/a/` has two, the second empty.
pub(super) struct Path<'a> {
    bytes: Cow<'a, [u8]>,
    near: [(u32, u32); INLINE],
    far: Vec<(u32, u32)>,
    count: usize,
}

const INLINE: usize = 16;

impl<'a> Path<'a> {
    /// Reads a path as it was sent; `None` for what is no path, such as the `*` of `OPTIONS *`.
    #[inline]
    pub(super) fn read(raw: &'a str) -> Result<Option<Self>, BadPath> {
        let Some(rest) = raw.strip_prefix('/') else {
            return Ok(None);
        };
        let mut path = Self {
            bytes: Cow::Borrowed(rest.as_bytes()),
            near: [(0, 0); INLINE],
            far: Vec::new(),
            count: 0,
        };
        if rest.is_empty() {
            return Ok(Some(path));
        }
        if !path.read_plain(rest.as_bytes())? {
            path.read_encoded(rest.as_bytes())?;
            path.check()?;
        }
        Ok(Some(path))
    }

    /// Whether `pattern` matches. Parameters take any segment that is not empty, and a rest with a name at
    /// least one.
    pub(super) fn matches(&self, pattern: &PathPattern) -> bool {
        let length = pattern.segments.len();
        if self.count < length || (self.count > length && !pattern.rest) {
            return false;
        }
        if pattern.rest_name.is_some() && (length..self.count).all(|at| self.segment(at).is_empty())
        {
            return false;
        }
        pattern
            .segments
            .iter()
            .enumerate()
            .all(|(at, wanted)| match wanted {
                Segment::Literal(text) => self.segment(at) == text.as_bytes(),
                Segment::Parameter(_) => !self.segment(at).is_empty(),
            })
    }

    /// The segments, decoded.
    pub(super) fn segments(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.count).map(|at| self.segment(at))
    }

    fn segment(&self, at: usize) -> &[u8] {
        let (start, end) = match self.near.get(at) {
            Some(cut) => *cut,
            None => self.far[at - INLINE],
        };
        &self.bytes[start as usize..end as usize]
    }

    /// Reads and checks a path without `%` in one walk; false, and nothing is read, if it has one.
    fn read_plain(&mut self, bytes: &[u8]) -> Result<bool, BadPath> {
        let mut start = 0;
        let mut dots = false;
        for (at, &byte) in bytes.iter().enumerate() {
            // Letters, digits and most signs mean nothing here.
            if (b'0'..=b'~').contains(&byte) {
                continue;
            }
            match byte {
                b'/' => {
                    self.push(start, at);
                    start = at + 1;
                }
                b'%' => {
                    self.far.clear();
                    self.count = 0;
                    return Ok(false);
                }
                b'.' => dots = true,
                byte if byte.is_ascii_control() => return Err(BadPath::Control(byte)),
                _ => {}
            }
        }
        self.push(start, bytes.len());
        match dots {
            true => self.check_dots().map(|()| true),
            false => Ok(true),
        }
    }

    fn read_encoded(&mut self, raw: &[u8]) -> Result<(), BadPath> {
        let mut bytes = Vec::with_capacity(raw.len());
        for segment in raw.split(|byte| *byte == b'/') {
            let start = bytes.len();
            let mut rest = segment.iter();
            while let Some(byte) = rest.next() {
                bytes.push(match byte {
                    b'%' => escaped(rest.next(), rest.next()).ok_or(BadPath::Escape)?,
                    plain => *plain,
                });
            }
            self.push(start, bytes.len());
        }
        self.bytes = Cow::Owned(bytes);
        Ok(())
    }

    fn push(&mut self, start: usize, end: usize) {
        // A request head is far below 4 GiB.
        let cut = (start as u32, end as u32);
        match self.near.get_mut(self.count) {
            Some(slot) => *slot = cut,
            None => self.far.push(cut),
        }
        self.count += 1;
    }

    fn check(&self) -> Result<(), BadPath> {
        if let Some(byte) = self.bytes.iter().find(|byte| byte.is_ascii_control()) {
            return Err(BadPath::Control(*byte));
        }
        self.check_dots()
    }

    fn check_dots(&self) -> Result<(), BadPath> {
        match self.segments().any(has_dot_segment) {
            true => Err(BadPath::DotSegment),
            false => Ok(()),
        }
    }
}

/// What is left of the raw `path` behind the literal segments that `pattern` begins with: empty,
/// or from the slash on. This is the part that stays when a route's `rewrite` replaces the rest.
///
/// `path` is one that the pattern matches.
pub fn after_literals<'p>(pattern: &PathPattern, path: &'p str) -> &'p str {
    let literals = pattern
        .segments
        .iter()
        .take_while(|segment| matches!(segment, Segment::Literal(_)));
    let mut rest = path;
    for _ in literals {
        let inner = rest.strip_prefix('/').unwrap_or(rest);
        rest = inner.find('/').map_or("", |slash| &inner[slash..]);
    }
    rest
}

/// The byte that two hexadecimal digits stand for.
pub(super) fn escaped(high: Option<&u8>, low: Option<&u8>) -> Option<u8> {
    let digit = |byte: Option<&u8>| (*byte? as char).to_digit(16);
    // Two digits make at most 255.
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

/// Whether a reader that also splits at decoded slashes and backslashes, and drops what follows
/// `;`, would see a dot segment.
fn has_dot_segment(segment: &[u8]) -> bool {
    segment
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .any(|part| {
            let end = memchr::memchr(b';', part).unwrap_or(part.len());
            matches!(&part[..end], b"." | b"..")
        })
}

#[cfg(test)]
mod tests;
