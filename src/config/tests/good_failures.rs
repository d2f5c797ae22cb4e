//! Good files: what happens when backends fail.

use std::time::Duration;

use super::*;
use crate::config::keys::{FAILURES, REMEDIES};

fn good(source: &str) -> Config {
    parse(source, "good.toml", &Fixed::default()).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The upstream `b` with `lines`.
fn upstream(lines: &str) -> Upstream {
    let config = good(&format!(
        "[upstreams.a]\nurl = 'http://a'\n[routes.r]\npath = '/'\nto = 'a'\n[upstreams.b]\n{lines}\n"
    ));
    Upstream::clone(&config.upstreams["b"])
}

/// An upstream of one endpoint with `lines`.
fn one(lines: &str) -> Upstream {
    upstream(&format!("url = 'http://b'\n{lines}"))
}

/// A route with `lines`, among them where it leads.
fn leading(lines: &str) -> Route {
    let config = good(&format!(
        "[upstreams.a]\nurl = 'http://a'\n[upstreams.b]\nurl = 'http://b'\n[routes.r]\npath = '/'\n{lines}\n"
    ));
    Route::clone(&config.routes[0])
}

/// A route to one upstream with `lines`.
fn route(lines: &str) -> Route {
    leading(&format!("to = 'a'\n{lines}"))
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn what_is_not_written_of_an_upstream_is_the_default() {
    let upstream = one("");
    assert_eq!(upstream.endpoints[0].weight, 1);
    assert_eq!(upstream.balance, Balance::RoundRobin);
    assert_eq!(upstream.http, HttpVersion::One);
    assert_eq!(upstream.lookup, seconds(30));
    assert_eq!(upstream.check, None);
    assert_eq!(upstream.eject, Some(Eject::default()));
    assert_eq!(upstream.retry_budget, RetryBudget::default());
    assert_eq!(upstream.prefill, Prefill::No);
}

#[test]
fn what_is_not_written_of_a_route_is_the_default() {
    let route = route("");
    assert_eq!(route.retry, Some(Retry::default()));
    assert_eq!(route.failures, Remedies::default());
    assert_eq!((route.hedge, route.rescue), (None, false));
    assert_eq!(route.usage, TellUsage::No);
    assert!(!route.to[0].larger);
}

#[test]
fn endpoints_are_urls_or_say_their_weight() {
    let upstream = upstream(
        "endpoints = ['http://a', { url = 'http://b', weight = 3 }, { url = 'https://c:8443/v1' }]",
    );
    let weighted: Vec<_> = upstream
        .endpoints
        .iter()
        .map(|weighted| (weighted.endpoint.to_string(), weighted.weight))
        .collect();
    let wanted = [
        ("http://a:80", 1),
        ("http://b:80", 3),
        ("https://c:8443/v1", 1),
    ];
    assert_eq!(
        weighted,
        wanted.map(|(url, weight)| (url.to_owned(), weight))
    );
}

#[test]
fn the_demo_may_be_checked_and_have_a_weight() {
    let upstream = upstream(
        "endpoints = [{ url = 'builtin:demo', weight = 1000 }]\ncheck = { path = '/health' }",
    );
    assert_eq!(
        upstream.endpoints,
        [Weighted {
            endpoint: Endpoint::Demo,
            weight: 1000
        }]
    );
    assert!(upstream.check.is_some());
}

#[test]
fn every_balance_has_its_word() {
    let header = |name: &'static str| HashBy::Header(http::HeaderName::from_static(name));
    for (lines, balance) in [
        ("balance = 'round-robin'", Balance::RoundRobin),
        ("balance = 'least-in-flight'", Balance::LeastInFlight),
        ("balance = 'first-event'", Balance::FirstEvent),
        ("balance = 'hash'", Balance::Hash(HashBy::Caller)),
        (
            "balance = 'hash'\nhash_by = 'caller'",
            Balance::Hash(HashBy::Caller),
        ),
        (
            "balance = 'hash'\nhash_by = 'X-Session'",
            Balance::Hash(header("x-session")),
        ),
    ] {
        assert_eq!(one(lines).balance, balance, "{lines}");
    }
}

#[test]
fn every_version_and_prefill_has_its_word() {
    for (word, version) in [
        ("1.1", HttpVersion::One),
        ("2", HttpVersion::Two),
        ("auto", HttpVersion::Auto),
    ] {
        assert_eq!(one(&format!("http = '{word}'")).http, version);
    }
    for (word, prefill) in [
        ("no", Prefill::No),
        ("assistant", Prefill::Assistant),
        ("prefix", Prefill::Prefix),
        ("continue", Prefill::Continue),
    ] {
        assert_eq!(one(&format!("prefill = '{word}'")).prefill, prefill);
    }
}

#[test]
fn an_upstream_with_everything() {
    let upstream = one("lookup = '1s'\n\
         check = { path = '/health?full=1', every = '10s', within = '10s', up = 1, down = 4 }\n\
         eject = { after = 3, percent = 0, pause = '1s', longest = '1m', probes = 2, keep = 100 }\n\
         retry_budget = { percent = 1000, least = 0 }");
    assert_eq!(upstream.lookup, seconds(1));
    let check = Check {
        path: "/health?full=1".into(),
        every: seconds(10),
        within: seconds(10),
        up: 1,
        down: 4,
    };
    assert_eq!(upstream.check, Some(check));
    let eject = Eject {
        after: 3,
        percent: 0,
        pause: seconds(1),
        longest: seconds(60),
        probes: 2,
        keep: 100,
    };
    assert_eq!(upstream.eject, Some(eject));
    let budget = RetryBudget {
        percent: 1000,
        least: 0,
    };
    assert_eq!(upstream.retry_budget, budget);
}

#[test]
fn a_check_is_over_before_the_next() {
    let check = |lines: &str| {
        one(&format!("check = {{ path = '/', {lines} }}"))
            .check
            .unwrap()
    };
    let usual = one("check = { path = '/' }").check.unwrap();
    assert_eq!((usual.every, usual.within), (seconds(5), seconds(2)));
    assert_eq!((usual.up, usual.down), (2, 3));
    let quick = check("every = '100ms'");
    assert_eq!(
        quick.within, quick.every,
        "the default gives way to what is written"
    );
    assert_eq!(check("within = '5s'").within, seconds(5));
}

#[test]
fn ejection_and_retries_are_on_off_or_a_table() {
    assert_eq!(one("eject = false").eject, None);
    assert_eq!(one("eject = true").eject, Some(Eject::default()));
    assert_eq!(one("eject = {}").eject, Some(Eject::default()));
    assert_eq!(route("retry = false").retry, None);
    assert_eq!(route("retry = true").retry, Some(Retry::default()));
    assert_eq!(
        one("retry_budget = {}").retry_budget,
        RetryBudget::default()
    );
}

#[test]
fn a_pause_that_is_written_outweighs_the_other_ones_default() {
    let eject = |lines: &str| one(&format!("eject = {{ {lines} }}")).eject.unwrap();
    let pauses = |eject: Eject| (eject.pause, eject.longest);
    assert_eq!(pauses(eject("pause = '1m'")), (seconds(60), seconds(60)));
    assert_eq!(pauses(eject("longest = '2s'")), (seconds(2), seconds(2)));
    assert_eq!(
        pauses(eject("longest = '1m'")),
        (seconds(5), seconds(60)),
        "nothing gives way that fits"
    );
}

#[test]
fn a_route_with_everything() {
    let route = leading(
        "to = ['a', { upstream = 'b', larger = false }, { upstream = 'b', model = 'm', larger = true }]\n\
         retry = { times = 0, pause = '1ms', longest = '1s', body = '4MiB' }\n\
         hedge = '1ms'\nhedge_percent = 100\nrescue = true\nusage = 'trailers'",
    );
    let larger: Vec<_> = route.to.iter().map(|target| target.larger).collect();
    assert_eq!(larger, [false, false, true]);
    assert_eq!(route.to[2].model.as_deref(), Some("m"));
    let retry = Retry {
        times: 0,
        pause: Duration::from_millis(1),
        longest: seconds(1),
        body: 4 << 20,
    };
    assert_eq!(route.retry, Some(retry));
    let hedge = Hedge {
        after: Duration::from_millis(1),
        percent: 100,
    };
    assert_eq!(route.hedge, Some(hedge));
    assert!(route.rescue);
    assert_eq!(route.usage, TellUsage::Trailers);
}

#[test]
fn hedging_is_off_or_of_ten_in_a_hundred() {
    let hedge = |lines: &str| leading(&format!("to = ['a', 'b']\n{lines}")).hedge;
    assert_eq!(hedge("hedge = 'off'"), None);
    assert_eq!(hedge("hedge = '2s'").unwrap().percent, 10);
}

#[test]
fn usage_is_told_in_a_comment_or_not_at_all() {
    assert_eq!(route("usage = 'comment'").usage, TellUsage::Comment);
    assert_eq!(
        route("usage = 'no'\ndialect = 'plain'\nrescue = false").usage,
        TellUsage::No
    );
}

#[test]
fn every_trouble_has_its_key_and_its_usual_remedy_is_the_default() {
    let words: Vec<_> = Trouble::ALL.map(Trouble::word).into();
    assert_eq!(FAILURES.names(), words);
    let remedies = |remedy| match remedy {
        Remedy::Again => "again",
        Remedy::Next => "next",
        Remedy::Larger => "larger",
        Remedy::GiveUp => "give-up",
    };
    for (key, trouble) in FAILURES.keys.iter().zip(Trouble::ALL) {
        let usual = remedies(trouble.usual());
        assert_eq!(key.fallback.words(), format!("`\"{usual}\"`"));
    }
}

#[test]
fn each_trouble_has_the_remedy_that_is_written() {
    let in_order = [Remedy::Again, Remedy::Next, Remedy::Larger, Remedy::GiveUp];
    for trouble in Trouble::ALL {
        for (word, remedy) in REMEDIES.iter().zip(in_order) {
            let route = leading(&format!(
                "to = ['a', {{ upstream = 'b', larger = true }}]\n\
                 failures = {{ {} = '{word}', {} = 'larger' }}",
                trouble.word(),
                other(trouble).word(),
            ));
            let mut wanted = Remedies::default();
            wanted.set(other(trouble), Remedy::Larger);
            wanted.set(trouble, remedy);
            assert_eq!(route.failures, wanted, "{} = {word}", trouble.word());
        }
    }
}

/// Another one, which keeps the larger entry of use.
fn other(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Refused => Trouble::Unreachable,
        _ => Trouble::Refused,
    }
}

#[test]
fn a_remedy_may_be_written_as_what_it_would_be_anyway() {
    let route = route(
        "[routes.r.failures]\ncontext_length = 'larger'\n\
         closed = '${NONE:-again}'",
    );
    assert_eq!(route.failures, Remedies::default());
}
