//! An upstream at work: its endpoints, and which of them is asked.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::attempt::{Ask, attempt};
use super::balance::{Balancer, Candidate, hash_of};
use super::body::Answer;
use super::breaker::Standing;
use super::budget::Budget;
use super::endpoint::Endpoint;
use super::fault::Reason;
use super::h1::Upload;
use super::turn::Turn;
use crate::config::{self, Balance, Eject, RetryBudget};
use crate::metrics::EndpointSeries;

/// A named group of endpoints.
pub struct Group {
    /// Its name.
    pub name: Arc<str>,
    /// What it was built from.
    pub config: Arc<config::Upstream>,
    /// Its endpoints; at least one.
    pub members: Vec<Member>,
    /// TLS for those of them that speak it.
    pub tls: Option<TlsConnector>,
    /// How one of them is chosen.
    pub balancer: Balancer,
    /// Retries of late.
    pub retries: Budget,
    /// Requests of late that were asked of another upstream beside this one.
    pub hedges: Budget,
}

/// An endpoint's place in a group.
#[derive(Debug)]
pub struct Member {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its share beside the others'.
    pub weight: u32,
    /// What is counted of it.
    pub series: EndpointSeries,
}

/// Which endpoint would do.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'w> {
    /// What the request is told apart by, where the same ones go to the same endpoint.
    pub key: Option<u64>,
    /// The endpoints that were asked already, by number: others are preferred.
    pub tried: &'w [u64],
    /// Whether the request can go to another upstream instead.
    pub elsewhere: bool,
}

/// An answer, and who gave it.
#[derive(Debug)]
pub struct Asked {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its answer.
    pub answer: Answer,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.name)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

impl Group {
    /// Chooses an endpoint; none if all of them are left out and the request can go elsewhere.
    ///
    /// A request that has nowhere else to go is never refused because of what we think of the endpoints: where fewer
    /// than the share that stays could be asked, all can.
    pub fn pick(&self, wish: &Wish<'_>) -> Option<Turn> {
        let now = Instant::now();
        if self.members.len() == 1 {
            let health = &self.members[0].endpoint.health;
            // Its breaker says the rest when it is entered.
            let able = health.is_checked() && !health.is_resting(now);
            let turn = able.then(|| self.enter(0, now, false)).flatten();
            let forced = || {
                (!wish.elsewhere)
                    .then(|| self.enter(0, now, true))
                    .flatten()
            };
            return turn.or_else(forced);
        }
        let able: Vec<usize> = (0..self.members.len())
            .filter(|&index| self.can_be_asked(index, now))
            .collect();
        let enough = able.len() >= self.least() || (wish.elsewhere && !able.is_empty());
        if enough {
            return self.choose(&able, wish, now, false).or_else(|| {
                // Another worker took the last place of a trial.
                (!wish.elsewhere)
                    .then(|| self.choose(&self.all(), wish, now, true))
                    .flatten()
            });
        }
        if wish.elsewhere {
            return None;
        }
        self.choose(&self.all(), wish, now, true)
    }

    /// Whether any endpoint can be asked by a request that could go elsewhere.
    pub fn has_able(&self) -> bool {
        let now = Instant::now();
        (0..self.members.len()).any(|index| self.can_be_asked(index, now))
    }

    /// Asks `endpoint` once. `upload` stays with the caller while it was not used.
    ///
    /// # Errors
    ///
    /// The [`Reason`] why no head of an answer came.
    pub async fn attempt(
        &self,
        endpoint: &Arc<Endpoint>,
        ask: &Ask<'_>,
        upload: &mut Option<Upload>,
    ) -> Result<Answer, Reason> {
        attempt(self, endpoint, ask, upload).await
    }

    /// Whether a request may be sent again, which is then counted.
    pub fn may_retry(&self) -> bool {
        let RetryBudget { percent, least } = self.config.retry_budget;
        self.retries.take(percent, least, Instant::now())
    }

    /// Whether a request may be asked of another upstream beside this one, which is then counted.
    pub fn may_hedge(&self, percent: u32) -> bool {
        self.hedges.take(percent, 0, Instant::now())
    }

    /// Counts a request, of which a share may be sent again.
    pub fn count(&self) {
        self.retries.count(Instant::now());
    }

