//! Upstreams: endpoints, connections to them, and the requests sent there.
//!
//! The way of a request: [`Group::ask`] picks an endpoint, takes a kept connection or opens one
//! (`connect`), and `h1` writes the request and reads the answer's head; its body is read by whoever
//! polls it. Balancing by load, health and retries have their place in `group`.
//!
//! Beside the requests, `lookup` keeps the addresses of names, `check` asks endpoints whether they are well, and
//! `report` is what operators are told.

mod attempt;
mod check;
mod connect;
mod endpoint;
mod fault;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fixtures;
mod group;
mod h1;
mod lookup;
mod pool;
mod report;
mod transport;

pub use attempt::{Ask, BuildHead};
pub use check::{Checked, check_all};
pub use connect::{Place, TlsFault, tls};
pub use endpoint::Endpoint;
pub use fault::{Reason, UploadFault, UpstreamFault};
pub use group::{Asked, Group};
pub use h1::{Announced, Answer, AnswerBody, BodyEnd, Head, Piece, Upload, UploadBody, encode};
pub use lookup::{Found, Lookup, Resolve};
pub use pool::Pool;
pub use report::{EndpointReport, Standing, UpstreamReport};
pub use transport::Transport;
