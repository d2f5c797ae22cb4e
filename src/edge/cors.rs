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
mod tests;
