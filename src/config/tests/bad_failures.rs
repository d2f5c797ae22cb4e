//! Bad upstreams and routes: every kind of fault in what happens when backends fail.

use super::bad::check;

const NO_UPSTREAM: &str =
    "has no use: the route asks no upstream | take it out; it belongs to a route with `to`";

/// Checks what is said about an upstream with `lines`; the first of them is on line 8.
#[track_caller]
fn upstream(lines: &str, wanted: &[&str]) {
    check(&format!("[upstreams.b]\nurl = 'http://b'\n{lines}"), wanted);
}

/// Checks what is said about a route with `lines`; the first of them is on line 10.
#[track_caller]
fn route(lines: &str, wanted: &[&str]) {
    let more = format!("[upstreams.b]\nurl = 'http://b'\n[routes.s]\npath = '/s'\n{lines}");
    check(&more, wanted);
}

#[test]
fn endpoints() {
    check(
        "[upstreams.b]\nendpoints = [{ weight = 2 }, { url = 'b' }, { url = 'http://b', wieght = 3 }]",
        &[
            "7:14: upstreams.b.endpoints[0].url: is missing | \
             it is a URL such as `\"https://api.example.com/base\"`, or `\"builtin:demo\"`",
            "7:38: upstreams.b.endpoints[1].url: does not begin with `http://` or `https://` | \
             such as \"http://127.0.0.1:9000\", \"https://api.example.com/base\", or \"builtin:demo\"",
            "7:65: upstreams.b.endpoints[2].wieght: there is no such key | did you mean `weight`?",
        ],
    );
    check(
        "[upstreams.b]\nendpoints = [{ url = 'http://b', weight = 0 }, { url = 'http://c', weight = 1001 }, 5]",
        &[
            "7:43: upstreams.b.endpoints[0].weight: is out of bounds | it has to be a whole number from 1 to 1000",
            "7:77: upstreams.b.endpoints[1].weight: is out of bounds | it has to be a whole number from 1 to 1000",
            "7:85: upstreams.b.endpoints[2]: is an integer | \
             it has to be a URL such as `\"https://api.example.com/base\"`, or `\"builtin:demo\"` or `{ url, weight }`",
        ],
    );
    check(
        "[upstreams.b]\nendpoints = ['http://b', { url = 'http://b:80', weight = 2 }, { url = 'builtin:demo' }]",
        &[
            "7:26: upstreams.b.endpoints[1]: is there twice | \
             keep one: `{ url = …, weight = 2 }` gives it twice the share",
            "7:63: upstreams.b.endpoints[2]: stands beside other endpoints | \
             give `builtin:demo` an upstream of its own",
        ],
    );
}

#[test]
fn the_way_to_choose_an_endpoint() {
    upstream(
        "balance = 'least-in-fligth'\nhash_by = 'caller'",
        &[
            "8:11: upstreams.b.balance: `least-in-fligth` is not known here | did you mean `least-in-flight`?",
        ],
    );
    let useless = "9:11: upstreams.b.hash_by: has no use: endpoints are not chosen by it | \
                   add `balance = \"hash\"`, or take it out";
    upstream("balance = 'first-event'\nhash_by = 'caller'", &[useless]);
    upstream("\nhash_by = 'x-session'", &[useless]);
    upstream(
        "balance = 'hash'\nhash_by = 'x session'",
        &["9:11: upstreams.b.hash_by: is not the name of a header | \
           letters, digits and `-`, such as `x-tenant`"],
    );
}

#[test]
fn what_is_spoken_and_looked_up() {
    upstream(
        "http = 'http/3'\nlookup = '999ms'\nprefill = 'prefixx'",
        &[
            "8:8: upstreams.b.http: `http/3` is not known here | there is: 1.1, 2, auto",
            "9:10: upstreams.b.lookup: `999ms` is too short | at least \"1s\"",
            "10:11: upstreams.b.prefill: `prefixx` is not known here | did you mean `prefix`?",
        ],
    );
    upstream(
        "http = 2",
        &[
            "8:8: upstreams.b.http: is an integer | it has to be one of `\"1.1\"`, `\"2\"`, `\"auto\"`",
        ],
    );
}

