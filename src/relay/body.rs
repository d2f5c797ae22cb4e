//! What the HTTP server sends as the body of an answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::direct::Direct;
use super::record::Record;

/// The body of an answer to a client.
#[derive(Debug, Default)]
pub struct Body(Kind);

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    /// Bytes that are there, with the record that is closed when they are sent.
    Whole(Bytes, Option<Box<Record>>),
    /// An upstream's body. Boxed: the server keeps room for a body in every connection, also in those
    /// that rest.
    Direct(Box<Direct>),
}

/// An answer that could not be ended properly; the connection is closed without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer was cut")]
pub struct Aborted;

impl Body {
    /// Bytes that are there already.
    pub fn whole(bytes: Bytes, record: Box<Record>) -> Self {
        Self(Kind::Whole(bytes, Some(record)))
    }

    /// An upstream's body.
    pub(super) fn direct(direct: Box<Direct>) -> Self {
        Self(Kind::Direct(direct))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes, _) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes, record) => {
                let bytes = std::mem::take(bytes);
                if let Some(record) = record {
                    record.add_bytes(bytes.len());
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Direct(direct) => direct.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Whole(bytes, _) => bytes.is_empty(),
            Kind::Direct(direct) => direct.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes, _) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Direct(direct) => direct.size_hint(),
        }
    }
}
