//! What operators are told of an upstream: plain values, to be written as JSON.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::breaker;
use super::group::Group;
use crate::config::{Balance, HashBy, RetryBudget};

/// An upstream, as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpstreamReport {
    /// Its name.
    pub name: Arc<str>,
    /// How one of its endpoints is chosen, as in the configuration.
    pub balance: &'static str,
    /// What requests are told apart by, where `balance` is `hash`: `caller`, or a header's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_by: Option<String>,
    /// Its endpoints, in the order of the configuration.
    pub endpoints: Vec<EndpointReport>,
    /// How many requests could be sent again at once.
    pub retries_left: u64,
}

/// An endpoint, as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndpointReport {
    /// Its name in logs and metrics.
    pub name: Arc<str>,
    /// Its share beside the others'.
    pub weight: u32,
    /// Whether checks find it well; true where there are none.
    pub checked: bool,
    /// What requests have shown.
    pub standing: Standing,
    /// How long it is left out for yet, in milliseconds; none while it is not.
    pub out_for_ms: Option<u64>,
    /// How long it asked to be left alone for yet (`Retry-After`), in milliseconds; none where it did not.
    pub rests_for_ms: Option<u64>,
    /// Failures since the last good answer.
    pub failures_in_row: u32,
    /// How often it was left out since the start.
    pub ejections: u64,
    /// Requests that are with it now.
    pub in_flight: usize,
    /// The moving average of the time to an answer's first event, in milliseconds, a failure counting as a long one;
    /// none before the first of either.
    pub first_event_ms: Option<f64>,
}

/// Whether requests go to an endpoint, by what other requests have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// They do.
    In,
    /// They do not.
    Out,
    /// A few do, to see whether it is well again.
    Trial,
}

impl Group {
    /// How it stands at `now`.
    pub fn report(&self, now: Instant) -> UpstreamReport {
        let RetryBudget { percent, least } = self.config.retry_budget;
        UpstreamReport {
            name: self.name.clone(),
            balance: balance(&self.config.balance),
            hash_by: hash_by(&self.config.balance),
            endpoints: self
                .members
                .iter()
                .map(|member| member.endpoint.report(member.weight, now))
                .collect(),
            retries_left: self.retries.left(percent, least, now),
        }
    }
}

impl super::endpoint::Endpoint {
    /// How it stands at `now`, with its weight in the group that asks.
    fn report(&self, weight: u32, now: Instant) -> EndpointReport {
        let health = &self.health;
        let breaker = health.breaker();
        let (standing, until) = match breaker.standing(now) {
            breaker::Standing::In => (Standing::In, None),
            breaker::Standing::Out { until } => (Standing::Out, Some(until)),
            breaker::Standing::Trial => (Standing::Trial, None),
        };
        EndpointReport {
            name: self.name.clone(),
            weight,
            checked: health.is_checked(),
            standing,
            out_for_ms: until.map(|until| millis(until - now)),
            rests_for_ms: health.rests_for(now).map(millis),
            failures_in_row: breaker.failures_in_row(),
            ejections: breaker.ejections(),
            in_flight: health.in_flight(),
            first_event_ms: health
                .latency(now)
                .map(|latency| latency.as_micros() as f64 / 1000.0),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The word of the configuration.
fn balance(balance: &Balance) -> &'static str {
    match balance {
        Balance::RoundRobin => "round-robin",
        Balance::LeastInFlight => "least-in-flight",
        Balance::FirstEvent => "first-event",
        Balance::Hash(_) => "hash",
    }
}

fn hash_by(balance: &Balance) -> Option<String> {
    match balance {
        Balance::Hash(HashBy::Caller) => Some("caller".to_owned()),
        Balance::Hash(HashBy::Header(name)) => Some(name.to_string()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
