//! What happens when backends fail: keys of an upstream and of a route.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;

use super::streams::wrong;
use super::{checked, headers};
use crate::config::faults::{Gathered, Malformed};
use crate::config::keys::{self, FAILURES, Key, PREFILL, REMEDIES, USAGE};
use crate::config::units::show_duration;
use crate::config::values::{
    Balance, Check, Dialect, DialectChoice, Eject, HashBy, Hedge, HttpVersion, Limit, Prefill,
    Remedies, Remedy, Retry, RetryBudget, Route, TellUsage, Trouble,
};
use crate::config::written::{Section, Value};

/// `balance` and `hash_by` of an upstream.
pub(super) fn balance(upstream: &Section, gathered: &mut Gathered<'_>) -> Balance {
    let by = upstream
        .node(&keys::UPSTREAM_HASH_BY)
        .and_then(|node| checked(node, hash_by, gathered));
    let written = upstream.has(&keys::UPSTREAM_BALANCE);
    // A balance that is wrong was said to be; it may have been meant to be this one.
    let wrong_already = written && upstream.node(&keys::UPSTREAM_BALANCE).is_none();
    let word = upstream.text(&keys::UPSTREAM_BALANCE);
    if word != "hash" && !wrong_already && upstream.has(&keys::UPSTREAM_HASH_BY) {
        let error = Malformed::new(
            "has no use: endpoints are not chosen by it",
            "add `balance = \"hash\"`, or take it out",
        );
        wrong(upstream, &keys::UPSTREAM_HASH_BY, error, gathered);
    }
    match word {
        "hash" => Balance::Hash(by.unwrap_or(HashBy::Caller)),
        "least-in-flight" => Balance::LeastInFlight,
        "first-event" => Balance::FirstEvent,
        _ => Balance::RoundRobin,
    }
}

fn hash_by(text: &str) -> Result<HashBy, Malformed> {
    match text {
        "caller" => Ok(HashBy::Caller),
        name => headers::name(name).map(HashBy::Header),
    }
}

/// `http` of an upstream.
pub(super) fn http(upstream: &Section) -> HttpVersion {
    const IN_ORDER: [HttpVersion; 3] = [HttpVersion::One, HttpVersion::Two, HttpVersion::Auto];
    chosen(upstream, &keys::UPSTREAM_HTTP, keys::HTTP, IN_ORDER)
}

/// `prefill` of an upstream.
pub(super) fn prefill(upstream: &Section) -> Prefill {
    const IN_ORDER: [Prefill; 4] = [
        Prefill::No,
        Prefill::Assistant,
        Prefill::Prefix,
        Prefill::Continue,
    ];
    chosen(upstream, &keys::UPSTREAM_PREFILL, PREFILL, IN_ORDER)
}

/// `usage` of a route.
pub(super) fn usage(route: &Section) -> TellUsage {
    const IN_ORDER: [TellUsage; 3] = [TellUsage::No, TellUsage::Comment, TellUsage::Trailers];
    chosen(route, &keys::ROUTE_USAGE, USAGE, IN_ORDER)
}

/// What the word at `key` stands for, one of `words`, which are in the order of `values`.
fn chosen<T: Copy + Default, const N: usize>(
    section: &Section,
    key: &Key,
    words: &[&str],
    values: [T; N],
) -> T {
    let word = section.text(key);
    let index = words.iter().position(|known| *known == word);
    let value = index.and_then(|index| values.get(index));
    value.copied().unwrap_or_default()
}

/// `check` of an upstream.
pub(super) fn check(upstream: &Section, gathered: &mut Gathered<'_>) -> Option<Check> {
    let section = upstream.section(&keys::UPSTREAM_CHECK)?;
    let path = section
        .node(&keys::CHECK_PATH)
        .and_then(|node| checked(node, check_path, gathered));
    let every = section.duration(&keys::CHECK_EVERY);
    let mut within = section.duration(&keys::CHECK_WITHIN);
    if !section.has(&keys::CHECK_WITHIN) {
        within = within.min(every);
    }
    if within > every {
        let message = format!(
            "is longer than `every`, which is \"{}\"",
            show_duration(every)
        );
        let error = Malformed::new(message, "one question is over before the next is asked");
        wrong(section, &keys::CHECK_WITHIN, error, gathered);
    }
    Some(Check {
        path: path.unwrap_or_default(),
        every,
        within,
        up: number(section, &keys::CHECK_UP),
        down: number(section, &keys::CHECK_DOWN),
    })
}

