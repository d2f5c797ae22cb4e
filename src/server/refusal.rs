//! What the gateway answers itself, in the dialect of the route.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::config::Dialect;
use crate::dialect::{self, Failure};
use crate::relay::{Body, Outcome, Record, Refusal};

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
