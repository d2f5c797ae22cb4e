//! An answer and its body, whichever version of HTTP it came by.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;

use super::fault::Reason;
use super::h1::{self, Connection, Head};
use super::h2;

/// The answer to a request: its head, and its body still to be read.
#[derive(Debug)]
pub struct Answer {
    /// The head.
    pub head: Head,
    /// The body. Boxed: answers are handed up through many hands.
    pub body: Box<AnswerBody>,
}

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// The data of one read, without framing; never empty.
    Data(Bytes),
    /// The trailers.
    Trailers(HeaderMap),
}

/// What became of the next piece of a body, which was offered where it was read.
#[derive(Debug)]
pub enum Past {
    /// It was taken there.
    Taken,
    /// It is to be handed on, or there is none: see [`AnswerBody::poll_piece`].
    Piece(Option<Result<Piece, Reason>>),
}

/// How a body ended, where it was not cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// As its framing said.
    Framed,
    /// By the close of the connection, which had to do as framing.
    Closed,
}

/// The body of an answer, read by whoever polls it. Dropped before its end, it tells the backend at once: by the
/// close of its connection (HTTP/1.1), or by a reset of its stream (HTTP/2).
#[derive(Debug)]
pub enum AnswerBody {
    /// By HTTP/1.1.
    One(h1::Body),
    /// By HTTP/2.
    Two(h2::Body),
}

impl AnswerBody {
    /// Hands the next piece out once more: it was only looked at.
    pub fn put_back(&mut self, data: Bytes) {
        match self {
            Self::One(body) => body.put_back(data),
            Self::Two(body) => body.put_back(data),
        }
    }

    /// Bytes still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self {
            Self::One(body) => body.remaining(),
            Self::Two(body) => body.remaining(),
        }
    }

    /// Whether the whole body was handed out already.
    pub fn is_over(&self) -> bool {
        self.remaining() == Some(0)
    }

    /// How the body ended; `None` while it has not, and where it was cut.
    pub fn end(&self) -> Option<BodyEnd> {
        match self {
            Self::One(body) => body.end(),
            Self::Two(body) => body.end(),
        }
    }

    /// Whether the request is still being sent, by whoever polls the answer.
    pub fn is_sending(&self) -> bool {
        match self {
            Self::One(body) => body.is_sending(),
            Self::Two(body) => body.is_sending(),
        }
    }

    /// Whether the connection is closed to tell where this body ends.
    pub fn ends_by_close(&self) -> bool {
        match self {
            Self::One(body) => body.ends_by_close(),
            Self::Two(_) => false,
        }
    }

    /// The connection of an answer 101, which speaks another protocol now. There is none in HTTP/2.
    pub fn take_connection(&mut self) -> Option<Box<Connection>> {
        match self {
            Self::One(body) => body.take_connection(),
            Self::Two(_) => None,
        }
    }

    /// The next piece, or `None` at the end, of which [`AnswerBody::end`] tells the kind.
    ///
    /// # Errors
    ///
    /// A [`Reason`]: the body was cut.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Reason>>> {
        match self {
            Self::One(body) => body.poll_piece(cx),
            Self::Two(body) => body.poll_piece(cx),
        }
    }

    /// As [`AnswerBody::poll_piece`]; data that does not end the body is offered to `take` first, which may look at it
    /// where it was read, and says whether it has done with it.
    pub fn poll_past(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Poll<Past> {
        let piece = match self {
            Self::One(body) => return body.poll_past(cx, take),
            Self::Two(body) => ready!(body.poll_piece(cx)),
        };
        let taken = match &piece {
            Some(Ok(Piece::Data(data))) => !self.is_over() && take(data),
            _ => false,
        };
        Poll::Ready(if taken {
            Past::Taken
        } else {
            Past::Piece(piece)
        })
    }
}
