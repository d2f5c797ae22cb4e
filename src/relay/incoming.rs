//! What comes from upstream: one backend's answer, or one that others continue when it is cut.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::context::Reached;
use super::rescued::Rescued;
use crate::config::Trouble;
use crate::dialect::{Ending, Usage, Watcher};
use crate::upstream::{AnswerBody, BodyEnd, Piece, Reason};

/// An answer's body on its way in.
pub(super) enum Incoming {
    /// As one backend sends it.
    Plain(Box<AnswerBody>),
    /// Continued by others when it is cut.
    Rescued(Box<Rescued>),
}

/// Another backend goes on with the answer.
#[derive(Debug, Clone)]
pub(super) struct Handover {
    /// The upstream that was cut.
    pub(super) from: Arc<str>,
    /// In what way.
    pub(super) word: &'static str,
    /// The entry of the route's chain that goes on.
    pub(super) entry: usize,
    /// The endpoint that does.
    pub(super) endpoint: Arc<str>,
    /// Tokens that the one that was cut delivered, about; they are counted as its own.
    pub(super) delivered: u64,
    /// Whether the one that goes on was given them, and so will not count them.
    pub(super) is_prefilled: bool,
}

/// Tokens of an answer from backends that did not end it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HandedOver {
    /// All of them.
    all: u64,
    /// Those that the last backend does not count.
    uncounted: u64,
}

impl HandedOver {
    /// Another backend goes on.
    pub(super) fn add(&mut self, handover: &Handover) {
        self.all += handover.delivered;
        if handover.is_prefilled {
            self.uncounted += handover.delivered;
        }
    }

    /// All of them: what an estimate of the whole answer counts, too.
    pub(super) fn all(self) -> u64 {
        self.all
    }

    /// Tokens that went to the caller by `usage`, and whether their number is an estimate.
    pub(super) fn completion(self, usage: &Usage) -> Option<(u64, bool)> {
        let (tokens, estimated) = usage.delivered()?;
        // An estimate is of all that went by, whoever sent it.
        Some(match estimated {
            true => (tokens, true),
            false => (tokens + self.uncounted, self.uncounted > 0),
        })
    }
}

/// What the ending of an answer says about its endpoint: that it is well, or not; nothing where the caller left, or has
/// brought the error upon itself.
pub(super) fn says_about_endpoint(ending: Ending, watcher: &Watcher) -> Option<bool> {
    match ending {
        Ending::Complete => Some(true),
        Ending::Truncated => Some(false),
        Ending::Failed => {
            let blamed = watcher.trouble().is_none_or(Trouble::blames_endpoint);
            blamed.then_some(false)
        }
        Ending::Left => None,
    }
}

impl Incoming {
    /// The body of `reached`, which can be continued where its question came along.
    pub(super) fn of(mut reached: Reached) -> Self {
        match reached.question.take() {
            Some(question) => Self::Rescued(Box::new(Rescued::new(reached, *question))),
            None => Self::Plain(reached.asked.answer.body),
        }
    }

    /// The next piece, or `None` at the end.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, Reason>>> {
        match self {
            Self::Plain(body) => body.poll_piece(cx),
            Self::Rescued(rescued) => rescued.poll_piece(cx),
        }
    }

    /// How it ended; `None` while it has not, and where it was cut.
    pub(super) fn end(&self) -> Option<BodyEnd> {
        match self {
            Self::Plain(body) => body.end(),
            Self::Rescued(rescued) => rescued.end(),
        }
    }

    /// Whether all of it was handed out already.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_over(),
            Self::Rescued(_) => false,
        }
    }

    /// Bytes still to come, where that is known.
    pub(super) fn remaining(&self) -> Option<u64> {
        match self {
            Self::Plain(body) => body.remaining(),
            Self::Rescued(_) => None,
        }
    }

    /// Whether it times its backends' silence itself.
    pub(super) fn keeps_time(&self) -> bool {
        matches!(self, Self::Rescued(_))
    }

    /// Who has gone on with the answer since this was asked last.
    pub(super) fn handover(&mut self) -> Option<Handover> {
        match self {
            Self::Plain(_) => None,
            Self::Rescued(rescued) => rescued.handover(),
        }
    }
}