#[test]
fn checks() {
    upstream(
        "check = {}",
        &["8:1: upstreams.b.check.path: is missing | it is a path such as `\"/health\"`"],
    );
    upstream(
        "check = '/health'",
        &["8:9: upstreams.b.check: is a string | it has to be a table"],
    );
    for (path, wanted) in [
        ("health", "does not begin with `/` | such as \"/health\""),
        ("", "does not begin with `/` | such as \"/health\""),
        (
            "/a#b",
            "has a fragment | fragments never reach a server: take it out",
        ),
        (
            "/a b",
            "has a character that no path has | percent-encode it",
        ),
    ] {
        let line = format!("check = {{ path = '{path}' }}");
        upstream(&line, &[&format!("8:18: upstreams.b.check.path: {wanted}")]);
    }
    upstream(
        "check = { path = '/', every = '99ms', up = 0, down = 0 }",
        &[
            "8:31: upstreams.b.check.every: `99ms` is too short | at least \"100ms\"",
            "8:44: upstreams.b.check.up: is out of bounds | it has to be a whole number from 1 to 1000",
            "8:54: upstreams.b.check.down: is out of bounds | it has to be a whole number from 1 to 1000",
        ],
    );
    upstream(
        "check = { path = '/', within = '6s' }",
        &[
            "8:32: upstreams.b.check.within: is longer than `every`, which is \"5s\" | \
             one question is over before the next is asked",
        ],
    );
}

#[test]
fn ejection() {
    upstream(
        "eject = 'no'",
        &["8:9: upstreams.b.eject: is a string | \
           it has to be `true`, `false` or `{ after, percent, pause, longest, probes, keep }`"],
    );
    let percent = "is out of bounds | it has to be a whole number from 0 to 100";
    let some = "is out of bounds | it has to be a whole number from 1 to 1000";
    upstream(
        "[upstreams.b.eject]\nafter = 0\npercent = 101\npause = '0s'\nprobes = 0\nkeep = 101",
        &[
            &format!("9:9: upstreams.b.eject.after: {some}"),
            &format!("10:11: upstreams.b.eject.percent: {percent}"),
            "11:9: upstreams.b.eject.pause: `0s` is too short | at least \"1ms\"",
            &format!("12:10: upstreams.b.eject.probes: {some}"),
            &format!("13:8: upstreams.b.eject.keep: {percent}"),
        ],
    );
    upstream(
        "eject = { pause = '10s', longest = '9s' }",
        &["8:36: upstreams.b.eject.longest: is shorter than `pause` | at least \"10s\""],
    );
}

#[test]
fn budgets() {
    upstream(
        "retry_budget = { percent = 1001, least = 10001 }",
        &[
            "8:28: upstreams.b.retry_budget.percent: is out of bounds | it has to be a whole number from 0 to 1000",
            "8:42: upstreams.b.retry_budget.least: is out of bounds | it has to be a whole number from 0 to 10000",
        ],
    );
    upstream(
        "retry_budget = false",
        &["8:16: upstreams.b.retry_budget: is a boolean | it has to be a table"],
    );
}

#[test]
fn retries() {
    route(
        "to = 'a'\nretry = 2",
        &["11:9: routes.s.retry: is an integer | \
           it has to be `true`, `false` or `{ times, pause, longest, body }`"],
    );
    route(
        "to = 'a'\nretry = { times = 101, pause = '2s', longest = '1s', body = '2GiB' }",
        &[
            "11:19: routes.s.retry.times: is out of bounds | it has to be a whole number from 0 to 100",
            "11:48: routes.s.retry.longest: is shorter than `pause` | at least \"2s\"",
            "11:61: routes.s.retry.body: `2GiB` is too large | at most \"1GiB\"",
        ],
    );
}

#[test]
fn remedies() {
    route(
        "to = 'a'\nfailures = { rate_limitted = 'next', quota = 'giveup', closed = true }",
        &[
            "11:14: routes.s.failures.rate_limitted: there is no such key | did you mean `rate_limited`?",
            "11:46: routes.s.failures.quota: `giveup` is not known here | did you mean `give-up`?",
            "11:65: routes.s.failures.closed: is a boolean | \
             it has to be one of `\"again\"`, `\"next\"`, `\"larger\"`, `\"give-up\"`",
        ],
    );
    route(
        "to = ['a', 'b']\nfailures = { context_length = 'larger', quota = 'larger' }",
        &[
            "11:49: routes.s.failures.quota: asks for a larger entry, and `to` has none | \
           mark one, such as `{ upstream = …, larger = true }`, or take it out",
        ],
    );
}

