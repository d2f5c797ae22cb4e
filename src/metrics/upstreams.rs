//! What is counted of upstreams: how they stand, what attempts came to, and what answers took.
//!
//! Every series of a configured upstream is there from the start, at zero: a rate over the first failure is not lost.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Name;

/// The outcome of an attempt that was answered.
const ANSWERED: &str = "answered";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    upstream: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    upstream: Name,
    endpoint: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    upstream: Name,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HedgeLabels {
    upstream: Name,
    won: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RescueLabels {
    route: Name,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    route: Name,
    upstream: Name,
    kind: &'static str,
    counted: &'static str,
}

/// What a token was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// It was asked.
    Prompt,
    /// It was answered.
    Completion,
    /// It was asked, and known to the upstream from before; counted among the prompt's too.
    Cached,
    /// It was thought and not said; counted among the completion's too.
    Reasoning,
}

impl TokenKind {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [
        Self::Prompt,
        Self::Completion,
        Self::Cached,
        Self::Reasoning,
    ];

    /// Its label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Completion => "completion",
            Self::Cached => "cached",
            Self::Reasoning => "reasoning",
        }
    }
}

/// How a number of tokens is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counted {
    /// The upstream said so.
    Reported,
    /// The answer ended without it, and it was reckoned from what came.
    Estimated,
}

impl Counted {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::Reported, Self::Estimated];

    /// Its label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
        }
    }
}

/// The series of one upstream.
#[derive(Debug, Clone)]
pub struct UpstreamSeries {
    /// Attempts that were answered.
    pub answered: Counter,
    troubles: Arc<[(&'static str, Counter)]>,
    /// Requests that were sent again.
    pub retries: Counter,
    /// Requests that were not sent again because the budget was used up.
    pub retries_refused: Counter,
    /// Requests this upstream was asked beside another one, and answered first.
    pub hedges_won: Counter,
    /// Requests this upstream was asked beside another one, in vain.
    pub hedges_lost: Counter,
}

impl UpstreamSeries {
    /// Attempts that failed in this way; none for a word that the series were not made with.
    pub fn trouble(&self, word: &str) -> Option<&Counter> {
        let found = self.troubles.iter().find(|(known, _)| *known == word);
        found.map(|(_, counter)| counter)
    }
}

/// The series of one endpoint of an upstream.
#[derive(Debug, Clone)]
pub struct EndpointSeries {
    /// 1 while requests go to it, else 0. It is up until it is said to be otherwise.
    pub up: Gauge,
    /// Requests that are with it.
    pub in_flight: Gauge,
    /// How often it was left out because its answers failed.
    pub ejections: Counter,
}

/// The series of answers that were continued elsewhere, of one route.
#[derive(Debug, Clone)]
pub struct RescueSeries {
    /// They came to their end.
    pub whole: Counter,
    /// They did not.
    pub failed: Counter,
}

/// The tokens of one route and upstream.
#[derive(Debug, Clone)]
pub struct TokenSeries {
    counters: [[Counter; Counted::ALL.len()]; TokenKind::ALL.len()],
}

impl TokenSeries {
    /// The tokens of this kind that are known in this way.
    pub fn of(&self, kind: TokenKind, counted: Counted) -> &Counter {
        &self.counters[kind as usize][counted as usize]
    }
}

/// All that is counted of upstreams.
#[derive(Debug, Default)]
pub(super) struct UpstreamFamilies {
    up: Family<EndpointLabels, Gauge>,
    in_flight: Family<EndpointLabels, Gauge>,
    ejections: Family<EndpointLabels, Counter>,
    attempts: Family<AttemptLabels, Counter>,
    retries: Family<UpstreamLabels, Counter>,
    retries_refused: Family<UpstreamLabels, Counter>,
    hedges: Family<HedgeLabels, Counter>,
    rescues: Family<RescueLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
}

impl UpstreamFamilies {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register(
            "endpoint_up",
            "Whether requests go to an endpoint",
            self.up.clone(),
        );
        to.register(
            "endpoint_in_flight",
            "Requests that are with an endpoint",
            self.in_flight.clone(),
        );
        to.register(
            "ejections",
            "How often an endpoint was left out because its answers failed",
            self.ejections.clone(),
        );
        to.register(
            "attempts",
            "Requests sent to upstreams, by what they came to",
            self.attempts.clone(),
        );
        to.register(
            "retries",
            "Requests that were sent again to the same upstream",
            self.retries.clone(),
        );
        to.register(
            "retries_refused",
            "Requests not sent again because the budget for it was used up",
            self.retries_refused.clone(),
        );
        to.register(
            "hedges",
            "Requests an upstream was asked beside another one, and whether it answered first",
            self.hedges.clone(),
        );
        to.register(
            "rescues",
            "Answers that were cut and continued elsewhere, and whether they came to their end",
            self.rescues.clone(),
        );
        to.register(
            "tokens",
            "Tokens of requests and answers, as upstreams reported them or as reckoned",
            self.tokens.clone(),
        );
    }

    pub(super) fn upstream(&self, name: &Arc<str>, troubles: &[&'static str]) -> UpstreamSeries {
        let upstream = || Name(name.clone());
        let attempts = |outcome| {
            let labels = AttemptLabels {
                upstream: upstream(),
                outcome,
            };
            self.attempts.get_or_create_owned(&labels)
        };
        let hedges = |won| {
            let labels = HedgeLabels {
                upstream: upstream(),
                won,
            };
            self.hedges.get_or_create_owned(&labels)
        };
        let labels = UpstreamLabels {
            upstream: upstream(),
        };
        UpstreamSeries {
            answered: attempts(ANSWERED),
            troubles: troubles
                .iter()
                .map(|word| (*word, attempts(word)))
                .collect(),
            retries: self.retries.get_or_create_owned(&labels),
            retries_refused: self.retries_refused.get_or_create_owned(&labels),
            hedges_won: hedges("yes"),
            hedges_lost: hedges("no"),
        }
    }

    pub(super) fn endpoint(&self, upstream: &Arc<str>, endpoint: &Arc<str>) -> EndpointSeries {
        let labels = EndpointLabels {
            upstream: Name(upstream.clone()),
            endpoint: Name(endpoint.clone()),
        };
        let up = self.up.get_or_create_owned(&labels);
        up.set(1);
        EndpointSeries {
            up,
            in_flight: self.in_flight.get_or_create_owned(&labels),
            ejections: self.ejections.get_or_create_owned(&labels),
        }
    }

    pub(super) fn rescues(&self, route: &Arc<str>) -> RescueSeries {
        let of = |outcome| {
            let labels = RescueLabels {
                route: Name(route.clone()),
                outcome,
            };
            self.rescues.get_or_create_owned(&labels)
        };
        RescueSeries {
            whole: of("whole"),
            failed: of("failed"),
        }
    }

    pub(super) fn tokens(&self, route: &Arc<str>, upstream: &Arc<str>) -> TokenSeries {
        let of = |kind: TokenKind, counted: Counted| {
            let labels = TokenLabels {
                route: Name(route.clone()),
                upstream: Name(upstream.clone()),
                kind: kind.word(),
                counted: counted.word(),
            };
            self.tokens.get_or_create_owned(&labels)
        };
        TokenSeries {
            counters: TokenKind::ALL.map(|kind| Counted::ALL.map(|counted| of(kind, counted))),
        }
    }
}

#[cfg(test)]
#[path = "upstreams_tests.rs"]
mod tests;