    /// Counts a request, of which a share may be asked of another upstream as well.
    pub fn count_for_hedges(&self) {
        self.hedges.count(Instant::now());
    }

    /// How many endpoints are asked at least while there is nowhere else to go.
    fn least(&self) -> usize {
        let keep = self.config.eject.map_or(0, |eject| eject.keep) as usize;
        (self.members.len() * keep).div_ceil(100).max(1)
    }

    /// Every endpoint whose checks do not speak against it; all of them if they speak against all.
    fn all(&self) -> Vec<usize> {
        let well: Vec<usize> = (0..self.members.len())
            .filter(|&index| self.members[index].endpoint.health.is_checked())
            .collect();
        match well.is_empty() {
            true => (0..self.members.len()).collect(),
            false => well,
        }
    }

    fn can_be_asked(&self, index: usize, now: Instant) -> bool {
        let health = &self.members[index].endpoint.health;
        let ejected = |rules: Eject| !health.breaker().may_begin(&rules, now);
        health.is_checked() && !health.is_resting(now) && !self.config.eject.is_some_and(ejected)
    }

    /// Takes a place at one of `among`, one that was not tried where there is such a one.
    fn choose(&self, among: &[usize], wish: &Wish<'_>, now: Instant, forced: bool) -> Option<Turn> {
        let fresh = |index: &usize| {
            let number = self.members[*index].endpoint.number;
            !wish.tried.contains(&number)
        };
        let mut left: Vec<usize> = among.iter().copied().filter(fresh).collect();
        if left.is_empty() {
            left = among.to_vec();
        }
        let mut chance = fastrand::Rng::new();
        while !left.is_empty() {
            let at = match left.len() {
                1 => 0,
                _ => self.balanced(&left, wish.key, now, &mut chance)?,
            };
            let index = left.remove(at);
            if let Some(turn) = self.enter(index, now, forced) {
                return Some(turn);
            }
        }
        None
    }

    /// The position in `left` of the one to ask.
    fn balanced(
        &self,
        left: &[usize],
        key: Option<u64>,
        now: Instant,
        chance: &mut fastrand::Rng,
    ) -> Option<usize> {
        let candidates: Vec<_> = left
            .iter()
            .map(|&index| (index, self.candidate(index, now)))
            .collect();
        let chosen = self.balancer.choose(&candidates, key, chance)?;
        left.iter().position(|&index| index == chosen)
    }

    fn candidate(&self, index: usize, now: Instant) -> Candidate {
        let Member {
            endpoint, weight, ..
        } = &self.members[index];
        // What costs more than a look is only found out where it decides.
        let by_latency = self.config.balance == Balance::FirstEvent;
        let latency = by_latency.then(|| endpoint.health.latency(now));
        let hash = self.is_by_key().then(|| hash_of(endpoint.name.as_bytes()));
        Candidate {
            weight: *weight,
            in_flight: endpoint.health.in_flight(),
            latency: latency.flatten(),
            name_hash: hash.unwrap_or_default(),
        }
    }

    fn enter(&self, index: usize, now: Instant, forced: bool) -> Option<Turn> {
        let endpoint = &self.members[index].endpoint;
        let Some(rules) = self.config.eject else {
            let rules = Eject::default();
            return Some(Turn::take(endpoint.clone(), None, rules, now));
        };
        let pass = endpoint.health.breaker().begin(&rules, now, forced)?;
        Some(Turn::take(endpoint.clone(), Some(pass), rules, now))
    }

    /// Brings what is counted of its endpoints up to date.
    pub fn measure(&self) {
        let now = Instant::now();
        for Member {
            endpoint, series, ..
        } in &self.members
        {
            let health = &endpoint.health;
            let (out, ejections) = {
                let breaker = health.breaker();
                let out = matches!(breaker.standing(now), Standing::Out { .. });
                (out, breaker.ejections())
            };
            let up = health.is_checked() && !(out && self.config.eject.is_some());
            series.up.set(i64::from(up));
            let in_flight = i64::try_from(health.in_flight()).unwrap_or(i64::MAX);
            series.in_flight.set(in_flight);
            let known = series.ejections.get();
            series.ejections.inc_by(ejections.saturating_sub(known));
        }
    }

    /// Whether the request's key decides which endpoint is asked.
    pub fn is_by_key(&self) -> bool {
        matches!(self.config.balance, Balance::Hash(_))
    }
}
