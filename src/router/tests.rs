//! What is written in `docs/routing.md`, rule by rule, and the requests and routes that the
//! reference tests share.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use super::*;
use crate::config::*;

pub(super) fn route(name: &str, matches: Matches) -> Arc<Route> {
    let upstream = |name: &str| {
        Arc::new(Upstream {
            name: name.into(),
            endpoints: vec![Endpoint::Demo],
            credential: None,
            ca: None,
            pool_idle: 1,
            pool_keep: std::time::Duration::from_secs(1),
            clocks: Clocks::default(),
        })
    };
    Arc::new(Route {
        name: name.into(),
        place: Place {
            file: "test.toml".into(),
            line: 1,
            column: 1,
        },
        matches,
        to: vec![Target {
            upstream: upstream("first"),
            model: Some("renamed".into()),
        }],
        rewrite: None,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        allow: Allow::Everybody,
        cors: None,
        max_body: 1,
        model_within: name.len(),
        heartbeat: None,
        early_head: None,
        clocks: Clocks::default(),
        dialect: DialectChoice::Auto,
    })
}

fn with_cors(route: &Arc<Route>) -> Arc<Route> {
    let mut route = Route::clone(route);
    route.cors = Some(Cors {
        origins: Origins::Any,
        methods: Vec::new(),
        headers: Vec::new(),
        expose: Vec::new(),
        credentials: false,
        max_age: std::time::Duration::ZERO,
    });
    Arc::new(route)
}

pub(super) fn pattern(text: &str) -> PathPattern {
    let (text, rest) = match text.strip_suffix("/*") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let segment = |part: &str| match part.strip_prefix('{') {
        Some(name) => Segment::Parameter(name.trim_end_matches('}').into()),
        None => Segment::Literal(part.into()),
    };
    let inner = text.trim_start_matches('/');
    let segments = if inner.is_empty() {
        Vec::new()
    } else {
        inner.split('/').map(segment).collect()
    };
    PathPattern { segments, rest }
}

pub(super) fn hosts(list: &[&str]) -> Vec<HostPattern> {
    list.iter()
        .map(|text| match text.strip_prefix('*') {
            Some(suffix) => HostPattern::Below(suffix.into()),
            None => HostPattern::Exact((*text).into()),
        })
        .collect()
}

pub(super) fn models(list: &[&str]) -> Vec<ModelPattern> {
    list.iter()
        .map(|text| match text.strip_suffix('*') {
            Some(start) => ModelPattern::Prefix(start.into()),
            None => ModelPattern::Exact((*text).into()),
        })
        .collect()
}

fn at(path: &str) -> Matches {
    Matches {
        path: pattern(path),
        ..Matches::default()
    }
}

/// A request that owns what a head borrows.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) host: Option<String>,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) model: Option<String>,
}

impl Asked {
    pub(super) fn new(method: Method, path: &str) -> Self {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path, None),
        };
        Self {
            host: None,
            method,
            path: path.into(),
            query,
            headers: HeaderMap::new(),
            model: None,
        }
    }

    fn post(path: &str) -> Self {
        Self::new(Method::POST, path)
    }

    fn host(mut self, host: &str) -> Self {
        self.host = Some(host.into());
        self
    }

    fn model(mut self, model: &str) -> Self {
        self.model = Some(model.into());
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers
            .append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    pub(super) fn head(&self) -> Head<'_> {
        Head {
            host: self.host.as_deref(),
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
        }
    }

    /// The name of the route it takes.
    fn takes(&self, routes: &[Arc<Route>]) -> Option<String> {
        match Router::new(routes).find(&self.head()).unwrap() {
            Found::Candidates(found) => found
                .pick(self.model.as_deref())
                .map(|r| r.name.to_string()),
            _ => None,
        }
    }
}

#[track_caller]
fn takes(routes: &[Arc<Route>], asked: Asked, wanted: &str) {
    assert_eq!(asked.takes(routes).as_deref(), Some(wanted), "{asked:?}");
}

