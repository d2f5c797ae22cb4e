//! A request body that is passed on while it comes in, as fast as the backend takes it.
//!
//! Nothing is read from the client while the stream's window is closed: what lies with us is one piece.

use std::task::{Context, Poll, ready};

use ::h2::{Reason as Code, SendStream};
use bytes::Bytes;

use crate::upstream::fault::Reason;
use crate::upstream::h1::{Upload, UploadBody};

/// What is still to be sent.
pub(super) struct Sender {
    stream: SendStream<Bytes>,
    upload: UploadBody,
    length: Option<u64>,
    /// Whether something was read from the upload: then it cannot be sent again.
    touched: bool,
}

/// Why sending ended before the body did: the answer tells more.
const GONE: Reason = Reason::Closed;

impl Sender {
    /// A sender of `upload`, behind a head that was sent and announced `length`, if anything.
    pub(super) fn new(stream: SendStream<Bytes>, upload: UploadBody, length: Option<u64>) -> Self {
        Self {
            stream,
            upload,
            length,
            touched: false,
        }
    }

    /// The upload, if nothing was read from it.
    pub(super) fn into_untouched(self) -> Option<Upload> {
        (!self.touched).then_some(Upload::Streaming(self.upload, self.length))
    }

    /// Sends as much as can be; ready when everything was handed over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        loop {
            ready!(self.poll_room(cx))?;
            let frame = ready!(self.upload.as_mut().poll_frame(cx));
            self.touched = true;
            let sent = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    // An empty frame costs its reader as much as a full one.
                    Ok(data) if data.is_empty() => continue,
                    Ok(data) => self.stream.send_data(data, false),
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        let sent = self.stream.send_trailers(trailers);
                        return Poll::Ready(sent.map_err(|_| GONE));
                    }
                },
                None => {
                    let sent = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(sent.map_err(|_| GONE));
                }
                Some(Err(fault)) => {
                    self.stream.send_reset(Code::CANCEL);
                    return Poll::Ready(Err(fault.into()));
                }
            };
            if sent.is_err() {
                return Poll::Ready(Err(GONE));
            }
        }
    }

    /// Ready when the backend takes at least one byte more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(GONE)),
            }
        }
        Poll::Ready(Ok(()))
    }
}
