//! Events as text messages of a WebSocket (RFC 6455).

mod handshake;
mod serve;

pub use handshake::{BadUpgrade, accept, is_upgrade, origin_allowed};
pub use serve::{Clocks, Close, End, Next, Source, serve};
