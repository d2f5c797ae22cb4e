//! What can go wrong between the gateway and an endpoint.

use std::io;
use std::sync::Arc;
use std::time::Duration;

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
    Silence(Duration),
    /// The answer was cut, and nobody can go on with it.
    #[error("{0}")]
    NotContinued(&'static str),
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
    /// Whether not one byte of the request was written, so that any request may be sent elsewhere.
    pub fn before_request(&self) -> bool {
        matches!(
            self,
            Self::Resolve(_) | Self::Connect(_) | Self::ConnectTimeout(_)
        )
    }

    /// Whether a clock ran out.
    pub fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::ConnectTimeout(_) | Self::FirstByteTimeout(_) | Self::FirstEventTimeout(_)
        )
    }
}
