//! Heads of HTTP/2: requests out, answers in.

use ::h2::RecvStream;
use bytes::{BufMut, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

use crate::upstream::endpoint::Endpoint;
use crate::upstream::h1::{Announced, BadHead, Head, MAX_FIELDS};

/// Fields of one connection, of which HTTP/2 has none (RFC 9113 §8.2.2).
static OF_A_CONNECTION: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The head of a request to `endpoint`. The target comes in two parts, the endpoint's base and the rest. A `Host` among
/// `headers` takes the place of the endpoint's own, as `:authority` (RFC 9113 §8.3.1); fields that are of a connection
/// are left out.
///
/// # Errors
///
/// [`http::Error`] where the target or the `Host` cannot stand in a URI.
pub fn compose(
    method: &Method,
    endpoint: &Endpoint,
    target: &str,
    host: &HeaderValue,
    headers: HeaderMap,
) -> Result<Request<()>, http::Error> {
    let mut path = BytesMut::with_capacity(endpoint.base.len() + target.len());
    path.put_slice(endpoint.base.as_bytes());
    path.put_slice(target.as_bytes());
    let path = PathAndQuery::from_maybe_shared(path.freeze())?;
    let authority = Authority::try_from(host.as_bytes())?;
    let scheme = match endpoint.server_name {
        Some(_) => Scheme::HTTPS,
        None => Scheme::HTTP,
    };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path)
        .build()?;
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = fields(headers);
    Ok(request)
}

fn fields(mut fields: HeaderMap) -> HeaderMap {
    fields.remove(HOST);
    for name in &OF_A_CONNECTION {
        fields.remove(name);
    }
    if fields.contains_key(TE) {
        let trailers = fields.get_all(TE).iter().any(|value| value == "trailers");
        if trailers {
            fields.insert(TE, HeaderValue::from_static("trailers"));
        } else {
            fields.remove(TE);
        }
    }
    fields
}

/// Announces a body. Where it ends is told by the stream; its length is a service to the backend.
pub(super) fn announce(headers: &mut HeaderMap, body: Announced) {
    headers.remove(CONTENT_LENGTH);
    if let Announced::Length(length) = body {
        headers.insert(CONTENT_LENGTH, length.into());
    }
}

/// The head of an answer to a `method` request, its body, and how long that will be if it says so.
///
/// # Errors
///
/// [`BadHead`].
pub(super) fn read(
    method: &Method,
    answer: Response<RecvStream>,
) -> Result<(Head, RecvStream, Option<u64>), BadHead> {
    let (mut parts, data) = answer.into_parts();
    // The size of all is bounded by what was told to the peer; this bounds what each of them costs.
    if parts.headers.len() > MAX_FIELDS {
        return Err(BadHead::TooLarge);
    }
    let bodiless = *method == Method::HEAD
        || parts.status == StatusCode::NO_CONTENT
        || parts.status == StatusCode::NOT_MODIFIED;
    let length = length(&parts.headers)?;
    if let Some(length) = length {
        // Said several times, it is passed on once.
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    let head = Head {
        status: parts.status,
        version: Version::HTTP_2,
        headers: parts.headers,
    };
    Ok((head, data, if bodiless { Some(0) } else { length }))
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, BadHead> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let text = value.to_str().map_err(|_| BadHead::Length)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = text
            .parse()
            .ok()
            .filter(|_| digits)
            .ok_or(BadHead::Length)?;
        if *length.get_or_insert(number) != number {
            return Err(BadHead::Length);
        }
    }
    Ok(length)
}
