//! Bad hubs, topics and routes whose streams are kept, shared, published or subscribed to.

use super::bad::{check, said};
use super::*;

const NO_UPSTREAM: &str =
    "has no use: the route asks no upstream | take it out; it belongs to a route with `to`";
const NAMES: &str = "such as \"orders/new\", \"orders/{id}\" or \"user/{query.user}\"";

/// Checks what is said about a key of a route `s` that has `lines` before it; the key is on line 6 and
/// the rest of the file is good.
#[track_caller]
fn key(lines: &str, wanted: &[&str]) {
    let source = format!(
        "[upstreams.a]\nurl = 'http://a'\n[keys.k]\nvalue = 'x'\n[routes.s]\n{lines}\npath = '/{{id}}/{{rest*}}'\n"
    );
    let wanted: Vec<_> = wanted
        .iter()
        .map(|line| format!("bad.toml:{}", line.replacen(" | ", "\n    ", 1)))
        .collect();
    assert_eq!(said(&source, &Fixed::default()), wanted, "for {lines}");
}

#[test]
fn where_a_route_leads() {
    let help = "exactly one of: `to`, `publish`, `subscribe`, `publish` with `subscribe`";
    key(
        "heartbeat = '1s'",
        &[&format!(
            "5:9: routes.s: has neither `to` nor `publish` nor `subscribe` | {help}"
        )],
    );
    key(
        "to = 'a'\npublish = 'a'",
        &[&format!("5:9: routes.s: has `to` and `publish` | {help}")],
    );
    key(
        "to = 'a'\nsubscribe = 'a'\ngreeting = 'x'",
        &[&format!("5:9: routes.s: has `to` and `subscribe` | {help}")],
    );
    key(
        "too = 'a'",
        &["6:1: routes.s.too: there is no such key | did you mean `to`?"],
    );
}

#[test]
fn what_only_a_route_to_an_upstream_has() {
    for (line, name, column) in [
        ("share = true", "share", 9),
        ("share = {}", "share", 1),
        ("poll = '5s'", "poll", 8),
        ("resume = true", "resume", 10),
        ("rewrite = '/'", "rewrite", 11),
        ("request_headers = {}", "request_headers", 1),
        ("response_headers = {}", "response_headers", 1),
        ("early_head = '5s'", "early_head", 14),
        ("dialect = 'gemini'", "dialect", 11),
        ("clocks = { connect = '5s' }", "clocks.connect", 22),
        ("clocks = { first_byte = '5s' }", "clocks.first_byte", 25),
        ("clocks = { first_event = '5s' }", "clocks.first_event", 26),
        ("clocks = { idle = '5s' }", "clocks.idle", 19),
    ] {
        let wanted = format!("6:{column}: routes.s.{name}: {NO_UPSTREAM}");
        key(&format!("{line}\npublish = 'a'"), &[&wanted]);
    }
    key(
        "dedupe = true\nsubscribe = 'a'",
        &[
            &format!("6:10: routes.s.dedupe: {NO_UPSTREAM}"),
            "6:10: routes.s.dedupe: has no use without `resume`: there is no answer to join | \
             add `resume = true`, or take it out",
        ],
    );
    key(
        "share = false\nresume = false\ndedupe = false\nearly_head = 'off'\ndialect = 'plain'\n\
         clocks = { idle = 'off', stall = '1m', total = '1h' }\nsubscribe = 'a'",
        &[],
    );
}

#[test]
fn what_only_a_route_that_subscribes_has() {
    let error = "has no use: the route subscribes to nothing | \
                 take it out; it belongs to a route with `subscribe`";
    for lead in ["to = 'a'", "publish = 'a'"] {
        key(
            &format!("greeting = 'x'\n{lead}"),
            &[&format!("6:12: routes.s.greeting: {error}")],
        );
        key(
            &format!("patterns = true\n{lead}"),
            &[&format!("6:12: routes.s.patterns: {error}")],
        );
        key(
            &format!("max_age = '1h'\n{lead}"),
            &[
                "6:11: routes.s.max_age: has no use: the route neither shares nor subscribes | \
               take it out; `clocks = { total = … }` limits every answer",
            ],
        );
        key(&format!("max_age = 'off'\npatterns = false\n{lead}"), &[]);
    }
    key("max_age = '1h'\nto = 'a'\nshare = true", &[]);
    key(
        "patterns = true\nsubscribe = ['a', 'b/*']",
        &[
            "6:12: routes.s.patterns: has no use: `subscribe` takes nothing from a request | \
           take it out, or take a part from the request: `{name}`",
        ],
    );
}

