//! The rules of `docs/routing.md`, and what the page itself shows.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use http::Method;

use super::fixtures::{asked, route, routes, with_cors};
use super::*;
use crate::config::{self, Environment, Matches, Route};

/// Each request takes the route beside it; the order of the routes does not matter.
#[track_caller]
fn all_take(routes: &[Arc<Route>], wanted: &[(&str, &str)]) {
    let reversed: Vec<_> = routes.iter().rev().cloned().collect();
    for (request, name) in wanted {
        assert_eq!(asked(request).takes(routes), *name, "{request}");
        assert_eq!(
            asked(request).takes(&reversed),
            *name,
            "{request}, routes reversed"
        );
    }
    assert!(clashes(routes).is_empty());
}

#[test]
fn the_host_outweighs_all_else() {
    let routes = routes(&[
        ("exact", "ANY api.example.com/*"),
        ("long", "ANY *.b.example.com/*"),
        ("short", "ANY *.example.com/*"),
        ("address", "ANY [2001:db8::1]/*"),
        ("any", "POST /v1/chat"),
    ]);
    all_take(
        &routes,
        &[
            ("POST API.example.com.:443/v1/chat", "exact"),
            ("POST a.b.example.com/v1/chat", "long"),
            ("POST b.example.com/v1/chat", "short"),
            ("POST [2001:DB8:0::1]:80/v1/chat", "address"),
            ("POST example.com/v1/chat", "any"),
            ("POST /v1/chat", "any"),
        ],
    );
}

#[test]
fn the_path_is_ranked_segment_by_segment() {
    let paths = [
        "/*",
        "/users/*",
        "/users/{id}",
        "/users/me",
        "/users/{id}/events",
        "/{a}/me",
        "/users",
        "/",
        "/users/{id}/*",
        "/send/{topic*}",
        "/send/{id}/x",
    ];
    let lines = paths.map(|path| (path, format!("ANY {path}")));
    let lines: Vec<_> = lines
        .iter()
        .map(|(name, line)| (*name, line.as_str()))
        .collect();
    all_take(
        &routes(&lines),
        &[
            ("GET /", "/"),
            ("GET /x", "/*"),
            ("GET /users", "/users"),
            ("GET /users/", "/users/*"),
            ("GET /users/7", "/users/{id}"),
            ("GET /users/%37", "/users/{id}"),
            ("GET /users/me", "/users/me"),
            ("GET /u%73ers/me", "/users/me"),
            ("GET /users/7/events", "/users/{id}/events"),
            ("GET /users/7/x", "/users/{id}/*"),
            ("GET /users/7/", "/users/{id}/*"),
            ("GET /users//7", "/users/*"),
            ("GET /users/a%2Fb", "/users/{id}"),
            ("GET /x/me", "/{a}/me"),
            ("GET //users", "/*"),
            ("GET /send/a", "/send/{topic*}"),
            ("GET /send/a/b", "/send/{topic*}"),
            ("GET /send//b", "/send/{topic*}"),
            ("GET /send/a/x", "/send/{id}/x"),
            ("GET /send", "/*"),
            ("GET /send/", "/*"),
            ("GET /send//", "/*"),
            ("GET /users/../x", "400"),
            ("OPTIONS *", "404"),
        ],
    );
}

#[test]
fn then_method_headers_query_and_model() {
    let routes = routes(&[
        ("any", "ANY /v1/*"),
        ("post", "POST /v1/*"),
        ("gold", "ANY /v1/*, x-tier: gold"),
        ("sse", "ANY /v1/*?alt=sse"),
        ("gpt", "ANY /v1/*, model gpt-*|o1"),
        ("gpt-4", "ANY /v1/*, model gpt-4*"),
        ("gpt-4o", "ANY /v1/*, model gpt-4o"),
    ]);
    all_take(
        &routes,
        &[
            ("POST /v1/x?alt=sse, x-tier: gold, model gpt-4o", "post"),
            ("GET /v1/x?alt=sse, x-tier: gold, model gpt-4o", "gold"),
            ("GET /v1/x, x-tier: lead, x-tier: gold", "any"),
            ("GET /v1/x, x-tier: Gold", "any"),
            ("GET /v1/x?alt=sse, model gpt-4o", "sse"),
            ("GET /v1/x?alt=%73se&alt=no", "sse"),
            ("GET /v1/x?alt=no&alt=sse", "any"),
            ("GET /v1/x, model gpt-4o", "gpt-4o"),
            ("GET /v1/x, model gpt-4.1", "gpt-4"),
            ("GET /v1/x, model gpt-3", "gpt"),
            ("GET /v1/x, model o1", "gpt"),
            ("GET /v1/x, model o12", "any"),
            ("GET /v1/x", "any"),
        ],
    );
}

