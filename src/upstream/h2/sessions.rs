//! The connections of one worker to one endpoint, and who waits for a place in them.
//!
//! A request takes a place in the oldest connection that has one: so those that only a burst needed fall idle, and are
//! closed. Where there is none, it waits for the first that is free, and as many connections are opened as all who wait
//! need: one while it is not known how many streams the peer takes. They are opened by tasks of their own, since
//! who asked for one first may leave while others wait for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::opening::{Opened, Opening};
use super::session::{Lease, Life, Session};
use crate::upstream::fault::Reason;
use crate::upstream::h1::Connection;

/// A connection is opened within this time where no clock says anything else: others wait for it.
const OPENING: Duration = Duration::from_secs(60);
/// For so long it is remembered that a server chose HTTP/1.1, and what else is known of one that is not asked.
const REMEMBERED: Duration = Duration::from_secs(60);
/// An idle connection is kept for at least so long: unlike with HTTP/1.1, its server tells before it closes it.
const KEEP: Duration = Duration::from_secs(30);

/// The connections of one worker to one endpoint.
#[derive(Default)]
pub struct Sessions {
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Inner {
    /// The oldest first.
    sessions: Vec<Session>,
    waiting: VecDeque<Waiter>,
    /// Connections that are being opened.
    opening: usize,
    /// How many streams the last one takes.
    most: Option<usize>,
    /// When the server last chose HTTP/1.1, if it was its last choice.
    chose_one: Option<Instant>,
    used: Option<Instant>,
    keep: Duration,
    room: usize,
}

/// A request that waits for a place.
struct Waiter {
    giver: oneshot::Sender<Given>,
    /// The connection that has refused it.
    refused: Option<Arc<Life>>,
}

/// What a request gets.
pub(in crate::upstream) enum Given {
    /// A place in a connection.
    Stream(Lease),
    /// A new connection, by HTTP/1.1.
    One(Box<Connection>),
    /// The advice to open a connection by HTTP/1.1 for itself: none can be shared.
    Own,
    /// The reason why there is none.
    Failed(Reason),
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many idle connections are kept, and how long; [`KEEP`] at least.
    pub(in crate::upstream) fn keep(&self, room: usize, keep: Duration) {
        let mut inner = self.lock();
        inner.room = room;
        inner.keep = keep.max(KEEP);
    }

    /// A place for a request, but not in the connection `refused`: waited for, for `limit` or [`OPENING`] at most, where
    /// there is none.
    ///
    /// # Errors
    ///
    /// A [`Reason`] for which [`Reason::before_request`] is true.
    pub(in crate::upstream) async fn place(
        self: &Arc<Self>,
        opening: &Opening,
        limit: Option<Duration>,
        refused: Option<&Arc<Life>>,
    ) -> Result<Given, Reason> {
        // Never for ever: who does not get a connection has others to ask.
        let limit = limit.unwrap_or(OPENING);
        let until = Instant::now() + limit;
        loop {
            let waited = match self.take_or_wait(opening, limit, refused) {
                Ok(given) => return Ok(given),
                Err(waited) => waited,
            };
            let Ok(given) = timeout_at(until, waited).await else {
                return Err(Reason::ConnectTimeout(limit));
            };
            match given {
                // It ran out for another request, whose clock may be shorter.
                Ok(Given::Failed(Reason::ConnectTimeout(_))) if Instant::now() < until => {}
                Ok(Given::Failed(reason)) => return Err(reason),
                Ok(given) => return Ok(given),
                Err(_) => return Err(Reason::Closed),
            }
        }
    }

    fn take_or_wait(
        self: &Arc<Self>,
        opening: &Opening,
        limit: Duration,
        refused: Option<&Arc<Life>>,
    ) -> Result<Given, oneshot::Receiver<Given>> {
        let mut inner = self.lock();
        inner.used = Some(Instant::now());
        for session in &mut inner.sessions {
            session.follow(opening);
        }
        if let Some(lease) = inner.lease(self, refused) {
            return Ok(Given::Stream(lease));
        }
        let lately = |at: Instant| at.elapsed() < REMEMBERED;
        if opening.or_one && inner.chose_one.is_some_and(lately) {
            return Ok(Given::Own);
        }
        let (giver, waited) = oneshot::channel();
        inner.waiting.retain(|waiter| !waiter.giver.is_closed());
        inner.waiting.push_back(Waiter {
            giver,
            refused: refused.cloned(),
        });
        if inner.needs_another() {
            inner.opening += 1;
            let (sessions, opening) = (self.clone(), opening.clone());
            tokio::spawn(sessions.open(opening, limit));
        }
        Err(waited)
    }

