//! What the tests stand on: a backend and a client that own every byte, and ways to start a gateway.

pub mod api;
pub mod backend;
pub mod binary;
pub mod client;
pub mod events;
pub mod gateway;
pub mod http2;
pub mod limit;
pub mod recording;
pub mod script;
pub mod tls;
pub mod wire;

pub use backend::{Backend, Peer};
pub use client::{Ask, Client, Ended};
pub use events::{Event, Reader};
pub use gateway::{Gateway, gateway, toml};
pub use limit::{until, within};
pub use script::Script;
