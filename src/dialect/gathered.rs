//! Data of an event that comes in pieces or in several lines, kept until it can be read.
//!
//! Invariant: at most [`Gathered::LIMIT`] bytes are kept, and what [`Gathered::extract`] gives is
//! what [`Extract::of`] gives for the same bytes in one slice. Of what is longer, the first and the
//! last part are kept: content stands in the first, and the usage in the last.

use super::members::nested_end;

/// What is read of a document: all of it, or its first and its last part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extract<'a> {
    pub(super) head: &'a [u8],
    /// Empty unless the middle is left out.
    pub(super) tail: &'a [u8],
}

impl<'a> Extract<'a> {
    /// That of a document in one slice.
    pub(super) fn of(document: &'a [u8]) -> Self {
        if document.len() <= Gathered::LIMIT {
            return Self {
                head: document,
                tail: &[],
            };
        }
        Self {
            head: &document[..Gathered::HEAD],
            tail: &document[document.len() - Gathered::TAIL..],
        }
    }
}

/// The bytes of a document in progress.
#[derive(Debug, Clone, Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    /// Whether bytes between the head and the tail were left out.
    cut: bool,
    /// The last byte that is not blank.
    last: u8,
    /// Whether all of it stands in one line.
    pub(super) one_line: bool,
}

impl Gathered {
    /// The most that is kept, in bytes.
    pub(super) const LIMIT: usize = 64 * 1024;
    const HEAD: usize = 32 * 1024;
    const TAIL: usize = 16 * 1024;

    pub(super) fn push(&mut self, piece: &[u8]) {
        if let Some(&last) = piece.trim_ascii_end().last() {
            self.last = last;
        }
        if self.bytes.len() + piece.len() <= Self::LIMIT {
            self.bytes.extend_from_slice(piece);
            return;
        }
        let missing = Self::HEAD.saturating_sub(self.bytes.len());
        let (head, rest) = piece.split_at(missing.min(piece.len()));
        self.bytes.extend_from_slice(head);
        let tail = &rest[rest.len().saturating_sub(Self::TAIL)..];
        let kept = (Self::TAIL - tail.len()).min(self.bytes.len() - Self::HEAD);
        self.bytes.drain(Self::HEAD..self.bytes.len() - kept);
        self.bytes.extend_from_slice(tail);
        self.cut = true;
    }

    pub(super) fn extract(&self) -> Extract<'_> {
        if !self.cut {
            return Extract {
                head: &self.bytes,
                tail: &[],
            };
        }
        Extract {
            head: &self.bytes[..Self::HEAD],
            tail: &self.bytes[self.bytes.len() - Self::TAIL..],
        }
    }

    /// All of it, if it is one object or list that is closed. Of one whose middle is left out, the
    /// last byte must do.
    pub(super) fn closed(&self) -> Option<Extract<'_>> {
        let document = self.extract();
        if !matches!(
            (document.head.first(), self.last),
            (Some(b'{'), b'}') | (Some(b'['), b']')
        ) {
            return None;
        }
        if self.cut {
            return Some(document);
        }
        let end = nested_end(document.head)?;
        let behind = document.head[end..].trim_ascii();
        behind.is_empty().then_some(document)
    }

    /// Whether it begins as an object.
    pub(super) fn is_object(&self) -> bool {
        self.bytes.first() == Some(&b'{')
    }

    /// Whether the last thing in it may close an object.
    pub(super) fn may_be_closed(&self) -> bool {
        self.last == b'}'
    }
}

#[cfg(test)]
#[path = "gathered_tests.rs"]
mod tests;
