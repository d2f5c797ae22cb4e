//! Where the bytes of a relayed body come from.

use std::pin::Pin;

use super::attempts::Trail;
use super::context::Reached;
use super::incoming::Incoming;

/// Where the bytes come from.
pub(super) enum Source {
    /// An answer that is there.
    Answer(Incoming),
    /// An answer whose head is still waited for, though ours was sent.
    Awaited(Awaited),
}

/// An answer whose head is still waited for.
pub(super) type Awaited = Pin<Box<dyn Future<Output = Arrival> + Send>>;

/// What came after the head was promised.
pub(super) enum Arrival {
    /// The event stream that was promised.
    Stream(Box<Reached>),
    /// Something else.
    Unfit {
        /// The status that would have been sent.
        status: u16,
        /// The kind of failure.
        code: &'static str,
        /// What came, in words.
        message: String,
        /// The same for the operator, where it says more.
        detail: Option<String>,
        /// What was tried.
        trail: Trail,
    },
}
