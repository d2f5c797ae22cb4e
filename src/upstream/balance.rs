//! The choice of an endpoint among those that can be asked now.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;

use super::turns::Turns;
use crate::config::Balance;

/// An endpoint that can be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its share beside the others'; 0 is taken for 1.
    pub weight: u32,
    /// Requests it has not answered to the end.
    pub in_flight: usize,
    /// The moving average of the time to its first event, as far as it is known.
    pub latency: Option<Duration>,
    /// [`hash_of`] its name: what keys are given to, whatever its place in the list is.
    pub name_hash: u64,
}

impl Candidate {
    fn weight(&self) -> u32 {
        self.weight.max(1)
    }

    /// What it would have to do with one request more.
    fn load(&self) -> u128 {
        self.in_flight as u128 + 1
    }

    /// Whether it would have less to do than `other`, for its weight.
    fn is_freer(&self, other: &Self) -> bool {
        self.load() * u128::from(other.weight()) < other.load() * u128::from(self.weight())
    }

    /// Whether its first event can be expected before that of `other`, whose requests count too. An endpoint
    /// that nothing is known of is tried first, by one request; until that is answered, it is asked after
    /// all that are known: else whatever never answers would take every request.
    fn is_sooner(&self, other: &Self) -> bool {
        let cost = |one: &Self, latency: Duration| {
            latency.as_secs_f64() * one.load() as f64 / f64::from(one.weight())
        };
        match (self.latency, other.latency) {
            (Some(mine), Some(its)) => cost(self, mine) < cost(other, its),
            (None, Some(_)) => self.in_flight == 0,
            (Some(_), None) => other.in_flight > 0,
            (None, None) => self.is_freer(other),
        }
    }
}

/// Chooses endpoints of one upstream. Shared by threads.
#[derive(Debug)]
pub struct Balancer {
    policy: Balance,
    turns: Mutex<Turns>,
}

impl Balancer {
    /// One that chooses by `policy`.
    pub fn new(policy: Balance) -> Self {
        Self {
            policy,
            turns: Mutex::new(Turns::default()),
        }
    }

    /// The endpoint to ask, by its index in the upstream, which stands before each candidate; none only if there
    /// is no candidate. `key` is the hash of what requests are told apart by for [`Balance::Hash`]; one
    /// without goes where chance sends it, by weight.
    pub fn choose(
        &self,
        candidates: &[(usize, Candidate)],
        key: Option<u64>,
        chance: &mut Rng,
    ) -> Option<usize> {
        if let [(only, _)] = candidates {
            return Some(*only);
        }
        let at = match (&self.policy, key) {
            (Balance::RoundRobin, _) => self.in_turn(candidates, chance),
            (Balance::LeastInFlight, _) => freest(candidates, chance),
            (Balance::FirstEvent, _) => sooner_of_two(candidates, chance),
            (Balance::Hash(_), Some(key)) => owner(candidates, key),
            (Balance::Hash(_), None) => by_weight(candidates, None, chance),
        };
        candidates.get(at?).map(|(index, _)| *index)
    }

    fn in_turn(&self, candidates: &[(usize, Candidate)], chance: &mut Rng) -> Option<usize> {
        let members = candidates
            .iter()
            .map(|(index, candidate)| (*index, candidate.weight()));
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.next(members, chance)
    }
}

/// The hash of a name or a key. It is the same in each process, on each machine and in each version: gateways
/// side by side, and one that was started anew, are to send a key to the same endpoint. The standard library
/// promises that of none of its hashes. This is 64-bit FNV-1a, with its bits mixed in the end; against keys
/// made to fall together it does not protect, nor need it: whoever wants one endpoint can send one key.
pub fn hash_of(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv)
}

/// Spreads each bit of a number over all of them (the last step of SplitMix64).
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The place of the one with the fewest requests for its weight; of several, one by chance.
fn freest(candidates: &[(usize, Candidate)], chance: &mut Rng) -> Option<usize> {
    let mut best: Option<(usize, &Candidate)> = None;
    let mut equals = 1;
    for (at, (_, candidate)) in candidates.iter().enumerate() {
        let taken = match best {
            Some((_, known)) if known.is_freer(candidate) => false,
            Some((_, known)) if !candidate.is_freer(known) => {
                equals += 1;
                // Each of `equals` so far is the best with the same probability.
                chance.usize(..equals) == 0
            }
            _ => {
                equals = 1;
                true
            }
        };
        if taken {
            best = Some((at, candidate));
        }
    }
    best.map(|(at, _)| at)
}

/// The place of the sooner of two that chance takes. Two, and not the soonest of all: what is known is a
/// little old, and all threads would run to the same one.
fn sooner_of_two(candidates: &[(usize, Candidate)], chance: &mut Rng) -> Option<usize> {
    let first = by_weight(candidates, None, chance)?;
    let Some(second) = by_weight(candidates, Some(first), chance) else {
        return Some(first);
    };
    let is_sooner = candidates[second].1.is_sooner(&candidates[first].1);
    Some(if is_sooner { second } else { first })
}

/// The place of one by chance, by weight; not the one at `except`.
fn by_weight(
    candidates: &[(usize, Candidate)],
    except: Option<usize>,
    chance: &mut Rng,
) -> Option<usize> {
    let weights = || {
        let places = candidates.iter().enumerate();
        places
            .filter(move |(at, _)| Some(*at) != except)
            .map(|(at, (_, candidate))| (at, u64::from(candidate.weight())))
    };
    let total: u64 = weights().map(|(_, weight)| weight).sum();
    if total == 0 {
        return None;
    }
    let mut left = chance.u64(..total);
    weights()
        .find(|(_, weight)| {
            let is_here = left < *weight;
            left = left.saturating_sub(*weight);
            is_here
        })
        .map(|(at, _)| at)
}

/// The place of the one that `key` belongs to, by weighted rendezvous: each bids for the key, the highest bid
/// has it. A bid depends on nobody else, so when one goes, only its own keys move, to the next highest each.
fn owner(candidates: &[(usize, Candidate)], key: u64) -> Option<usize> {
    let bids = candidates
        .iter()
        .map(|(_, candidate)| bid(candidate, key))
        .enumerate();
    bids.max_by(|(_, mine), (_, other)| mine.total_cmp(other))
        .map(|(at, _)| at)
}

/// `weight / -ln(u)` with `u` evenly spread between 0 and 1: the highest of such bids falls to each bidder as
/// often as its weight says.
fn bid(candidate: &Candidate, key: u64) -> f64 {
    let hash = mix(key ^ mix(candidate.name_hash));
    // 53 bits are what a float holds; the half keeps it off both ends.
    let even = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    f64::from(candidate.weight()) / -even.ln()
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
