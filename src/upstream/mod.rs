//! Upstreams: endpoints, connections to them, and the requests sent there.
//!
//! The way of a request: [`Group::pick`] chooses an endpoint and gives a [`Turn`] there, and [`Group::attempt`] asks
//! it: a kept connection or a new one (`connect`), on which `h1` writes the request and reads the answer's head;
//! its body is read by whoever polls it. What becomes of it is told to the turn, and so to the endpoint's health.

mod attempt;
mod balance;
mod breaker;
mod budget;
mod connect;
mod endpoint;
mod fault;
mod group;
mod h1;
mod lookup;
mod pool;
mod transport;
mod turn;
mod latency;
mod pool;
mod transport;
mod turns;

pub use attempt::{Ask, BuildHead};
pub use balance::{Balancer, Candidate, hash_of};
pub use breaker::{Breaker, Pass, Standing};
pub use budget::Budget;
pub use connect::{Place, TlsFault, tls};
pub use endpoint::{Endpoint, Health};
pub use fault::{Reason, UploadFault, UpstreamFault};
pub use group::{Asked, Group, Member, Wish};
pub use h1::{Announced, Answer, AnswerBody, BodyEnd, Head, Piece, Upload, UploadBody, encode};
pub use lookup::{Found, Lookup, Resolve};
pub use latency::Latency;
pub use pool::Pool;
pub use transport::Transport;
pub use turn::Turn;