#[test]
fn the_host_outweighs_all_else() {
    let routes = [
        route(
            "exact",
            Matches {
                hosts: hosts(&["api.example.com"]),
                ..at("/*")
            },
        ),
        route(
            "long",
            Matches {
                hosts: hosts(&["*.b.example.com"]),
                ..at("/*")
            },
        ),
        route(
            "short",
            Matches {
                hosts: hosts(&["*.example.com"]),
                ..at("/*")
            },
        ),
        route(
            "any",
            Matches {
                methods: vec![Method::POST],
                ..at("/v1/chat")
            },
        ),
    ];
    takes(
        &routes,
        Asked::post("/v1/chat").host("API.example.com.:443"),
        "exact",
    );
    takes(
        &routes,
        Asked::post("/v1/chat").host("a.b.example.com"),
        "long",
    );
    takes(
        &routes,
        Asked::post("/v1/chat").host("b.example.com"),
        "short",
    );
    takes(&routes, Asked::post("/v1/chat").host("example.com"), "any");
    takes(&routes, Asked::post("/v1/chat"), "any");
    assert!(clashes(&routes).is_empty());
}

#[test]
fn the_path_is_ranked_segment_by_segment() {
    let routes: Vec<_> = [
        "/*",
        "/users/*",
        "/users/{id}",
        "/users/me",
        "/users/{id}/events",
        "/{a}/me",
        "/users",
        "/",
        "/users/{id}/*",
    ]
    .map(|path| route(path, at(path)))
    .into();
    for (path, wanted) in [
        ("/", "/"),
        ("/x", "/*"),
        ("/users", "/users"),
        ("/users/", "/users/*"),
        ("/users/7", "/users/{id}"),
        ("/users/%37", "/users/{id}"),
        ("/users/me", "/users/me"),
        ("/u%73ers/me", "/users/me"),
        ("/users/7/events", "/users/{id}/events"),
        ("/users/7/x", "/users/{id}/*"),
        ("/users/7/", "/users/{id}/*"),
        ("/users//7", "/users/*"),
        ("/users/a%2Fb", "/users/{id}"),
        ("/x/me", "/{a}/me"),
        ("//users", "/*"),
    ] {
        takes(&routes, Asked::post(path), wanted);
    }
    assert!(clashes(&routes).is_empty());
}

#[test]
fn then_method_headers_query_and_model() {
    let header = |value: &str| (HeaderName::from_static("x-tier"), value.to_owned());
    let query = |value: &str| ("alt".to_owned(), value.to_owned());
    let routes = [
        route("any", at("/v1/*")),
        route(
            "post",
            Matches {
                methods: vec![Method::POST],
                ..at("/v1/*")
            },
        ),
        route(
            "gold",
            Matches {
                headers: vec![header("gold")],
                ..at("/v1/*")
            },
        ),
        route(
            "sse",
            Matches {
                query: vec![query("sse")],
                ..at("/v1/*")
            },
        ),
        route(
            "gpt",
            Matches {
                models: models(&["gpt-*", "o1"]),
                ..at("/v1/*")
            },
        ),
        route(
            "gpt-4",
            Matches {
                models: models(&["gpt-4*"]),
                ..at("/v1/*")
            },
        ),
        route(
            "gpt-4o",
            Matches {
                models: models(&["gpt-4o"]),
                ..at("/v1/*")
            },
        ),
    ];
    let get = |path| Asked::new(Method::GET, path);
    takes(
        &routes,
        Asked::post("/v1/x?alt=sse")
            .header("x-tier", "gold")
            .model("gpt-4o"),
        "post",
    );
    takes(
        &routes,
        get("/v1/x?alt=sse")
            .header("x-tier", "gold")
            .model("gpt-4o"),
        "gold",
    );
    takes(
        &routes,
        get("/v1/x")
            .header("x-tier", "lead")
            .header("x-tier", "gold"),
        "any",
    );
    takes(&routes, get("/v1/x?alt=sse").model("gpt-4o"), "sse");
    takes(&routes, get("/v1/x?alt=%73se&alt=no"), "sse");
    takes(&routes, get("/v1/x?alt=no&alt=sse"), "any");
    takes(&routes, get("/v1/x").model("gpt-4o"), "gpt-4o");
    takes(&routes, get("/v1/x").model("gpt-4.1"), "gpt-4");
    takes(&routes, get("/v1/x").model("gpt-3"), "gpt");
    takes(&routes, get("/v1/x").model("o1"), "gpt");
    takes(&routes, get("/v1/x").model("o12"), "any");
    takes(&routes, get("/v1/x"), "any");
    assert!(clashes(&routes).is_empty());
}