    async fn open(self: Arc<Self>, opening: Opening, limit: Duration) {
        let weak = Arc::downgrade(&self);
        let opened = timeout(limit, opening.open(weak))
            .await
            .unwrap_or(Err(Reason::ConnectTimeout(limit)));
        let given = self.opened(opened);
        for (giver, given) in given {
            // Who does not wait any more has left its place to the next: a lease is given back when dropped.
            let _ = giver.send(given);
        }
        self.serve();
        let more = {
            let mut inner = self.lock();
            let more = inner.needs_another() && inner.chose_one.is_none();
            inner.opening += usize::from(more);
            more
        };
        if more {
            tokio::spawn(self.open_boxed(opening, limit));
        }
    }

    /// The same, boxed: a future cannot hold itself.
    fn open_boxed(
        self: Arc<Self>,
        opening: Opening,
        limit: Duration,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.open(opening, limit))
    }

    /// What those who wait get because a connection was opened, or was not. Given outside of the lock.
    fn opened(&self, opened: Result<Opened, Reason>) -> Vec<(oneshot::Sender<Given>, Given)> {
        let mut inner = self.lock();
        inner.opening -= 1;
        match with_room(opened) {
            Ok(Opened::Two(session)) => {
                inner.most = Some(session.most());
                inner.chose_one = None;
                inner.sessions.push(session);
                Vec::new()
            }
            Ok(Opened::One(connection)) => {
                inner.chose_one = Some(Instant::now());
                let mut connection = Some(connection);
                let waiting = inner
                    .waiting
                    .drain(..)
                    .filter(|waiter| !waiter.giver.is_closed())
                    .map(|waiter| {
                        let given = connection.take().map_or(Given::Own, Given::One);
                        (waiter.giver, given)
                    });
                waiting.collect()
            }
            // Those under way may fare better.
            Err(_) if inner.opening > 0 => Vec::new(),
            Err(reason) => {
                let failed = |waiter: Waiter| (waiter.giver, Given::Failed(reason.again()));
                inner.waiting.drain(..).map(failed).collect()
            }
        }
    }

    /// Gives places that are free to those who wait.
    pub(super) fn serve(self: &Arc<Self>) {
        loop {
            // Given outside of the lock: a lease that nobody takes comes back here.
            let Some((giver, lease)) = self.lock().match_one(self) else {
                return;
            };
            let _ = giver.send(Given::Stream(lease));
        }
    }

    /// Drops a connection that has ended.
    pub(super) fn forget(&self, life: &Arc<Life>) {
        let mut inner = self.lock();
        inner
            .sessions
            .retain(|session| !Arc::ptr_eq(&session.life, life));
    }

    /// Closes what has been idle for long enough, and asks silent peers for a sign of life; false when nothing is left
    /// to be known.
    pub(in crate::upstream) fn sweep(self: &Arc<Self>) -> bool {
        let mut inner = self.lock();
        let (keep, room) = (inner.keep, inner.room);
        let mut idle = 0;
        inner.sessions.retain_mut(|session| {
            if !session.watch() {
                session.give_up();
                return false;
            }
            if session.is_idle(Duration::ZERO) {
                idle += 1;
            }
            let surplus = session.is_idle(Duration::ZERO) && idle > room;
            !session.is_idle(keep) && !surplus
        });
        let lately = inner.used.is_some_and(|used| used.elapsed() < REMEMBERED);
        lately || !inner.sessions.is_empty() || inner.opening > 0
    }

    /// How many connections there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().sessions.len()
    }
}

/// A connection on which the server says at once that it takes no request (GOAWAY) is none: another would follow it
/// without end.
fn with_room(opened: Result<Opened, Reason>) -> Result<Opened, Reason> {
    match opened? {
        Opened::Two(mut session) => match session.room() {
            0 => Err(Reason::NoHttp2("it takes no requests (GOAWAY)".into())),
            _ => Ok(Opened::Two(session)),
        },
        one @ Opened::One(_) => Ok(one),
    }
}

impl Inner {
    fn lease(&mut self, sessions: &Arc<Sessions>, refused: Option<&Arc<Life>>) -> Option<Lease> {
        let fits = |session: &mut Session| {
            !refused.is_some_and(|life| Arc::ptr_eq(life, &session.life)) && session.room() > 0
        };
        let at = self.sessions.iter_mut().position(fits)?;
        self.sessions[at].lease(sessions)
    }

    /// The first of those who wait for whom there is a place.
    fn match_one(&mut self, sessions: &Arc<Sessions>) -> Option<(oneshot::Sender<Given>, Lease)> {
        self.waiting.retain(|waiter| !waiter.giver.is_closed());
        for at in 0..self.waiting.len() {
            let refused = self.waiting[at].refused.clone();
            if let Some(lease) = self.lease(sessions, refused.as_ref()) {
                let waiter = self.waiting.remove(at)?;
                return Some((waiter.giver, lease));
            }
            // Without one that it may not have, nobody else will find any either.
            refused?;
        }
        None
    }

    /// Whether those under way will not do for those who wait.
    fn needs_another(&self) -> bool {
        let each = self.most.unwrap_or(usize::MAX).max(1);
        self.waiting.len() > self.opening.saturating_mul(each)
    }
}
