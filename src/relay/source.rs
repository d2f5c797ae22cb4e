//! Where the bytes of a relayed body come from.

use std::pin::Pin;
use std::sync::Arc;

use crate::config::ResolvedClocks;
use crate::upstream::AnswerBody;

/// Where the bytes come from.
pub(super) enum Source {
    /// An answer that is there.
    Answer(Box<AnswerBody>),
    /// An answer whose head is still waited for, though ours was sent.
    Awaited(Awaited),
}

/// An answer whose head is still waited for.
pub(super) type Awaited = Pin<Box<dyn Future<Output = Arrival> + Send>>;

/// What came after the head was promised.
pub(super) enum Arrival {
    /// The event stream that was promised.
    Stream {
        /// Its body.
        body: Box<AnswerBody>,
        /// Who sends it.
        endpoint: Arc<str>,
        /// Its entry in the route's chain.
        entry: usize,
        /// The clocks that run for it.
        clocks: Box<ResolvedClocks>,
    },
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
    },
}