#[test]
fn what_needs_another_key() {
    for more in ["", "\nresume = false"] {
        key(
            &format!("dedupe = true\nto = 'a'{more}"),
            &[
                "6:10: routes.s.dedupe: has no use without `resume`: there is no answer to join | \
               add `resume = true`, or take it out",
            ],
        );
    }
    key(
        "poll = '5s'\nto = 'a'\nshare = false",
        &[
            "6:8: routes.s.poll: contradicts `share = false`: an answer that is asked for by the clock is \
           everybody's | take one of them out",
        ],
    );
    key(
        "key_in = { query = 'key' }\nto = 'a'",
        &[
            "6:1: routes.s.key_in: has no use: no caller is asked for a key | \
           name the keys that are let in (`allow`), or take it out",
        ],
    );
    key(
        "key_in = {}\nto = 'a'\nallow = ['k']",
        &["6:1: routes.s.key_in: says nothing | `cookie`, `query`, or both"],
    );
}

#[test]
fn methods_that_leave_a_key_without_a_use() {
    let leaves = |method: &str, name: &str| {
        format!(
            "6:10: routes.s.method: leaves out `{method}`, and `{name}` is for nothing else | \
             add it, or take `{name}` out"
        )
    };
    key(
        "method = 'GET'\npublish = 'a'\nsubscribe = 'a'",
        &[&leaves("POST", "publish")],
    );
    key(
        "method = 'POST'\npublish = 'a'\nsubscribe = 'a'",
        &[&leaves("GET", "subscribe")],
    );
    key(
        "method = ['PUT']\nto = 'a'\npoll = '1s'",
        &[&leaves("GET", "share")],
    );
    key(
        "method = 'GET'\nto = 'a'\nshare = true\nresume = true",
        &[
            "9:10: routes.s.resume: has no use: every `GET` is shared, and the route takes nothing else | \
           take it out, or `share`",
        ],
    );
    key(
        "method = ['GET', 'POST']\npublish = 'a'\nsubscribe = 'a'",
        &[],
    );
}

#[test]
fn templates() {
    let parts = "a part that is taken from a request is such as `{id}` or `{query.user}`";
    let wildcard =
        "holds a `*`, which stands for other names: only a pattern may, as a whole segment";
    for (template, wanted) in [
        ("{id", format!("has a `{{` without its `}}` | {parts}")),
        ("{a{id}}", format!("has a `{{` without its `}}` | {parts}")),
        ("id}", format!("has a `}}` without its `{{` | {parts}")),
        (
            "",
            format!("has an empty segment: write `a` or `a/b` | {NAMES}"),
        ),
        (
            "a//{id}",
            format!("has an empty segment: write `a` or `a/b` | {NAMES}"),
        ),
        (
            "{id}/",
            format!("has an empty segment: write `a` or `a/b` | {NAMES}"),
        ),
        ("../{id}", format!("has a segment `.` or `..` | {NAMES}")),
        ("a/*", format!("{wildcard} | {NAMES}")),
        ("{id}*", format!("{wildcard} | {NAMES}")),
        (
            "{idd}",
            "takes `idd` from the path, which has none of that name | did you mean `id`?".into(),
        ),
        (
            "{header.x}",
            "takes `header.x` from the path, which has none of that name | there is: id, rest"
                .into(),
        ),
        (
            "{id*}",
            "takes `id` over several segments, and in `path` it is one | \
             without the `*`, or with one in `path` too, at its end"
                .into(),
        ),
        (
            "{jwt.sub}",
            "takes a claim of the caller's token, and the route asks for none | \
             name the issuers of tokens that are let in (`allow`)"
                .into(),
        ),
    ] {
        let wanted = format!("6:11: routes.s.publish: {wanted}");
        key(&format!("publish = '{template}'"), &[&wanted]);
    }
    for template in ["{}", "{*}", "{query.}", "{jwt.*}", "{query.a**}"] {
        key(
            &format!("subscribe = ['all/*', '{template}']"),
            &[
                "6:23: routes.s.subscribe[1]: has braces that hold no name | \
               `{name}`, `{query.name}` or `{jwt.name}`, perhaps with a `*` before the `}`",
            ],
        );
    }
    key(
        "subscribe = ['a', 'a/b*', 'a']",
        &[
            &format!("6:19: routes.s.subscribe[1]: {wildcard} | {NAMES}"),
            "6:27: routes.s.subscribe[2]: is there twice | keep one",
        ],
    );
    check(
        "[routes.s]\npath = '/s'\npublish = 'a/{topic}'",
        &[
            "8:11: routes.s.publish: takes `topic` from the path, which has none of that name | \
           `path` names it, as in \"/topics/{topic}\"; a query parameter is `{query.NAME}`",
        ],
    );
    check(
        "[routes.s]\npath = 's'\npublish = '{topic}'",
        &[
            "7:8: routes.s.path: does not begin with `/` | such as \"/v1/*\" or \"/users/{id}/events\"",
        ],
    );
}

