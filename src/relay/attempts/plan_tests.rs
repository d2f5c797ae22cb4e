//! Tests of [`super`]: each rule by example, and what holds for every chain and any sequence of troubles.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::config::{self, Environment};

struct Nothing;

impl Environment for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// A configuration with the upstreams `a`, `b`, `c`, and one route with these keys.
pub(in crate::relay::attempts) fn configured(route: &str) -> Arc<config::Config> {
    let source = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n\
         [upstreams.a]\nurl = \"http://127.0.0.1:1\"\n\
         [upstreams.b]\nurl = \"http://127.0.0.1:2\"\n\
         [upstreams.c]\nurl = \"http://127.0.0.1:3\"\n\
         [routes.all]\npath = \"/*\"\n{route}\n"
    );
    Arc::new(config::parse(&source, "plan.toml", &Nothing).unwrap())
}

fn route(keys: &str) -> Route {
    Route::clone(&configured(keys).routes[0])
}

const ONE: &str = "to = \"a\"";
const TWO: &str = "to = [\"a\", \"b\"]";

/// Something went wrong after the request was sent, on an upstream's only endpoint.
fn failed(trouble: Trouble) -> Failed {
    Failed {
        trouble,
        rest: None,
        sent: true,
        untried: false,
        ordinary: false,
    }
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The steps after the same failure, again and again, with no chance in the pauses.
fn steps(route: &Route, failed: &Failed) -> Vec<Step> {
    let mut plan = Plan::new(route, 0, true);
    let mut steps = Vec::new();
    while !matches!(steps.last(), Some(Step::End | Step::GiveUp)) {
        steps.push(plan.after(failed, 0.0));
    }
    steps
}

fn first(route: &Route, failed: &Failed) -> Step {
    Plan::new(route, 0, true).after(failed, 0.0)
}

#[test]
fn what_passes_is_asked_again_then_elsewhere() {
    use Step::{Again, End, Move};
    let pauses = [Again(millis(100)), Again(millis(200))];
    let overloaded = failed(Trouble::Overloaded);
    let expected = [&pauses[..], &[End]].concat();
    assert_eq!(steps(&route(ONE), &overloaded), expected);
    let expected = [&pauses[..], &[Move(1)], &pauses, &[End]].concat();
    assert_eq!(steps(&route(TWO), &overloaded), expected);
}

#[test]
fn without_retries_each_entry_is_asked_once() {
    let route = route(&format!("{TWO}\nretry = false"));
    let expected = [Step::Move(1), Step::End];
    assert_eq!(steps(&route, &failed(Trouble::Closed)), expected);
}

#[test]
fn each_trouble_has_its_remedy() {
    let route = route("to = [\"a\", { upstream = \"b\", larger = true }, \"c\"]");
    let again = Step::Again(millis(100));
    for trouble in Trouble::ALL {
        let expected = match trouble.usual() {
            Remedy::Again => again,
            Remedy::Next => Step::Move(2),
            Remedy::Larger => Step::Move(1),
            Remedy::GiveUp => Step::GiveUp,
        };
        assert_eq!(first(&route, &failed(trouble)), expected, "{trouble:?}");
    }
}

#[test]
fn a_route_may_have_remedies_of_its_own() {
    let route = route(&format!(
        "{TWO}\nfailures = {{ overloaded = \"give-up\", silent = \"again\", refused = \"next\" }}"
    ));
    let step = |trouble| first(&route, &failed(trouble));
    assert_eq!(step(Trouble::Overloaded), Step::GiveUp);
    assert_eq!(step(Trouble::Silent), Step::Again(millis(100)));
    assert_eq!(step(Trouble::Refused), Step::Move(1));
}

#[test]
fn too_long_a_request_goes_to_larger_entries_only_and_on_from_there_to_others() {
    let larger = "{ upstream = \"b\", larger = true }";
    let chain = route(&format!("to = [\"a\", {larger}, {larger}, \"c\"]"));
    let long = failed(Trouble::ContextLength);
    let expected = [Step::Move(1), Step::Move(2), Step::GiveUp];
    assert_eq!(steps(&chain, &long), expected);
    let mut plan = Plan::new(&chain, 0, true);
    plan.after(&long, 0.0);
    assert_eq!(plan.after(&failed(Trouble::Silent), 0.0), Step::Move(3));
    assert_eq!(steps(&route(TWO), &long), [Step::GiveUp]);
}

#[test]
fn what_may_be_sent_once_only_is_sent_again_only_if_nothing_was_sent() {
    let route = route(TWO);
    let mut plan = Plan::new(&route, 0, false);
    assert_eq!(plan.after(&failed(Trouble::Closed), 0.0), Step::GiveUp);
    let unsent = Failed {
        sent: false,
        ..failed(Trouble::Unreachable)
    };
    let mut plan = Plan::new(&route, 0, false);
    assert_eq!(plan.after(&unsent, 0.0), Step::Again(millis(100)));
    plan.skip();
    assert_eq!(plan.after(&failed(Trouble::Failed), 0.0), Step::GiveUp);
}

#[test]
fn another_endpoint_is_asked_without_a_pause_whatever_the_first_asked_for() {
    let route = route(TWO);
    let elsewhere = Failed {
        untried: true,
        rest: Some(Duration::from_secs(60)),
        ..failed(Trouble::RateLimited)
    };
    let mut plan = Plan::new(&route, 0, true);
    for _ in 0..2 {
        assert_eq!(plan.after(&elsewhere, 0.0), Step::Again(Duration::ZERO));
    }
    // It is a retry all the same.
    assert_eq!(plan.after(&elsewhere, 0.0), Step::Move(1));
}

#[test]
fn other_endpoints_than_one_that_cannot_be_reached_cost_no_retry() {
    let route = route(&format!("{TWO}\nretry = false"));
    let unreachable = Failed {
        untried: true,
        sent: false,
        ..failed(Trouble::Unreachable)
    };
    let mut plan = Plan::new(&route, 0, false);
    for _ in 0..100 {
        assert_eq!(plan.after(&unreachable, 0.0), Step::Again(Duration::ZERO));
    }
}

#[test]
fn an_ordinary_answer_is_asked_for_elsewhere_and_never_of_the_same() {
    let ordinary = Failed {
        ordinary: true,
        ..failed(Trouble::Overloaded)
    };
    let untried = Failed {
        untried: true,
        ..ordinary
    };
    assert_eq!(steps(&route(ONE), &ordinary), [Step::End]);
    assert_eq!(steps(&route(TWO), &ordinary), [Step::Move(1), Step::End]);
    let route = route(TWO);
    let mut plan = Plan::new(&route, 0, true);
    assert_eq!(plan.after(&untried, 0.0), Step::Again(Duration::ZERO));
    assert_eq!(plan.after(&ordinary, 0.0), Step::Move(1));
    // What broke off is no answer.
    let closed = failed(Trouble::Closed);
    assert_eq!(plan.after(&closed, 0.0), Step::Again(millis(100)));
}

#[test]
fn a_pause_that_was_asked_for_is_kept_if_nobody_else_is_there_and_it_is_short() {
    let resting = |rest| Failed {
        rest: Some(rest),
        ..failed(Trouble::RateLimited)
    };
    let step = |keys: &str, rest| first(&route(keys), &resting(rest));
    assert_eq!(step(ONE, millis(30)), Step::Again(millis(100)));
    assert_eq!(step(ONE, millis(4_000)), Step::Again(millis(4_000)));
    assert_eq!(step(ONE, millis(5_001)), Step::End);
    assert_eq!(step(TWO, millis(100)), Step::Again(millis(100)));
    assert_eq!(step(TWO, millis(101)), Step::Move(1));
}

#[test]
fn a_request_that_stays_asks_no_other_entry() {
    let route = route(TWO);
    let mut plan = Plan::new(&route, 0, true);
    assert!(plan.has_next() && !plan.is_last());
    plan.stay();
    assert!(!plan.has_next() && plan.is_last());
    assert_eq!(plan.after(&failed(Trouble::Silent), 0.0), Step::End);
    assert_eq!(plan.skip(), Step::End);
    assert_eq!(plan.entry(), 0);
}

#[test]
fn entries_for_long_requests_are_no_next_ones_but_may_still_be_asked() {
    let route = route("to = [\"a\", { upstream = \"b\", larger = true }]");
    let plan = Plan::new(&route, 0, true);
    assert!(!plan.has_next() && !plan.is_last());
    assert!(Plan::new(&route, 1, true).is_last());
}

/// A chain as a configuration may have it, and one it may not.
#[derive(Debug, Clone)]
struct Chain {
    larger: Vec<bool>,
    /// Of each entry.
    endpoints: Vec<usize>,
    retry: Option<Retry>,
    remedies: Vec<Remedy>,
    resend: bool,
}

impl Chain {
    fn route(&self) -> Route {
        let mut route = route(ONE);
        let target = route.to[0].clone();
        let target = |&larger| config::Target {
            larger,
            ..target.clone()
        };
        route.to = self.larger.iter().map(target).collect();
        route.retry = self.retry;
        for (trouble, remedy) in Trouble::ALL.into_iter().zip(&self.remedies) {
            route.failures.set(trouble, *remedy);
        }
        route
    }

    fn times(&self) -> usize {
        self.retry.map_or(0, |retry| retry.times as usize)
    }

    /// Each endpoint once, and what retries there are, for each entry.
    fn most_attempts(&self) -> usize {
        self.endpoints
            .iter()
            .map(|count| count + self.times())
            .sum()
    }
}

fn chains() -> impl Strategy<Value = Chain> {
    let remedy = prop_oneof![
        3 => Just(Remedy::Again),
        2 => Just(Remedy::Next),
        1 => Just(Remedy::Larger),
        1 => Just(Remedy::GiveUp),
    ];
    let retry = (0..6_u32, 0..2_000_u64, 0..6_000_u64).prop_map(|(times, pause, more)| Retry {
        times,
        pause: millis(pause),
        longest: millis(pause + more),
        body: 1 << 20,
    });
    (1..6_usize).prop_flat_map(move |length| {
        (
            prop::collection::vec(prop::bool::weighted(0.3), length),
            prop::collection::vec(1..4_usize, length),
            prop::option::weighted(0.8, retry.clone()),
            prop::collection::vec(remedy.clone(), Trouble::ALL.len()),
            prop::bool::weighted(0.7),
        )
            .prop_map(|(larger, endpoints, retry, remedies, resend)| Chain {
                larger,
                endpoints,
                retry,
                remedies,
                resend,
            })
    })
}

/// A failure, but for whether another endpoint is left; and the chance in the pause after it.
fn failures() -> impl Strategy<Value = (Failed, f64)> {
    let rest = prop::option::weighted(0.3, (0..8_000_u64).prop_map(millis));
    let trouble = prop::sample::select(&Trouble::ALL[..]);
    (trouble, rest, any::<[bool; 2]>(), 0.0..1.0).prop_map(|(trouble, rest, flags, chance)| {
        let [sent, ordinary] = flags;
        let failed = Failed {
            trouble,
            rest,
            sent,
            untried: false,
            ordinary,
        };
        (failed, chance)
    })
}

/// A pause before the `again`-th retry, counted from 0, as the rules have it.
fn is_a_pause(pause: Duration, failed: &Failed, retry: &Retry, again: u32) -> bool {
    if failed.untried {
        return pause.is_zero();
    }
    let rest = failed.rest.unwrap_or_default();
    let whole = (retry.pause * (1 << again)).min(retry.longest);
    // The rounding of one multiplication.
    let half = (whole / 2).saturating_sub(Duration::from_nanos(1));
    (half.max(rest)..=whole.max(rest)).contains(&pause) && pause <= retry.longest
}

proptest! {
    #[test]
    fn any_sequence_of_troubles_ends_by_the_rules(
        chain in chains(),
        failures in prop::collection::vec(failures(), 1..40),
    ) {
        let route = chain.route();
        let mut plan = Plan::new(&route, 0, chain.resend);
        let (mut attempts, mut tried, mut again) = (0, 0, 0);
        for (mut failed, chance) in failures.into_iter().cycle() {
            let at = plan.entry();
            attempts += 1;
            tried += 1;
            prop_assert!(attempts <= chain.most_attempts());
            failed.untried = tried < chain.endpoints[at];
            let (next, remedy) = (plan.has_next(), route.failures.of(failed.trouble));
            let step = plan.after(&failed, chance);
            let may = chain.resend || !failed.sent;
            prop_assert!(may || step == Step::GiveUp, "{step:?} sends it a second time");
            match step {
                Step::Again(pause) => {
                    prop_assert_eq!(remedy, Remedy::Again);
                    prop_assert_eq!(plan.entry(), at);
                    prop_assert!(failed.untried || !failed.ordinary);
                    if failed.untried && !failed.sent {
                        prop_assert_eq!(pause, Duration::ZERO);
                        continue;
                    }
                    let retry = chain.retry.unwrap();
                    prop_assert!(is_a_pause(pause, &failed, &retry, again), "{pause:?}");
                    again += 1;
                    prop_assert!(again <= retry.times);
                }
                Step::Move(to) => {
                    prop_assert!(to > at && to == plan.entry());
                    prop_assert_eq!(chain.larger[to], remedy == Remedy::Larger);
                    (tried, again) = (0, 0);
                }
                Step::End | Step::GiveUp => {
                    // Nobody is left, or nobody is to be asked.
                    let left = next && matches!(remedy, Remedy::Again | Remedy::Next);
                    prop_assert!(!(left && may));
                    return Ok(());
                }
            }
        }
    }

    #[test]
    fn pauses_lie_between_half_and_whole_and_never_above_the_longest(
        before in 0..40_u32,
        chance in 0.0..1.0,
        pause in 0..10_000_u64,
        more in 0..10_000_u64,
    ) {
        let (pause, longest) = (millis(pause), millis(pause + more));
        let retry = Retry { pause, longest, ..Retry::default() };
        let whole = pause.saturating_mul(1 << before.min(16)).min(longest);
        let got = backoff(&retry, before, chance);
        prop_assert!(got <= whole && got + Duration::from_nanos(1) >= whole / 2);
        prop_assert_eq!(backoff(&retry, before, 0.0), whole);
    }
}

#[path = "day_tests.rs"]
mod day;