#[test]
fn the_model_is_asked_for_only_where_it_decides() {
    // More models than the list of candidates has room for in place.
    let many: Vec<String> = (0..40).map(|n| format!("m{n}")).collect();
    let many = format!("ANY /v1/*, model {}", many.join("|"));
    let routes = routes(&[
        ("gpt-long", "ANY /v1/*, model gpt-*"),
        ("many", &many),
        ("rest", "ANY /*"),
        ("chat", "ANY /v1/chat"),
    ]);
    let router = Router::new(&routes);
    let needs = |line: &str| match router.find(&asked(line).head()).unwrap() {
        Found::Candidates(found) => (found.needs_model(), found.model_within()),
        other => panic!("{other:?}"),
    };
    assert_eq!(needs("POST /v1/x"), (true, "gpt-long".len()));
    assert_eq!(needs("POST /v1/chat"), (false, 0));
    all_take(
        &routes,
        &[
            ("POST /v1/x", "rest"),
            ("POST /v1/chat, model m39", "chat"),
            ("POST /v1/x, model m39", "many"),
            ("POST /v1/x, model m40", "rest"),
        ],
    );
    all_take(
        &routes[..2],
        &[("POST /v1/x, model x", "404"), ("POST /v1/x", "404")],
    );
}

#[test]
fn methods() {
    let routes = routes(&[
        ("read", "GET /a"),
        ("write", "PUT|GET /{x}"),
        ("other", "DELETE x/*"),
    ]);
    all_take(
        &routes,
        &[
            ("HEAD /a", "read"),
            ("PUT /a", "write"),
            ("OPTIONS /a", "405 GET, HEAD, PUT"),
            ("DELETE /b", "405 GET, HEAD, PUT"),
            ("DELETE /b/c", "404"),
        ],
    );
}

#[test]
fn a_preflight_is_answered_by_the_first_that_could_be_meant() {
    let all = routes(&[
        ("plain", "POST /v1/*, x-tier: gold"),
        ("gpt", "POST /v1/*, model gpt-*"),
        ("sure", "POST /v1/*"),
        ("all", "ANY /*"),
    ]);
    let all = [
        all[0].clone(),
        with_cors(&all[1]),
        all[2].clone(),
        with_cors(&all[3]),
    ];
    let answers = |routes: &[Arc<Route>], line: &str, method: Method| {
        let route = Router::new(routes)
            .preflight(&asked(line).head(), &method)
            .unwrap()
            .cloned();
        route.map(|route| route.name.to_string())
    };
    assert_eq!(
        answers(&all, "OPTIONS /v1/x", Method::POST).as_deref(),
        Some("gpt")
    );
    assert_eq!(answers(&all[2..], "OPTIONS /v1/x", Method::POST), None);
    assert_eq!(
        answers(&all, "OPTIONS /v1/x", Method::PUT).as_deref(),
        Some("all")
    );
    assert_eq!(answers(&all[..3], "OPTIONS /v1/x", Method::PUT), None);
    assert_eq!(answers(&all, "OPTIONS *", Method::PUT), None);
}

#[test]
fn clashes_are_named_with_an_example() {
    for (one, other, example) in [
        ("ANY /v1/*", "ANY /v1/*", Some("GET /v1/x")),
        ("ANY /", "ANY /", Some("GET /")),
        ("ANY /{a}/x", "ANY /{b}/x", Some("GET /x/x")),
        ("ANY /v1/{a*}", "ANY /v1/*", Some("GET /v1/x")),
        ("ANY /v1/{a*}", "ANY /v1/{b*}", Some("GET /v1/x")),
        ("ANY /v1/{a*}", "ANY /v1/{a}", None),
        ("ANY /{a*}", "ANY /v1/{a*}", None),
        ("ANY /v1/a", "ANY /v1/b", None),
        ("ANY /v1", "ANY /v1/*", None),
        (
            "ANY a.b|*.c/v1, model x|y*",
            "ANY *.c|d/v1, model y*|z",
            Some("GET x.c/v1, model yx"),
        ),
        ("ANY [::1]/v1", "ANY [0:0::1]/v1", Some("GET [::1]/v1")),
        ("ANY a/v1", "ANY b/v1", None),
        ("GET /v1", "POST /v1", None),
        ("GET /v1", "POST|HEAD /v1", Some("HEAD /v1")),
        ("ANY /v1, a: 1", "ANY /v1, a: 2", None),
        (
            "ANY /v1, a: 1",
            "ANY /v1, b: 2",
            Some("GET /v1, a: 1, b: 2"),
        ),
        ("ANY /v1?q=1", "ANY /v1?q=2", None),
        ("ANY /v1?q=1", "ANY /v1?q=1", Some("GET /v1?q=1")),
        ("ANY /v1?q=1", "ANY /v1?r=1", Some("GET /v1?q=1&r=1")),
    ] {
        let found = clashes(&routes(&[("one", one), ("two", other)]));
        let told: Vec<_> = found.iter().map(|clash| clash.example.as_str()).collect();
        assert_eq!(
            told,
            example.into_iter().collect::<Vec<_>>(),
            "{one} and {other}"
        );
    }
    let one = routes(&[("one", "ANY x|x/v1")]);
    assert!(clashes(&one).is_empty());
    let three = routes(&[("one", "ANY /*"), ("two", "ANY /*"), ("three", "ANY /*")]);
    let pairs: Vec<_> = clashes(&three).iter().map(Clash::to_string).collect();
    assert_eq!(pairs.len(), 3);
    assert!(
        pairs[2].starts_with("routes `two` and `three` have equal rank"),
        "{}",
        pairs[2]
    );
}