#[test]
fn rests_with_a_name() {
    check(
        "[routes.s]\npath = '/{a}/{a*}'\nto = 'a'",
        &["7:8: routes.s.path: names a parameter twice | give each its own name"],
    );
    for path in ["/{a*}/b", "/x{a*}", "/{a*}*", "/{*}", "/{a-b*}"] {
        check(
            &format!("[routes.s]\npath = '{path}'\nto = 'a'"),
            &[
                "7:8: routes.s.path: has a `*` that is not its whole last segment | \
               `*` stands for any rest, as in \"/v1/*\", with a name as in \"/v1/{rest*}\"; one segment is `{name}`",
            ],
        );
    }
}

#[test]
fn greetings() {
    key(
        "subscribe = 'a'\ngreeting = { event = \"a\\nb\", data = '' }",
        &[
            "7:22: routes.s.greeting.event: holds a line break or a NUL | \
           the name of an event is one line",
        ],
    );
    key(
        "subscribe = 'a'\ngreeting = { event = '' }",
        &[
            "7:1: routes.s.greeting.data: is missing | it is text",
            "7:22: routes.s.greeting.event: is empty | leave it out for `message`",
        ],
    );
    key(
        "subscribe = 'a'\ngreeting = true",
        &["7:12: routes.s.greeting: is a boolean | it has to be text or `{ event, data }`"],
    );
}

#[test]
fn sharing_and_keeping() {
    key(
        "to = 'a'\nshare = 'yes'",
        &[
            "7:9: routes.s.share: is a string | it has to be `true`, `false` or \
           `{ start, slow, history, on_last_leave, public, key_headers, ids }`",
        ],
    );
    key(
        "to = 'a'\nshare = { key_headers = ['a b'], slow = 'drop', history = { events = 0 } }",
        &[
            "7:26: routes.s.share.key_headers[0]: is not the name of a header | \
             letters, digits and `-`, such as `x-tenant`",
            "7:41: routes.s.share.slow: `drop` is not known here | there is: disconnect, skip, latest",
            "7:70: routes.s.share.history.events: is out of bounds | \
             it has to be a whole number from 1 to 10000000",
        ],
    );
    key(
        "to = 'a'\npoll = '99ms'",
        &["7:8: routes.s.poll: `99ms` is too short | at least \"100ms\""],
    );
    let forms = "\"cancel\", \"finish\", or \"linger\" and how long: \"linger 2m\"";
    for (text, wanted) in [
        ("stop", format!("is none of its three forms | {forms}")),
        ("linger", format!("is none of its three forms | {forms}")),
        (
            "linger 5",
            "lingers for a duration without a unit | \
             write a whole number and its unit: \"250ms\", \"15s\", \"2m\", \"1h\", \"1d\""
                .into(),
        ),
        ("linger 0s", format!("lingers for no time at all | {forms}")),
    ] {
        key(
            &format!("to = 'a'\nresume = {{ on_leave = '{text}' }}"),
            &[&format!("7:23: routes.s.resume.on_leave: {wanted}")],
        );
    }
    key(
        "to = 'a'\nresume = { watch = ['nobody'], keep = '0s' }",
        &[
            "7:21: routes.s.resume.watch[0]: there is no key `nobody` | there is: k",
            "7:39: routes.s.resume.keep: `0s` is too short | at least \"1ms\"",
        ],
    );
    key(
        "to = 'a'\nallow = ['k']\nkey_in = { cookie = 'a b', query = '' }",
        &[
            "8:21: routes.s.key_in.cookie: is not the name of a cookie | \
             letters, digits, `-` and `_`, such as \"session\"",
            "8:36: routes.s.key_in.query: is empty | such as \"key\"",
        ],
    );
}

