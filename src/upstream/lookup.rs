//! The addresses of an endpoint's name: kept for a while, and looked up again in time.
//!
//! Nobody waits for a look-up while there is an answer that may still be used: the first one to come after it has
//! grown old starts another, in a task of its own, and goes on with what is known. Where nothing is known, all who
//! come wait for one look-up.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::connect::Place;
use super::fault::Reason;
use super::transport::Transport;

/// An answer that has grown old is used for so many times longer, while no new one is to be had,
const HELD_TIMES: u32 = 10;
/// but no longer than this.
const HELD_AT_MOST: Duration = Duration::from_secs(60 * 60);
/// After a look-up that failed, and before the next one is started while old addresses do; less where answers are
/// kept for less.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How long a look-up may take: the system's own limits allow for more, and some of its modules have none.
const LONGEST: Duration = Duration::from_secs(30);
/// How often one caller waits for a look-up that ends without an outcome, as one of a thread that ends does.
const TRIES: usize = 3;

/// What a look-up brings.
pub type Found = io::Result<Vec<SocketAddr>>;

/// Who knows the addresses of names.
pub trait Resolve: Send + Sync + std::fmt::Debug {
    /// The addresses of `host`, with `port`, the best ones first.
    fn resolve(&self, host: &str, port: u16) -> Pin<Box<dyn Future<Output = Found> + Send>>;
}

/// The system's resolver (`getaddrinfo`), in a thread that may block.
#[derive(Debug)]
struct System;

