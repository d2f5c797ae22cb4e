//! The listener for clients: sockets, connections, and the pipeline every request goes through.
//!
//! hyper reads and writes HTTP; `pipeline` is the way of a request on one screen; `refusal` renders
//! what the gateway answers itself; `connection` drives one connection and its clocks.

mod connection;
mod listener;
mod pipeline;
mod refusal;
mod shutdown;

pub use listener::{bind, serve};
pub use pipeline::Gateway;
pub use shutdown::Shutdown;