#[test]
fn hubs_and_topics() {
    let form = "such as \"/streams\": letters, digits, `-`, `_`, `.`, `~`, and no slash at the end";
    for (path, wanted) in [
        ("streams", "does not begin with `/`"),
        ("/", "is not a plain path"),
        ("/a/", "is not a plain path"),
        ("/a//b", "is not a plain path"),
        ("/../b", "is not a plain path"),
        ("/{a}", "is not a plain path"),
        ("/a%20b", "is not a plain path"),
    ] {
        check(
            &format!("[hub]\npath = '{path}'"),
            &[&format!("7:8: hub.path: {wanted} | {form}")],
        );
    }
    check(
        "[hub]\nbytes = '1MiB'\nevent = '2MiB'\nstreams = 0",
        &[
            "8:9: hub.event: is more than `bytes` | no event could be so large",
            "9:11: hub.streams: is out of bounds | it has to be a whole number from 1 to 10000000",
        ],
    );
    let help = "a name such as \"orders/new\", or \"orders/*\" for every one below";
    let wildcard =
        "holds a `*`, which stands for other names: only a pattern may, as a whole segment";
    check(
        "[topics.'a*']\n[topics.'/a']\nstart = 'begin'\n[keys.k]\nvalue = 'x'\npublish = ['a', 'b*']\nsubscribe = 'a'",
        &[
            &format!("6:9: topics.\"a*\": {wildcard} | {help}"),
            &format!("7:9: topics.\"/a\": has an empty segment: write `a` or `a/b` | {help}"),
            "8:9: topics.\"/a\".start: `begin` is not known here | there is: live, latest, oldest",
            &format!("11:17: keys.k.publish[1]: {wildcard} | {help}"),
            "12:13: keys.k.subscribe: is a string | it has to be a list, each a topic such as \
             `\"orders/new\"`, or a pattern such as `\"orders/*\"`",
        ],
    );
}

#[test]
fn routes_where_kept_answers_are_found() {
    let error = "lies where kept answers are found, at `hub.path`, and no request would reach it | \
                 another path here, or in `[hub]`";
    check(
        "resume = true\n[routes.s]\npath = '/streams/*'\nto = 'a'\n[routes.t]\npath = '/str%65ams'\nto = 'a'\n\
         [routes.u]\npath = '/x/{y}'\nto = 'a'\n[routes.v]\npath = '/*'\nto = 'a'",
        &[
            &format!("8:8: routes.s.path: {error}"),
            &format!("11:8: routes.t.path: {error}"),
        ],
    );
    check(
        "resume = true\n[hub]\npath = '/x/y'\n[routes.s]\npath = '/x/y/{z}'\nto = 'a'\n\
         [routes.t]\npath = '/x'\nto = 'a'\n[routes.u]\npath = '/x/{y}'\nto = 'a'",
        &[&format!("10:8: routes.s.path: {error}")],
    );
}

#[test]
fn letting_strangers_publish_and_listen() {
    const LETS: &str = "[routes.s]\npath = '/s'\npublish = 'a'\n\
                        [routes.t]\npath = '/t/{id}'\nsubscribe = '{id}'\npatterns = true\n\
                        [routes.u]\npath = '/u'\nsubscribe = 'a/*'\n\
                        [server]\nlisten = '0.0.0.0:80'";
    let beyond = "asks no caller for a key, and listens beyond this machine (0.0.0.0:80)";
    let help = "name the keys that are let in (`allow`), or state it with `open = true`";
    check(
        LETS,
        &[
            &format!("6:9: routes.s: publishes what it is sent, {beyond} | {help}"),
            &format!(
                "9:9: routes.t: lets its readers name `patterns` of topics, {beyond} | {help}"
            ),
        ],
    );
    check(&LETS.replace("0.0.0.0", "127.0.0.1"), &[]);
    let stated = LETS.replace("path = '/s'", "path = '/s'\nopen = true");
    let stated = stated.replace("path = '/t/{id}'", "path = '/t/{id}'\nallow = ['k']");
    check(&format!("{stated}\n[keys.k]\nvalue = 'x'"), &[]);
}
