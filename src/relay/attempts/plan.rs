//! What comes after an attempt that failed: the same upstream again, another entry of the chain, or the end.
//!
//! A pure state machine over the route's rules, so that a day of failures can be tried in a moment. It ends always:
//! each step asks one of finitely many endpoints once more, spends one of `retry.times`, or moves on in the chain.

use std::time::Duration;

use crate::config::{Remedy, Retry, Route, Trouble};

/// Where a request stands in its route's chain.
#[derive(Debug, Clone)]
pub(super) struct Plan<'r> {
    route: &'r Route,
    /// The entry that is asked.
    entry: usize,
    /// How often it was asked again.
    again: u32,
    /// Whether the request may be sent a second time.
    resend: bool,
    /// Whether other entries may be asked.
    roams: bool,
}

/// An attempt that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed {
    /// In what way.
    pub(super) trouble: Trouble,
    /// How long the upstream wants to be left alone.
    pub(super) rest: Option<Duration>,
    /// Whether the upstream may have acted on it.
    pub(super) sent: bool,
    /// Whether the same upstream has an endpoint that was not asked yet, and can be.
    pub(super) untried: bool,
    /// Whether it is the answer of an ordinary exchange: what that endpoint says, and would say again.
    pub(super) ordinary: bool,
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The same upstream is asked again, after a pause.
    Again(Duration),
    /// This entry is asked.
    Move(usize),
    /// There is nobody left to ask.
    End,
    /// Nobody else would do better.
    GiveUp,
}

impl<'r> Plan<'r> {
    /// A request that begins at `entry` of the route's chain.
    pub(super) fn new(route: &'r Route, entry: usize, resend: bool) -> Self {
        Self {
            route,
            entry,
            again: 0,
            resend,
            roams: true,
        }
    }

    /// The entry that is asked.
    pub(super) fn entry(&self) -> usize {
        self.entry
    }

    /// Keeps the request where it is: somebody else asks the other entries.
    pub(super) fn stay(&mut self) {
        self.roams = false;
    }

    /// Comes back to an entry that was left out, and stays there.
    pub(super) fn back_to(&mut self, entry: usize) {
        self.entry = entry;
        self.again = 0;
        self.roams = false;
    }

    /// Whether another entry may be asked, should this one fail.
    pub(super) fn has_next(&self) -> bool {
        self.next(false).is_some()
    }

    /// Whether any entry behind this one may still be asked, for whatever reason.
    pub(super) fn is_last(&self) -> bool {
        !self.has_next() && self.next(true).is_none()
    }

    fn next(&self, larger: bool) -> Option<usize> {
        let targets = &self.route.to;
        let behind = self.entry + 1..targets.len();
        behind
            .filter(|_| self.roams)
            .find(|&index| targets[index].larger == larger)
    }

    /// Leaves the entry out: none of its endpoints can be asked.
    pub(super) fn skip(&mut self) -> Step {
        self.go(self.next(false))
    }

    /// What is done about `failed`. `chance` is a number between 0 and 1.
    pub(super) fn after(&mut self, failed: &Failed, chance: f64) -> Step {
        if failed.sent && !self.resend {
            return Step::GiveUp;
        }
        match self.route.failures.of(failed.trouble) {
            Remedy::Again => self.again(failed, chance),
            Remedy::Next => self.skip(),
            Remedy::Larger => match self.go(self.next(true)) {
                Step::End => Step::GiveUp,
                step => step,
            },
            Remedy::GiveUp => Step::GiveUp,
        }
    }

    fn again(&mut self, failed: &Failed, chance: f64) -> Step {
        // What never left us costs nobody anything.
        if failed.untried && !failed.sent {
            return Step::Again(Duration::ZERO);
        }
        // Only of a model is it known that an error passes.
        if failed.ordinary && !failed.untried {
            return self.skip();
        }
        let Some(retry) = self.route.retry.filter(|retry| self.again < retry.times) else {
            return self.skip();
        };
        // Another endpoint has not asked for any pause.
        let (pause, rest) = match failed.untried {
            true => (Duration::ZERO, Duration::ZERO),
            false => (
                backoff(&retry, self.again, chance),
                failed.rest.unwrap_or_default(),
            ),
        };
        // Rather than have the caller wait for what it was asked to leave alone.
        if rest > retry.longest || (rest > pause && self.has_next()) {
            return self.skip();
        }
        self.again += 1;
        Step::Again(pause.max(rest))
    }

    fn go(&mut self, to: Option<usize>) -> Step {
        let Some(entry) = to else { return Step::End };
        self.entry = entry;
        self.again = 0;
        Step::Move(entry)
    }
}

/// The pause before the same upstream is asked again: doubled each time, less up to a half by chance, so that those
/// who failed together do not come back together.
fn backoff(retry: &Retry, before: u32, chance: f64) -> Duration {
    let whole = retry.pause.saturating_mul(1 << before.min(16));
    whole.min(retry.longest).mul_f64(1.0 - chance / 2.0)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
