//! Tests of [`super`]: each rule by example, all of them against a naive model, and an endpoint that flaps for a day.

use proptest::prelude::*;

use super::*;

const RULES: Eject = Eject {
    after: 3,
    percent: 50,
    pause: Duration::from_secs(5),
    longest: Duration::from_secs(30),
    probes: 2,
    keep: 50,
};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// One request that ends at once.
fn ask(breaker: &mut Breaker, rules: &Eject, well: bool, now: Instant) -> bool {
    let pass = breaker.begin(rules, now, false).unwrap();
    breaker.end(pass.ended(Some(well)), rules, now, 0.0)
}

/// One that was put out at `now` by failures in a row.
fn put_out(now: Instant) -> Breaker {
    let mut breaker = Breaker::default();
    assert!(!ask(&mut breaker, &RULES, false, now));
    assert!(!ask(&mut breaker, &RULES, false, now));
    assert!(ask(&mut breaker, &RULES, false, now));
    breaker
}

fn out_for(breaker: &Breaker, now: Instant) -> Duration {
    match breaker.standing(now) {
        Standing::Out { until } => until - now,
        other => panic!("it is {other:?}"),
    }
}

#[test]
fn failures_in_a_row_put_it_out() {
    let now = Instant::now();
    let breaker = put_out(now);
    assert_eq!(out_for(&breaker, now), seconds(5));
    assert!(!breaker.may_begin(&RULES, now));
    assert_eq!(breaker.ejections(), 1);
    assert_eq!(breaker.failures_in_row(), 3);
}

#[test]
fn a_good_ending_breaks_the_row_and_no_judgement_does_not() {
    let now = Instant::now();
    let mut breaker = Breaker::default();
    for well in [false, false, true, false] {
        assert!(!ask(&mut breaker, &RULES, well, now));
    }
    let pass = breaker.begin(&RULES, now, false).unwrap();
    assert!(!breaker.end(pass.ended(None), &RULES, now, 0.0));
    assert!(!ask(&mut breaker, &RULES, false, now));
    assert!(ask(&mut breaker, &RULES, false, now));
}

#[test]
fn a_share_of_failures_puts_it_out_once_there_are_ten() {
    let now = Instant::now();
    let mut breaker = Breaker::default();
    for _ in 0..4 {
        assert!(!ask(&mut breaker, &RULES, true, now));
        assert!(!ask(&mut breaker, &RULES, false, now));
    }
    assert!(!ask(&mut breaker, &RULES, true, now));
    assert!(ask(&mut breaker, &RULES, false, now), "5 of 10");
}

#[test]
fn a_share_of_zero_is_never_reached() {
    let now = Instant::now();
    let rules = Eject {
        percent: 0,
        ..RULES
    };
    let mut breaker = Breaker::default();
    for turn in 0..100 {
        assert!(!ask(&mut breaker, &rules, turn % 3 == 0, now));
    }
}

#[test]
fn only_the_last_twenty_count() {
    let now = Instant::now();
    let mut breaker = Breaker::default();
    // Two of three fail, but too few to be a trend; then they are forgotten one by one.
    for well in [false, false, true].repeat(3) {
        assert!(!ask(&mut breaker, &RULES, well, now));
    }
    for _ in 0..20 {
        assert!(!ask(&mut breaker, &RULES, true, now));
    }
    // Nine of the last twenty, then ten.
    for _ in 0..9 {
        assert!(!ask(&mut breaker, &RULES, false, now));
        assert!(!ask(&mut breaker, &RULES, true, now));
    }
    assert!(ask(&mut breaker, &RULES, false, now));
}

