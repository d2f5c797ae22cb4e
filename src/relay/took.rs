//! What an answer took, also one that several backends have given.

use super::incoming::Next;
use crate::dialect::Usage;

/// Tokens of an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Took {
    /// As its dialect tells, of all that went by.
    pub(super) usage: Usage,
    /// About how many came from backends that did not end it.
    others: u64,
    /// Those of them that the last one does not count: they were the beginning it was given.
    uncounted: u64,
}

impl Took {
    /// An answer of one backend.
    pub(super) fn of(usage: Usage) -> Self {
        Self {
            usage,
            ..Self::default()
        }
    }

    /// Another backend goes on.
    pub(super) fn hand_over(&mut self, next: &Next) {
        self.others += next.delivered;
        if next.is_prefilled {
            self.uncounted += next.delivered;
        }
    }

    /// Tokens that went to the caller, and whether their number is an estimate: one is of all that went by, whoever
    /// sent it.
    pub(super) fn completion(&self) -> Option<(u64, bool)> {
        let (tokens, estimated) = self.usage.delivered()?;
        Some(match estimated {
            true => (tokens, true),
            false => (tokens + self.uncounted, self.uncounted > 0),
        })
    }

    /// Tokens of the backend that ended it, and whether their number is an estimate.
    pub(super) fn of_the_last(&self) -> Option<(u64, bool)> {
        let (tokens, estimated) = self.usage.delivered()?;
        Some(match estimated {
            true => (tokens.saturating_sub(self.others), true),
            false => (tokens, false),
        })
    }
}

/// How a number of tokens is known, in a word.
pub(super) fn counted(estimated: bool) -> &'static str {
    match estimated {
        true => "estimated",
        false => "reported",
    }
}