#[test]
fn what_is_explained_of_requests_without_a_route() {
    let few = Router::new(&routes(&[("gpt", "POST /v1/*, model gpt-*")]));
    let tell = |line: &str| {
        let request = asked(line);
        few.explain(&request.head(), request.model.as_deref())
    };
    assert!(tell("POST /v2").route().is_none());
    for (line, wanted) in [
        (
            "POST /v2",
            "(404)\nOther routes, in rank order:\n  `gpt` does not match: the path is not",
        ),
        (
            "POST /v1/%2e%2e/x",
            "is refused (400): the path holds a dot segment",
        ),
        (
            "POST /v1/x",
            "the routes that match ask for a model\nThe model is needed",
        ),
        ("POST /v1/x, model x", "ask for another model\nOther"),
        ("OPTIONS *", "takes no route (404)"),
    ] {
        let told = tell(line).to_string();
        assert!(told.contains(wanted), "{told}");
    }
}

#[test]
fn a_route_is_explained_by_what_came_nearest() {
    let router = Router::new(&routes(&[
        ("two", "ANY a|b/v1, model m"),
        ("any", "ANY /*"),
    ]));
    let request = asked("GET b/v1, model x");
    let told = router.explain(&request.head(), Some("x")).to_string();
    assert!(
        told.ends_with("`two` does not match: the model is not `m`\n"),
        "{told}"
    );
}

#[test]
fn a_route_of_topics_is_explained_by_them() {
    let routes = parsed(
        "[routes.topics]\npath = '/topics/{topic*}'\npublish = '{topic}'\nsubscribe = ['{topic}', 'all']\n\
         [routes.send]\npath = '/send/{id}'\nmethod = 'POST'\npublish = 'user/{id}'\n",
    );
    let router = Router::new(&routes);
    let tell = |line: &str| router.explain(&asked(line).head(), None).to_string();
    assert_eq!(
        tell("GET /topics/a/b"),
        "GET /topics/a/b\n  takes route `topics`: path `/topics/{topic*}`\n\
         \u{20} publishes to topic `{topic*}` (POST)\n\
         \u{20} subscribes to topic `{topic*}`, `all` (GET)\n"
    );
    assert_eq!(
        tell("POST /send/7"),
        "POST /send/7\n  takes route `send`: path `/send/{id}`, method POST\n\
         \u{20} publishes to topic `user/{id}` (POST)\n"
    );
}

const PAGE: &str = include_str!("../../docs/routing.md");

/// The routes of a configuration.
fn parsed(source: &str) -> Vec<Arc<Route>> {
    struct Bare;
    impl Environment for Bare {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }
        fn read(&self, _: &std::path::Path) -> std::io::Result<String> {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }
    config::parse(source, "routing.md", &Bare).unwrap().routes
}

/// The configuration that the page speaks of.
fn documented() -> Vec<Arc<Route>> {
    let source = PAGE
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    parsed(source)
}

#[test]
fn the_page_says_what_is() {
    let routes = documented();
    assert!(clashes(&routes).is_empty());
    let mut rows = 0;
    for row in PAGE.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let request = cells[0].trim_matches('`');
        if !request.contains('/') {
            continue;
        }
        rows += 1;
        let taken = asked(request).takes(&routes);
        match cells[1].strip_prefix("none, ") {
            None => assert_eq!(format!("`{taken}`"), cells[1], "{row}"),
            Some(status) => assert!(taken.starts_with(status), "{row}: {taken}"),
        }
        if let Some(allowed) = taken.strip_prefix("405 ") {
            assert!(
                cells[2].contains(&format!("`Allow: {allowed}`")),
                "{row}: {allowed}"
            );
        }
    }
    assert_eq!(rows, 14);
}

#[test]
fn the_page_shows_what_explain_prints() {
    let router = Router::new(&documented());
    let mut shown = 0;
    for block in PAGE.split("```text\n$ deltaway explain ").skip(1) {
        let (command, rest) = block.split_once('\n').unwrap();
        let output = rest.split("```").next().unwrap();
        let request = asked(&command.replace(" --model ", ", model "));
        let told = router
            .explain(&request.head(), request.model.as_deref())
            .to_string();
        assert_eq!(told, output, "{command}");
        shown += 1;
    }
    assert_eq!(shown, 3);
    let both = [
        route("one", Matches::default()),
        route("two", Matches::default()),
    ];
    let clash = clashes(&both)[0].to_string();
    assert!(PAGE.contains(clash.trim_end_matches(" GET /")), "{clash}");
}