#[test]
fn a_trial_has_few_places_and_a_good_probe_brings_it_in() {
    let start = Instant::now();
    let mut breaker = put_out(start);
    let now = start + seconds(5);
    assert_eq!(breaker.standing(now), Standing::Trial);
    let first = breaker.begin(&RULES, now, false).unwrap();
    let second = breaker.begin(&RULES, now, false).unwrap();
    assert!(first.is_probe() && second.is_probe());
    assert_eq!(breaker.begin(&RULES, now, false), None);
    // A dropped probe frees its place.
    assert!(!breaker.end(second.ended(None), &RULES, now, 0.0));
    assert!(breaker.may_begin(&RULES, now));
    assert!(!breaker.end(first.ended(Some(true)), &RULES, now, 0.0));
    assert_eq!(breaker.standing(now), Standing::In);
    assert_eq!(breaker.failures_in_row(), 0);
    assert!(
        !ask(&mut breaker, &RULES, false, now),
        "history is forgotten"
    );
}

#[test]
fn a_failed_probe_puts_it_out_for_twice_as_long_up_to_the_longest() {
    let mut now = Instant::now();
    let mut breaker = put_out(now);
    for expected in [10, 20, 30, 30] {
        now += out_for(&breaker, now);
        assert!(ask(&mut breaker, &RULES, false, now));
        assert_eq!(out_for(&breaker, now), seconds(expected));
    }
    assert_eq!(breaker.ejections(), 5);
    assert_eq!(breaker.failures_in_row(), 7);
}

#[test]
fn the_doubling_is_forgotten_after_as_long_in_as_it_was_out() {
    for (stayed, expected) in [(4, 10), (5, 5)] {
        let start = Instant::now();
        let mut breaker = put_out(start);
        let back = start + seconds(7);
        assert!(!ask(&mut breaker, &RULES, true, back));
        let later = back + seconds(stayed);
        for _ in 0..3 {
            ask(&mut breaker, &RULES, false, later);
        }
        assert_eq!(out_for(&breaker, later), seconds(expected), "{stayed} s in");
    }
}

#[test]
fn late_endings_are_not_heard() {
    let start = Instant::now();
    let mut breaker = Breaker::default();
    let late = breaker.begin(&RULES, start, false).unwrap();
    for _ in 0..3 {
        ask(&mut breaker, &RULES, false, start);
    }
    // While out: neither better nor worse.
    let out = out_for(&breaker, start);
    assert!(!breaker.end(late.ended(Some(false)), &RULES, start + seconds(1), 0.0));
    assert!(!breaker.end(late.ended(Some(true)), &RULES, start + seconds(1), 0.0));
    assert_eq!(out_for(&breaker, start), out);
    // In the trial: it was no probe.
    let now = start + seconds(5);
    let probe = breaker.begin(&RULES, now, false).unwrap();
    assert!(!breaker.end(late.ended(Some(false)), &RULES, now, 0.0));
    assert_eq!(breaker.standing(now), Standing::Trial);
    // In again: a probe that was overtaken frees nothing and says nothing.
    let second = breaker.begin(&RULES, now, false).unwrap();
    breaker.end(probe.ended(Some(true)), &RULES, now, 0.0);
    for _ in 0..5 {
        assert!(!breaker.end(second.ended(Some(false)), &RULES, now, 0.0));
    }
    assert_eq!(breaker.standing(now), Standing::In);
}

#[test]
fn one_that_has_nowhere_else_to_go_is_always_sent() {
    let start = Instant::now();
    let mut breaker = put_out(start);
    let forced = breaker.begin(&RULES, start, true).unwrap();
    assert!(!forced.is_probe());
    assert!(!breaker.end(forced.ended(Some(true)), &RULES, start, 0.0));
    assert_eq!(out_for(&breaker, start), seconds(5));
    let now = start + seconds(5);
    let probes = [(); 2].map(|()| breaker.begin(&RULES, now, true).unwrap());
    assert!(probes.iter().all(|pass| pass.is_probe()));
    let beside = breaker.begin(&RULES, now, true).unwrap();
    assert!(!beside.is_probe());
    assert!(!breaker.end(beside.ended(None), &RULES, now, 0.0));
    assert!(!breaker.may_begin(&RULES, now), "it held no place");
    assert!(breaker.end(beside.ended(Some(false)), &RULES, now, 0.0));
    assert_eq!(out_for(&breaker, now), seconds(10));
}

