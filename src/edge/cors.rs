//! Cross-origin rules (WHATWG Fetch, CORS protocol) as a layer, compiled once for each route.
//!
//! The layer answers every OPTIONS itself. The pipeline therefore sends through it preflights only,
//! which [`asked`] tells from other OPTIONS requests, and every other request of the route. Where a
//! route has rules, they are the only ones: what the backend says of CORS is stripped, or a browser
//! would see two answers, or one that the rules do not give.

use http::header::{self, HeaderName};
use http::{HeaderMap, Method};
use tower_http::cors::{AllowHeaders, AllowMethods, Any, CorsLayer};

use crate::config::{Cors, Origins};

/// The response field that carries the request's id; scripts may always read it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const NAMED_STAR: &[u8] = b"*";

/// The layer for a route's rules.
///
/// `*` together with credentials is what browsers refuse: methods and headers then mirror what is
/// asked for, and origins stay `*` without leave for credentials, never mirrored, since that would
/// let every site act with the visitor's cookies.
pub fn layer(cors: &Cors) -> CorsLayer {
    let any_origin = match &cors.origins {
        Origins::Any => true,
        Origins::List(list) => list.iter().any(|origin| origin == "*"),
    };
    let layer = CorsLayer::new()
        .allow_methods(methods(cors))
        .allow_headers(headers(cors))
        .expose_headers(exposed(cors))
        .max_age(cors.max_age);
    match &cors.origins {
        Origins::List(list) if !any_origin => layer
            .allow_origin(list.clone())
            .allow_credentials(cors.credentials),
        _ => layer.allow_origin(Any),
    }
}

/// The method that a preflight asks for, if the request is a preflight: OPTIONS with an origin and
/// `Access-Control-Request-Method`.
pub fn asked(method: &Method, headers: &HeaderMap) -> Option<Method> {
    if *method != Method::OPTIONS || !headers.contains_key(header::ORIGIN) {
        return None;
    }
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(asked.as_bytes()).ok()
}

/// Removes what the backend said of CORS. Its `Vary` stays, which may name other fields.
pub fn strip_backend(headers: &mut HeaderMap) {
    for name in [
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderName::from_static("access-control-allow-private-network"),
    ] {
        headers.remove(name);
    }
}

fn methods(cors: &Cors) -> AllowMethods {
    let star = cors
        .methods
        .iter()
        .any(|method| method.as_str().as_bytes() == NAMED_STAR);
    if cors.methods.is_empty() || star {
        AllowMethods::mirror_request()
    } else {
        AllowMethods::list(cors.methods.clone())
    }
}

fn headers(cors: &Cors) -> AllowHeaders {
    // A star does not cover Authorization, and covers nothing with credentials: mirroring does.
    let star = cors
        .headers
        .iter()
        .any(|name| name.as_str().as_bytes() == NAMED_STAR);
    if cors.headers.is_empty() || star {
        AllowHeaders::mirror_request()
    } else {
        AllowHeaders::list(cors.headers.clone())
    }
}

fn exposed(cors: &Cors) -> Vec<HeaderName> {
    let mut names = cors.expose.clone();
    if !names.contains(&REQUEST_ID) {
        names.push(REQUEST_ID);
    }
    names
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
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
}
