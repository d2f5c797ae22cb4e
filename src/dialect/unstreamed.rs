//! An answer that is no stream: one JSON document, kept as far as its usage needs it.
//!
//! A body of any other kind, a compressed one for instance, is known by its first byte and nothing
//! of it is kept.

use super::gathered::{Extract, Gathered};
use super::told::{is_read, model_in};
use super::usage::{Usage, in_extract};
use crate::config::Dialect;

/// Follows a body that may be a whole JSON answer.
#[derive(Debug, Clone)]
pub(super) enum Unstreamed {
    /// Nothing but blanks so far.
    Fresh,
    Json(Box<Gathered>),
    Other,
}

impl Unstreamed {
    pub(super) fn new(dialect: Dialect) -> Self {
        if is_read(dialect) {
            Self::Fresh
        } else {
            Self::Other
        }
    }

    pub(super) fn feed(&mut self, chunk: &[u8]) {
        match self {
            Self::Json(gathered) => gathered.push(chunk),
            Self::Fresh => {
                let begun = chunk.trim_ascii_start();
                match begun.first() {
                    Some(b'{' | b'[') => {
                        let mut gathered = Box::new(Gathered::default());
                        gathered.push(begun);
                        *self = Self::Json(gathered);
                    }
                    Some(_) => *self = Self::Other,
                    None => {}
                }
            }
            Self::Other => {}
        }
    }

    /// Of an answer that has ended; one that goes on has told nothing.
    pub(super) fn usage(&self, dialect: Dialect) -> Usage {
        let read = |document| in_extract(dialect, document);
        self.ended().map_or_else(Usage::default, read)
    }

    pub(super) fn model(&self, dialect: Dialect) -> Option<&str> {
        model_in(dialect, self.ended()?.head)
    }

    fn ended(&self) -> Option<Extract<'_>> {
        match self {
            Self::Json(gathered) => gathered.closed(),
            Self::Fresh | Self::Other => None,
        }
    }
}

#[cfg(test)]
#[path = "unstreamed_tests.rs"]
mod tests;