#[test]
fn an_answer_without_an_end_brings_it_in() {
    let start = Instant::now();
    let mut breaker = put_out(start);
    let now = start + seconds(5);
    let probe = breaker.begin(&RULES, now, false).unwrap();
    let late = breaker.begin(&RULES, now, false).unwrap();
    let feed = breaker.answered(probe, now);
    assert_eq!(breaker.standing(now), Standing::In);
    assert!(!feed.is_probe());
    // The other one is of the trial still; the feed is heard once it is cut, as one failure.
    assert_eq!(breaker.answered(late, now), late);
    assert!(!breaker.end(late.ended(Some(false)), &RULES, now, 0.0));
    assert_eq!(breaker.failures_in_row(), 0);
    assert!(!breaker.end(feed.ended(Some(false)), &RULES, now, 0.0));
    assert_eq!(breaker.failures_in_row(), 1);
    // It came in just now: the next time out is twice as long.
    ask(&mut breaker, &RULES, false, now);
    assert!(ask(&mut breaker, &RULES, false, now));
    assert_eq!(out_for(&breaker, now), seconds(10));
    // What was sent while it was out is no sign of life.
    let forced = breaker.begin(&RULES, now, true).unwrap();
    assert_eq!(breaker.answered(forced, now), forced);
    assert_eq!(out_for(&breaker, now), seconds(10));
}

#[test]
fn chance_takes_a_tenth_at_most() {
    for (jitter, expected) in [(0.0, 5_000), (0.5, 4_750), (1.0, 4_500), (f64::NAN, 5_000)] {
        assert_eq!(pause(&RULES, 0, jitter), Duration::from_millis(expected));
    }
    assert_eq!(pause(&RULES, u32::MAX, 0.0), seconds(30));
}

/// Requests every four seconds for a day; the endpoint is ill for one minute of ten. A request that finds
/// it out goes elsewhere.
fn flap(took: Duration) {
    const GAP: u64 = 4;
    const CYCLE: u64 = 600;
    const ILL: u64 = 60;
    let rules = Eject::default();
    let start = Instant::now();
    let mut chance = fastrand::Rng::with_seed(1);
    let mut breaker = Breaker::default();
    let mut pending: Vec<(Instant, Pass, bool)> = Vec::new();
    let mut ill_asked = vec![0; 144];
    let mut turned_away = 0;
    for second in (0..86_400).step_by(GAP as usize) {
        let now = start + seconds(second);
        pending.retain(|&(end, pass, well)| {
            let ended = end <= now;
            if ended {
                breaker.end(pass.ended(Some(well)), &rules, end, chance.f64());
            }
            !ended
        });
        let cycle = second / CYCLE;
        // Each cycle is ill from its second minute on, at a time that drifts against the requests.
        let ill_from = 60 + cycle % 7;
        let within = second % CYCLE;
        let ill = (ill_from..ill_from + ILL).contains(&within);
        if within >= ill_from + ILL + 30 + GAP + took.as_secs() {
            assert_eq!(breaker.standing(now), Standing::In, "second {second}");
        }
        match breaker.begin(&rules, now, false) {
            Some(pass) => {
                ill_asked[cycle as usize] += u32::from(ill);
                pending.push((now + took, pass, !ill));
            }
            None => turned_away += 1,
        }
    }
    // Five until it is out, then probes after 5, 10, 20 s, and what was under way meanwhile.
    let under_way = took.as_secs().div_ceil(GAP) as u32;
    for (cycle, asked) in ill_asked.iter().enumerate() {
        assert!(
            (5..=9 + under_way).contains(asked),
            "{asked} in cycle {cycle}"
        );
    }
    assert!(breaker.ejections() >= 144 * 3);
    // A share of the requests in a minute of illness and half a minute after it.
    assert!(turned_away <= 144 * (ILL + 30 + GAP) / GAP, "{turned_away}");
}

