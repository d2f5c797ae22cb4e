//! Tests of [`super`]: each policy's shares with a fixed seed, and what moves when an endpoint goes.

use fastrand::Rng;
use proptest::prelude::*;

use super::*;
use crate::config::HashBy;

fn candidate(index: usize, weight: u32) -> (usize, Candidate) {
    let name = format!("http://10.0.0.{index}:8000");
    let candidate = Candidate {
        weight,
        in_flight: 0,
        latency: None,
        name_hash: hash_of(name.as_bytes()),
    };
    (index, candidate)
}

fn weighted(weights: &[u32]) -> Vec<(usize, Candidate)> {
    let indexes = weights.iter().enumerate();
    indexes
        .map(|(index, weight)| candidate(index, *weight))
        .collect()
}

/// Whether each has had its share of `counts` by weight, within five standard deviations.
fn has_shares(counts: &[usize], weights: &[u32]) -> bool {
    let all: usize = counts.iter().sum();
    let total: u32 = weights.iter().sum();
    counts.iter().zip(weights).all(|(count, weight)| {
        let share = f64::from(*weight) / f64::from(total);
        let deviation = (all as f64 * share * (1.0 - share)).sqrt();
        (*count as f64 - all as f64 * share).abs() <= 5.0 * deviation
    })
}

fn policies() -> [Balance; 4] {
    [
        Balance::RoundRobin,
        Balance::LeastInFlight,
        Balance::FirstEvent,
        Balance::Hash(HashBy::Caller),
    ]
}

#[test]
fn the_index_is_that_in_the_upstream() {
    let mut chance = Rng::with_seed(1);
    for policy in policies() {
        let balancer = Balancer::new(policy);
        assert_eq!(balancer.choose(&[], Some(1), &mut chance), None);
        let one = [candidate(7, 1)];
        assert_eq!(balancer.choose(&one, Some(1), &mut chance), Some(7));
        let two = [candidate(5, 1), candidate(9, 2)];
        for key in 0..100 {
            let found = balancer.choose(&two, Some(key), &mut chance);
            assert!(matches!(found, Some(5 | 9)));
        }
    }
}

#[test]
fn a_weight_of_zero_and_the_largest_are_weights() {
    let mut chance = Rng::with_seed(1);
    let candidates = weighted(&[0, u32::MAX, u32::MAX]);
    for policy in policies() {
        let balancer = Balancer::new(policy);
        for key in 0..10 {
            assert!(
                balancer
                    .choose(&candidates, Some(key), &mut chance)
                    .is_some()
            );
            assert!(balancer.choose(&candidates, None, &mut chance).is_some());
        }
    }
}

#[test]
fn in_turn_is_exact() {
    let mut chance = Rng::with_seed(1);
    let balancer = Balancer::new(Balance::RoundRobin);
    let candidates = weighted(&[3, 1, 2]);
    let mut counts = [0; 3];
    for _ in 0..600 {
        counts[balancer.choose(&candidates, None, &mut chance).unwrap()] += 1;
    }
    assert_eq!(counts, [300, 100, 200]);
    let mut counts = [0; 3];
    for _ in 0..300 {
        counts[balancer
            .choose(&candidates[1..], None, &mut chance)
            .unwrap()] += 1;
    }
    assert_eq!(counts, [0, 100, 200]);
}

#[test]
fn the_fewest_in_flight_for_the_weight_is_asked() {
    let mut chance = Rng::with_seed(1);
    let balancer = Balancer::new(Balance::LeastInFlight);
    let mut candidates = weighted(&[1, 3]);
    // Each request stays: they fill up by weight.
    let mut order = Vec::new();
    for _ in 0..400 {
        let at = balancer.choose(&candidates, None, &mut chance).unwrap();
        candidates[at].1.in_flight += 1;
        order.push(at);
    }
    assert_eq!(order[..2], [1, 1]);
    assert_eq!(candidates[0].1.in_flight, 100);
    assert_eq!(candidates[1].1.in_flight, 300);
}

#[test]
fn of_equally_free_ones_chance_decides() {
    let mut chance = Rng::with_seed(2);
    let balancer = Balancer::new(Balance::LeastInFlight);
    let mut candidates = weighted(&[1, 1, 1, 1, 1]);
    candidates[2].1.in_flight = 1;
    let mut counts = [0; 5];
    for _ in 0..100_000 {
        counts[balancer.choose(&candidates, None, &mut chance).unwrap()] += 1;
    }
    assert_eq!(counts[2], 0);
    assert!(
        has_shares(&[counts[0], counts[1], counts[3], counts[4]], &[1; 4]),
        "{counts:?}"
    );
}

fn with_latency(millis: &[Option<u64>]) -> Vec<(usize, Candidate)> {
    let mut candidates = weighted(&vec![1; millis.len()]);
    for ((_, candidate), millis) in candidates.iter_mut().zip(millis) {
        candidate.latency = millis.map(Duration::from_millis);
    }
    candidates
}

#[test]
fn the_sooner_of_two_is_asked() {
    let mut chance = Rng::with_seed(3);
    let balancer = Balancer::new(Balance::FirstEvent);
    let candidates = with_latency(&[Some(300), Some(100), Some(900), Some(100)]);
    let mut counts = [0; 4];
    for _ in 0..100_000 {
        counts[balancer.choose(&candidates, None, &mut chance).unwrap()] += 1;
    }
    // Of six pairs the slowest wins none, the next wins one, and two that are alike share the rest.
    assert_eq!(counts[2], 0);
    assert!(
        has_shares(&[counts[0], counts[1], counts[3]], &[2, 5, 5]),
        "{counts:?}"
    );
}