#[test]
fn the_model_is_asked_for_only_where_it_decides() {
    let wide = |name: &str, list: &[&str], path| {
        route(
            name,
            Matches {
                models: models(list),
                ..at(path)
            },
        )
    };
    let many: Vec<String> = (0..40).map(|n| format!("m{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let routes = [
        wide("gpt-long", &["gpt-*"], "/v1/*"),
        wide("many", &many, "/v1/*"),
        route("rest", at("/*")),
        route("chat", at("/v1/chat")),
    ];
    let router = Router::new(&routes);
    let candidates = |path: &str| match router.find(&Asked::post(path).head()).unwrap() {
        Found::Candidates(found) => found
            .pick(None)
            .map(|r| r.name.to_string())
            .zip(Some((found.needs_model(), found.model_within()))),
        _ => None,
    };
    assert_eq!(
        candidates("/v1/x"),
        Some(("rest".into(), (true, "gpt-long".len())))
    );
    assert_eq!(candidates("/v1/chat"), Some(("chat".into(), (false, 0))));
    takes(&routes, Asked::post("/v1/x").model("m39"), "many");
    takes(&routes, Asked::post("/v1/x").model("m40"), "rest");
    assert_eq!(Asked::post("/v1/x").model("x").takes(&routes[..2]), None);
    assert_eq!(Asked::post("/v1/x").takes(&routes[..2]), None);
}

#[test]
fn methods() {
    let routes = [
        route(
            "read",
            Matches {
                methods: vec![Method::GET],
                ..at("/a")
            },
        ),
        route(
            "write",
            Matches {
                methods: vec![Method::PUT, Method::GET],
                ..at("/{x}")
            },
        ),
        route(
            "other",
            Matches {
                methods: vec![Method::DELETE],
                hosts: hosts(&["x"]),
                ..at("/*")
            },
        ),
    ];
    takes(&routes, Asked::new(Method::HEAD, "/a"), "read");
    takes(&routes, Asked::new(Method::PUT, "/a"), "write");
    let router = Router::new(&routes);
    let asked = Asked::new(Method::OPTIONS, "/a");
    match router.find(&asked.head()).unwrap() {
        Found::MethodNotAllowed(methods) => {
            assert_eq!(methods, [Method::GET, Method::HEAD, Method::PUT])
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        router.find(&Asked::new(Method::OPTIONS, "*").head()),
        Ok(Found::Nothing)
    ));
    assert!(matches!(
        router.find(&Asked::new(Method::DELETE, "/b/c").head()),
        Ok(Found::Nothing)
    ));
    assert_eq!(
        router.find(&Asked::post("/a/../b").head()).unwrap_err(),
        BadPath::DotSegment
    );
}

#[test]
fn a_preflight_is_answered_by_the_first_that_could_be_meant() {
    let gold = vec![(HeaderName::from_static("x-tier"), "gold".to_owned())];
    let post = || Matches {
        methods: vec![Method::POST],
        ..at("/v1/*")
    };
    let routes = [
        route(
            "plain",
            Matches {
                headers: gold.clone(),
                ..post()
            },
        ),
        with_cors(&route(
            "gpt",
            Matches {
                models: models(&["gpt-*"]),
                ..post()
            },
        )),
        route("sure", post()),
        with_cors(&route("all", at("/*"))),
    ];
    let asked = |routes: &[Arc<Route>], path: &str, method: Method| {
        let router = Router::new(routes);
        let head = Asked::new(Method::OPTIONS, path);
        router
            .preflight(&head.head(), &method)
            .unwrap()
            .map(|route| route.name.to_string())
    };
    assert_eq!(
        asked(&routes, "/v1/x", Method::POST).as_deref(),
        Some("gpt")
    );
    assert_eq!(asked(&routes[2..], "/v1/x", Method::POST), None);
    assert_eq!(asked(&routes, "/v1/x", Method::PUT).as_deref(), Some("all"));
    assert_eq!(asked(&routes[..3], "/v1/x", Method::PUT), None);
    assert_eq!(asked(&routes, "*", Method::PUT), None);
}

#[test]
fn clashes_are_named_with_an_example() {
    let header = |name, value: &str| (HeaderName::from_static(name), value.to_owned());
    let one = |a: Matches, b: Matches| {
        let found = clashes(&[route("a", a), route("b", b)]);
        assert!(found.len() < 2);
        found.first().map(|clash| clash.to_string())
    };
    let same = "routes `a` and `b` have equal rank and both match ";
    assert_eq!(
        one(at("/v1/*"), at("/v1/*")).unwrap(),
        format!("{same}GET /v1/x")
    );
    assert_eq!(one(at("/"), at("/")).unwrap(), format!("{same}GET /"));
    assert_eq!(
        one(at("/{a}/x"), at("/{b}/x")).unwrap(),
        format!("{same}GET /x/x")
    );
    assert_eq!(one(at("/v1/a"), at("/v1/b")), None);
    let with = |hosts_: &[&str], methods: &[Method], models_: &[&str]| Matches {
        hosts: hosts(hosts_),
        methods: methods.to_vec(),
        models: models(models_),
        ..at("/v1")
    };
    let (get, head, post) = (Method::GET, Method::HEAD, Method::POST);
    assert_eq!(
        one(
            with(&["a.b", "*.c"], &[], &["x", "y*"]),
            with(&["*.c", "d"], &[], &["y*", "z"])
        )
        .unwrap(),
        format!("{same}GET x.c/v1, model yx")
    );
    assert_eq!(one(with(&["a"], &[], &[]), with(&["b"], &[], &[])), None);
    assert_eq!(
        one(
            with(&[], std::slice::from_ref(&get), &[]),
            with(&[], std::slice::from_ref(&post), &[])
        ),
        None
    );
    assert!(
        one(with(&[], &[get], &[]), with(&[], &[post, head], &[]))
            .unwrap()
            .contains("HEAD /v1")
    );
    let headers = |list: &[(HeaderName, String)]| Matches {
        headers: list.to_vec(),
        ..at("/v1")
    };
    assert_eq!(
        one(headers(&[header("a", "1")]), headers(&[header("a", "2")])),
        None
    );
    assert!(
        one(headers(&[header("a", "1")]), headers(&[header("b", "2")]))
            .unwrap()
            .ends_with("/v1, a: 1, b: 2")
    );
    let query = |value: &str| Matches {
        query: vec![("q".into(), value.into())],
        ..at("/v1")
    };
    assert_eq!(one(query("1"), query("2")), None);
    assert!(one(query("1"), query("1")).unwrap().ends_with("/v1?q=1"));
    let twice = [route("a", with(&["x", "x"], &[], &[]))];
    assert!(clashes(&twice).is_empty());
}

#[test]
fn explanations_read_well() {
    let routes = [
        route(
            "gpt",
            Matches {
                models: models(&["gpt-*"]),
                methods: vec![Method::POST],
                ..at("/v1/*")
            },
        ),
        route(
            "gold",
            Matches {
                headers: vec![(HeaderName::from_static("x-tier"), "gold".into())],
                methods: vec![Method::POST],
                ..at("/v1/chat")
            },
        ),
        route("rest", at("/*")),
        route("page", at("/page")),
        route(
            "there",
            Matches {
                hosts: hosts(&["a.example"]),
                ..at("/v1/*")
            },
        ),
    ];
    let router = Router::new(&routes);
    let tell = |asked: &Asked| {
        router
            .explain(&asked.head(), asked.model.as_deref())
            .to_string()
    };
    assert_eq!(
        tell(&Asked::post("/v1/chat").model("gpt-4o")),
        "POST /v1/chat, model gpt-4o\n\
         \x20 takes route `gpt`: path `/v1/*`, method POST, model `gpt-*`\n\
         \x20 goes to upstream `first`, as model `renamed`\n\
         Other routes, in rank order:\n\
         \x20 `there` does not match: the host is not `a.example`\n\
         \x20 `gold` does not match: header `x-tier: gold` is absent\n\
         \x20 `rest` matches too, but ranks lower by its path (`/*` against `/v1/*`)\n"
    );
    let without = tell(&Asked::post("/v1/chat"));
    assert!(without.contains("takes route `rest`"), "{without}");
    assert!(
        without.contains("The model is needed to decide"),
        "{without}"
    );
    assert!(
        without.contains("`gpt` does not match: the model is not `gpt-*`"),
        "{without}"
    );
    let refused = tell(&Asked::post("/v1/%2e%2e/x"));
    assert!(
        refused.contains("is refused (400): the path holds a dot segment"),
        "{refused}"
    );
    let few = Router::new(&routes[..2]);
    let wrong = Asked::new(Method::PUT, "/v1/chat");
    assert!(
        few.explain(&wrong.head(), None)
            .to_string()
            .contains("(405): allowed here are POST\n")
    );
    let away = Asked::post("/v2");
    let away = few.explain(&away.head(), None);
    assert!(away.route().is_none());
    assert!(
        away.to_string()
            .contains("`gpt` does not match: the path is not `/v1/*`; the model"),
        "{away}"
    );
    let unknown = Asked::post("/v1/x");
    assert!(
        few.explain(&unknown.head(), None)
            .to_string()
            .contains("ask for a model\nThe model is needed")
    );
    assert!(
        few.explain(&unknown.head(), Some("x"))
            .to_string()
            .contains("ask for another model\n")
    );
}
