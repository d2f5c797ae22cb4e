//! A client's socket, shared by the HTTP server that reads and writes it and the relay that must know
//! what only the socket knows: that the client hung up though its bytes are not read yet, that it
//! takes nothing, and that its close has to be a reset.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::outlet::{Direct, Framing, Outlet};
use super::pump::{Pump, Running};

/// How long a write may wait before a route has said otherwise.
const STALL: Duration = Duration::from_secs(60);
/// Most bytes taken from a client by one read.
const READ_SIZE: usize = 16 * 1024;

/// Writes of at most this many bytes are gathered into one buffer.
const GATHERED: usize = 1024;

thread_local! {
    /// One buffer a worker: bytes go from it to the server's own buffer, which is sized for a head.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
    /// Small writes are gathered here.
    static WRITE_BUFFER: RefCell<[u8; GATHERED]> = const { RefCell::new([0; GATHERED]) };
}

/// What a connection is doing, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Between two requests.
    Idle(Instant),
    /// A request's head is coming in.
    Head(Instant),
    /// A request is being served.
    Busy,
}

/// A client's connection.
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    peer: SocketAddr,
    opened: Instant,
    /// Milliseconds since `opened`, with the phase in the two lowest bits: see [`Phase`].
    phase: AtomicU64,
    /// How long a write may wait, in milliseconds; 0 is for ever.
    stall: AtomicU64,
    /// When the running request has to be over, in milliseconds since `opened`; 0 is never.
    deadline: AtomicU64,
    lingers: AtomicBool,
    stopping: AtomicBool,
    stalled: AtomicBool,
    blocked: AtomicBool,
    reset: AtomicBool,
    outlet: Outlet,
    running: Running,
    tunnel: Mutex<Option<JoinHandle<()>>>,
}

const IDLE: u64 = 0;
const HEAD: u64 = 1;
const BUSY: u64 = 2;

impl Socket {
    /// Takes over an accepted connection.
    ///
    /// # Errors
    ///
    /// When the socket is gone already.
    pub fn new(tcp: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        Ok(Self {
            tcp,
            peer,
            opened: Instant::now(),
            phase: AtomicU64::new(IDLE),
            stall: AtomicU64::new(millis(STALL)),
            stalled: AtomicBool::new(false),
            deadline: AtomicU64::new(0),
            lingers: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            outlet: Outlet::default(),
            running: Running::default(),
            tunnel: Mutex::new(None),
        })
    }

    /// The client's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the client has closed its side. Costs no system call.
    pub fn is_hung_up(&self) -> bool {
        self.tcp.try_io(Interest::PRIORITY, || Ok(())).is_ok()
    }

    /// Waits until the client has closed its side, also while bytes of it are still unread.
    ///
    /// PRIORITY stands for "urgent data or read side closed" and, unlike READABLE, is not set by bytes
    /// that wait. Urgent data is not asked for when the socket is registered, so that what remains is
    /// the close. An error of the registration is an end as well.
    pub async fn hung_up(self: Arc<Self>) {
        let _ = self.tcp.ready(Interest::PRIORITY).await;
    }

    /// Makes the close of this connection a reset: the only way to tell an HTTP/1.0 client that an
    /// answer without length is not whole.
    pub fn reset_on_close(&self) {
        self.reset.store(true, Ordering::Relaxed);
        if let Err(error) = self.tcp.set_zero_linger() {
            tracing::debug!(%error, "a connection cannot be reset");
        }
    }

    /// Limits how long a write may wait for the client; `None` is for ever.
    pub fn limit_stall(&self, limit: Option<Duration>) {
        self.stall.store(limit.map_or(0, millis), Ordering::Relaxed);
    }

    /// The running request has to be over by `deadline`, whatever the client takes.
    pub fn limit_total(&self, deadline: Instant) {
        let since = millis(deadline.saturating_duration_since(self.opened));
        self.deadline.store(since.max(1), Ordering::Relaxed);
    }

    /// When the running request has to be over.
    pub fn deadline(&self) -> Option<Instant> {
        let since = self.deadline.load(Ordering::Relaxed);
        (since > 0).then(|| self.opened + Duration::from_millis(since))
    }

