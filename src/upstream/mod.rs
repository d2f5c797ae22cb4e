//! Upstreams: endpoints, connections to them, and the requests sent there.
//!
//! The way of a request: [`Group::ask`] picks an endpoint, takes a kept connection or opens one
//! (`connect`), and `h1` or `h2` writes the request and reads the answer's head; its body is read by whoever
//! polls it. Balancing by load, health and retries have their place in `group`.

mod attempt;
mod body;
mod connect;
mod endpoint;
mod fault;
mod group;
mod h1;
mod h2;
mod pool;
mod transport;

pub use attempt::{Ask, BuildHead};
pub use connect::{Place, TlsFault, tls};
pub use endpoint::Endpoint;
pub use fault::{Reason, UploadFault, UpstreamFault};
pub use group::{Asked, Group};
pub use body::{Answer, AnswerBody, BodyEnd, Piece};
pub use h1::{Announced, Head, Upload, UploadBody, encode};
pub use h2::compose;
pub use pool::Pool;
pub use transport::Transport;
