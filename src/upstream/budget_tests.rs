//! Tests of [`super`]: the rule by example, against a naive model, and with threads that take at the same time.

use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn take_all(budget: &Budget, percent: u32, least: u32, now: Instant) -> u64 {
    let mut count = 0;
    while budget.take(percent, least, now) {
        count += 1;
        assert!(count < 1_000_000, "it has no end");
    }
    count
}

#[test]
fn at_the_start_the_least_is_there_and_no_more() {
    let budget = Budget::default();
    let now = Instant::now();
    assert_eq!(budget.left(20, 3, now), 3);
    assert_eq!(take_all(&budget, 20, 3, now), 3);
    assert_eq!(budget.left(20, 3, now), 0);
}

#[test]
fn nothing_is_nothing() {
    let budget = Budget::default();
    let now = Instant::now();
    assert!(!budget.take(20, 0, now));
    (0..4).for_each(|_| budget.count(now));
    assert!(!budget.take(20, 0, now), "a fifth of four is none");
    budget.count(now);
    assert!(!budget.take(0, 0, now));
    assert!(budget.take(20, 0, now));
    assert!(!budget.take(20, 0, now));
}

#[test]
fn the_least_is_there_each_second_for_ever() {
    let budget = Budget::default();
    let start = Instant::now();
    for second in 0..100 {
        assert_eq!(take_all(&budget, 20, 3, start + seconds(second)), 3);
    }
}

#[test]
fn a_burst_after_a_quiet_time_is_bounded() {
    let budget = Budget::default();
    let start = Instant::now();
    budget.count(start);
    assert_eq!(take_all(&budget, 20, 3, start + seconds(3_600)), 3);
    // One of a hundred first requests that all fail at once.
    let later = start + seconds(7_200);
    (0..100).for_each(|_| budget.count(later));
    assert_eq!(take_all(&budget, 20, 3, later), 23);
}

#[test]
fn a_share_of_the_load_goes_on_through_an_outage() {
    let budget = Budget::default();
    let start = Instant::now();
    let mut taken = 0;
    for second in 0..100 {
        let now = start + seconds(second);
        (0..50).for_each(|_| budget.count(now));
        taken += take_all(&budget, 20, 0, now);
    }
    // A fifth of 5,000; the last seconds' share may be spent already.
    assert_eq!(taken, 1_000);
}

#[test]
fn what_is_older_than_the_window_is_forgotten() {
    let budget = Budget::default();
    let start = Instant::now();
    (0..100).for_each(|_| budget.count(start));
    assert_eq!(budget.left(10, 0, start + seconds(9)), 10);
    assert_eq!(budget.left(10, 0, start + seconds(10)), 0);
    // The place of the first second is used again.
    budget.count(start + seconds(16));
    assert_eq!(budget.left(100, 0, start + seconds(16)), 1);
    // A whole round late: not counted in another's place.
    budget.count(start);
    assert_eq!(budget.left(100, 0, start + seconds(16)), 1);
}

#[test]
fn a_thread_that_is_behind_is_counted_with_the_others() {
    let budget = Budget::default();
    let start = Instant::now();
    budget.count(start);
    let ahead = start + seconds(5);
    assert!(budget.take(0, 2, ahead));
    assert!(budget.take(0, 2, start + seconds(4)));
    assert!(!budget.take(0, 2, start + seconds(4)));
    assert!(!budget.take(0, 2, ahead));
    // Before the very first one: three for one request, and two are gone.
    assert_eq!(budget.left(300, 0, start - seconds(1)), 1);
}

#[test]
fn threads_lose_nothing_and_take_nothing_twice() {
    let budget = Budget::default();
    let start = Instant::now();
    budget.count(start);
    let now = start + seconds(1);
    let taken: u64 = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..5_000).for_each(|_| budget.count(now));
                    (0..5_000).filter(|_| budget.take(20, 0, now)).count() as u64
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    });
    // Who took early found fewer requests counted, but tried more often than there was to take.
    assert!(taken <= 4_000, "{taken}");
    assert_eq!(taken + take_all(&budget, 20, 0, now), 4_000);
    assert_eq!(budget.left(100, 0, now), 20_001 - 4_000);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait(u64),
    Count(u32),
    Take(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u64..2_000).prop_map(Step::Wait),
        1 => (2_000_u64..30_000).prop_map(Step::Wait),
        4 => (1_u32..60).prop_map(Step::Count),
        4 => (1_u32..30).prop_map(Step::Take),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #[test]
    fn it_takes_what_the_rule_allows_and_never_more(
        steps in steps(),
        percent in 0_u32..120,
        least in 0_u32..5,
    ) {
        let budget = Budget::default();
        let start = Instant::now();
        budget.left(percent, least, start);
        let mut millis = 0;
        // The second of each first request, and of each further one.
        let mut requests: Vec<u64> = Vec::new();
        let mut taken: Vec<u64> = Vec::new();
        for step in steps {
            let now = start + Duration::from_millis(millis);
            let second = millis / 1_000;
            match step {
                Step::Wait(more) => millis += more,
                Step::Count(times) => for _ in 0..times {
                    budget.count(now);
                    requests.push(second);
                },
                Step::Take(times) => for _ in 0..times {
                    let in_window = |one: &&u64| **one + 10 > second;
                    let share = requests.iter().filter(in_window).count() as u64 * u64::from(percent) / 100;
                    let least = u64::from(least);
                    let window = taken.iter().filter(in_window).count() as u64;
                    let at_once = taken.iter().filter(|one| **one == second).count() as u64;
                    let expected = (share + 10 * least).saturating_sub(window)
                        .min((share + least).saturating_sub(at_once));
                    prop_assert_eq!(budget.left(percent, least as u32, now), expected);
                    let was_taken = budget.take(percent, least as u32, now);
                    prop_assert_eq!(was_taken, expected > 0);
                    if was_taken {
                        taken.push(second);
                        prop_assert!(window < share + 10 * least);
                    }
                },
            }
        }
    }
}
