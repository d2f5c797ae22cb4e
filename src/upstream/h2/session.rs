//! One connection, its driver, and the places in it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use ::h2::PingPong;
use ::h2::client::{self, SendRequest};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::opening::Opening;
use super::sessions::Sessions;
use crate::upstream::fault::Reason;
use crate::upstream::h1::MAX_HEAD;
use crate::upstream::transport::Transport;

/// How much of one answer a backend may send before the client has taken it, in bytes. Enough for 20 Mbit/s over a
/// round trip of 100 ms; no event stream comes near.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;

/// The window of a connection. It is no buffer: the windows of its streams bound what is held. With any smaller one,
/// enough clients that do not read would stop all other streams of the connection.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Most streams in one connection, whatever the peer allows: a lost packet holds up all of them.
const MOST_STREAMS: usize = 256;

/// After this long without a byte from the peer, while streams are open, it is asked for a sign (RFC 9113 §6.7).
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// How long it may take for that sign.
pub(super) const PONG: Duration = Duration::from_secs(10);

/// A connection that requests are sent on.
pub(super) struct Session {
    /// None when no more requests may be sent: the peer said so (GOAWAY), or its endpoint is elsewhere by now. The
    /// connection closes with its last stream.
    send: Option<SendRequest<Bytes>>,
    pub(super) life: Arc<Life>,
    ping: Option<PingPong>,
    asked: Option<Instant>,
    driver: Option<AbortHandle>,
    /// Where it leads, where its endpoint's name may come to lead elsewhere.
    pub(super) peer: Option<SocketAddr>,
}

/// What is known of a connection by all who have to do with it.
#[derive(Debug)]
pub(in crate::upstream) struct Life {
    began: Instant,
    /// Streams that are taken.
    open: AtomicUsize,
    /// When the last byte came, in milliseconds since it began.
    heard: AtomicU64,
    /// When the last stream ended, likewise.
    idle: AtomicU64,
    /// Whether it was given up because nothing came any more.
    silent: AtomicBool,
}

