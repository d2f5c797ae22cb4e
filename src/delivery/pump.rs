//! An answer that writes past the HTTP server while its stream is under way.
//!
//! The server's way from a body to its socket is made for all answers: it looks for a further request, asks the body
//! until it waits, and flushes, several times over for one event. A stream that is under way needs none of this. Its
//! connection's task first asks it for what has come, which it writes itself ([`super::outlet`] says why it may), and
//! asks the server only when there is more to do than that.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Context;

/// An answer that can write past the server.
pub trait Pump: Send + Sync {
    /// Writes what has come. True where that is all there was to do in this turn; otherwise the server is to be asked
    /// as well. Never called within a poll of the server.
    fn pump(&self, cx: &mut Context<'_>) -> bool;
}

/// The running answer of a connection, where it is one that can write past the server. It belongs to the server, which
/// drops it.
#[derive(Default)]
pub(super) struct Running(Mutex<Option<Weak<dyn Pump>>>);

impl Running {
    pub(super) fn set(&self, pump: Option<Weak<dyn Pump>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pump;
    }

    pub(super) fn get(&self) -> Option<Arc<dyn Pump>> {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref()?.upgrade()
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}
