//! A body that leaves frame by frame, each after a pause of its own.
//!
//! Invariant: one step is one data frame, and no frame is sent before its pause is over. The body
//! holds one timer and one frame; what comes later is made when its turn comes, so that an endless
//! stream costs no more than a short one.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep};

use super::answer::Refusal;

/// The slowest pace that may be asked for, per second: one step in a hundred seconds.
const SLOWEST: f64 = 0.01;

/// Timers tick in milliseconds; a shorter pause is none.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// How far a pause may stray from the middle, in parts of it: between 0.7 and 1.3 of it.
const SWAY: f64 = 0.3;

/// One frame, and the pause before it.
pub(super) struct Step {
    /// The pause since the step before was sent.
    pub(super) after: Duration,
    /// The bytes.
    pub(super) frame: Bytes,
}

/// A body made of [`Step`]s.
pub(super) struct Paced {
    steps: Box<dyn Iterator<Item = Step> + Send>,
    waiting: Option<Bytes>,
    alarm: Pin<Box<Sleep>>,
}

impl Paced {
    /// A body of these steps. Needs the runtime's timer, so it is made inside the runtime.
    pub(super) fn new(steps: impl Iterator<Item = Step> + Send + 'static) -> Self {
        Self {
            steps: Box::new(steps),
            waiting: None,
            alarm: Box::pin(sleep(Duration::ZERO)),
        }
    }
}

impl fmt::Debug for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paced")
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if this.waiting.is_none() {
            let Some(step) = this.steps.next() else {
                return Poll::Ready(None);
            };
            if step.after < SHORTEST_PAUSE {
                return Poll::Ready(Some(Ok(Frame::data(step.frame))));
            }
            this.alarm.as_mut().reset(Instant::now() + step.after);
            this.waiting = Some(step.frame);
        }
        ready!(this.alarm.as_mut().poll(cx));
        Poll::Ready(this.waiting.take().map(|frame| Ok(Frame::data(frame))))
    }
}

/// How fast steps follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    middle: Duration,
}

impl Pace {
    /// The pace that the query asks for, in steps a second, or else `default`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Parameter`] where `pace` is no number, or one below [`SLOWEST`].
    pub(super) fn of(uri: &Uri, default: f64) -> Result<Self, Refusal> {
        let pace = match parameter(uri, "pace") {
            None => default,
            Some(text) => text
                .parse()
                .ok()
                .filter(|pace: &f64| pace.is_finite() && *pace >= SLOWEST)
                .ok_or_else(|| Refusal::Parameter {
                    name: "pace",
                    message: format!("pace is a number of steps a second, at least {SLOWEST}."),
                })?,
        };
        Ok(Self {
            middle: Duration::from_secs_f64(pace.recip()),
        })
    }

    /// The same pause every time.
    pub(super) fn even(self) -> Duration {
        self.middle
    }

    /// A pause as a person or a model makes it: never quite the same.
    pub(super) fn varied(self) -> Duration {
        self.middle
            .mul_f64(1.0 - SWAY + 2.0 * SWAY * fastrand::f64())
    }
}

/// The raw value of a query parameter: the first one of that name.
pub(super) fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}
