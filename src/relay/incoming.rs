//! What comes from upstream: one backend's answer, or one that others continue when it is cut.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::attempts::Trail;
use super::context::Reached;
use super::rescued::Rescued;
use crate::upstream::{AnswerBody, BodyEnd, Past, Piece, Reason};

/// An answer's body on its way in.
pub(super) enum Incoming {
    /// As one backend sends it.
    Plain(Box<AnswerBody>),
    /// Continued by others when it is cut.
    Rescued(Box<Rescued>),
}

/// What became of an answer that was cut.
#[derive(Debug, Clone)]
pub(super) struct Handover {
    /// What was tried: the backend that was cut, then those that could not go on.
    pub(super) trail: Trail,
    /// Who goes on; none where nobody could.
    pub(super) to: Option<Next>,
}

/// The backend that goes on with an answer.
#[derive(Debug, Clone)]
pub(super) struct Next {
    /// Its entry of the route's chain.
    pub(super) entry: usize,
    /// Its endpoint.
    pub(super) endpoint: Arc<str>,
    /// Tokens that the one that was cut delivered, about; they are counted as its own.
    pub(super) delivered: u64,
    /// Whether it was given them, and so will not count them.
    pub(super) is_prefilled: bool,
}

impl Incoming {
    /// The body of `reached`, which can be continued where its question came along.
    pub(super) fn of(mut reached: Box<Reached>) -> Self {
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

    /// As [`Incoming::poll_piece`], but data is offered to `take` first, where that is possible.
    pub(super) fn poll_past(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnMut(&[u8]) -> bool,
    ) -> Poll<Past> {
        match self {
            Self::Plain(body) => body.poll_past(cx, take),
            Self::Rescued(rescued) => rescued.poll_piece(cx).map(Past::Piece),
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

    /// Whether the request is still being sent, by whoever polls the answer.
    pub(super) fn is_sending(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_sending(),
            // Its question was taken whole.
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

    /// What became of the answer since this was asked last, where it was cut.
    pub(super) fn handover(&mut self) -> Option<Handover> {
        match self {
            Self::Plain(_) => None,
            Self::Rescued(rescued) => rescued.handover(),
        }
    }
}
