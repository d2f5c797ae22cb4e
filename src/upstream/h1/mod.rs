//! HTTP/1.1 as a client, polled inside the task that serves the caller.
//!
//! There is no task, channel or buffer for a connection of its own: a relayed event costs one read of
//! the upstream's socket and one write of the caller's, and a caller who leaves drops the
//! connection with everything that hangs on it.

mod body;
mod exchange;
mod framing;
mod head;
mod send;

pub use body::Body;
pub use exchange::{Connection, ExchangeFault, exchange};
pub use framing::BadFraming;
pub use head::{Announced, BadHead, Head, MAX_FIELDS, MAX_HEAD, encode};
pub use send::{Upload, UploadBody};