fn check_path(text: &str) -> Result<Arc<str>, Malformed> {
    let help = r#"such as "/health""#;
    if !text.starts_with('/') {
        return Err(Malformed::new("does not begin with `/`", help));
    }
    if text.contains('#') {
        return Err(Malformed::new(
            "has a fragment",
            "fragments never reach a server: take it out",
        ));
    }
    match text.parse::<PathAndQuery>() {
        Ok(_) => Ok(text.into()),
        Err(_) => Err(Malformed::new(
            "has a character that no path has",
            "percent-encode it",
        )),
    }
}

/// `eject` of an upstream.
pub(super) fn eject(upstream: &Section, gathered: &mut Gathered<'_>) -> Option<Eject> {
    let nothing = Section::default();
    let section = on(upstream, &keys::UPSTREAM_EJECT, &nothing)?;
    let bounds = [&keys::EJECT_PAUSE, &keys::EJECT_LONGEST];
    let (pause, longest) = pauses(section, bounds, gathered);
    Some(Eject {
        after: number(section, &keys::EJECT_AFTER),
        percent: number(section, &keys::EJECT_PERCENT),
        pause,
        longest,
        probes: number(section, &keys::EJECT_PROBES),
        keep: number(section, &keys::EJECT_KEEP),
    })
}

/// `retry_budget` of an upstream.
pub(super) fn retry_budget(upstream: &Section) -> RetryBudget {
    let nothing = Section::default();
    let section = upstream
        .section(&keys::UPSTREAM_RETRY_BUDGET)
        .unwrap_or(&nothing);
    RetryBudget {
        percent: number(section, &keys::BUDGET_PERCENT),
        least: number(section, &keys::BUDGET_LEAST),
    }
}

/// `retry` of a route.
pub(super) fn retry(route: &Section, gathered: &mut Gathered<'_>) -> Option<Retry> {
    let nothing = Section::default();
    let section = on(route, &keys::ROUTE_RETRY, &nothing)?;
    let bounds = [&keys::RETRY_PAUSE, &keys::RETRY_LONGEST];
    let (pause, longest) = pauses(section, bounds, gathered);
    Some(Retry {
        times: number(section, &keys::RETRY_TIMES),
        pause,
        longest,
        body: section.size(&keys::RETRY_BODY),
    })
}

/// The table at `key`, which is on unless it is written as `false`; `nothing` where all are defaults.
fn on<'s>(section: &'s Section, key: &Key, nothing: &'s Section) -> Option<&'s Section> {
    match section.node(key).map(|node| &node.value) {
        Some(Value::Flag(false)) => None,
        Some(Value::Table(section)) => Some(section),
        _ => Some(nothing),
    }
}

/// The first and the longest pause. Where one is written alone, the other's default gives way to it.
fn pauses(section: &Section, keys: [&Key; 2], gathered: &mut Gathered<'_>) -> (Duration, Duration) {
    let [first, last] = keys;
    let (pause, longest) = (section.duration(first), section.duration(last));
    if !section.has(last) {
        return (pause, longest.max(pause));
    }
    if !section.has(first) {
        return (pause.min(longest), longest);
    }
    if longest < pause {
        let message = format!("is shorter than `{}`", first.name);
        let help = format!("at least \"{}\"", show_duration(pause));
        wrong(section, last, Malformed::new(message, help), gathered);
    }
    (pause, longest)
}

/// `failures` of a route.
pub(super) fn remedies(route: &Section) -> Remedies {
    const IN_ORDER: [Remedy; 4] = [Remedy::Again, Remedy::Next, Remedy::Larger, Remedy::GiveUp];
    let mut remedies = Remedies::default();
    let Some(section) = route.section(&keys::ROUTE_FAILURES) else {
        return remedies;
    };
    for trouble in Trouble::ALL {
        let written = FAILURES
            .key(trouble.word())
            .and_then(|key| section.node(key)?.text());
        let remedy = written
            .and_then(|text| REMEDIES.iter().position(|word| *word == text.value))
            .and_then(|index| IN_ORDER.get(index));
        if let Some(remedy) = remedy {
            remedies.set(trouble, *remedy);
        }
    }
    remedies
}

/// `hedge` and `hedge_percent` of a route.
pub(super) fn hedge(route: &Section) -> Option<Hedge> {
    let Limit::After(after) = route.limit(&keys::ROUTE_HEDGE) else {
        return None;
    };
    Some(Hedge {
        after,
        percent: number(route, &keys::ROUTE_HEDGE_PERCENT),
    })
}

