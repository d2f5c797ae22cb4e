//! A request's head is matched against 1,000 routes.
//!
//! The figure is the time for one request: the mean over requests to all of the routes in turn, and for one that
//! no route takes. Routes are tried one after the other, best rank first. By path or host, the mean is therefore
//! that of half of them, and `no route` is that of all of them twice, since it is also asked whether another
//! method would do (405). By model, the head alone cannot tell: all 1,000 are candidates, with a route or
//! without, and the model is looked for among them.

use std::fmt::Write;
use std::hint::black_box;

use criterion::Criterion;
use deltaway::config;
use deltaway::router::{Found, Head, Router};
use http::{HeaderMap, Method};

const ROUTES: usize = 1_000;
/// From one route to a distant one; all are met, as it has no factor in common with their number.
const STEP: usize = 377;

/// A request: its host, its path and its model.
type Asked = (String, String, Option<String>);

pub fn benches(criterion: &mut Criterion) {
    kind(
        criterion,
        "path",
        |n| format!("path = \"/tenant-{n}/v1/*\""),
        |n| (host(0), format!("/tenant-{n}/v1/chat/completions"), None),
    );
    kind(
        criterion,
        "host",
        |n| format!("host = \"{}\"\npath = \"/v1/*\"", host(n)),
        |n| (host(n), path(), None),
    );
    kind(
        criterion,
        "model",
        |n| format!("path = \"/v1/*\"\nmodel = \"model-{n}\""),
        |n| (host(0), path(), Some(format!("model-{n}"))),
    );
}

fn host(n: usize) -> String {
    format!("tenant-{n}.example.com")
}

fn path() -> String {
    "/v1/chat/completions".to_owned()
}

/// The router of 1,000 routes, written as `route` says, under the requests that `asked` makes.
fn kind(
    criterion: &mut Criterion,
    name: &str,
    route: impl Fn(usize) -> String,
    asked: impl Fn(usize) -> Asked,
) {
    let router = router(route);
    let requests: Vec<Asked> = (0..ROUTES).map(|at| asked(at * STEP % ROUTES)).collect();
    let nobodys = asked(ROUTES);
    let headers = HeaderMap::new();
    assert!(requests.iter().all(|asked| takes(&router, asked, &headers)));
    assert!(!takes(&router, &nobodys, &headers));

    let mut group = criterion.benchmark_group(format!("routing/by {name}"));
    let mut turn = requests.iter().cycle();
    group.bench_function("a route", |bencher| {
        bencher.iter(|| turn.next().map(|asked| takes(&router, asked, &headers)));
    });
    group.bench_function("no route", |bencher| {
        bencher.iter(|| takes(&router, black_box(&nobodys), &headers));
    });
    group.finish();
}

fn router(route: impl Fn(usize) -> String) -> Router {
    let mut text = "[upstreams.model]\nurl = \"http://127.0.0.1:9\"\n".to_owned();
    for n in 0..ROUTES {
        writeln!(text, "[routes.r{n}]\n{}\nto = \"model\"", route(n)).expect("memory");
    }
    let config = config::parse(&text, "bench.toml", &config::System);
    Router::new(&config.expect("a configuration").routes)
}

/// Whether a route takes the request.
fn takes(router: &Router, (host, path, model): &Asked, headers: &HeaderMap) -> bool {
    let head = Head {
        host: Some(host),
        method: &Method::POST,
        path,
        query: None,
        headers,
    };
    match router.find(&head) {
        Ok(Found::Candidates(found)) => found.pick(model.as_deref()).is_some(),
        _ => false,
    }
}
