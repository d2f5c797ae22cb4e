//! One WebSocket from its upgrade to its end: texts go out, pings are answered, and all else that
//! comes in is forgotten.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use crate::delivery::{Silence, SilenceClock};

/// Most bytes of a message that comes in.
const LARGEST: usize = 64 * 1024;
/// What comes in is small, and rests in a buffer of this size.
const READ_SIZE: usize = 512;
/// Most messages read, and most batches sent, before other connections have their turn.
const A_TURN: usize = 32;
/// Most messages read while the client takes nothing: each may be a ping, whose answer is kept.
const MOST_KEPT: usize = 64;
/// How long a client may take to answer a close.
const FAREWELL: Duration = Duration::from_secs(1);
/// Most messages it may still send before its answer.
const MOST_LAST: usize = 1000;
/// Most bytes read after it broke the protocol.
const LARGEST_LAST: u64 = 1024 * 1024;

/// Where a WebSocket's texts come from.
pub trait Source {
    /// What comes next. It is asked again only when the socket has taken all of the texts before, so
    /// a batch is what a client that takes nothing costs.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next>;
}

/// What a source has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Texts, each a message.
    Texts(Vec<String>),
    /// Nothing more.
    End(Close),
}

/// How we end a WebSocket (RFC 6455 §7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Close {
    /// 1000: the stream is over.
    Complete,
    /// 1001: the gateway stops.
    Stopping,
    /// 1013: the stream cannot go on now; the client may come back.
    Trouble,
}

impl Close {
    fn frame(self) -> CloseFrame {
        let (code, reason) = match self {
            Self::Complete => (CloseCode::Normal, "complete"),
            Self::Stopping => (CloseCode::Away, "gateway stopping"),
            Self::Trouble => (CloseCode::Again, "try again later"),
        };
        CloseFrame {
            code,
            reason: reason.into(),
        }
    }
}

/// How a WebSocket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// We closed it, as the source said.
    Closed(Close),
    /// The client closed it, or is gone.
    Left,
    /// The client took nothing for longer than it may.
    Stalled,
    /// The client said nothing for longer than it may, and answered no ping.
    Silent,
    /// The client broke the protocol, or sent more than a message may have. It was told.
    Violated,
}

/// The limits of a client's silence. How long a write may wait is the socket's matter:
/// [`crate::delivery::Socket::limit_stall`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// A client that says nothing is pinged so often.
    pub ping: Option<Duration>,
    /// A client that says nothing for so long is gone. Longer than `ping`, or it is never asked.
    pub silence: Option<Duration>,
}

/// Sends what `source` gives over `io`, which has been upgraded, until either side ends it.
///
/// An error of kind [`io::ErrorKind::TimedOut`] from `io` means that a write waited too long, as with
/// [`crate::delivery::ClientIo`].
pub async fn serve<T, S>(io: T, source: S, clocks: Clocks) -> End
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Source,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_SIZE)
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST));
    let mut running = Running {
        socket: WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await,
        source,
        clock: SilenceClock::new(clocks.ping, clocks.silence),
        unflushed: false,
        is_blocked: false,
        kept: 0,
    };
    let halt = poll_fn(|cx| running.poll(cx)).await;
    let Running { socket, source, .. } = running;
    // Whoever feeds it need not wait for the farewell.
    drop(source);
    match halt {
        Halt::Source(close) => {
            bid_farewell(socket, close.frame(), true).await;
            End::Closed(close)
        }
        Halt::Client(end) => end,
        Halt::Fault(code) => {
            let reason = "".into();
            bid_farewell(socket, CloseFrame { code, reason }, false).await;
            End::Violated
        }
    }
}

/// Sends a close and waits for the client's, if there is still a protocol. If not, reads and forgets
/// what still comes: a close with bytes unread would be a reset, which takes our word from the client.
async fn bid_farewell<T>(mut socket: WebSocketStream<T>, frame: CloseFrame, is_orderly: bool)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let parting = async {
        if socket.close(Some(frame)).await.is_err() {
            return;
        }
        if is_orderly {
            for _ in 0..MOST_LAST {
                match poll_fn(|cx| Pin::new(&mut socket).poll_next(cx)).await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                }
            }
            return;
        }
        let io = socket.get_mut();
        if io.shutdown().await.is_ok() {
            let mut last = io.take(LARGEST_LAST);
            // An error is an end as well.
            let _ = tokio::io::copy(&mut last, &mut tokio::io::sink()).await;
        }
    };
    // Out of time is as good an end as any other here.
    let _ = timeout(FAREWELL, parting).await;
}

/// Why it does not go on.
enum Halt {
    Source(Close),
    Client(End),
    Fault(CloseCode),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                Self::Client(End::Stalled)
            }
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Client(End::Left),
            Error::Capacity(_) => Self::Fault(CloseCode::Size),
            Error::Protocol(_) => Self::Fault(CloseCode::Protocol),
            Error::Utf8(_) => Self::Fault(CloseCode::Invalid),
            _ => Self::Client(End::Left),
        }
    }
}

struct Running<T, S> {
    socket: WebSocketStream<T>,
    source: S,
    clock: SilenceClock,
    /// Something was written that the socket has not taken.
    unflushed: bool,
    /// The socket was asked to take it, and did not.
    is_blocked: bool,
    /// Messages read since the socket took all.
    kept: usize,
}

impl<T, S> Running<T, S>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Source,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Halt> {
        match self.poll_turn(cx) {
            Poll::Ready(Err(halt)) => Poll::Ready(halt),
            Poll::Ready(Ok(never)) => match never {},
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<Infallible, Halt>> {
        for _ in 0..A_TURN {
            // A client that left is noticed also while it takes nothing.
            let _ = self.poll_incoming(cx)?;
            ready!(self.poll_flushed(cx))?;
            if self.kept >= MOST_KEPT {
                // Reading was put off, and nothing would wake it.
                self.kept = 0;
                continue;
            }
            self.kept = 0;
            if let Poll::Ready(due) = self.clock.poll(cx) {
                self.write(match due {
                    Silence::HeartbeatDue => Message::Ping(Bytes::new()),
                    _ => return Poll::Ready(Err(Halt::Client(End::Silent))),
                })?;
                continue;
            }
            match ready!(self.source.poll_next(cx)) {
                Next::Texts(texts) => {
                    for text in texts {
                        self.write(Message::text(text))?;
                    }
                }
                Next::End(close) => return Poll::Ready(Err(Halt::Source(close))),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready only with an end.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Result<Infallible, Halt>> {
        for _ in 0..A_TURN {
            if self.kept >= MOST_KEPT {
                return Poll::Pending;
            }
            let Some(message) = ready!(Pin::new(&mut self.socket).poll_next(cx)?) else {
                return Poll::Ready(Err(Halt::Client(End::Left)));
            };
            self.clock.broken();
            self.kept += 1;
            // The protocol answers by itself, at the next look or flush.
            if message.is_close() {
                let _ = Pin::new(&mut self.socket).poll_next(cx);
                return Poll::Ready(Err(Halt::Client(End::Left)));
            }
            self.unflushed |= message.is_ping();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Halt>> {
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.socket).poll_flush(cx)?;
        if flushed.is_ready() {
            self.unflushed = false;
            // Our pings stood behind what it did not take; that it takes again is a sign of life.
            if self.is_blocked {
                self.clock.broken();
            }
        }
        self.is_blocked = flushed.is_pending();
        flushed.map(Ok)
    }

    fn write(&mut self, message: Message) -> Result<(), Halt> {
        self.unflushed = true;
        Ok(Pin::new(&mut self.socket).start_send(message)?)
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
