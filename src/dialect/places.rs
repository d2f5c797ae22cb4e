//! The values of a JSON document and where they stand, for comparing it with another one.

use std::ops::Range;

use super::members::text_end;

/// Where a value stands in whose place there could be another one, and of which kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A member's string, without its quotes.
    Text(Range<usize>),
    /// A member's whole number.
    Digits(Range<usize>),
    /// The blanks before the document's last bracket; there may be none.
    Blanks(Range<usize>),
}

impl Place {
    /// The bytes it has.
    pub(super) fn range(&self) -> Range<usize> {
        let (Self::Text(range) | Self::Digits(range) | Self::Blanks(range)) = self;
        range.clone()
    }

    /// The same place, where so many bytes stand before the document.
    pub(super) fn behind(&self, bytes: usize) -> Self {
        let Range { start, end } = self.range();
        let range = start + bytes..end + bytes;
        match self {
            Self::Text(_) => Self::Text(range),
            Self::Digits(_) => Self::Digits(range),
            Self::Blanks(_) => Self::Blanks(range),
        }
    }

    /// The length of the value of this kind that `bytes` begin with; none if it does not end in them.
    #[inline]
    pub(super) fn len_in(&self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Text(_) => text_len(bytes),
            Self::Digits(_) => bytes.iter().position(|byte| !byte.is_ascii_digit()),
            Self::Blanks(_) => bytes.iter().position(|&byte| byte != b' '),
        }
    }

    /// Other values of this kind, short and long: one is longer than all that may be around it.
    pub(super) fn others(&self) -> &'static [&'static [u8]] {
        const LONG: &[u8] = &[b'+'; 600];
        match self {
            Self::Text(_) => &[b"", b"+", b"+ + +", LONG],
            Self::Digits(_) => &[b"7", b"1234567"],
            Self::Blanks(_) => &[b"", b"  "],
        }
    }
}

/// The places of all values of members, at whatever depth, that are strings or whole numbers; then that of the
/// last blanks.
pub(super) fn places(document: &[u8]) -> Vec<Place> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(byte) = document.get(at) {
        let is_value = || document[..at].trim_ascii_end().ends_with(b":");
        let rest = &document[at..];
        at += match byte {
            b'"' => {
                let Some(len) = text_end(&rest[1..]) else {
                    return found;
                };
                if is_value() {
                    found.push(Place::Text(at + 1..at + 1 + len));
                }
                len + 2
            }
            b'0'..=b'9' if is_value() => {
                let len = rest.iter().take_while(|it| it.is_ascii_digit()).count();
                found.push(Place::Digits(at..at + len));
                len
            }
            _ => 1,
        };
    }
    if let [inner @ .., b'}'] = document {
        let blanks = inner.iter().rev().take_while(|&&it| it == b' ').count();
        found.push(Place::Blanks(inner.len() - blanks..inner.len()));
    }
    found
}

/// The length of the string that `bytes` begin with, down to its quote; none if it is not closed in this line.
fn text_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += odd_byte(bytes.get(at..)?)?;
        match bytes[at] {
            b'"' => return Some(at),
            // A line ends also behind a backslash, though then it is no JSON.
            b'\\' if bytes.get(at + 1).is_some_and(|&next| next >= b' ') => at += 2,
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
#[path = "places_tests.rs"]
mod tests;
