//! What can go wrong between the gateway and an endpoint.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::h2::Reason as Code;

use super::h1::{BadFraming, BadHead};

/// A request that got no answer, or no whole one, from an endpoint.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint}: {reason}")]
pub struct UpstreamFault {
    /// The endpoint that was asked.
    pub endpoint: Arc<str>,
    /// What happened.
    pub reason: Reason,
}

/// What happened to a request.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The endpoint's name has no address.
    #[error("its name could not be looked up: {0}")]
    Resolve(io::Error),
    /// No connection could be made.
    #[error("connecting failed: {0}")]
    Connect(io::Error),
    /// The connect clock ran out: looking up, TCP and TLS together.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// The first-byte clock ran out before the head of the answer was whole.
    #[error("no answer within {0:?}")]
    FirstByteTimeout(Duration),
    /// The first-event clock ran out before the answer's first event was whole.
    #[error("no event within {0:?}")]
    FirstEventTimeout(Duration),
    /// The connection ended before the head of the answer was whole.
    #[error("the connection closed before an answer came")]
    Closed,
    /// The connection failed while the request was written or the answer read.
    #[error("the connection failed: {0}")]
    Io(io::Error),
    /// The answer's head is not acceptable HTTP/1.
    #[error("the answer is not acceptable: {0}")]
    Head(#[from] BadHead),
    /// The answer's body is not framed as it says.
    #[error("the answer's body is malformed: {0}")]
    Framing(#[from] BadFraming),
    /// The answer's body ended before its framing said so.
    #[error("the answer was cut short")]
    Cut,
    /// The answer paused for longer than the idle clock allows, and was to be continued.
    #[error("nothing came for {0:?}")]
    Idle(Duration),
    /// The answer was cut, and nobody can go on with it.
    #[error("{0}")]
    NotContinued(&'static str),
    /// No HTTP/2 is spoken there.
    #[error("it does not speak HTTP/2: {0}")]
    NoHttp2(Box<str>),
    /// The request asks for another protocol, which HTTP/2 has no way for.
    #[error("the request asks for another protocol on its connection, and HTTP/2 cannot switch")]
    Upgrade,
    /// The request has a target or a field that cannot be written in HTTP/2.
    #[error("the request cannot be written in HTTP/2: {0}")]
    Unwritable(#[from] http::Error),
    /// The stream was refused, or the connection was about to close: nothing was done for the request, which is
    /// still whole (RFC 9113 §8.7).
    #[error("the request was turned away before it was looked at: {0}")]
    Refused(Code),
    /// The stream was reset (RFC 9113 §5.4.2).
    #[error("the stream was reset: {0}")]
    Reset(Code),
    /// The connection was about to close, and the stream came too late for it (RFC 9113 §6.8).
    #[error("the connection was closed for further requests: {0}")]
    GoneAway(Code),
    /// The peer did not answer a PING.
    #[error("the connection was given up: nothing came, not even an answer to a PING within {0:?}")]
    Silent(Duration),
    /// What came is not acceptable HTTP/2, or more than is taken.
    #[error("the answer is not acceptable HTTP/2: {0}")]
    Protocol(::h2::Error),
    /// The request's own body failed; the endpoint is not to blame.
    #[error("the request body failed: {0}")]
    Upload(#[from] UploadFault),
}

/// Why a request body that is passed on while it comes in stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadFault {
    /// The client closed, or sent what is no body.
    #[error("the client did not send it whole")]
    Client,
    /// It is larger than the route takes.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// The client paused for too long.
    #[error("it did not come within {0:?}")]
    Slow(Duration),
}

impl Reason {
    /// Whether not one byte of the request was written, or the endpoint said that it did not look at it, so that any
    /// request may be sent elsewhere.
    pub fn before_request(&self) -> bool {
        matches!(
            self,
            Self::Resolve(_)
                | Self::Connect(_)
                | Self::ConnectTimeout(_)
                | Self::NoHttp2(_)
                | Self::Upgrade
                | Self::Refused(_)
        )
    }

    /// The same of a connection that several have waited for.
    pub(super) fn again(&self) -> Self {
        let copy = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
        match self {
            Self::Resolve(error) => Self::Resolve(copy(error)),
            Self::Connect(error) => Self::Connect(copy(error)),
            Self::ConnectTimeout(limit) => Self::ConnectTimeout(*limit),
            Self::NoHttp2(why) => Self::NoHttp2(why.clone()),
            other => Self::NoHttp2(other.to_string().into()),
        }
    }

    /// Whether a clock ran out.
    pub fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::ConnectTimeout(_) | Self::FirstByteTimeout(_) | Self::FirstEventTimeout(_)
        )
    }
}
