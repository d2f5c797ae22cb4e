//! What the gateway answers itself, in the dialect of the route.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::config::Dialect;
use crate::dialect::{self, Failure};
use crate::relay::{Body, Outcome, Record, Refusal};
use crate::router::Found;

/// The most of a path that is told back to its caller, in bytes.
const LONGEST_PATH: usize = 256;
/// The least time a browser waits before it connects again after trouble that will pass.
const RETRY: Duration = Duration::from_secs(2);
/// What is added to it by chance, so that a restart is not followed by everybody at once.
const RETRY_JITTER: Duration = Duration::from_secs(4);

/// Renders `refusal` and closes the record with it.
///
/// `reconnects` says that the caller is an EventSource, which would never connect again after any status
/// but 200 (WHATWG HTML, server-sent events, §9.2.3): trouble that will pass is told to it as a stream
/// that ends at once and names the time to wait.
pub(super) fn answer(
    refusal: Refusal,
    dialect: Dialect,
    reconnects: bool,
    mut record: Box<Record>,
) -> Response<Body> {
    let as_stream = reconnects && refusal.transient && dialect == Dialect::Plain;
    let status = if as_stream {
        StatusCode::OK
    } else {
        refusal.status
    };
    record.status = Some(status);
    record.outcome = Outcome::Refused(refusal.code);
    let reason = refusal.detail.as_ref().unwrap_or(&refusal.message);
    record.reason = Some(reason.as_str().into());
    record.trail = refusal.trail.clone();
    record.came_to(refusal.entry);
    let body = if as_stream {
        reconnect_later(&refusal)
    } else {
        render(&refusal, dialect, &record)
    };
    let content_type = if as_stream {
        "text/event-stream"
    } else {
        "application/json"
    };
    let request_id = record.request_id.clone();
    let mut response = Response::new(Body::whole(body, record));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-request-id"), request_id);
    if let Some(header) = refusal.header {
        let (name, value) = *header;
        headers.insert(name, value);
    }
    response
}

fn render(refusal: &Refusal, dialect: Dialect, record: &Record) -> Bytes {
    let failure = Failure {
        status: refusal.status.as_u16(),
        code: refusal.code,
        message: &refusal.message,
        request_id: record.id(),
    };
    dialect::refusal(dialect, &failure)
}

fn reconnect_later(refusal: &Refusal) -> Bytes {
    let jitter = RETRY_JITTER.mul_f64(fastrand::f64());
    let retry = (RETRY + jitter).as_millis();
    // The message is ours, but may quote a name from the outside: a comment must stay one line.
    let message = refusal.message.replace(['\r', '\n'], " ");
    format!(": {} {}\nretry: {retry}\n\n", refusal.code, message).into()
}

/// No route takes the request.
pub(super) fn unrouted(found: &Found<'_>, parts: &Parts) -> Refusal {
    let (method, path) = (&parts.method, shortened(parts.uri.path()));
    let Found::MethodNotAllowed(methods) = found else {
        let message = format!("no route matches {method} {path}");
        return Refusal::new(StatusCode::NOT_FOUND, "no_route", message);
    };
    let allowed: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let allowed = allowed.join(", ");
    let message = format!("{method} is not served at {path}; {allowed} is");
    let refusal = Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    );
    match HeaderValue::try_from(allowed) {
        Ok(value) => refusal.with(ALLOW, value),
        Err(_) => refusal,
    }
}

/// The beginning of a path. A path is ASCII, or hyper would have refused it.
fn shortened(path: &str) -> &str {
    path.get(..LONGEST_PATH).unwrap_or(path)
}

/// No route takes the request, whose body names `model`.
pub(super) fn no_model(model: Option<&str>) -> Refusal {
    let message = match model {
        Some(model) => format!("no route serves the model `{model}`"),
        None => "the routes for this path ask for a `model`, and the request names none".to_owned(),
    };
    Refusal::new(StatusCode::NOT_FOUND, "no_route", message)
}
