//! The second answer, turned into the continuation of the first.
//!
//! Invariant: the events delivered so far and those passed on from here read as one answer: one
//! beginning, its text once, its blocks in one order. Where that cannot be, it is said, and nothing
//! of the second answer goes to the caller any more.

use super::blocks::Blocks;
use super::chunks::Chunks;
use super::prefill::parts;
use super::skip::Skip;
use super::transcript::{TextBlock, Transcript};
use crate::config::Dialect;

/// Turns the events of a second answer into the continuation of the first.
///
/// The beginning of the second answer is left out, and of its text what was delivered. Its chunks
/// get the id and the time of the first answer, its blocks the indexes that come next. The model
/// stays that of the backend that really answers, and so does the usage: of an answer begun anew
/// it counts the whole, of one that was prefilled the rest only.
///
/// Thinking is left out until the text goes on, if any text or thinking was delivered before. A
/// tool call is kept, once all of the delivered text has come again.
#[derive(Debug)]
pub struct Sequel {
    kind: Kind,
    differs: bool,
}

#[derive(Debug)]
enum Kind {
    Chunks(Chunks),
    Blocks(Blocks),
}

/// What is to be done with an event of the second answer. Its SSE name stays in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passed {
    /// It is left out: the caller has what it says.
    Drop,
    /// It goes to the caller as it is.
    Keep,
    /// It goes to the caller with this data in place of its own.
    Instead(Vec<u8>),
    /// Another event goes first, that the second answer does not have or not in this place: the end
    /// or the beginning of a block. Then the event itself. Anthropic only.
    Behind {
        /// The SSE name of the event that goes first.
        name: &'static str,
        /// Its data.
        first: Vec<u8>,
        /// The data of the event itself, where it changes.
        data: Option<Vec<u8>>,
    },
    /// The two answers do not fit together. From now on nothing of the second can be delivered.
    Differs,
}

/// What is known of both answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Legs {
    /// Whether the second answer begins where the first ended.
    pub(super) is_prefilled: bool,
    /// Whether any text or thinking of the first was delivered, or begun. Then thinking of the second is left
    /// out until its text goes on: it belongs to what the caller has read.
    pub(super) has_spoken: bool,
}

impl Sequel {
    /// Before the first event of the second answer. `is_prefilled` if its request was made by
    /// [`super::prefilled`], and not if it was the caller's own.
    pub fn after(transcript: &Transcript, is_prefilled: bool) -> Self {
        let text = transcript.text();
        let skip = if is_prefilled {
            Skip::some(parts(text).1)
        } else {
            Skip::all(text)
        };
        let delivered = transcript.delivered.clone();
        let legs = Legs {
            is_prefilled,
            has_spoken: !text.is_empty()
                || delivered.has_reasoned
                || delivered.text_block != TextBlock::None,
        };
        let dialect = transcript.dialect();
        let kind = if dialect == Dialect::AnthropicMessages {
            Kind::Blocks(Blocks::new(delivered, skip, legs))
        } else {
            Kind::Chunks(Chunks::new(dialect, delivered, skip, legs))
        };
        Self {
            kind,
            differs: false,
        }
    }

    /// Takes one event of the second answer: its data.
    ///
    /// An error event is kept: whether it goes to the caller or another backend is asked is not
    /// decided here.
    pub fn pass(&mut self, data: &[u8]) -> Passed {
        if self.differs {
            return Passed::Differs;
        }
        let passed = match &mut self.kind {
            Kind::Chunks(chunks) => chunks.pass(data),
            Kind::Blocks(blocks) => blocks.pass(data),
        };
        let passed = passed.unwrap_or(Passed::Differs);
        self.differs = passed == Passed::Differs;
        passed
    }
}

#[cfg(test)]
#[path = "sequel_tests.rs"]
mod tests;