#[test]
fn what_is_in_flight_makes_a_quick_one_slow() {
    let quick = candidate(0, 2).1;
    let quick = Candidate {
        latency: Some(Duration::from_millis(100)),
        in_flight: 5,
        ..quick
    };
    let slow = |millis| Candidate {
        latency: Some(Duration::from_millis(millis)),
        ..candidate(1, 1).1
    };
    // 100 ms * 6 requests / a weight of 2.
    assert!(slow(299).is_sooner(&quick) && !quick.is_sooner(&slow(299)));
    assert!(quick.is_sooner(&slow(301)) && !slow(301).is_sooner(&quick));
}

#[test]
fn an_unknown_one_is_tried_by_one_request() {
    let mut chance = Rng::with_seed(4);
    let balancer = Balancer::new(Balance::FirstEvent);
    let mut candidates = with_latency(&[Some(1), None]);
    assert_eq!(balancer.choose(&candidates, None, &mut chance), Some(1));
    candidates[1].1.in_flight = 1;
    candidates[0].1.in_flight = 1_000;
    for _ in 0..100 {
        assert_eq!(balancer.choose(&candidates, None, &mut chance), Some(0));
    }
}

#[test]
fn chance_keeps_to_weights_and_leaves_out_what_it_is_told() {
    let mut chance = Rng::with_seed(5);
    let candidates = weighted(&[1, 5, 2]);
    let mut counts = [0; 3];
    let mut without = [0; 3];
    for _ in 0..100_000 {
        counts[by_weight(&candidates, None, &mut chance).unwrap()] += 1;
        without[by_weight(&candidates, Some(1), &mut chance).unwrap()] += 1;
    }
    assert!(has_shares(&counts, &[1, 5, 2]), "{counts:?}");
    assert_eq!(without[1], 0);
    assert!(
        has_shares(&[without[0], without[2]], &[1, 2]),
        "{without:?}"
    );
    assert_eq!(by_weight(&candidates[..1], Some(0), &mut chance), None);
}

#[test]
fn keys_are_shared_out_by_weight() {
    let mut chance = Rng::with_seed(6);
    let weights = [1, 4, 2, 3];
    let candidates = weighted(&weights);
    let balancer = Balancer::new(Balance::Hash(HashBy::Caller));
    let mut counts = [0; 4];
    let mut keyless = [0; 4];
    for number in 0..100_000 {
        let key = hash_of(format!("caller-{number}").as_bytes());
        counts[balancer
            .choose(&candidates, Some(key), &mut chance)
            .unwrap()] += 1;
        keyless[balancer.choose(&candidates, None, &mut chance).unwrap()] += 1;
    }
    assert!(has_shares(&counts, &weights), "{counts:?}");
    assert!(has_shares(&keyless, &weights), "{keyless:?}");
}

#[test]
fn the_hash_is_the_same_everywhere() {
    // FNV-1a of the reference ("" and "foobar"), mixed.
    assert_eq!(hash_of(b""), mix(0xcbf2_9ce4_8422_2325));
    assert_eq!(hash_of(b"foobar"), mix(0x8594_4171_f739_67e8));
    // The first numbers of SplitMix64 with the seed 0.
    assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
    assert_eq!(
        mix(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(2)),
        0x6e78_9e6a_a1b9_65f4
    );
}

proptest! {
    #[test]
    fn only_the_keys_of_the_one_that_goes_move(
        weights in prop::collection::vec(1_u32..10, 2..8),
        gone: prop::sample::Index,
        keys in prop::collection::vec(any::<u64>(), 1..200),
    ) {
        let all = weighted(&weights);
        let mut rest = all.clone();
        let (gone, _) = rest.remove(gone.index(all.len()));
        // Nor does the order matter, or how busy they are.
        rest.reverse();
        rest[0].1.in_flight = 9;
        let balancer = Balancer::new(Balance::Hash(HashBy::Caller));
        let mut chance = Rng::with_seed(7);
        for key in keys {
            let before = balancer.choose(&all, Some(key), &mut chance).unwrap();
            let after = balancer.choose(&rest, Some(key), &mut chance).unwrap();
            prop_assert_ne!(after, gone);
            if before != gone {
                prop_assert_eq!(before, after);
            }
        }
    }

    #[test]
    fn more_weight_only_wins_keys(
        weights in prop::collection::vec(1_u32..10, 2..8),
        grown: prop::sample::Index,
        keys in prop::collection::vec(any::<u64>(), 1..200),
    ) {
        let before = weighted(&weights);
        let mut after = before.clone();
        let grown = grown.index(before.len());
        after[grown].1.weight += 1;
        for key in keys {
            let (was, is) = (owner(&before, key), owner(&after, key));
            prop_assert!(was == is || is == Some(grown));
        }
    }

    #[test]
    fn whoever_is_chosen_has_the_fewest_for_its_weight(
        loads in prop::collection::vec((1_u32..10, 0_usize..30), 1..10),
        seed: u64,
    ) {
        let mut candidates = weighted(&loads.iter().map(|(weight, _)| *weight).collect::<Vec<_>>());
        for ((_, candidate), (_, in_flight)) in candidates.iter_mut().zip(&loads) {
            candidate.in_flight = *in_flight;
        }
        let balancer = Balancer::new(Balance::LeastInFlight);
        let chosen = balancer.choose(&candidates, None, &mut Rng::with_seed(seed)).unwrap();
        let load = |at: usize| (loads[at].1 + 1) as f64 / f64::from(loads[at].0);
        for at in 0..loads.len() {
            prop_assert!(load(chosen) <= load(at) + 1e-9);
        }
    }
}
