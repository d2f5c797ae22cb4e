//! The way out: a request's head and body onto the connection.
//!
//! The sender never waits for anything but the socket and the body it passes on, and it is polled
//! beside the reading of the answer: a server may answer before it has read everything.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;

use crate::upstream::fault::{Reason, UploadFault};
use crate::upstream::transport::Transport;

/// A request body that is passed on while it comes in.
pub type UploadBody = Pin<Box<dyn Body<Data = Bytes, Error = UploadFault> + Send>>;

/// A request's body.
pub enum Upload {
    /// Held whole (or empty): it can be sent again.
    Kept(Bytes),
    /// Passed on once while it comes in: so many bytes, or chunked.
    Streaming(UploadBody, Option<u64>),
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kept(body) => write!(f, "Kept({} bytes)", body.len()),
            Self::Streaming(_, length) => write!(f, "Streaming({length:?})"),
        }
    }
}

/// What is still to be written.
pub(super) struct Sender {
    /// What goes first; empty when nothing is left. Most requests are this alone, and need no queue.
    front: Bytes,
    queue: VecDeque<Bytes>,
    upload: Option<UploadBody>,
    chunked: bool,
    flushed: bool,
    written: bool,
}

impl Sender {
    /// A sender of `head`, then of `upload`.
    pub(super) fn new(head: Bytes, upload: Upload) -> Self {
        let (body, upload, chunked) = match upload {
            Upload::Kept(body) => (body, None, false),
            Upload::Streaming(body, length) => (Bytes::new(), Some(body), length.is_none()),
        };
        let mut sender = Self {
            front: head,
            queue: VecDeque::new(),
            upload,
            chunked,
            flushed: false,
            written: false,
        };
        sender.push(body);
        sender
    }

    /// Whether at least one byte was written.
    pub(super) fn has_written(&self) -> bool {
        self.written
    }

    /// Whether every byte was written.
    pub(super) fn is_done(&self) -> bool {
        self.flushed && self.upload.is_none() && self.front.is_empty()
    }

    /// Writes as much as can be; ready when everything was written.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut Transport,
    ) -> Poll<Result<(), Reason>> {
        loop {
            while !self.front.is_empty() {
                ready!(self.poll_queue(cx, transport)).map_err(Reason::Io)?;
            }
            if !self.flushed {
                ready!(transport.poll_flush(cx)).map_err(Reason::Io)?;
                self.flushed = true;
            }
            let Some(upload) = &mut self.upload else {
                return Poll::Ready(Ok(()));
            };
            match ready!(upload.as_mut().poll_frame(cx)) {
                Some(frame) => match frame?.into_data() {
                    Ok(data) => self.push_data(data),
                    Err(frame) => self.push_end(frame.trailers_ref()),
                },
                None => self.push_end(None),
            }
        }
    }

    fn poll_queue(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut Transport,
    ) -> Poll<io::Result<()>> {
        let mut slices = [IoSlice::new(&[]); 4];
        let mut count = 0;
        let waiting = iter::once(&self.front).chain(&self.queue);
        for (slice, bytes) in slices.iter_mut().zip(waiting) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        let mut written = ready!(transport.poll_write(cx, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.flushed = false;
        self.written = true;
        while written >= self.front.len() && !self.front.is_empty() {
            written -= self.front.len();
            self.front = self.queue.pop_front().unwrap_or_default();
        }
        self.front.advance(written);
        Poll::Ready(Ok(()))
    }

    /// Puts `bytes` behind what is there; nothing is not put anywhere.
    fn push(&mut self, bytes: Bytes) {
        if self.front.is_empty() {
            self.front = bytes;
        } else if !bytes.is_empty() {
            self.queue.push_back(bytes);
        }
    }

    fn push_data(&mut self, data: Bytes) {
        // An empty chunk would end the body.
        if data.is_empty() {
            return;
        }
        if self.chunked {
            self.push(format!("{:x}\r\n", data.len()).into());
            self.push(data);
            self.push(Bytes::from_static(b"\r\n"));
        } else {
            self.push(data);
        }
    }

    fn push_end(&mut self, trailers: Option<&HeaderMap>) {
        self.upload = None;
        if !self.chunked {
            return;
        }
        let mut end = b"0\r\n".to_vec();
        for (name, value) in trailers.into_iter().flatten() {
            end.extend_from_slice(name.as_str().as_bytes());
            end.extend_from_slice(b": ");
            end.extend_from_slice(value.as_bytes());
            end.extend_from_slice(b"\r\n");
        }
        end.extend_from_slice(b"\r\n");
        self.push(end.into());
    }
}