#[test]
fn a_flapping_endpoint_for_a_day() {
    flap(Duration::ZERO);
    flap(seconds(1));
    flap(seconds(10));
}

/// The same rules once more, in the plainest words: lists of everything, nothing packed or doubled.
#[derive(Default)]
struct Model {
    history: Vec<bool>,
    row: u32,
    out: Option<Instant>,
    trial: bool,
    came_in: Option<Instant>,
    pauses: Vec<Duration>,
    /// What was begun, and counts still: number of the request, and whether it holds a place.
    heard: Vec<(usize, bool)>,
}

impl Model {
    fn tick(&mut self, now: Instant) -> bool {
        self.out.is_some_and(|until| now < until)
    }

    fn begin(&mut self, number: usize, rules: &Eject, now: Instant, forced: bool) -> Option<bool> {
        if self.tick(now) {
            // Not heard of again.
            return forced.then_some(false);
        }
        if self.out.take().is_some() {
            self.trial = true;
            self.heard.clear();
        }
        let held = self.heard.iter().filter(|(_, place)| *place).count();
        let place = self.trial && held < rules.probes as usize;
        if self.trial && !place && !forced {
            return None;
        }
        self.heard.push((number, place));
        Some(place)
    }

    fn answered(&mut self, number: usize, now: Instant) {
        if self.trial && self.heard.iter().any(|(one, _)| *one == number) {
            self.trial = false;
            self.history.clear();
            self.row = 0;
            self.heard = vec![(number, false)];
            self.came_in = Some(now);
        }
    }

    fn end(&mut self, number: usize, well: Option<bool>, rules: &Eject, now: Instant) -> bool {
        let Some(at) = self.heard.iter().position(|(one, _)| *one == number) else {
            return false;
        };
        self.heard.remove(at);
        let Some(well) = well else { return false };
        self.history.push(well);
        self.row = if well { 0 } else { self.row + 1 };
        if well {
            if self.trial {
                self.trial = false;
                self.history.clear();
                self.heard.clear();
                self.came_in = Some(now);
            }
            return false;
        }
        let last: Vec<_> = self.history.iter().rev().take(20).collect();
        let failed = last.iter().filter(|well| !***well).count() as f64;
        let share = 100.0 * failed / last.len() as f64;
        let trend = rules.percent > 0 && last.len() >= 10 && share >= f64::from(rules.percent);
        if !self.trial && self.row < rules.after && !trend {
            return false;
        }
        if !self.trial {
            let last = self.pauses.last().copied().unwrap_or_default();
            if self.came_in.is_none_or(|since| now - since >= last) {
                self.pauses.clear();
            }
        }
        let mut pause = rules.pause;
        for _ in 0..self.pauses.len() {
            pause = (pause * 2).min(rules.longest);
        }
        pause = pause.min(rules.longest);
        self.pauses.push(pause);
        self.out = Some(now + pause);
        self.trial = false;
        self.history.clear();
        self.heard.clear();
        true
    }
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Begin { forced: bool },
    Answer { which: usize },
    End { which: usize, well: Option<bool> },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let well = prop_oneof![4 => Just(Some(false)), 4 => Just(Some(true)), 1 => Just(None)];
    let step = prop_oneof![
        2 => (0_u64..8_000).prop_map(Step::Wait),
        5 => prop::bool::weighted(0.2).prop_map(|forced| Step::Begin { forced }),
        1 => (0_usize..64).prop_map(|which| Step::Answer { which }),
        5 => (0_usize..64, well).prop_map(|(which, well)| Step::End { which, well }),
    ];
    prop::collection::vec(step, 1..300)
}

