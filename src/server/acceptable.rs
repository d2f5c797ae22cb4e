//! Requests that no route is asked about: what hyper lets through, and a gateway must not.

use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method, StatusCode, Version};

use crate::relay::Refusal;

/// Checks a request's head, and gives the one host it is meant for, which its `Host` names from now on.
///
/// # Errors
///
/// The [`Refusal`] to answer with.
pub(super) fn check(parts: &mut Parts) -> Result<Option<HeaderValue>, Refusal> {
    // CONNECT would make an open proxy; TRACE would show the caller what was put in for it.
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        let message = format!("{} is not served here", parts.method);
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Err(Refusal::new(status, "method_not_allowed", message));
    }
    // One walk over the few fields there are costs less than to ask the map for each of the two.
    let mut hosts = [None, None];
    for (name, value) in &parts.headers {
        if *name == HOST {
            hosts = [Some(value), hosts[0]];
        } else if *name == TRANSFER_ENCODING && !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
            let message = "a request body can be `chunked`, and in no other transfer coding";
            return Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "transfer_coding",
                message,
            ));
        }
    }
    let [host, further] = hosts;
    if further.is_some() {
        return Err(bad_host("the request has more than one `Host`"));
    }
    let host = host.cloned();
    match &host {
        Some(host) if !host.is_empty() && !is_authority(host.as_bytes()) => {
            Err(bad_host("`Host` is not a host"))
        }
        None if parts.version == Version::HTTP_11 => Err(bad_host("the request has no `Host`")),
        Some(_) | None => named_by_target(parts).map(|target| target.or(host)),
    }
}

/// The host that the target names, if it names one (RFC 9112 §3.2.2).
fn named_by_target(parts: &mut Parts) -> Result<Option<HeaderValue>, Refusal> {
    let Some(authority) = parts.uri.authority() else {
        return Ok(None);
    };
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    let host = HeaderValue::try_from(host).map_err(|_| bad_host("the target names no host"))?;
    parts.headers.insert(HOST, host.clone());
    Ok(Some(host))
}

fn bad_host(message: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_host", message)
}

/// Whether `host` is a host, perhaps with a port.
fn is_authority(host: &[u8]) -> bool {
    // What is made of letters, digits, dots and dashes is one, with a number behind a colon; it needs no parser.
    let mut in_port = false;
    let is_plain = host.iter().enumerate().all(|(at, byte)| match byte {
        b'0'..=b'9' => true,
        b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'-' => !in_port,
        b':' => at > 0 && !std::mem::replace(&mut in_port, true),
        _ => false,
    });
    is_plain || Authority::try_from(host).is_ok()
}
