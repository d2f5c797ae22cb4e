//! Bytes written past the HTTP server, onto a connection whose server has nothing of its own to write.
//!
//! A fan-out hands the same event to many connections. The server's way costs each of them a wake-up,
//! a poll of its task and a frame of its own; past it, an event is framed once, and each delivery is one
//! system call. It is allowed while three things hold:
//!
//! 1. The running answer's body is open and has said that it has nothing (it returned `Pending`), and
//!    its length is not known beforehand. The caller sees to that: it writes for bodies that wait.
//! 2. The caller runs on the connection's thread, and not within a poll of that connection.
//! 3. [`Outlet::is_free`]: the server's last word to the socket was "all is written".
//!
//! Why nothing of the server's can then be cut in two or overtaken (hyper 1.12, `proto/h1`):
//!
//! - `Buffered::poll_flush` calls the flush of its io in two places, both behind `write_buf.remaining()
//!   == 0`. (It returns before, without calling, only with `pipeline_flush`, which is not set here.) A
//!   chunk is in that buffer whole, with its size line and its CRLF. So a flush means that the socket took
//!   whole chunks, or the whole head: an end of a chunk is where ours may begin.
//! - `Dispatcher::poll_loop` polls the body (`poll_write`) until it waits and then flushes, in one poll of
//!   the connection; the second `poll_write` of a turn is followed by a flush if it has buffered anything.
//!   Where the socket takes less, a write was tried first, and that ended the freedom ([`Outlet::hold`]).
//!   So what is buffered and not yet offered to the socket exists only within a poll, and 2. excludes that.
//! - While a body is open (`Writing::Body`) nothing but its frames is put into the buffer. `100 Continue`
//!   and the answers to heads that cannot be read are written under `Writing::Init` only, which is before
//!   the head; a pipelined request is not read before the body has ended and was flushed.
//! - Before the head is written nothing was flushed in this request, but perhaps in the one before it;
//!   a body that waits has been polled, and so its head is in the buffer or out.
//! - At the end of a body its last chunk goes through the server, behind what is kept of ours. On a kept
//!   connection the next head does the same.
//! - Whoever takes over an upgraded connection writes through the same [`super::ClientIo`]. There is no
//!   body then, and so by 1. nobody who would write past it.
//!
//! A chunk that the kernel took in part is kept, and [`super::ClientIo`] puts the rest before anything
//! else: writes, flushes and the shutdown wait for it.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::net::TcpStream;

thread_local! {
    /// What is written is framed here.
    static WRITE_BUFFER: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// How a running answer's body is framed, by the version of its request (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// HTTP/1.1: one chunk for each delivery (RFC 9112 §7.1).
    Chunked,
    /// HTTP/1.0: the bytes as they are, ended by the close of the connection.
    Bare,
}

impl Framing {
    /// The framing of an answer without length to a request of this version.
    pub fn of(version: http::Version) -> Self {
        if version < http::Version::HTTP_11 {
            Self::Bare
        } else {
            Self::Chunked
        }
    }

    /// Appends `bytes` as they go onto the connection. Nothing is appended for no bytes: an empty
    /// chunk would be the last one.
    pub fn put(self, bytes: &[u8], out: &mut BytesMut) {
        match self {
            Self::Chunked => chunk(bytes, out),
            Self::Bare => out.extend_from_slice(bytes),
        }
    }
}

/// Most bytes that a chunk has besides its content: sixteen digits and two line ends.
const CHUNK_FRAME: usize = 16 + 4;