    /// A request body is passed on while it comes in, and may be refused before its end.
    pub fn linger_at_close(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    /// Reads and forgets what the client still sends, up to `most` bytes and for at most `time`: closing
    /// with bytes unread would be a reset, which takes the answer from the client (RFC 9112 §9.6).
    pub async fn linger(&self, most: usize, time: Duration) {
        if !self.lingers.load(Ordering::Relaxed) || self.reset.load(Ordering::Relaxed) {
            return;
        }
        let reading = async {
            let mut read = 0;
            while read < most && self.tcp.readable().await.is_ok() {
                match READ_BUFFER.with_borrow_mut(|space| self.tcp.try_read(space)) {
                    Ok(0) => return,
                    Ok(taken) => read += taken,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        };
        // Out of time is as good an end as any other here.
        let _ = tokio::time::timeout(time, reading).await;
    }

    /// The process ends: what runs on this connection is to be ended honestly, and now.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether [`Socket::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Whether the client took nothing for longer than the limit.
    pub fn has_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Whether bytes wait for the client to take them.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Writes `bytes` past the HTTP server, if neither it nor an earlier call has bytes in front of
    /// them. One system call at most, and none for a client that is known to take nothing.
    ///
    /// To be called on the connection's thread, for an answer whose body waits and has no known
    /// length, with `bytes` framed as its version asks ([`super::Framing`]); never within a poll of that
    /// connection. `outlet.rs` says why that suffices.
    ///
    /// After [`Direct::Partly`] the rest is kept as a part of `bytes`, and so keeps all of `bytes`
    /// in memory until the client took it.
    pub fn write_direct(&self, bytes: &Bytes) -> Direct {
        self.write_past(|outlet| outlet.write(&self.tcp, bytes))
    }

    /// As [`Socket::write_direct`], for `data` that is not framed yet. What is kept of it is a copy.
    pub fn write_framed(&self, framing: Framing, data: &[u8]) -> Direct {
        self.write_past(|outlet| outlet.write_framed(&self.tcp, framing, data))
    }

    fn write_past(&self, write: impl FnOnce(&Outlet) -> Direct) -> Direct {
        if self.reset.load(Ordering::Relaxed) {
            return Direct::Busy;
        }
        let outcome = write(&self.outlet);
        if outcome == Direct::Partly {
            self.blocked.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// The running answer writes past the server where it can.
    pub fn set_pump(&self, pump: Weak<dyn Pump>) {
        self.running.set(Some(pump));
    }

    /// Has the running answer write what has come. True where nothing else is to be done in this turn: the server need
    /// not be asked. To be called on the connection's thread, and never within a poll of the server.
    pub fn pump(&self, cx: &mut Context<'_>) -> bool {
        let Some(pump) = self.running.get() else {
            return false;
        };
        // What the client sends, and its close, are the server's to notice.
        pump.pump(cx) && !self.is_hung_up() && !self.is_readable()
    }

    /// Whether the client may have sent something. Costs no system call.
    fn is_readable(&self) -> bool {
        self.tcp.try_io(Interest::READABLE, || Ok(())).is_ok()
    }

    /// From now on the connection's bytes belong to `tunnel`.
    pub fn set_tunnel(&self, tunnel: JoinHandle<()>) {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }

    /// The tunnel this connection has become part of, once.
    pub fn take_tunnel(&self) -> Option<JoinHandle<()>> {
        self.tunnel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// What the connection is doing.
    pub fn phase(&self) -> Phase {
        let stored = self.phase.load(Ordering::Relaxed);
        let since = self.opened + Duration::from_millis(stored >> 2);
        match stored & 3 {
            IDLE => Phase::Idle(since),
            HEAD => Phase::Head(since),
            _ => Phase::Busy,
        }
    }

    /// A request is being served from now on.
    pub fn set_busy(&self) {
        self.phase.store(BUSY, Ordering::Relaxed);
    }

    /// The connection waits for its next request from now on.
    pub fn set_idle(&self) {
        self.deadline.store(0, Ordering::Relaxed);
        self.running.set(None);
        self.phase.store(self.stamp(IDLE), Ordering::Relaxed);
    }

    fn stamp(&self, phase: u64) -> u64 {
        (millis(self.opened.elapsed()) << 2) | phase
    }

    fn note_read(&self) {
        if self.phase.load(Ordering::Relaxed) & 3 == IDLE {
            self.phase.store(self.stamp(HEAD), Ordering::Relaxed);
        }
    }

    /// Reads once. After a short read the readiness is cleared with the state it was found in, so
    /// that the next call waits instead of asking the kernel for nothing.
    fn try_read(&self, space: &mut [u8]) -> io::Result<usize> {
        let mut taken = 0;
        let outcome = self.tcp.try_io(Interest::READABLE, || {
            taken = self.tcp.try_read(space)?;
            if taken > 0 && taken < space.len() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        });
        match outcome {
            Err(error) if taken == 0 => Err(error),
            _ => Ok(taken),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX >> 2)
}

/// The server's side of a [`Socket`]: its bytes, and the clock of a client that takes none.
///
/// The clock is here and not in a response's body, because a body is not polled while the buffers in
/// front of it are full.
#[derive(Debug)]
pub struct ClientIo {
    socket: Arc<Socket>,
    stall: Option<Pin<Box<Sleep>>>,
}

impl ClientIo {
    /// The bytes of `socket`.
    pub fn new(socket: Arc<Socket>) -> Self {
        Self {
            socket,
            stall: None,
        }
    }

    fn poll_wrote(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.socket.outlet.hold();
        ready!(self.poll_rest(cx))?;
        self.poll_taken(cx, |socket| write(&socket.tcp))
    }

    /// Writes what is left of a write past the server.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.socket.outlet.has_rest() {
            ready!(self.poll_taken(cx, |socket| socket.outlet.write_rest(&socket.tcp)))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Tries `write` until the kernel takes something, and not for longer than a client may stall.
    fn poll_taken(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    self.socket.blocked.store(false, Ordering::Relaxed);
                    self.stall = None;
                    return Poll::Ready(outcome);
                }
            }
            if let Poll::Ready(ready) = self.socket.tcp.poll_write_ready(cx) {
                ready?;
                continue;
            }
            self.socket.blocked.store(true, Ordering::Relaxed);
            return self.poll_stall(cx);
        }
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let limit = self.socket.stall.load(Ordering::Relaxed);
        if limit == 0 {
            return Poll::Pending;
        }
        let sleep = self
            .stall
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(limit))));
        match sleep.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.socket.stalled.store(true, Ordering::Relaxed);
                // What the kernel still holds would keep the connection alive behind our back.
                self.socket.reset_on_close();
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl Read for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        READ_BUFFER.with_borrow_mut(|space| {
            let space_len = space.len().min(buffer.remaining());
            loop {
                match self.socket.try_read(&mut space[..space_len]) {
                    Ok(taken) => {
                        if taken > 0 {
                            self.socket.note_read();
                        }
                        buffer.put_slice(&space[..taken]);
                        return Poll::Ready(Ok(()));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
                match self.socket.tcp.poll_read_ready(cx) {
                    Poll::Ready(ready) => ready?,
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
    }
}

impl Write for ClientIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_wrote(cx, |tcp| tcp.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if total > GATHERED {
            return self
                .get_mut()
                .poll_wrote(cx, |tcp| tcp.try_write_vectored(slices));
        }
        // An event is three slices, its chunk's frame included: copying them together costs less
        // than the kernel's walk over them.
        WRITE_BUFFER.with_borrow_mut(|gathered| {
            let mut end = 0;
            for slice in slices {
                gathered[end..end + slice.len()].copy_from_slice(slice);
                end += slice.len();
            }
            self.get_mut()
                .poll_wrote(cx, |tcp| tcp.try_write(&gathered[..end]))
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_rest(cx))?;
        this.socket.outlet.release();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket whose close is to be a reset must not say goodbye first.
        let this = self.get_mut();
        if this.socket.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        this.socket.outlet.hold();
        ready!(this.poll_rest(cx))?;
        let socket = &this.socket;
        Poll::Ready(socket2::SockRef::from(&socket.tcp).shutdown(std::net::Shutdown::Write))
    }
}
