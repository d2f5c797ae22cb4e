//! One request on a stream, and the head of its answer.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ::h2::client::ResponseFuture;
use ::h2::{Reason as Code, RecvStream};
use http::{Method, Request, Response};

use super::body::Body;
use super::head;
use super::send::Sender;
use super::session::Lease;
use crate::upstream::fault::Reason;
use crate::upstream::h1::{Announced, Head, Upload};

/// A server that had closed the connection before shows it within a round trip; one that takes longer
/// may have begun to work.
const STALE_WITHIN: Duration = Duration::from_secs(1);

/// A request that failed before its answer began.
pub(in crate::upstream) struct ExchangeFault {
    /// What happened.
    pub reason: Reason,
    /// Whether the peer has done nothing for it, for certain: any request may be sent again (RFC 9113 §8.7).
    pub unsent: bool,
    /// Whether the connection was at work before and failed at once: most likely it was closed meanwhile.
    pub stale: bool,
    /// The request's body, if it is still whole.
    pub upload: Option<Upload>,
}

/// Sends a request and waits for the head of its answer; interim answers are passed over (RFC 9110 §15.2). Dropped
/// before that, it resets the stream.
///
/// # Errors
///
/// [`ExchangeFault`].
pub(in crate::upstream) async fn exchange(
    mut lease: Lease,
    mut request: Request<()>,
    announced: Announced,
    upload: Upload,
) -> Result<(Head, Body), ExchangeFault> {
    let started = Instant::now();
    let method = request.method().clone();
    head::announce(request.headers_mut(), announced);
    let empty = matches!(&upload, Upload::Kept(body) if body.is_empty());
    let (answer, mut stream) = match lease.send.send_request(request, empty) {
        Ok(sent) => sent,
        Err(error) => {
            let unsent = error.is_io() || error.is_remote();
            return Err(ExchangeFault {
                reason: lease.reason(error),
                unsent,
                stale: false,
                upload: Some(upload),
            });
        }
    };
    let (kept, sender) = match upload {
        Upload::Kept(body) => {
            if !empty {
                // Handed over whole: it is held anyway, and leaves as fast as the peer takes it. What went wrong
                // shows in the answer.
                let _ = stream.send_data(body.clone(), true);
            }
            (Some(body), None)
        }
        Upload::Streaming(body, length) => (None, Some(Sender::new(stream, body, length))),
    };
    let mut waiting = Waiting {
        answer,
        sender,
        read: false,
    };
    let outcome = poll_fn(|cx| waiting.poll(cx, &lease)).await;
    let sender = waiting.sender.take();
    let answer = match outcome {
        Ok(answer) => answer,
        Err(reason) => {
            let closed = matches!(reason, Reason::Closed | Reason::Io(_));
            let stale = closed && lease.reused && started.elapsed() < STALE_WITHIN;
            let unsent = is_unprocessed(&reason);
            let untouched = !waiting.read;
            let upload = kept
                .map(Upload::Kept)
                .or_else(|| sender.filter(|_| untouched)?.into_untouched());
            return Err(ExchangeFault {
                reason,
                unsent,
                stale,
                upload,
            });
        }
    };
    finish(&method, answer, sender, lease)
}

/// Whether the peer says that it has not looked at the request.
fn is_unprocessed(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Reset(Code::REFUSED_STREAM) | Reason::GoneAway(_)
    )
}

fn finish(
    method: &Method,
    answer: Response<RecvStream>,
    sender: Option<Sender>,
    lease: Lease,
) -> Result<(Head, Body), ExchangeFault> {
    match head::read(method, answer) {
        Ok((head, data, length)) => Ok((head, Body::new(data, sender, lease, length))),
        Err(bad) => Err(ExchangeFault {
            reason: bad.into(),
            unsent: false,
            stale: false,
            upload: None::<Upload>,
        }),
    }
}

/// A request whose answer is waited for.
struct Waiting {
    answer: ResponseFuture,
    sender: Option<Sender>,
    /// Whether the whole upload was read.
    read: bool,
}

impl Waiting {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        lease: &Lease,
    ) -> Poll<Result<Response<RecvStream>, Reason>> {
        if let Some(sender) = &mut self.sender
            && let Poll::Ready(outcome) = sender.poll(cx)
        {
            match outcome {
                Err(reason @ Reason::Upload(_)) => return Poll::Ready(Err(reason)),
                // The stream is over: the answer, or the error in its place, says why. An upload that was not begun
                // stays whole.
                Err(_) => {}
                Ok(()) => {
                    self.sender = None;
                    self.read = true;
                }
            }
        }
        let answer = ready!(std::pin::Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(answer.map_err(|error| lease.reason(error)))
    }
}
