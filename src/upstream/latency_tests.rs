//! Tests of [`super`]: peaks, their decay, and that the average stays between what was observed.

use proptest::prelude::*;

use super::*;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Whether it is so up to what floating point loses.
fn is_about(found: Option<Duration>, expected: Duration) -> bool {
    found.is_some_and(|found| found.abs_diff(expected) <= Duration::from_micros(1))
}

#[test]
fn nothing_is_known_at_first() {
    let latency = Latency::default();
    let now = Instant::now();
    assert_eq!(latency.estimate(now), None);
    latency.observe(millis(300), now);
    assert!(is_about(latency.estimate(now), millis(300)));
}

#[test]
fn a_peak_is_believed_at_once_and_forgotten_by_and_by() {
    let latency = Latency::default();
    let start = Instant::now();
    latency.observe(millis(100), start);
    latency.observe(millis(2_000), start + millis(1));
    assert!(is_about(latency.estimate(start + millis(1)), millis(2_000)));
    // A single quick answer right behind it does not change much.
    latency.observe(millis(100), start + millis(101));
    assert!(latency.estimate(start + millis(101)) > Some(millis(1_950)));
    // Ten seconds of quick answers leave a third of the difference.
    let mut now = start + millis(101);
    for _ in 0..100 {
        now += millis(100);
        latency.observe(millis(100), now);
    }
    let left = millis(100) + millis(1_881).mul_f64((-1.0_f64).exp());
    let found = latency.estimate(now).unwrap();
    assert!(found.abs_diff(left) < millis(1), "{found:?}, not {left:?}");
}

#[test]
fn it_falls_while_nothing_is_observed() {
    let latency = Latency::default();
    let start = Instant::now();
    latency.observe(Duration::from_secs(4), start);
    let third = Duration::from_secs(4).mul_f64((-1.0_f64).exp());
    assert!(is_about(latency.estimate(start + DECAY), third));
    // To look changes nothing.
    assert!(is_about(latency.estimate(start + DECAY), third));
    assert!(latency.estimate(start + DECAY * 10) < Some(millis(1)));
}

#[test]
fn a_miss_is_slow_however_quick_it_was() {
    let latency = Latency::default();
    let now = Instant::now();
    latency.miss(now);
    assert!(is_about(latency.estimate(now), MISSED));
    latency.miss(now);
    assert!(is_about(latency.estimate(now), MISSED * 2));
    for _ in 0..20 {
        latency.miss(now);
    }
    assert!(is_about(latency.estimate(now), MOST_MISSED));
}

#[test]
fn a_time_before_the_last_is_taken_for_it() {
    let latency = Latency::default();
    let now = Instant::now();
    latency.observe(millis(500), now);
    latency.observe(millis(100), now - millis(5_000));
    assert!(is_about(latency.estimate(now - millis(9_000)), millis(500)));
    latency.observe(Duration::MAX, now);
    assert!(latency.estimate(now) > Some(Duration::from_secs(1 << 60)));
}

proptest! {
    #[test]
    fn it_stays_between_what_was_observed_and_above_the_last_peak_that_decays(
        observed in prop::collection::vec((0_u64..60_000, 0_u64..20_000), 1..50),
    ) {
        let latency = Latency::default();
        let mut now = Instant::now();
        let mut past: Vec<(Instant, Duration)> = Vec::new();
        for (took, later) in observed {
            now += millis(later);
            latency.observe(millis(took), now);
            past.push((now, millis(took)));
            let found = latency.estimate(now).unwrap();
            let slack = Duration::from_micros(1);
            let least = past.iter().map(|(_, took)| *took).min().unwrap();
            let most = past.iter().map(|(_, took)| *took).max().unwrap();
            prop_assert!(found + slack >= least && found <= most + slack);
            for (at, took) in &past {
                let decayed = took.mul_f64((-(now - *at).as_secs_f64() / 10.0).exp());
                prop_assert!(found + slack >= decayed, "{:?} under {:?}", found, decayed);
            }
        }
    }
}
