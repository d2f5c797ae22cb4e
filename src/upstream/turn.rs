//! A request's place at an endpoint, from the moment it is chosen until its answer has ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::Pass;
use super::endpoint::Endpoint;
use crate::config::Eject;

/// A request's place at an endpoint. Whatever drops it without a verdict (a caller who left) says nothing about
/// the endpoint.
#[derive(Debug)]
pub struct Turn {
    endpoint: Arc<Endpoint>,
    pass: Option<Pass>,
    rules: Eject,
    began: Instant,
    timed: bool,
    verdict: Option<bool>,
}

impl Turn {
    /// Takes a place. Without `pass`, what becomes of it is counted nowhere.
    pub(super) fn take(
        endpoint: Arc<Endpoint>,
        pass: Option<Pass>,
        rules: Eject,
        began: Instant,
    ) -> Self {
        endpoint.health.enter();
        Self {
            endpoint,
            pass,
            rules,
            began,
            timed: false,
            verdict: None,
        }
    }

    /// Who is asked.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// The first event has come; only the first call counts.
    pub fn first_event(&mut self) {
        if !std::mem::replace(&mut self.timed, true) {
            let now = Instant::now();
            let health = &self.endpoint.health;
            health.observe_first_event(now - self.began, now);
            self.answered();
        }
    }

    /// An answer has begun. An endpoint on trial is well with that: an answer may last for hours, and nobody else would
    /// be sent meanwhile.
    pub fn answered(&mut self) {
        if let Some(pass) = self.pass {
            let now = Instant::now();
            self.pass = Some(self.endpoint.health.breaker().answered(pass, now));
        }
    }

    /// The endpoint has asked to be left alone for so long.
    pub fn rest(&self, pause: Duration) {
        self.endpoint.health.rest(pause, Instant::now());
    }

    /// What its answer says about the endpoint: that it is well, or not.
    pub fn judge(&mut self, well: bool) {
        self.verdict = Some(well);
    }

    /// Ends it with what it says about the endpoint, if anything.
    pub fn end(mut self, well: Option<bool>) {
        self.verdict = well;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.endpoint.health.leave();
        // A good end is nothing new to anybody but a breaker.
        if self.verdict == Some(true) && self.pass.is_none() {
            return;
        }
        let now = Instant::now();
        // Also where nothing is ever left out: whoever fails at once must not pass for the fastest.
        match self.verdict {
            Some(false) if !self.timed => self.endpoint.health.observe_miss(now),
            // Nobody waited any longer.
            None if !self.timed => self
                .endpoint
                .health
                .observe_at_least(now.saturating_duration_since(self.began), now),
            _ => {}
        }
        let Some(pass) = self.pass else { return };
        let mut breaker = self.endpoint.health.breaker();
        let ended = pass.ended(self.verdict);
        let ejected = breaker.end(ended, &self.rules, now, fastrand::f64());
        drop(breaker);
        if ejected {
            tracing::warn!(endpoint = %self.endpoint.name, "its answers fail: left out for a while");
        }
    }
}

#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;
