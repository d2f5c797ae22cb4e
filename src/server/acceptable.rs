//! Requests that no route is asked about: what hyper lets through, and a gateway must not.

use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method, StatusCode, Version};

use crate::relay::Refusal;

/// Checks a request's head, and makes its `Host` the one host it is meant for.
///
/// # Errors
///
/// The [`Refusal`] to answer with.
pub(super) fn check(parts: &mut Parts) -> Result<(), Refusal> {
    // CONNECT would make an open proxy; TRACE would show the caller what was put in for it.
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        let message = format!("{} is not served here", parts.method);
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Err(Refusal::new(status, "method_not_allowed", message));
    }
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        let message = "a request body can be `chunked`, and in no other transfer coding";
        return Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            "transfer_coding",
            message,
        ));
    }
    host(parts)
}

/// One host, that of the target where it names one (RFC 9112 §3.2, §3.2.2).
fn host(parts: &mut Parts) -> Result<(), Refusal> {
    let bad = |message: &str| Refusal::new(StatusCode::BAD_REQUEST, "bad_host", message);
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (first, further) = (hosts.next(), hosts.next());
    if further.is_some() {
        return Err(bad("the request has more than one `Host`"));
    }
    match first {
        Some(host) if !host.is_empty() && !is_authority(host.as_bytes()) => {
            return Err(bad("`Host` is not a host"));
        }
        None if parts.version == Version::HTTP_11 => {
            return Err(bad("the request has no `Host`"));
        }
        Some(_) | None => {}
    }
    if let Some(authority) = parts.uri.authority() {
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::try_from(host).map_err(|_| bad("the target names no host"))?;
        parts.headers.insert(HOST, host);
    }
    Ok(())
}

/// Whether `host` is a host, perhaps with a port.
fn is_authority(host: &[u8]) -> bool {
    // What is made of letters, digits, dots and dashes is one, and needs no parser.
    let end = host.iter().position(|byte| *byte == b':');
    let (name, port) = host.split_at(end.unwrap_or(host.len()));
    let is_named = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let is_plain = !name.is_empty()
        && name.iter().all(is_named)
        && port.iter().skip(1).all(u8::is_ascii_digit);
    is_plain || Authority::try_from(host).is_ok()
}
