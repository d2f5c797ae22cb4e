//! An answer's body, read from the connection by whoever polls it.
//!
//! The connection goes back to its pool in the moment its message ends, and is dropped (which the
//! server sees at once) when the body is dropped before that.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::exchange::Connection;
use super::framing::{BadFraming, Decoded, Decoder};
use super::send::Sender;
use crate::upstream::body::{BodyEnd, Past, Piece};
use crate::upstream::fault::Reason;
use crate::upstream::pool::Home;

/// The body of an answer by HTTP/1.1.
pub struct Body {
    connection: Option<Box<Connection>>,
    decoder: Decoder,
    /// What is still to be sent; hardly ever anything.
    sender: Option<Box<Sender>>,
    keep: bool,
    first: Bytes,
    end: Option<BodyEnd>,
    home: Option<Home>,
    upgrade: bool,
}

/// What one read brought.
struct Run {
    /// None where it was framing alone.
    past: Option<Past>,
    /// Whether nothing came behind the message.
    clean: bool,
}

/// Decodes what was read, and offers its data to `take`.
fn read_on(
    decoder: &mut Decoder,
    bytes: &[u8],
    take: &mut impl FnMut(&[u8]) -> bool,
) -> Result<Run, BadFraming> {
    let Decoded { consumed, data } = decoder.decode(bytes)?;
    let offered = data.as_slice();
    let past = if offered.is_empty() {
        None
    } else if !decoder.is_done() && take(offered) {
        Some(Past::Taken)
    } else {
        Some(Past::Piece(Some(Ok(Piece::Data(data.into_bytes())))))
    };
    let clean = consumed == bytes.len();
    Ok(Run { past, clean })
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("decoder", &self.decoder)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Body {
    pub(super) fn new(
        connection: Box<Connection>,
        decoder: Decoder,
        sender: Option<Box<Sender>>,
        keep: bool,
        first: Bytes,
    ) -> Self {
        let connection = Some(connection);
        Self {
            connection,
            decoder,
            sender,
            keep,
            first,
            end: None,
            home: None,
            upgrade: false,
        }
    }

    /// The body of an answer 101: none, and the connection stays.
    pub(super) fn upgraded(mut self) -> Self {
        self.upgrade = true;
        self
    }

    /// Names the place that takes the connection back when the message has ended.
    pub(in crate::upstream) fn return_to(&mut self, home: Home) {
        self.home = Some(home);
        if self.decoder.is_done() && !self.upgrade {
            self.release();
        }
    }

    /// Hands the next piece out once more: it was only looked at.
    pub fn put_back(&mut self, data: Bytes) {
        self.first = data;
    }

    /// Bytes still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        self.decoder
            .remaining()
            .map(|left| left + self.first.len() as u64)
    }

    /// How the body ended; `None` while it has not, and where it was cut.
    pub fn end(&self) -> Option<BodyEnd> {
        if self.decoder.is_done() {
            Some(BodyEnd::Framed)
        } else {
            self.end
        }
    }

    /// Whether the request is still being sent.
    pub fn is_sending(&self) -> bool {
        self.sender.is_some()
    }

    /// Whether the connection is closed to tell where this body ends.
    pub fn ends_by_close(&self) -> bool {
        self.decoder.ends_by_close()
    }

    /// The connection of an answer 101, which speaks another protocol now.
    pub fn take_connection(&mut self) -> Option<Box<Connection>> {
        self.connection.take()
    }

    /// The next piece, or `None` at the end, of which [`Body::end`] tells the kind.
    ///
    /// # Errors
    ///
    /// A [`Reason`]: the body was cut.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Reason>>> {
        match ready!(self.poll_past(cx, |_| false)) {
            Past::Piece(piece) => Poll::Ready(piece),
            // Nobody took it.
            Past::Taken => Poll::Pending,
        }
    }

    /// As [`Body::poll_piece`]; data that does not end the body is offered to `take` where it was read, before it
    /// is copied.
    pub fn poll_past(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Poll<Past> {
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            return Poll::Ready(Past::Piece(Some(Ok(Piece::Data(first)))));
        }
        loop {
            if self.decoder.is_done() {
                let trailers = self.decoder.take_trailers();
                let trailers = trailers.map(|trailers| Ok(Piece::Trailers(trailers)));
                return Poll::Ready(Past::Piece(trailers));
            }
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(Past::Piece(None));
            };
            if let Some(sender) = &mut self.sender
                && let Poll::Ready(outcome) = sender.poll(cx, &mut connection.transport)
            {
                self.sender = None;
                // What the upstream does not take shows in its answer; the connection only is not
                // used again. What the client does not send would be waited for in vain.
                if let Err(reason @ Reason::Upload(_)) = outcome {
                    return self.cut(reason);
                }
                self.keep &= outcome.is_ok();
            }
            let decoder = &mut self.decoder;
            let read = ready!(connection.transport.poll_read(cx, |bytes| {
                (!bytes.is_empty()).then(|| read_on(decoder, bytes, &mut take))
            }));
            match read {
                Ok(Some(Ok(Run { past, clean }))) => {
                    self.keep &= clean;
                    if self.decoder.is_done() {
                        self.release();
                    }
                    if let Some(past) = past {
                        return Poll::Ready(past);
                    }
                }
                Ok(Some(Err(fault))) => return self.cut(fault.into()),
                Ok(None) if self.decoder.ends_by_close() => {
                    self.end = Some(BodyEnd::Closed);
                    self.connection = None;
                }
                Ok(None) => return self.cut(Reason::Cut),
                Err(error) => return self.cut(Reason::Io(error)),
            }
        }
    }

    fn cut(&mut self, reason: Reason) -> Poll<Past> {
        self.connection = None;
        Poll::Ready(Past::Piece(Some(Err(reason))))
    }

    /// Gives the connection back if a further request may use it, and drops it otherwise.
    fn release(&mut self) {
        let connection = self.connection.take();
        let (Some(mut connection), Some(home)) = (connection, self.home.take()) else {
            return;
        };
        if self.keep && self.sender.is_none() && connection.read_ahead.is_empty() {
            connection.reused = true;
            home.give_back(connection);
        }
    }
}
