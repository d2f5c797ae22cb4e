//! Passive health: how the endings of its requests put an endpoint out, and how it comes in again.
//!
//! ```text
//!        too many failures                 the pause is over
//!   In ─────────────────────► Out ──────────────────────────► Trial
//!   ▲                          ▲                               │ │
//!   │                          └───── a probe failed ──────────┘ │
//!   └──────────────────────────────── a probe went well ─────────┘
//! ```
//!
//! Each arrow begins a new *period*. A request's [`Pass`] names the one it began in, and its ending is heard
//! in that period only: what began before an ejection says nothing about the endpoint after it.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Eject;

/// How many endings [`Eject::percent`] is a share of.
const WINDOW: u32 = 20;
/// Fewer than these have no share: two failures of three requests are no trend.
const TREND: u32 = 10;
/// The part of a pause that chance may take away, so that gateways don't come back all at once.
const JITTER: f64 = 0.1;

/// The passive health of one endpoint.
///
/// `after` failures in a row put it out, and so does a failure with which at least `percent` of the last twenty
/// judged endings have failed, once there are ten.
#[derive(Debug, Default)]
pub struct Breaker {
    state: State,
    /// Counts the changes of `state`.
    period: u64,
    /// The endings of this time in, since its begin.
    recent: Recent,
    failures_in_row: u32,
    /// How often it was ejected in a row; what the pause is doubled by.
    in_row: u32,
    /// The last time out, as it was meant.
    last_pause: Duration,
    ejections: u64,
}

/// Whether an endpoint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As usual.
    In,
    /// Not before this time.
    Out {
        /// When it is tried again.
        until: Instant,
    },
    /// By a few requests only, which show whether it is well again.
    Trial,
}

/// That a request was begun; given back with its ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    period: u64,
    probe: bool,
}

impl Pass {
    /// Whether the request shows if the endpoint is well again; the sooner it is judged, the better.
    pub fn is_probe(self) -> bool {
        self.probe
    }

    /// Its request has ended: it went well, it failed, or nothing is known (its client left, or the fault was
    /// the caller's own).
    pub fn ended(self, well: Option<bool>) -> Ended {
        Ended { pass: self, well }
    }
}

/// A pass that is given back, see [`Pass::ended`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pass: Pass,
    well: Option<bool>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Since when; none is from the start.
    In {
        since: Option<Instant>,
    },
    /// Also when the pause is over and nobody has come since.
    Out {
        until: Instant,
    },
    Trial {
        probes: u32,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::In { since: None }
    }
}

impl Breaker {
    /// Whether the endpoint is asked at this time.
    pub fn standing(&self, now: Instant) -> Standing {
        match self.state {
            State::In { .. } => Standing::In,
            State::Out { until } if now < until => Standing::Out { until },
            State::Out { .. } | State::Trial { .. } => Standing::Trial,
        }
    }

    /// Whether a request may be sent: always while it is in, to one of the places in a trial.
    pub fn may_begin(&self, rules: &Eject, now: Instant) -> bool {
        match self.standing(now) {
            Standing::In => true,
            Standing::Out { .. } => false,
            Standing::Trial => self.probes() < rules.probes.max(1),
        }
    }

    /// Begins a request, if one may be sent. One that is forced, because it has nowhere else to go, always
    /// may: it takes a place in a trial if there is one, and is heard in a trial like a probe if there is
    /// none. While the endpoint is out, it is not heard.
    pub fn begin(&mut self, rules: &Eject, now: Instant, forced: bool) -> Option<Pass> {
        let may = self.may_begin(rules, now);
        if !may && !forced {
            return None;
        }
        let in_trial = self.standing(now) == Standing::Trial;
        if in_trial && matches!(self.state, State::Out { .. }) {
            self.enter(State::Trial { probes: 0 });
        }
        let probe = may && in_trial;
        if let State::Trial { probes } = &mut self.state
            && probe
        {
            *probes += 1;
        }
        Some(Pass {
            period: self.period,
            probe,
        })
    }

