//! HTTP/2 as a client (RFC 9113).
//!
//! Streams of many requests share a connection, which therefore needs a task of its own: the driver, on the worker
//! that opened it. A relayed event costs one wake-up more than by HTTP/1.1, and no copy. What one client does not take
//! is held back for its stream alone: each stream has its window, and the connection's is as large as it can be, so
//! that a slow client never holds up another's stream.
//!
//! `session` is one connection, `sessions` those of one worker to one endpoint, `exchange` a request on a stream,
//! `body` its answer's.

mod body;
mod exchange;
mod head;
mod opening;
mod send;
mod session;
mod sessions;

pub use body::Body;
pub(super) use exchange::exchange;
pub use head::compose;
pub(super) use opening::Opening;
pub(super) use sessions::{Given, Sessions};

#[cfg(test)]
mod tests;