#[test]
fn larger_entries() {
    route(
        "to = [{ upstream = 'a', larger = true }, 'b']",
        &[
            "10:34: routes.s.to[0].larger: is the first entry: nothing is asked before it | \
           put the entry that is usually asked before it, or take `larger` out",
        ],
    );
    route(
        "to = ['a', { upstream = 'b', larger = true }]\nfailures = { context_length = 'give-up' }",
        &[
            "10:39: routes.s.to[1].larger: is never asked for: no remedy in `failures` is \"larger\" | \
           such as `failures = { context_length = \"larger\" }`, or take it out",
        ],
    );
    route(
        "to = ['a', { upstream = 'b', larger = 'yes' }]",
        &["10:39: routes.s.to[1].larger: is a string | it has to be `true` or `false`"],
    );
}

#[test]
fn hedging() {
    let alone = "has no use: `to` has no second entry to ask as well | \
                 add one that is not `larger`, or take it out";
    route(
        "to = 'a'\nhedge = '2s'",
        &[&format!("11:9: routes.s.hedge: {alone}")],
    );
    route(
        "to = ['a', { upstream = 'b', larger = true }]\nhedge = '2s'",
        &[&format!("11:9: routes.s.hedge: {alone}")],
    );
    route(
        "to = ['a', 'b']\nhedge = '0s'\nhedge_percent = 10",
        &["11:9: routes.s.hedge: `0s` is no time at all | at least \"1ms\"; \"off\" is without"],
    );
    route(
        "to = ['a', 'b']\nhedge = '2s'\nhedge_percent = 0",
        &[
            "12:17: routes.s.hedge_percent: is out of bounds | it has to be a whole number from 1 to 100",
        ],
    );
    let needs = "has no use without `hedge`: no request is asked twice | \
                 add such as `hedge = \"2s\"`, or take it out";
    route(
        "to = ['a', 'b']\nhedge_percent = 5",
        &[&format!("11:17: routes.s.hedge_percent: {needs}")],
    );
    route(
        "to = ['a', 'b']\nhedge_percent = 5\nhedge = 'off'",
        &[&format!("11:17: routes.s.hedge_percent: {needs}")],
    );
}

#[test]
fn an_entry_that_is_wrong_is_said_to_be_and_nothing_is_made_of_it() {
    route(
        "to = ['a', 'none']\nhedge = '2s'\nfailures = { quota = 'larger' }",
        &["10:12: routes.s.to[1]: there is no upstream `none` | there is: a, b"],
    );
}

#[test]
fn what_only_a_model_api_has() {
    let none = "has no use: no model API is spoken here | \
                take it out, or leave `dialect` to be told by the path (`auto`)";
    route(
        "to = ['a', 'b']\nrescue = true\nusage = 'comment'\nhedge = '1s'\ndialect = 'plain'",
        &[
            &format!("11:10: routes.s.rescue: {none}"),
            &format!("12:9: routes.s.usage: {none}"),
            &format!("13:9: routes.s.hedge: {none}"),
        ],
    );
    route(
        "to = 'a'\nrescue = 'yes'\nusage = 'header'",
        &[
            "11:10: routes.s.rescue: is a string | it has to be `true` or `false`",
            "12:9: routes.s.usage: `header` is not known here | there is: no, comment, trailers",
        ],
    );
}

#[test]
fn what_only_a_route_to_an_upstream_has() {
    route(
        "subscribe = 'x'\nretry = { times = 1 }\nfailures = { quota = 'next' }\nhedge = '1s'\nhedge_percent = 5\n\
         rescue = true\nusage = 'comment'",
        &[
            &format!("11:1: routes.s.retry: {NO_UPSTREAM}"),
            &format!("12:1: routes.s.failures: {NO_UPSTREAM}"),
            &format!("13:9: routes.s.hedge: {NO_UPSTREAM}"),
            &format!("15:10: routes.s.rescue: {NO_UPSTREAM}"),
            &format!("16:9: routes.s.usage: {NO_UPSTREAM}"),
        ],
    );
    route(
        "subscribe = 'x'\nretry = false\nhedge = 'off'\nrescue = false\nusage = 'no'",
        &[],
    );
}
