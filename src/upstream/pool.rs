//! Connections of one worker, kept for the next request to the same endpoint: idle ones of HTTP/1.1, and those of
//! HTTP/2, which many requests share.
//!
//! The last one used is the first one taken again: it is the least likely to have been closed by
//! the server meanwhile, and the others age until they are swept.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::clock::Clock;
use super::endpoint::Endpoint;
use super::h1::Connection;
use super::h2::Sessions;

/// Most clocks that are kept: each has a timer, and who asks many at once sets some anew.
const CLOCKS: usize = 256;

/// Connections, by endpoint. Belongs to one worker: a connection is bound to its reactor.
#[derive(Debug, Default)]
pub struct Pool {
    /// By the number of the endpoint: they are given in turn, and a list of them has no gaps.
    idle: Mutex<Vec<Vec<Idle>>>,
    sessions: Mutex<HashMap<u64, Arc<Sessions>>>,
    clocks: Mutex<Vec<Clock>>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    until: Instant,
}

/// Where a connection goes back to when its answer has ended.
#[derive(Debug, Clone)]
pub struct Home {
    pub(super) pool: Arc<Pool>,
    /// The endpoint's number.
    pub(super) endpoint: u64,
    /// Most idle connections to keep.
    pub(super) room: usize,
    /// How long to keep one.
    pub(super) keep: Duration,
}

impl Pool {
    /// A kept connection to `endpoint` that still lies quiet, and leads where the endpoint's name leads now. Looked up
    /// addresses are used for `lookup`.
    pub(super) fn take(&self, endpoint: &Endpoint, lookup: Duration) -> Option<Box<Connection>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.get_mut(usize::try_from(endpoint.number).ok()?)?;
        let leads = |peer: Option<SocketAddr>| {
            peer.is_none_or(|peer| endpoint.place.leads_to(peer, lookup))
        };
        let now = Instant::now();
        while let Some(Idle {
            mut connection,
            until,
        }) = kept.pop()
        {
            if until > now && connection.is_quiet() && leads(connection.peer) {
                return Some(connection);
            }
        }
        None
    }

    /// A clock for one request. Whoever has no more use for it gives it back.
    pub fn clock(&self) -> Clock {
        let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        clocks.pop().unwrap_or_default()
    }

    /// Keeps `clock` for the next request.
    pub fn keep_clock(&self, clock: Clock) {
        let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        if clocks.len() < CLOCKS {
            clocks.push(clock);
        }
    }

    /// The connections by HTTP/2 to `endpoint`.
    pub(super) fn sessions(&self, endpoint: u64) -> Arc<Sessions> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.entry(endpoint).or_default().clone()
    }

    /// Drops what was kept long enough and what its server closed, and asks silent connections for a sign of life.
    /// Called once a second.
    pub fn sweep(&self) {
        self.sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, sessions| sessions.sweep());
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        for kept in idle.iter_mut() {
            kept.retain_mut(|entry| entry.until > now && entry.connection.is_quiet());
            if kept.is_empty() {
                *kept = Vec::new();
            }
        }
    }
}

impl Home {
    /// Keeps `connection` for the next request, if there is room.
    pub(super) fn give_back(&self, connection: Box<Connection>) {
        let mut idle = self
            .pool
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Ok(number) = usize::try_from(self.endpoint) else {
            return;
        };
        if idle.len() <= number {
            idle.resize_with(number + 1, Vec::new);
        }
        let kept = &mut idle[number];
        if kept.len() < self.room {
            kept.push(Idle {
                connection,
                until: Instant::now() + self.keep,
            });
        }
    }
}