fn rules() -> impl Strategy<Value = Eject> {
    (1_u32..8, 0_u32..=100, 1_u64..6_000, 1_u64..20_000, 1_u32..4).prop_map(
        |(after, percent, pause, longest, probes)| Eject {
            after,
            percent,
            pause: Duration::from_millis(pause),
            longest: Duration::from_millis(longest),
            probes,
            keep: 50,
        },
    )
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(rules in rules(), steps in steps()) {
        let mut now = Instant::now();
        let mut breaker = Breaker::default();
        let mut model = Model::default();
        let mut begun: Vec<(usize, Pass)> = Vec::new();
        let mut ejections = 0;
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Wait(millis) => now += Duration::from_millis(millis),
                Step::Begin { forced } => {
                    let may = breaker.may_begin(&rules, now);
                    let pass = breaker.begin(&rules, now, forced);
                    prop_assert_eq!(pass.is_some(), may || forced);
                    let expected = model.begin(number, &rules, now, forced);
                    prop_assert_eq!(pass.map(Pass::is_probe), expected);
                    begun.extend(pass.map(|pass| (number, pass)));
                }
                Step::Answer { .. } | Step::End { .. } if begun.is_empty() => {}
                Step::Answer { which } => {
                    let at = which % begun.len();
                    let (number, pass) = begun[at];
                    begun[at].1 = breaker.answered(pass, now);
                    model.answered(number, now);
                }
                Step::End { which, well } => {
                    let (number, pass) = begun.remove(which % begun.len());
                    let ejected = breaker.end(pass.ended(well), &rules, now, 0.0);
                    prop_assert_eq!(ejected, model.end(number, well, &rules, now));
                    ejections += u64::from(ejected);
                }
            }
            let expected = match model.out {
                Some(until) if now < until => Standing::Out { until },
                Some(_) => Standing::Trial,
                None if model.trial => Standing::Trial,
                None => Standing::In,
            };
            prop_assert_eq!(breaker.standing(now), expected);
            prop_assert_eq!(breaker.failures_in_row(), model.row);
            prop_assert_eq!(breaker.ejections(), ejections);
        }
    }

    #[test]
    fn it_is_never_out_for_longer_than_the_longest_and_probes_are_few(
        rules in rules(),
        steps in steps(),
        seed: u64,
    ) {
        let mut now = Instant::now();
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut breaker = Breaker::default();
        let mut begun: Vec<Pass> = Vec::new();
        let mut out_since: Option<Instant> = None;
        for step in steps {
            match step {
                Step::Wait(millis) => now += Duration::from_millis(millis),
                // Nobody is forced here: all that is sent in a trial is a probe.
                Step::Begin { .. } => begun.extend(breaker.begin(&rules, now, false)),
                Step::Answer { .. } | Step::End { .. } if begun.is_empty() => {}
                Step::Answer { which } => {
                    let at = which % begun.len();
                    begun[at] = breaker.answered(begun[at], now);
                }
                Step::End { which, well } => {
                    let pass = begun.swap_remove(which % begun.len());
                    if breaker.end(pass.ended(well), &rules, now, chance.f64()) {
                        out_since = Some(now);
                    }
                }
            }
            let of_now = |pass: &&Pass| pass.probe && pass.period == breaker.period;
            prop_assert!(begun.iter().filter(of_now).count() <= rules.probes as usize);
            if let Standing::Out { until } = breaker.standing(now) {
                let since = out_since.unwrap();
                prop_assert!(until - since <= rules.longest);
                prop_assert!(until - since >= rules.pause.min(rules.longest).mul_f64(0.9) - Duration::from_nanos(1));
            }
        }
        // However it ended: once every request has ended, it is tried again within the longest pause.
        for pass in begun {
            breaker.end(pass.ended(None), &rules, now, chance.f64());
        }
        prop_assert!(breaker.may_begin(&rules, now + rules.longest));
    }
}