/// The number at `key`, whose bounds are far within its type.
pub(super) fn number(section: &Section, key: &Key) -> u32 {
    let count = section.count(key).unwrap_or_default();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Gathers what the keys of a route ask of its chain and of one another.
pub(super) fn needs(route: &Route, section: &Section, gathered: &mut Gathered<'_>) {
    let hedge = section.node(&keys::ROUTE_HEDGE);
    if section.has(&keys::ROUTE_HEDGE_PERCENT)
        && (hedge.is_some() || !section.has(&keys::ROUTE_HEDGE))
        && route.hedge.is_none()
    {
        let error = Malformed::new(
            "has no use without `hedge`: no request is asked twice",
            "add such as `hedge = \"2s\"`, or take it out",
        );
        wrong(section, &keys::ROUTE_HEDGE_PERCENT, error, gathered);
    }
    if matches!(route.dialect, DialectChoice::Fixed(Dialect::Plain)) {
        without_model_api(route, section, gathered);
    }
    let entries = section.list(&keys::ROUTE_TO);
    // An entry that is wrong was said to be; the rest of the chain is not judged without it.
    if entries.len() == route.to.len() && !entries.is_empty() {
        chain(route, section, gathered);
    }
}

fn without_model_api(route: &Route, section: &Section, gathered: &mut Gathered<'_>) {
    let help = "take it out, or leave `dialect` to be told by the path (`auto`)";
    if route.hedge.is_some() {
        let error = Malformed::new("has no use: no model API is spoken here", help);
        wrong(section, &keys::ROUTE_HEDGE, error, gathered);
    }
    if route.rescue {
        let error = Malformed::new("has no use: no model API is spoken here", help);
        wrong(section, &keys::ROUTE_RESCUE, error, gathered);
    }
    if route.usage != TellUsage::No {
        let error = Malformed::new("has no use: no model API is spoken here", help);
        wrong(section, &keys::ROUTE_USAGE, error, gathered);
    }
}

fn chain(route: &Route, section: &Section, gathered: &mut Gathered<'_>) {
    let first = section.list(&keys::ROUTE_TO).first();
    if let Some(Value::Table(entry)) = first.map(|node| &node.value)
        && entry.flag(&keys::TARGET_LARGER)
    {
        let error = Malformed::new(
            "is the first entry: nothing is asked before it",
            "put the entry that is usually asked before it, or take `larger` out",
        );
        wrong(entry, &keys::TARGET_LARGER, error, gathered);
    }
    let mut others = route.to.iter().skip(1);
    if route.hedge.is_some() && others.all(|target| target.larger) {
        let error = Malformed::new(
            "has no use: `to` has no second entry to ask as well",
            "add one that is not `larger`, or take it out",
        );
        wrong(section, &keys::ROUTE_HEDGE, error, gathered);
    }
    larger(route, section, gathered);
}

/// Entries that are `larger`, and remedies that ask for one, need one another.
fn larger(route: &Route, section: &Section, gathered: &mut Gathered<'_>) {
    let nothing = Section::default();
    let written = section.section(&keys::ROUTE_FAILURES).unwrap_or(&nothing);
    if !route.to.iter().any(|target| target.larger) {
        for trouble in Trouble::ALL {
            let Some(key) = FAILURES.key(trouble.word()) else {
                continue;
            };
            let remedy = route.failures.of(trouble);
            // What would be done anyway may be written too.
            let meant = written.node(key).is_some() && remedy != trouble.usual();
            if meant && remedy == Remedy::Larger {
                let error = Malformed::new(
                    "asks for a larger entry, and `to` has none",
                    "mark one, such as `{ upstream = …, larger = true }`, or take it out",
                );
                wrong(written, key, error, gathered);
            }
        }
        return;
    }
    let asked = |trouble: Trouble| route.failures.of(trouble) == Remedy::Larger;
    if Trouble::ALL.into_iter().any(asked) {
        return;
    }
    for node in section.list(&keys::ROUTE_TO).iter().skip(1) {
        if let Value::Table(entry) = &node.value
            && entry.flag(&keys::TARGET_LARGER)
        {
            let error = Malformed::new(
                "is never asked for: no remedy in `failures` is \"larger\"",
                "such as `failures = { context_length = \"larger\" }`, or take it out",
            );
            wrong(entry, &keys::TARGET_LARGER, error, gathered);
        }
    }
}
