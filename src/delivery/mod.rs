//! Delivery: bytes onto a client's connection, and what can be told of the client.

mod heartbeat;
mod socket;
mod stub;
pub use stub::*;

pub use heartbeat::{Silence, SilenceClock};
pub use socket::{ClientIo, Phase, Socket};
