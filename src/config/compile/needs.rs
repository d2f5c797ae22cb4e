//! What keys of a route ask of one another. A key that would silently do nothing is a fault: whoever
//! wrote it expects something of it.

use http::Method;

use super::failures;
use super::streams::wrong;
use crate::config::faults::{Gathered, Malformed};
use crate::config::keys::{self, Key};
use crate::config::values::{
    Dialect, DialectChoice, Hub, Limit, Route, Segment, TellUsage, TopicPiece,
};
use crate::config::written::{Section, Value};

/// Gathers what `route` has without what it needs.
pub(super) fn check(route: &Route, section: &Section, gathered: &mut Gathered<'_>) {
    let leads = Leads {
        on: section.has(&keys::ROUTE_TO),
        publishes: section.has(&keys::ROUTE_PUBLISH),
        subscribes: section.has(&keys::ROUTE_SUBSCRIBE),
    };
    // That it leads nowhere, or in two directions, was said.
    if leads.on != (leads.publishes || leads.subscribes) {
        if !leads.on {
            without_upstream(route, section, gathered);
        }
        if !leads.subscribes {
            without_subscribe(route, section, gathered);
        }
        methods(&leads, route, section, gathered);
    }
    without_one_another(route, section, gathered);
    failures::needs(route, section, gathered);
}

/// Where the keys of a route lead, rightly or wrongly.
struct Leads {
    /// To an upstream.
    on: bool,
    /// To a topic.
    publishes: bool,
    /// From topics.
    subscribes: bool,
}

fn without_upstream(route: &Route, section: &Section, gathered: &mut Gathered<'_>) {
    let spoken = !matches!(
        route.dialect,
        DialectChoice::Auto | DialectChoice::Fixed(Dialect::Plain)
    );
    let useless = [
        (&keys::ROUTE_SHARE, is_on(section, &keys::ROUTE_SHARE)),
        (&keys::ROUTE_POLL, is_on(section, &keys::ROUTE_POLL)),
        (&keys::ROUTE_RESUME, is_on(section, &keys::ROUTE_RESUME)),
        (&keys::ROUTE_DEDUPE, is_on(section, &keys::ROUTE_DEDUPE)),
        (&keys::ROUTE_REWRITE, is_on(section, &keys::ROUTE_REWRITE)),
        (
            &keys::ROUTE_REQUEST_HEADERS,
            is_on(section, &keys::ROUTE_REQUEST_HEADERS),
        ),
        (
            &keys::ROUTE_RESPONSE_HEADERS,
            is_on(section, &keys::ROUTE_RESPONSE_HEADERS),
        ),
        (
            &keys::ROUTE_EARLY_HEAD,
            is_on(section, &keys::ROUTE_EARLY_HEAD),
        ),
        (&keys::ROUTE_DIALECT, spoken),
        (&keys::ROUTE_RETRY, is_on(section, &keys::ROUTE_RETRY)),
        (&keys::ROUTE_FAILURES, is_on(section, &keys::ROUTE_FAILURES)),
        (&keys::ROUTE_HEDGE, is_on(section, &keys::ROUTE_HEDGE)),
        (&keys::ROUTE_RESCUE, is_on(section, &keys::ROUTE_RESCUE)),
        (&keys::ROUTE_USAGE, route.usage != TellUsage::No),
    ];
    for (key, written) in useless {
        if written {
            wrong(section, key, no_upstream(), gathered);
        }
    }
    let Some(clocks) = section.section(&keys::ROUTE_CLOCKS) else {
        return;
    };
    for key in [
        &keys::CLOCK_CONNECT,
        &keys::CLOCK_FIRST_BYTE,
        &keys::CLOCK_FIRST_EVENT,
        &keys::CLOCK_IDLE,
    ] {
        if is_on(clocks, key) {
            wrong(clocks, key, no_upstream(), gathered);
        }
    }
}

fn no_upstream() -> Malformed {
    Malformed::new(
        "has no use: the route asks no upstream",
        "take it out; it belongs to a route with `to`",
    )
}

fn without_subscribe(route: &Route, section: &Section, gathered: &mut Gathered<'_>) {
    let help = "take it out; it belongs to a route with `subscribe`";
    for key in [&keys::ROUTE_GREETING, &keys::ROUTE_PATTERNS] {
        if is_on(section, key) {
            let error = Malformed::new("has no use: the route subscribes to nothing", help);
            wrong(section, key, error, gathered);
        }
    }
    if is_on(section, &keys::ROUTE_MAX_AGE) && route.share.is_none() {
        let error = Malformed::new(
            "has no use: the route neither shares nor subscribes",
            "take it out; `clocks = { total = … }` limits every answer",
        );
        wrong(section, &keys::ROUTE_MAX_AGE, error, gathered);
    }
}

