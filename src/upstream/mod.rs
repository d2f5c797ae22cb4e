//! Upstreams: endpoints, connections to them, and the requests sent there.
//!
//! The way of a request: [`Group::ask`] picks an endpoint, takes a kept connection or opens one
//! (`connect`), and `h1` writes the request and reads the answer's head; its body is read by whoever
//! polls it. Balancing by load, health and retries have their place in `group`.

mod attempt;
mod balance;
mod breaker;
mod budget;
mod connect;
mod endpoint;
mod fault;
mod group;
mod h1;
mod latency;
mod pool;
mod transport;
mod turns;

pub use attempt::{Ask, BuildHead};
pub use balance::{Balancer, Candidate, hash_of};
pub use breaker::{Breaker, Ended, Pass, Standing};
pub use budget::Budget;
pub use connect::{Place, TlsFault, tls};
pub use endpoint::Endpoint;
pub use fault::{Reason, UploadFault, UpstreamFault};
pub use group::{Asked, Group};
pub use h1::{Announced, Answer, AnswerBody, BodyEnd, Head, Piece, Upload, UploadBody, encode};
pub use latency::Latency;
pub use pool::Pool;
pub use transport::Transport;
