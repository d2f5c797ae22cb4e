//! Tests of [`super`]: exact over each full turn, smooth within it, and sets that don't disturb one another.

use std::iter;

use fastrand::Rng;
use proptest::prelude::*;

use super::*;

fn set(weights: &[u32]) -> Vec<(usize, u32)> {
    weights.iter().copied().enumerate().collect()
}

/// How often each of `members` had its turn in `turns` requests.
fn counts(turns: &mut Turns, members: &[(usize, u32)], times: usize, chance: &mut Rng) -> Vec<u32> {
    let mut counts = vec![0; members.len()];
    for _ in 0..times {
        counts[turns.next(members.iter().copied(), chance).unwrap()] += 1;
    }
    counts
}

/// A set at the begin of a full turn, which is where nobody is behind.
fn at_begin(weights: &[u32]) -> Set {
    let mut set = Set::new(set(weights).into_iter(), &mut Rng::with_seed(1));
    for _ in 0..set.total {
        if set.members.iter().all(|member| member.behind == 0) {
            return set;
        }
        set.next();
    }
    panic!("a full turn without a begin: {set:?}");
}

#[test]
fn the_heavy_one_does_not_come_in_bursts() {
    let mut set = at_begin(&[5, 1, 1]);
    let turn: Vec<_> = iter::from_fn(|| set.next()).take(14).collect();
    assert_eq!(turn[..7], [0, 0, 1, 0, 2, 0, 0]);
    assert_eq!(turn[7..], turn[..7]);
}

#[test]
fn of_nobody_it_is_nobodys_turn() {
    let mut turns = Turns::default();
    assert_eq!(turns.next(iter::empty(), &mut Rng::with_seed(1)), None);
}

#[test]
fn retries_elsewhere_do_not_turn_first_requests_to_the_one_that_fails() {
    // Each request to the first endpoint fails, and is sent again to one of the others.
    for others in 1..5 {
        let mut chance = Rng::with_seed(others as u64);
        let mut turns = Turns::default();
        let all = set(&vec![1; others + 1]);
        let mut firsts = vec![0; all.len()];
        let mut retries = vec![0; others];
        for _ in 0..60 * all.len() {
            let at = turns.next(all.iter().copied(), &mut chance).unwrap();
            firsts[at] += 1;
            if at == 0 {
                let rest = all[1..].iter().copied();
                retries[turns.next(rest, &mut chance).unwrap()] += 1;
            }
        }
        assert_eq!(firsts, vec![60; all.len()]);
        assert_eq!(retries, vec![60 / others; others]);
    }
}

#[test]
fn sets_that_are_seen_once_begin_anywhere() {
    let mut chance = Rng::with_seed(3);
    let mut turns = Turns::default();
    let mut counts = [0_i32; 4];
    for number in 0..4_000 {
        let members = (0..4).map(|index| (index + number, 1));
        counts[turns.next(members, &mut chance).unwrap()] += 1;
        assert!(turns.sets.len() <= SETS);
    }
    // Five standard deviations.
    for count in counts {
        assert!((count - 1_000).abs() < 140, "{counts:?}");
    }
}

proptest! {
    #[test]
    fn each_full_turn_is_exact_whatever_came_before(
        weights in prop::collection::vec(1_u32..20, 1..8),
        before in prop::collection::vec((any::<u8>(), 0_usize..50), 0..10),
        left_out: u8,
        seed: u64,
    ) {
        let mut chance = Rng::with_seed(seed);
        let mut turns = Turns::default();
        let all = set(&weights);
        let without = |bits: u8| -> Vec<_> {
            all.iter().copied().filter(|(index, _)| bits >> index & 1 == 0).collect()
        };
        for (bits, times) in before {
            let some = without(bits);
            if !some.is_empty() {
                counts(&mut turns, &some, times, &mut chance);
            }
        }
        // The set may have shrunk just now, and requests of another set come in between.
        let some = without(left_out);
        if some.len() < all.len() {
            let expected: Vec<_> = some.iter().map(|(_, weight)| *weight).collect();
            let mut found = vec![0; some.len()];
            for _ in 0..expected.iter().sum() {
                found[turns.next(some.iter().copied(), &mut chance).unwrap()] += 1;
                for _ in 0..chance.usize(..3) {
                    turns.next(all.iter().copied(), &mut chance);
                }
            }
            prop_assert_eq!(found, expected);
        }
        let total = weights.iter().sum::<u32>() as usize;
        prop_assert_eq!(counts(&mut turns, &all, total, &mut chance), weights);
    }

    #[test]
    fn nobody_is_a_whole_request_ahead_of_its_share(
        weights in prop::collection::vec(1_u32..50, 1..10),
    ) {
        let mut set = at_begin(&weights);
        let mut counts = vec![0_i64; weights.len()];
        for request in 1..=2 * set.total {
            counts[set.next().unwrap()] += 1;
            for (count, weight) in counts.iter().zip(&weights) {
                let ahead = count * set.total - request * i64::from(*weight);
                prop_assert!(ahead < set.total);
                prop_assert!(-ahead < set.total * weights.len() as i64);
            }
        }
    }
}