/// A method that the route does not take leaves what it stands for without a use.
fn methods(leads: &Leads, route: &Route, section: &Section, gathered: &mut Gathered<'_>) {
    let named = &route.matches.methods;
    if named.is_empty() || named.len() != section.list(&keys::ROUTE_METHOD).len() {
        return;
    }
    let shares = route.share.is_some();
    for (method, key, wanted) in [
        (Method::POST, &keys::ROUTE_PUBLISH, leads.publishes),
        (Method::GET, &keys::ROUTE_SUBSCRIBE, leads.subscribes),
        (Method::GET, &keys::ROUTE_SHARE, leads.on && shares),
    ] {
        if wanted && !named.contains(&method) {
            let message = format!(
                "leaves out `{method}`, and `{}` is for nothing else",
                key.name
            );
            let help = format!("add it, or take `{}` out", key.name);
            let error = Malformed::new(message, help);
            wrong(section, &keys::ROUTE_METHOD, error, gathered);
        }
    }
    let reads = |method: &Method| matches!(*method, Method::GET | Method::HEAD);
    if shares && route.resume.is_some() && named.iter().all(reads) {
        let error = Malformed::new(
            "has no use: every `GET` is shared, and the route takes nothing else",
            "take it out, or `share`",
        );
        wrong(section, &keys::ROUTE_RESUME, error, gathered);
    }
}

fn without_one_another(route: &Route, section: &Section, gathered: &mut Gathered<'_>) {
    if is_on(section, &keys::ROUTE_DEDUPE) && is_off(section, &keys::ROUTE_RESUME) {
        let error = Malformed::new(
            "has no use without `resume`: there is no answer to join",
            "add `resume = true`, or take it out",
        );
        wrong(section, &keys::ROUTE_DEDUPE, error, gathered);
    }
    let refused = section.has(&keys::ROUTE_SHARE) && is_off(section, &keys::ROUTE_SHARE);
    if refused && is_on(section, &keys::ROUTE_POLL) {
        let error = Malformed::new(
            "contradicts `share = false`: an answer that is asked for by the clock is everybody's",
            "take one of them out",
        );
        wrong(section, &keys::ROUTE_POLL, error, gathered);
    }
    if section.has(&keys::ROUTE_KEY_IN) && !section.has(&keys::ROUTE_ALLOW) {
        let error = Malformed::new(
            "has no use: no caller is asked for a key",
            "name the keys that are let in (`allow`), or take it out",
        );
        wrong(section, &keys::ROUTE_KEY_IN, error, gathered);
    }
    let taken = |piece: &TopicPiece| matches!(piece, TopicPiece::Taken { .. });
    let fixed = |route: &Route| {
        !route
            .subscribe
            .iter()
            .flat_map(|one| &one.pieces)
            .any(taken)
    };
    if route.patterns && !route.subscribe.is_empty() && fixed(route) {
        let error = Malformed::new(
            "has no use: `subscribe` takes nothing from a request",
            "take it out, or take a part from the request: `{name}`",
        );
        wrong(section, &keys::ROUTE_PATTERNS, error, gathered);
    }
}

/// Whether `key` is written, and not as what it would be anyway: off.
fn is_on(section: &Section, key: &Key) -> bool {
    section.node(key).is_some() && !is_off(section, key)
}

/// Whether `key` is not written, or as what it would be anyway: off.
fn is_off(section: &Section, key: &Key) -> bool {
    let off = |value: &Value| matches!(value, Value::Flag(false) | Value::Limit(Limit::Off));
    !section.has(key) || section.node(key).is_some_and(|node| off(&node.value))
}

/// Gathers the routes that lie where kept answers are found: the hub takes these paths before any route.
pub(super) fn room_for_hub(hub: &Hub, routes: &[(Route, &Section)], gathered: &mut Gathered<'_>) {
    if routes.iter().all(|(route, _)| route.resume.is_none()) {
        return;
    }
    let path = &*hub.path;
    for (route, section) in routes {
        let mut segments = route.matches.path.segments.iter();
        let same = |wanted: &str| matches!(segments.next(), Some(Segment::Literal(text)) if text == wanted);
        if path.split('/').skip(1).all(same) {
            let error = Malformed::new(
                "lies where kept answers are found, at `hub.path`, and no request would reach it",
                "another path here, or in `[hub]`",
            );
            wrong(section, &keys::ROUTE_PATH, error, gathered);
        }
    }
}
