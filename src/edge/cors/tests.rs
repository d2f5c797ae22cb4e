//! What browsers get to see, through the layer itself, of a backend with rules of its own.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::time::Duration;

use futures_util::FutureExt;
use http::header::HeaderValue;
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};

use super::*;

fn rules() -> Cors {
    Cors {
        origins: Origins::List(vec![HeaderValue::from_static("https://a.example")]),
        methods: Vec::new(),
        headers: Vec::new(),
        expose: Vec::new(),
        credentials: true,
        max_age: Duration::from_secs(600),
    }
}

/// The response's headers from a backend that has CORS rules of its own.
fn answer(cors: &Cors, request: &[(&'static str, &str)], method: Method) -> HeaderMap {
    let backend = service_fn(|_: Request<()>| async {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        for name in [
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
        ] {
            headers.insert(name, HeaderValue::from_static("backend"));
        }
        strip_backend(headers);
        Ok::<_, Infallible>(response)
    });
    let mut head = Request::builder().method(method);
    for (name, value) in request {
        head = head.header(*name, *value);
    }
    let response = layer(cors)
        .layer(backend)
        .oneshot(head.body(()).unwrap())
        .now_or_never();
    response.unwrap().unwrap().headers().clone()
}

const A: (&str, &str) = ("origin", "https://a.example");
const B: (&str, &str) = ("origin", "https://b.example");
const PREFLIGHT: [(&str, &str); 3] = [
    A,
    ("access-control-request-method", "POST"),
    ("access-control-request-headers", "authorization, x-own"),
];

fn text(value: Option<&HeaderValue>) -> &str {
    value.and_then(|value| value.to_str().ok()).unwrap_or("")
}

fn get<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    assert!(
        headers.get_all(name).iter().count() < 2,
        "{name} is doubled"
    );
    text(headers.get(name))
}

#[test]
fn a_preflight_mirrors_what_is_asked() {
    let headers = answer(&rules(), &PREFLIGHT, Method::OPTIONS);
    assert_eq!(
        get(&headers, "access-control-allow-origin"),
        "https://a.example"
    );
    assert_eq!(get(&headers, "access-control-allow-credentials"), "true");
    assert_eq!(get(&headers, "access-control-allow-methods"), "POST");
    assert_eq!(
        get(&headers, "access-control-allow-headers"),
        "authorization, x-own"
    );
    assert_eq!(get(&headers, "access-control-max-age"), "600");
    let vary = get(&headers, "vary");
    for name in [
        "origin",
        "access-control-request-method",
        "access-control-request-headers",
    ] {
        assert!(vary.contains(name), "{vary}");
    }
}

#[test]
fn a_preflight_with_lists() {
    let cors = Cors {
        methods: vec![Method::GET, Method::POST],
        headers: vec![header::AUTHORIZATION],
        ..rules()
    };
    let headers = answer(&cors, &PREFLIGHT, Method::OPTIONS);
    assert_eq!(get(&headers, "access-control-allow-methods"), "GET,POST");
    assert_eq!(
        get(&headers, "access-control-allow-headers"),
        "authorization"
    );
    assert_eq!(get(&headers, "vary"), "origin");
}

#[test]
fn an_origin_in_the_list_may_read_and_another_may_not() {
    let cors = Cors {
        expose: vec![header::RETRY_AFTER],
        ..rules()
    };
    let headers = answer(&cors, &[A], Method::POST);
    assert_eq!(
        get(&headers, "access-control-allow-origin"),
        "https://a.example"
    );
    assert_eq!(
        get(&headers, "access-control-expose-headers"),
        "retry-after,x-request-id"
    );
    let vary: Vec<_> = headers
        .get_all("vary")
        .iter()
        .map(|line| text(Some(line)))
        .collect();
    assert_eq!(vary[0], "accept");
    assert!(vary[1].contains("origin"));
    let headers = answer(&cors, &[B], Method::POST);
    assert_eq!(get(&headers, "access-control-allow-origin"), "");
    assert!(
        headers
            .get_all("vary")
            .iter()
            .any(|line| text(Some(line)).contains("origin"))
    );
}

#[test]
fn any_origin_never_goes_with_credentials() {
    let star = Origins::List(vec![HeaderValue::from_static("*")]);
    for origins in [Origins::Any, star] {
        let cors = Cors {
            origins,
            methods: vec![Method::from_bytes(b"*").unwrap()],
            headers: vec![HeaderName::from_static("*")],
            expose: vec![HeaderName::from_static("*")],
            ..rules()
        };
        let headers = answer(&cors, &[B], Method::GET);
        assert_eq!(get(&headers, "access-control-allow-origin"), "*");
        assert_eq!(get(&headers, "access-control-allow-credentials"), "");
        let headers = answer(&cors, &PREFLIGHT, Method::OPTIONS);
        assert_eq!(
            get(&headers, "access-control-allow-headers"),
            "authorization, x-own"
        );
    }
}

#[test]
fn what_a_preflight_is() {
    let map = |lines: &[(&'static str, &'static str)]| {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect::<HeaderMap>()
    };
    assert_eq!(
        asked(&Method::OPTIONS, &map(&PREFLIGHT)),
        Some(Method::POST)
    );
    assert_eq!(asked(&Method::POST, &map(&PREFLIGHT)), None);
    assert_eq!(asked(&Method::OPTIONS, &map(&PREFLIGHT[..1])), None);
    assert_eq!(asked(&Method::OPTIONS, &map(&PREFLIGHT[1..])), None);
}