/// Appends `bytes` as one chunk; nothing for no bytes.
pub fn chunk(bytes: &[u8], out: &mut BytesMut) {
    if bytes.is_empty() {
        return;
    }
    out.reserve(bytes.len() + CHUNK_FRAME);
    let mut shift = bytes.len().ilog2() / 4 * 4;
    loop {
        out.put_u8(b"0123456789abcdef"[bytes.len() >> shift & 15]);
        if shift == 0 {
            break;
        }
        shift -= 4;
    }
    out.put_slice(b"\r\n");
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

/// What became of bytes that were to go past the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a connection that is not woken does not write what waits"]
pub enum Direct {
    /// The kernel has them all.
    Written,
    /// The kernel has some. The rest is kept and goes out before anything else: count the bytes as
    /// delivered, and wake the connection's task, which writes it.
    Partly,
    /// None of them went out and none are kept: the server has bytes of its own, a rest waits, the
    /// client takes nothing, or the socket has failed. Wake the connection's task; they go the usual
    /// way, through the body, which is also where a failure is noticed.
    Busy,
}

/// Whether a connection may be written past its server, and what is left of such a write.
#[derive(Debug, Default)]
pub(super) struct Outlet {
    /// The server flushed, and has written nothing since.
    flushed: AtomicBool,
    /// Whether `rest` has anything, for those who only want to know that.
    has_rest: AtomicBool,
    rest: Mutex<Option<Bytes>>,
}

impl Outlet {
    /// Writes `bytes` if nothing is in front of them.
    pub(super) fn write(&self, tcp: &TcpStream, bytes: &Bytes) -> Direct {
        if !self.is_free() {
            return Direct::Busy;
        }
        if bytes.is_empty() {
            return Direct::Written;
        }
        match tcp.try_write(bytes) {
            Ok(taken) if taken == bytes.len() => Direct::Written,
            // A socket that took nothing of something has no better word for it.
            Ok(0) | Err(_) => Direct::Busy,
            Ok(taken) => {
                self.keep(bytes.slice(taken..));
                Direct::Partly
            }
        }
    }

    /// Writes `data`, framed, if nothing is in front of it; what the kernel does not take is copied.
    pub(super) fn write_framed(&self, tcp: &TcpStream, framing: Framing, data: &[u8]) -> Direct {
        if !self.is_free() {
            return Direct::Busy;
        }
        if data.is_empty() {
            return Direct::Written;
        }
        WRITE_BUFFER.with_borrow_mut(|framed| {
            framed.clear();
            framing.put(data, framed);
            match tcp.try_write(framed) {
                Ok(taken) if taken == framed.len() => Direct::Written,
                Ok(0) | Err(_) => Direct::Busy,
                Ok(taken) => {
                    self.keep(Bytes::copy_from_slice(&framed[taken..]));
                    Direct::Partly
                }
            }
        })
    }

    /// Keeps what the kernel did not take.
    fn keep(&self, rest: Bytes) {
        *self.rest() = Some(rest);
        self.has_rest.store(true, Ordering::Relaxed);
    }

    /// Whether the server has nothing of its own, and nothing of ours waits.
    fn is_free(&self) -> bool {
        self.flushed.load(Ordering::Relaxed) && !self.has_rest.load(Ordering::Relaxed)
    }

    /// The server writes, or says goodbye: nothing goes past it until it has flushed.
    pub(super) fn hold(&self) {
        self.flushed.store(false, Ordering::Relaxed);
    }

    /// The server has nothing left to write.
    pub(super) fn release(&self) {
        self.flushed.store(true, Ordering::Relaxed);
    }

    /// Whether a rest waits. Costs one load.
    pub(super) fn has_rest(&self) -> bool {
        self.has_rest.load(Ordering::Relaxed)
    }

    /// Writes of the rest; the answer is 0 if there is none.
    pub(super) fn write_rest(&self, tcp: &TcpStream) -> io::Result<usize> {
        let mut rest = self.rest();
        let Some(bytes) = rest.as_mut() else {
            self.has_rest.store(false, Ordering::Relaxed);
            return Ok(0);
        };
        let taken = match tcp.try_write(bytes)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            taken => taken,
        };
        bytes.advance(taken);
        if bytes.is_empty() {
            *rest = None;
            self.has_rest.store(false, Ordering::Relaxed);
        }
        Ok(taken)
    }

    fn rest(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "outlet_tests.rs"]
mod tests;
