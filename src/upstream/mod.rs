//! Upstreams: endpoints, connections to them, and the requests sent there.
//!
//! The way of a request: [`Group::pick`] chooses an endpoint and gives a [`Turn`] there, and [`Group::attempt`] asks
//! it: a kept connection or a new one (`connect`), on which `h1` or `h2` writes the request and reads the answer's head;
//! its body is read by whoever polls it. What becomes of it is told to the turn, and so to the endpoint's health.

mod attempt;
mod balance;
mod body;
mod breaker;
mod budget;
mod check;
mod clock;
mod connect;
mod endpoint;
mod fault;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fixtures;
mod group;
mod h1;
mod h2;
mod latency;
mod lookup;
mod pool;
mod report;
mod transport;
mod turn;
mod turns;

pub use attempt::{Ask, BuildHead};
pub use balance::{Balancer, Candidate, hash_of};
pub use body::{Answer, AnswerBody, BodyEnd, Past, Piece};
pub use breaker::{Breaker, Ended, Pass, Standing};
pub use budget::Budget;
pub use check::{Checked, check_all};
pub use clock::Clock;
pub use connect::{Place, TlsFault, tls};
pub use endpoint::{Endpoint, Health};
pub use fault::{Reason, UploadFault, UpstreamFault};
pub use group::{Asked, Group, Member, Wish};
pub use h1::{Announced, Head, Upload, UploadBody, encode};
pub use h2::compose;
pub use latency::Latency;
pub use lookup::{Found, Lookup, Resolve};
pub use pool::Pool;
pub use report::{EndpointReport, UpstreamReport};
pub use transport::Transport;
pub use turn::Turn;