/// A place for one stream in a connection.
pub struct Lease {
    pub(super) send: SendRequest<Bytes>,
    pub(super) life: Arc<Life>,
    /// Whether the connection was at work before: then it may have been closed by now.
    pub(super) reused: bool,
    sessions: Arc<Sessions>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl Life {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            open: AtomicUsize::new(0),
            heard: AtomicU64::new(0),
            idle: AtomicU64::new(0),
            silent: AtomicBool::new(false),
        }
    }

    fn since_began(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn at(&self, mark: &AtomicU64) -> Instant {
        self.began + Duration::from_millis(mark.load(Ordering::Relaxed))
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Lease {
    /// The connection it is in.
    pub(in crate::upstream) fn life(&self) -> Arc<Life> {
        self.life.clone()
    }

    /// What `error` means for a stream of this connection.
    pub(super) fn reason(&self, error: ::h2::Error) -> Reason {
        if self.life.silent.load(Ordering::Relaxed) {
            return Reason::Silent(PONG);
        }
        reason(error)
    }
}

/// What an error of a stream means.
pub(super) fn reason(error: ::h2::Error) -> Reason {
    if !error.is_remote() && !error.is_io() {
        return Reason::Protocol(error);
    }
    match error.reason() {
        Some(code) if error.is_reset() => Reason::Reset(code),
        Some(code) => Reason::GoneAway(code),
        // An error that is not the system's is how the crate tells the end of the connection.
        None => match error.into_io() {
            Some(error) if error.raw_os_error().is_some() => Reason::Io(error),
            _ => Reason::Closed,
        },
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.life.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.life
                .idle
                .store(self.life.since_began().max(1), Ordering::Relaxed);
        }
        self.sessions.serve();
    }
}

impl Session {
    /// Begins HTTP/2 on `transport` and waits for the peer's settings, which every server sends first (RFC 9113 §3.4):
    /// how many streams it takes, and a proof that it speaks HTTP/2 at all.
    ///
    /// # Errors
    ///
    /// [`Reason::NoHttp2`]; nothing of a request was sent.
    pub(super) async fn begin(
        transport: Transport,
        sessions: Weak<Sessions>,
    ) -> Result<Self, Reason> {
        let life = Arc::new(Life::new());
        let watched = Watched {
            transport,
            life: life.clone(),
        };
        let (send, mut connection) = client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            // None before the settings came: `drive` waits for them.
            .initial_max_send_streams(0)
            .handshake(watched)
            .await
            .map_err(no_http2)?;
        let ping = connection.ping_pong();
        let (settled, settings) = oneshot::channel();
        let driver = tokio::spawn(drive(connection, settled, life.clone(), sessions));
        let mut driver = Unsettled(Some(driver.abort_handle()));
        match settings.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(no_http2(error)),
            Err(_) => return Err(Reason::NoHttp2("it closed the connection".into())),
        }
        let driver = driver.0.take();
        Ok(Self {
            send: Some(send),
            life,
            ping,
            asked: None,
            driver,
            peer: None,
        })
    }

    /// How many further streams there is room for.
    pub(super) fn room(&mut self) -> usize {
        self.check();
        let most = self.most();
        most.saturating_sub(self.life.open())
    }

    /// How many streams it takes in all.
    pub(super) fn most(&self) -> usize {
        self.send
            .as_ref()
            .map_or(0, |send| send.current_max_send_streams().min(MOST_STREAMS))
    }

    /// A place in it; the caller knows that there is room.
    pub(super) fn lease(&self, sessions: &Arc<Sessions>) -> Option<Lease> {
        let send = self.send.clone()?;
        self.life.open.fetch_add(1, Ordering::Relaxed);
        Some(Lease {
            send,
            reused: self.life.idle.load(Ordering::Relaxed) > 0,
            life: self.life.clone(),
            sessions: sessions.clone(),
        })
    }

    /// Takes no more requests if it leads where the endpoint is no more; it closes with its last stream.
    pub(super) fn follow(&mut self, opening: &Opening) {
        if self.peer.is_some_and(|peer| !opening.leads_to(peer)) {
            self.send = None;
        }
    }

    /// Notices that the peer wants no more requests here (RFC 9113 §6.8), or that the connection failed.
    fn check(&mut self) {
        let Some(send) = &mut self.send else { return };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if matches!(send.poll_ready(&mut cx), Poll::Ready(Err(_))) {
            self.send = None;
        }
    }

    /// Whether it has no streams and has had none for `keep`; nothing is lost when it is closed.
    pub(super) fn is_idle(&self, keep: Duration) -> bool {
        self.life.open() == 0 && self.life.at(&self.life.idle).elapsed() >= keep
    }

    /// Asks a silent peer for a sign of life, and gives it up when none comes; false when it was given up.
    pub(super) fn watch(&mut self) -> bool {
        if self.life.open() == 0 {
            return true;
        }
        let heard = self.life.at(&self.life.heard);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if let (Some(_), Some(ping)) = (self.asked, &mut self.ping)
            && ping.poll_pong(&mut cx).is_ready()
        {
            self.asked = None;
        }
        match self.asked {
            None if heard.elapsed() >= SILENCE => {
                let asked = self
                    .ping
                    .as_mut()
                    .is_some_and(|ping| ping.send_ping(::h2::Ping::opaque()).is_ok());
                self.asked = asked.then(Instant::now);
                true
            }
            None => true,
            // A peer that sends something lives, even if it answers no PING.
            Some(asked) if heard > asked => heard.elapsed() < SILENCE + PONG,
            Some(asked) => asked.elapsed() < PONG,
        }
    }

    /// Ends the connection and all its streams.
    pub(super) fn give_up(&self) {
        self.life.silent.store(true, Ordering::Relaxed);
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}

/// Ends a connection on which nobody waits for the settings any more.
struct Unsettled(Option<AbortHandle>);

impl Drop for Unsettled {
    fn drop(&mut self) {
        if let Some(driver) = &self.0 {
            driver.abort();
        }
    }
}

fn no_http2(error: ::h2::Error) -> Reason {
    Reason::NoHttp2(error.to_string().into())
}

type Settled = oneshot::Sender<Result<(), ::h2::Error>>;

/// Reads and writes for a connection until it ends.
async fn drive(
    mut connection: client::Connection<Watched>,
    settled: Settled,
    life: Arc<Life>,
    sessions: Weak<Sessions>,
) {
    let mut settled = Some(settled);
    let ended = std::future::poll_fn(|cx| {
        let ended = Pin::new(&mut connection).poll(cx);
        if connection.max_concurrent_send_streams() > 0
            && let Some(settled) = settled.take()
        {
            // Nobody waits any more: then the connection has no streams, and ends.
            let _ = settled.send(Ok(()));
        }
        ended
    })
    .await;
    drop(connection);
    if let (Some(settled), Err(error)) = (settled.take(), ended) {
        let _ = settled.send(Err(error));
    }
    if let Some(sessions) = sessions.upgrade() {
        sessions.forget(&life);
    }
}

/// A transport that notes when something came.
struct Watched {
    transport: Transport,
    life: Arc<Life>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = AsyncRead::poll_read(Pin::new(&mut self.transport), cx, buffer);
        if buffer.filled().len() > before {
            let now = self.life.since_began();
            self.life.heard.store(now, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.transport.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.transport.poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