    /// A request's first event has come. In a trial that brings the endpoint in: an answer may last for
    /// hours, and a feed for ever, and nobody else would be sent meanwhile. Gives the pass to end the request
    /// with: should its answer be cut later, that is a failure like any other.
    pub fn answered(&mut self, pass: Pass, now: Instant) -> Pass {
        if pass.period == self.period && matches!(self.state, State::Trial { .. }) {
            self.come_in(now);
            return Pass {
                period: self.period,
                probe: false,
            };
        }
        pass
    }

    /// Ends a request, once. A probe's place is free again, whatever the request has shown. `jitter` is a
    /// number by chance from 0 to 1. Gives true when this put the endpoint out.
    pub fn end(&mut self, ended: Ended, rules: &Eject, now: Instant, jitter: f64) -> bool {
        let Ended { pass, well } = ended;
        if pass.period != self.period {
            return false;
        }
        if let State::Trial { probes } = &mut self.state
            && pass.probe
        {
            *probes = probes.saturating_sub(1);
        }
        let Some(well) = well else { return false };
        let out = match self.state {
            State::In { .. } => self.is_too_much(well, rules),
            State::Trial { .. } if well => {
                self.come_in(now);
                false
            }
            State::Trial { .. } => {
                self.failures_in_row = self.failures_in_row.saturating_add(1);
                true
            }
            State::Out { .. } => false,
        };
        if out {
            self.eject(rules, now, jitter);
        }
        out
    }

    /// How often it was put out, in total.
    pub fn ejections(&self) -> u64 {
        self.ejections
    }

    /// How many judged endings in a row have failed, failed probes too.
    pub fn failures_in_row(&self) -> u32 {
        self.failures_in_row
    }

    fn probes(&self) -> u32 {
        match self.state {
            State::Trial { probes } => probes,
            State::In { .. } | State::Out { .. } => 0,
        }
    }

    /// Takes down an ending while in; whether it is one failure too many. A good ending never is, even
    /// where it is the tenth that the share has waited for.
    fn is_too_much(&mut self, well: bool, rules: &Eject) -> bool {
        self.recent.push(!well);
        if well {
            self.failures_in_row = 0;
            return false;
        }
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        self.failures_in_row >= rules.after || self.recent.reaches(rules.percent)
    }

    fn come_in(&mut self, now: Instant) {
        self.recent = Recent::default();
        self.failures_in_row = 0;
        self.enter(State::In { since: Some(now) });
    }

    fn eject(&mut self, rules: &Eject, now: Instant, jitter: f64) {
        if let State::In { since } = self.state {
            // One that was in for as long as it had been out is no longer the one that was ill.
            let long_in =
                since.is_none_or(|since| now.saturating_duration_since(since) >= self.last_pause);
            if long_in {
                self.in_row = 0;
            }
        }
        self.last_pause = pause(rules, self.in_row, jitter);
        self.in_row = self.in_row.saturating_add(1);
        self.ejections += 1;
        self.enter(State::Out {
            until: now + self.last_pause,
        });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.period += 1;
    }
}

/// How long an endpoint is out that was out `before` times in a row.
fn pause(rules: &Eject, before: u32, jitter: f64) -> Duration {
    let doubled = rules.pause.saturating_mul(1 << before.min(31));
    let whole = doubled.min(rules.longest);
    let share = if (0.0..=1.0).contains(&jitter) {
        jitter
    } else {
        0.0
    };
    whole.saturating_sub(whole.mul_f64(JITTER * share))
}

/// The last judged endings.
#[derive(Debug, Default)]
struct Recent {
    /// A one for each that failed, the last one lowest.
    failed: u32,
    len: u32,
}

impl Recent {
    fn push(&mut self, failed: bool) {
        self.failed = ((self.failed << 1) | u32::from(failed)) & ((1 << WINDOW) - 1);
        self.len = (self.len + 1).min(WINDOW);
    }

    /// Whether `percent` of them failed, as far as they are a trend; 0 is never reached.
    fn reaches(&self, percent: u32) -> bool {
        let failed = u64::from(self.failed.count_ones());
        percent > 0 && self.len >= TREND && failed * 100 >= u64::from(percent) * u64::from(self.len)
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
