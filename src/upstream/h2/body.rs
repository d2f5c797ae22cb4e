//! An answer's body: the frames of one stream, read by whoever polls it.
//!
//! The stream's window is opened again as pieces are handed out, so that a client who reads slowly holds the backend
//! back. A body that is dropped before its end resets its stream (RFC 9113 §5.4.2), and the backend can stop.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::h2::RecvStream;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::send::Sender;
use super::session::Lease;
use crate::upstream::body::{BodyEnd, Piece};
use crate::upstream::fault::Reason;

/// How long the frame that only says "this was the end" is waited for, where all data came.
const LAST_FRAME: Duration = Duration::from_secs(10);

/// The body of an answer by HTTP/2.
pub struct Body {
    /// None once it is over or was cut: then others may have its place in the connection.
    stream: Option<Stream>,
    /// Bytes still to come, where the head announced them.
    left: Option<u64>,
    first: Bytes,
    end: Option<BodyEnd>,
}

/// The stream, and its place in the connection. In this order: the place is free when the stream was given up.
struct Stream {
    data: RecvStream,
    sender: Option<Sender>,
    lease: Lease,
    /// Whether all data was read, and trailers may follow.
    at_trailers: bool,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("left", &self.left)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Body {
    /// The body of an answer that announced `left` bytes, if any number.
    pub(super) fn new(
        data: RecvStream,
        sender: Option<Sender>,
        lease: Lease,
        left: Option<u64>,
    ) -> Self {
        Self {
            stream: Some(Stream {
                data,
                sender,
                lease,
                at_trailers: false,
            }),
            left,
            first: Bytes::new(),
            end: None,
        }
    }

    /// Hands the next piece out once more: it was only looked at.
    pub fn put_back(&mut self, data: Bytes) {
        self.first = data;
    }

    /// Bytes still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        let ahead = self.first.len() as u64;
        if self.end().is_some() {
            return Some(ahead);
        }
        self.stream.as_ref()?;
        self.left.map(|left| left + ahead)
    }

    /// How the body ended; `None` while it has not, and where it was cut.
    pub fn end(&self) -> Option<BodyEnd> {
        let ended = self
            .stream
            .as_ref()
            .is_some_and(|stream| stream.data.is_end_stream());
        self.end.or(ended.then_some(BodyEnd::Framed))
    }

    /// Whether the request is still being sent.
    pub fn is_sending(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(|stream| stream.sender.is_some())
    }

    /// The next piece, or `None` at the end, of which [`Body::end`] tells the kind.
    ///
    /// # Errors
    ///
    /// A [`Reason`]: the body was cut.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Reason>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(Piece::Data(std::mem::take(&mut self.first)))));
        }
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(None);
        };
        match ready!(stream.poll(cx)) {
            Some(Ok(Piece::Data(data))) => {
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(data.len() as u64);
                }
                Poll::Ready(Some(Ok(Piece::Data(data))))
            }
            Some(Ok(trailers)) => {
                self.finish();
                Poll::Ready(Some(Ok(trailers)))
            }
            Some(Err(reason)) => {
                self.stream = None;
                Poll::Ready(Some(Err(reason)))
            }
            None => {
                self.finish();
                Poll::Ready(None)
            }
        }
    }

    /// All was read. An upload that still goes on is given up with the stream: nobody reads it (RFC 9113 §8.1).
    fn finish(&mut self) {
        self.end = Some(BodyEnd::Framed);
        self.stream = None;
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        // Many servers tell the end in a frame of its own. An answer that came whole is not one to be reset.
        let lacks_the_end = self.left == Some(0) && !stream.data.is_end_stream();
        if lacks_the_end && stream.sender.is_none() {
            let Ok(runtime) = Handle::try_current() else {
                return;
            };
            runtime.spawn(async move {
                let end = poll_fn(|cx| stream.poll(cx));
                // Whatever comes, and when nothing does: the stream goes.
                let _ = tokio::time::timeout(LAST_FRAME, end).await;
            });
        }
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Reason>>> {
        if let Some(sender) = &mut self.sender
            && let Poll::Ready(outcome) = sender.poll(cx)
        {
            self.sender = None;
            // What the upstream does not take shows in its answer. What the client does not send would be waited
            // for in vain.
            if let Err(reason @ Reason::Upload(_)) = outcome {
                return Poll::Ready(Some(Err(reason)));
            }
        }
        while !self.at_trailers {
            match ready!(self.data.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    // Fails only for a stream that is gone, which the next poll tells.
                    let _ = self.data.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Piece::Data(data))));
                }
                Some(Err(error)) => return self.cut(error),
                None => self.at_trailers = true,
            }
        }
        match ready!(self.data.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Piece::Trailers(trailers)))),
            Err(error) => self.cut(error),
        }
    }

    fn cut(&self, error: ::h2::Error) -> Poll<Option<Result<Piece, Reason>>> {
        let reason = match self.lease.reason(error) {
            Reason::Closed => Reason::Cut,
            reason => reason,
        };
        Poll::Ready(Some(Err(reason)))
    }
}
