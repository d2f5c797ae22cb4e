//! The clock of a silent stream: when a heartbeat is due, and when silence has lasted too long.
//!
//! One timer serves all limits, and it is not reset by an event: it fires at the earliest moment at
//! which anything could be due, looks at the stamps, and is set again.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep};

/// What a silence led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// A heartbeat is due, if the stream can bear one at this place.
    HeartbeatDue,
    /// The upstream has been silent for longer than it may.
    Idle(Duration),
    /// The first event has not come in time.
    FirstEvent(Duration),
    /// The whole request has taken too long.
    Total(Duration),
}

/// The limits of a stream's silence, and the timer for them.
#[derive(Debug)]
pub struct SilenceClock {
    heartbeat: Option<Duration>,
    idle: Option<Duration>,
    first_event: Option<(Instant, Duration)>,
    total: Option<(Instant, Duration)>,
    /// When the upstream's present silence began; none while it is not being waited for. Time in
    /// which the client holds us back is no silence of the upstream.
    silent: Option<Instant>,
    /// When something of ours was last sent into this silence.
    beaten: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl SilenceClock {
    /// A clock that sends heartbeats every `heartbeat` and allows silence for `idle`.
    pub fn new(heartbeat: Option<Duration>, idle: Option<Duration>) -> Self {
        Self {
            heartbeat,
            idle,
            first_event: None,
            total: None,
            silent: None,
            beaten: None,
            timer: None,
        }
    }

    /// Allows `limit` from `since` until [`SilenceClock::first_event_seen`].
    pub fn limit_first_event(&mut self, since: Instant, limit: Duration) {
        self.first_event = Some((since, limit));
    }

    /// Allows `limit` from `since` for the whole.
    pub fn limit_total(&mut self, since: Instant, limit: Duration) {
        self.total = Some((since, limit));
    }

    /// The first event has come.
    pub fn first_event_seen(&mut self) {
        self.first_event = None;
    }

    /// The upstream has sent something.
    pub fn broken(&mut self) {
        self.silent = None;
        self.beaten = None;
    }

    /// Allows `idle` of silence from now on.
    pub fn begin_idle(&mut self, idle: Option<Duration>) {
        self.idle = idle;
        self.broken();
        // What it was set for may be later than what is due now.
        self.timer = None;
    }

    /// Call when the upstream has nothing: ready when something is due. After
    /// [`Silence::HeartbeatDue`] the next one is due a whole interval later, sent or not.
    ///
    /// Always to be called by the same task: while the timer runs, it is not asked to wake again.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Silence> {
        let silent = *self.silent.get_or_insert_with(Instant::now);
        // What is due only ever moves away from the moment the timer was set for.
        if self.timer.as_ref().is_some_and(|timer| !timer.is_elapsed()) {
            return Poll::Pending;
        }
        loop {
            let Some((due, what)) = self.next(silent) else {
                return Poll::Pending;
            };
            let now = Instant::now();
            if due <= now {
                if what == Silence::HeartbeatDue {
                    self.beaten = Some(now);
                }
                return Poll::Ready(what);
            }
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            // Refused for want of budget, it would not be set, and never be asked again.
            if pin!(unconstrained(timer.as_mut())).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Call when the upstream has nothing, in place of [`SilenceClock::poll`]: whether nothing is due, and the clock is
    /// set for what will be. Otherwise it has to be polled.
    pub fn rests(&mut self) -> bool {
        let silent = *self.silent.get_or_insert_with(Instant::now);
        match &self.timer {
            Some(timer) => !timer.is_elapsed(),
            None => self.next(silent).is_none(),
        }
    }

    /// The earliest moment at which something is due.
    fn next(&self, silent: Instant) -> Option<(Instant, Silence)> {
        let idle = self
            .idle
            .map(|limit| (silent + limit, Silence::Idle(limit)));
        let first = self
            .first_event
            .map(|(since, limit)| (since + limit, Silence::FirstEvent(limit)));
        let total = self
            .total
            .map(|(since, limit)| (since + limit, Silence::Total(limit)));
        let beat = self
            .heartbeat
            .map(|every| (self.beaten.unwrap_or(silent) + every, Silence::HeartbeatDue));
        // A limit that is due at the same moment outweighs a heartbeat: it stands first.
        [total, first, idle, beat]
            .into_iter()
            .flatten()
            .min_by_key(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    async fn next(clock: &mut SilenceClock) -> Silence {
        poll_fn(|cx| clock.poll(cx)).await
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_come_at_their_interval_until_the_silence_is_too_long() {
        let mut clock = SilenceClock::new(Some(secs(15)), Some(secs(40)));
        let start = Instant::now();
        assert_eq!(next(&mut clock).await, Silence::HeartbeatDue);
        assert_eq!(start.elapsed(), secs(15));
        assert_eq!(next(&mut clock).await, Silence::HeartbeatDue);
        assert_eq!(next(&mut clock).await, Silence::Idle(secs(40)));
        assert_eq!(start.elapsed(), secs(40));
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_starts_the_silence_anew_without_touching_the_timer() {
        let mut clock = SilenceClock::new(Some(secs(15)), None);
        assert!(
            tokio::time::timeout(secs(10), next(&mut clock))
                .await
                .is_err()
        );
        clock.broken();
        let start = Instant::now();
        assert_eq!(next(&mut clock).await, Silence::HeartbeatDue);
        assert_eq!(start.elapsed(), secs(15));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_asked_is_no_silence() {
        let mut clock = SilenceClock::new(None, Some(secs(5)));
        clock.broken();
        tokio::time::advance(secs(60)).await;
        let start = Instant::now();
        assert_eq!(next(&mut clock).await, Silence::Idle(secs(5)));
        assert_eq!(start.elapsed(), secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_event_and_the_whole_have_limits_of_their_own() {
        let mut clock = SilenceClock::new(None, None);
        let start = Instant::now();
        clock.limit_first_event(start, secs(3));
        clock.limit_total(start, secs(9));
        assert_eq!(next(&mut clock).await, Silence::FirstEvent(secs(3)));
        clock.first_event_seen();
        assert_eq!(next(&mut clock).await, Silence::Total(secs(9)));
        assert_eq!(start.elapsed(), secs(9));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_rests_only_while_it_is_set_for_what_comes_next() {
        let mut clock = SilenceClock::new(Some(secs(15)), None);
        assert!(!clock.rests(), "nothing would wake anybody");
        assert!(
            tokio::time::timeout(secs(1), next(&mut clock))
                .await
                .is_err()
        );
        clock.broken();
        assert!(clock.rests());
        tokio::time::advance(secs(14)).await;
        tokio::task::yield_now().await;
        assert!(!clock.rests(), "it went off, and has to be set anew");
        assert!(
            tokio::time::timeout(secs(0), next(&mut clock))
                .await
                .is_err()
        );
        assert!(clock.rests());
        let mut without = SilenceClock::new(None, None);
        assert!(without.rests());
    }

    /// Remembers that it was woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// Asks in a turn that has used up what the runtime lets a task do in one.
    async fn next_when_spent(clock: &mut SilenceClock, woken: &Arc<Woken>) -> Poll<Silence> {
        let waker = Waker::from(woken.clone());
        let polled = poll_fn(|cx| {
            let spending = pin!(async {
                loop {
                    tokio::task::coop::consume_budget().await;
                }
            });
            assert!(Future::poll(spending, cx).is_pending());
            assert!(!tokio::task::coop::has_budget_remaining());
            Poll::Ready(clock.poll(&mut Context::from_waker(&waker)))
        })
        .await;
        // What only asks for another turn has asked by then, and is no alarm.
        tokio::task::yield_now().await;
        woken.0.store(false, Ordering::SeqCst);
        polled
    }

    /// Regression 8: the timer was not set when the stream's bytes had used up the turn, and the
    /// clock never went off.
    #[tokio::test(start_paused = true)]
    async fn r08_the_timer_is_set_whatever_the_turn_has_left() {
        let woken = Arc::new(Woken::default());
        let mut clock = SilenceClock::new(Some(secs(15)), Some(secs(20)));
        for (after, silence) in [
            (secs(15), Silence::HeartbeatDue),
            (secs(5), Silence::Idle(secs(20))),
        ] {
            assert_eq!(next_when_spent(&mut clock, &woken).await, Poll::Pending);
            tokio::time::advance(after).await;
            assert!(woken.0.load(Ordering::SeqCst), "{silence:?}");
            assert_eq!(
                next_when_spent(&mut clock, &woken).await,
                Poll::Ready(silence)
            );
        }
    }
}
