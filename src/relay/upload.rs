//! A request's body on its way in: bounded, and never waited for without a limit.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::delivery::unheard;
use crate::edge::hop;
use crate::upstream::UploadFault;

/// How many of the longest pauses a body may take that is held before anything is sent on: a byte in
/// every pause would hold it for ever.
const PAUSES: u32 = 10;

/// The body of a request, as the client sends it.
pub struct Inbound {
    /// None after [`Inbound::take`].
    body: Option<Incoming>,
    left: u64,
    limit: u64,
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Set once all of it was read.
    whole: Option<Arc<AtomicBool>>,
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Inbound {
    /// A body of at most `limit` bytes, with no pause longer than `pause`.
    pub fn new(body: Incoming, limit: u64, pause: Duration) -> Self {
        Self {
            body: Some(body),
            left: limit,
            limit,
            pause,
            timer: None,
            whole: None,
        }
    }

    /// No body.
    pub(super) fn none() -> Self {
        Self {
            body: None,
            left: 0,
            limit: 0,
            pause: Duration::ZERO,
            timer: None,
            whole: None,
        }
    }

    /// Sets the limit, in bytes of the whole body, once the route is known.
    pub fn limit(&mut self, limit: u64) {
        let read = self.limit - self.left;
        self.left = limit.saturating_sub(read);
        self.limit = limit;
    }

    /// The length the client announced.
    pub fn announced(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    /// What tells whether all of it was read, also to who has given it away.
    pub(super) fn watch(&mut self) -> Arc<AtomicBool> {
        self.whole.get_or_insert_default().clone()
    }

    /// Whether there is no body at all, or all of it was read.
    pub fn is_over(&self) -> bool {
        self.is_end_stream()
    }

    /// Refuses at once what says itself that it is too large.
    ///
    /// # Errors
    ///
    /// [`UploadFault::TooLarge`].
    pub fn check_announced(&self) -> Result<(), UploadFault> {
        match self.announced() {
            Some(length) if length > self.limit => Err(UploadFault::TooLarge(self.limit)),
            _ => Ok(()),
        }
    }

    /// Reads and forgets what the client still sends, up to `most` bytes and for at most `time`, so
    /// that it gets to reading the answer instead of a reset.
    pub async fn drain(&mut self, most: u64, time: Duration) {
        self.left = most;
        let draining = async { while let Some(Ok(_)) = self.frame().await {} };
        // Running out of time is as good an end as any other here.
        let _ = tokio::time::timeout(time, draining).await;
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let (polled, woken) = unheard(|| Pin::new(&mut *body).poll_frame(cx));
        // The server would read on. Behind the last piece there is nothing to be read.
        let is_last = matches!(polled, Poll::Ready(Some(Ok(_)))) && body.is_end_stream();
        if let Some(server) = woken.filter(|_| !is_last) {
            server.wake();
        }
        if let Some(whole) = &this.whole
            && (matches!(polled, Poll::Ready(None)) || body.is_end_stream())
        {
            whole.store(true, Ordering::Relaxed);
        }
        match polled {
            Poll::Ready(Some(Ok(mut frame))) => {
                this.timer = None;
                if let Some(trailers) = frame.trailers_mut() {
                    hop::strip_trailers(trailers);
                }
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                if length > this.left {
                    return Poll::Ready(Some(Err(UploadFault::TooLarge(this.limit))));
                }
                this.left -= length;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(UploadFault::Client))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let until = Instant::now() + this.pause;
                let timer = this
                    .timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
                match timer.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(UploadFault::Slow(this.pause)))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}

/// The whole of `body`, if it is at most `bound` bytes and comes within ten of the longest pauses.
///
/// # Errors
///
/// [`UploadFault`]; a body over `bound` is read no further.
pub async fn collect(body: &mut Inbound, bound: u64) -> Result<Bytes, UploadFault> {
    let limit = body.pause * PAUSES;
    let mut gathering = pin!(gather(body, bound));
    // A small body came with its head, and needs no clock.
    let at_hand = poll_fn(|cx| Poll::Ready(gathering.as_mut().poll(cx))).await;
    let Poll::Ready(outcome) = at_hand else {
        // Boxed: a clock is large, and most requests have none.
        return match Box::pin(tokio::time::timeout(limit, gathering)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(UploadFault::Slow(limit)),
        };
    };
    outcome
}

async fn gather(body: &mut Inbound, bound: u64) -> Result<Bytes, UploadFault> {
    if body.announced().is_some_and(|length| length > bound) {
        return Err(UploadFault::TooLarge(bound));
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        length += data.len() as u64;
        if length > bound {
            return Err(UploadFault::TooLarge(bound));
        }
        // A body that came in one piece, as most do, is not copied.
        if first.is_empty() && all.is_empty() {
            // Its length was announced and is there: nothing else can follow.
            if body.is_over() {
                return Ok(data);
            }
            first = data;
            continue;
        }
        if all.is_empty() {
            all.reserve(
                usize::try_from(body.announced().unwrap_or(0))
                    .unwrap_or(0)
                    .max(first.len() * 2),
            );
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}