impl Resolve for System {
    fn resolve(&self, host: &str, port: u16) -> Pin<Box<dyn Future<Output = Found> + Send>> {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// The addresses of one endpoint's name, shared by all workers. A clone is the same one.
#[derive(Debug, Clone)]
pub struct Lookup {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    resolver: Box<dyn Resolve>,
    state: Mutex<State>,
    /// Which address is the first one for the next caller.
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    known: Option<Known>,
    /// Tells the outcome of the look-up that runs.
    running: Option<watch::Receiver<Option<Outcome>>>,
    /// When the last look-up failed; none after one that did not.
    failed: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Known {
    addresses: Arc<[SocketAddr]>,
    since: Instant,
}

/// As [`Found`], to be shared.
type Outcome = Result<Arc<[SocketAddr]>, (io::ErrorKind, Arc<str>)>;

/// What may be done with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// It is used.
    Fresh,
    /// It is used, and another one looked for.
    Old,
    /// Another one is waited for.
    Over,
}

impl Age {
    fn of(age: Duration, keep: Duration) -> Self {
        let held = keep.saturating_mul(HELD_TIMES).min(HELD_AT_MOST);
        if age < keep {
            Self::Fresh
        } else if age < keep.saturating_add(held) {
            Self::Old
        } else {
            Self::Over
        }
    }
}

/// What a caller finds.
enum AtHand {
    Known(Arc<[SocketAddr]>),
    Wait(watch::Receiver<Option<Outcome>>),
}

impl Default for Lookup {
    fn default() -> Self {
        Self::with(Box::new(System))
    }
}

impl Lookup {
    /// A look-up that asks `resolver` instead of the system.
    pub fn with(resolver: Box<dyn Resolve>) -> Self {
        let shared = Shared {
            resolver,
            state: Mutex::default(),
            turn: AtomicUsize::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The addresses of `host`, in the order in which they are to be tried: those of IPv4 and IPv6 by turns
    /// (RFC 8305 §4), each time with another one first. An answer is used for `keep`, and for a while longer when
    /// no new one is to be had. An address in place of a name is its own answer. It is the same host and port each
    /// time that belong to one `Lookup`.
    ///
    /// # Errors
    ///
    /// [`Reason::Resolve`]: nothing is known, and the look-up failed or took too long.
    pub async fn addresses(
        &self,
        host: &str,
        port: u16,
        keep: Duration,
    ) -> Result<Arc<[SocketAddr]>, Reason> {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return Ok(Arc::new([SocketAddr::new(literal, port)]));
        }
        for _ in 0..TRIES {
            let mut told = match self.at_hand(host, port, keep) {
                AtHand::Known(addresses) => return Ok(self.in_turn(addresses)),
                AtHand::Wait(told) => told,
            };
            let Ok(outcome) = told.wait_for(Option::is_some).await else {
                continue;
            };
            match &*outcome {
                Some(Ok(addresses)) => return Ok(self.in_turn(addresses.clone())),
                Some(Err((kind, text))) => {
                    let error = io::Error::new(*kind, text.to_string());
                    return Err(Reason::Resolve(error));
                }
                None => {}
            }
        }
        Err(Reason::Resolve(io::ErrorKind::Interrupted.into()))
    }

    /// Starts a look-up if the answer has grown old. For those who keep connections, and so may not ask for
    /// addresses for long; must be called in a runtime.
    pub fn refresh(&self, host: &str, port: u16, keep: Duration) {
        if host.parse::<IpAddr>().is_err() && self.shared.state().known.is_some() {
            let _ = self.at_hand(host, port, keep);
        }
    }

    /// Whether `address` is one that the name has, as far as is known: true where nothing was looked up.
    pub fn has(&self, address: SocketAddr) -> bool {
        let state = self.shared.state();
        state.known.as_ref().is_none_or(|known| {
            let mut addresses = known.addresses.iter();
            addresses.any(|one| one.ip() == address.ip())
        })
    }

    fn at_hand(&self, host: &str, port: u16, keep: Duration) -> AtHand {
        let now = Instant::now();
        let mut state = self.shared.state();
        let usable = state.known.as_ref().and_then(|known| {
            let age = Age::of(now.duration_since(known.since), keep);
            (age != Age::Over).then(|| (known.addresses.clone(), age))
        });
        if let Some((addresses, age)) = usable {
            let pause = AFTER_FAILURE.min(keep);
            let pausing = state.failed.is_some_and(|failed| now < failed + pause);
            if age == Age::Old && !pausing {
                self.start(&mut state, host, port);
            }
            return AtHand::Known(addresses);
        }
        AtHand::Wait(self.start(&mut state, host, port))
    }

    /// The look-up that runs, or a new one.
    fn start(&self, state: &mut State, host: &str, port: u16) -> watch::Receiver<Option<Outcome>> {
        // One without a sender was dropped with the runtime that drove it.
        if let Some(running) = &state.running
            && running.has_changed().is_ok()
        {
            return running.clone();
        }
        let (tell, told) = watch::channel(None);
        state.running = Some(told.clone());
        let shared = self.shared.clone();
        let host: Arc<str> = host.into();
        tokio::spawn(async move {
            let found = timeout(LONGEST, shared.resolver.resolve(&host, port)).await;
            let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            tell.send_replace(Some(shared.learn(&host, found)));
        });
        told
    }

    /// `addresses`, each family turned on by one for each caller, and the families by turns.
    fn in_turn(&self, addresses: Arc<[SocketAddr]>) -> Arc<[SocketAddr]> {
        if addresses.len() < 2 {
            return addresses;
        }
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        by_turns(&addresses, turn).into()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a look-up has brought.
    fn learn(&self, host: &str, found: Found) -> Outcome {
        let found = found.and_then(|found| match found.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "no address")),
            false => Ok(found),
        });
        let mut state = self.state();
        state.running = None;
        match found {
            Ok(found) => {
                if state.failed.take().is_some() {
                    tracing::info!(host, "a name can be looked up again");
                }
                let addresses: Arc<[SocketAddr]> = found.into();
                state.known = Some(Known {
                    addresses: addresses.clone(),
                    since: Instant::now(),
                });
                Ok(addresses)
            }
            Err(error) => {
                // Once for each row of failures. Where nothing is known the caller tells.
                if state.failed.is_none() && state.known.is_some() {
                    tracing::warn!(host, %error, "a name could not be looked up again; its old addresses are used");
                }
                state.failed = Some(Instant::now());
                Err((error.kind(), error.to_string().into()))
            }
        }
    }
}

impl Place {
    /// Where `transport` leads; none where the place cannot come to be another.
    pub(super) fn peer_of(&self, transport: &Transport) -> Option<SocketAddr> {
        match self {
            Self::Address(_) => None,
            Self::Name { .. } => transport.peer(),
        }
    }

    /// Whether a connection to `address` that was kept still leads there, as far as is known. Has the name looked up
    /// again, without waiting for it, when its addresses are older than `keep`; must be called in a runtime.
    pub fn leads_to(&self, address: SocketAddr, keep: Duration) -> bool {
        match self {
            Self::Address(known) => *known == address,
            Self::Name { host, port, lookup } => {
                lookup.refresh(host, *port, keep);
                lookup.has(address)
            }
        }
    }
}

/// The addresses of both families by turns, the family of the first one first; each family begins with its `turn`th.
fn by_turns(addresses: &[SocketAddr], turn: usize) -> Vec<SocketAddr> {
    let six_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses
        .iter()
        .copied()
        .partition(|address| address.is_ipv6() == six_first);
    for family in [&mut one, &mut other] {
        if !family.is_empty() {
            let by = turn % family.len();
            family.rotate_left(by);
        }
    }
    let mut ordered = Vec::with_capacity(addresses.len());
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    while ordered.len() < addresses.len() {
        ordered.extend(one.next());
        ordered.extend(other.next());
    }
    ordered
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
