//! Delivery: events and bytes onto a client's connection, and what can be told of the client.

mod doorbell;
mod encode;
mod heartbeat;
mod outlet;
mod pump;
mod socket;
mod transport;
pub mod websocket;

pub use doorbell::{doorbell, unheard};
pub use encode::{
    Encoding, Gap, Item, Reason, encode, gap, greeting, heartbeat, object, poll_body, prime,
};
pub use heartbeat::{Silence, SilenceClock};
pub use outlet::{Direct, Framing, chunk};
pub use pump::Pump;
pub use socket::{ClientIo, Phase, Socket};
pub use transport::{BadTransport, Transport, choose};
