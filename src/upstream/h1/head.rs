//! Heads of HTTP/1.1: requests out, answers in, and which framing an answer's head announces.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Version};

use super::framing::Framing;

/// Largest head of an answer, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// Most fields in the head of an answer.
pub const MAX_FIELDS: usize = 128;

/// Bodies of at most this many bytes are copied behind their head: one slice is cheaper to write.
pub(super) const GATHERED: usize = 4096;
/// Room for a method, a version, `Host` and the field that announces the body, in bytes.
const LINE: usize = 160;

/// Room for a field, in bytes: less than the longest have, and more than most. To measure them costs more than to grow
/// once in a while.
const FIELD: usize = 80;

/// Fields that are put into an answer on its way, at most; more only cost time.
const ROOM: usize = 6;

/// An answer's head as parsed.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// HTTP/1.0, HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// The fields, in order.
    pub headers: HeaderMap,
}

/// Why an answer's head is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// It is not HTTP/1.
    #[error("the head is not HTTP/1: {0}")]
    Syntax(httparse::Error),
    /// It is too large.
    #[error("the head is larger than {MAX_HEAD} bytes or has more than {MAX_FIELDS} fields")]
    TooLarge,
    /// Its status is not one of 100 to 599.
    #[error("the status {0} does not exist")]
    Status(u16),
    /// Several lengths that differ, or one that is no number (RFC 9112 §6.3 item 5).
    #[error("Content-Length is not one number")]
    Length,
    /// A transfer coding other than a final `chunked` (RFC 9112 §6.1).
    #[error("Transfer-Encoding is not `chunked`")]
    TransferEncoding,
}

/// How the body of a request is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// No body, and no field that says so.
    Nothing,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl Announced {
    /// Bytes of a body that follows its head in one piece with it ([`GATHERED`]).
    fn gathered(self) -> usize {
        match self {
            Self::Length(length) if length <= GATHERED as u64 => length as usize,
            _ => 0,
        }
    }
}

/// Writes a request's head. The target comes in two parts, the endpoint's base and the rest; `host`
/// is written first (RFC 9112 §3.2). `headers` must hold no hop-by-hop field but those that an upgrade
/// needs. Another `Host` and a length among them are passed over: framing is this codec's, and stands where `body`
/// says. Of its fields
/// some may be written out already, as lines. Behind the head there is room for a small body.
pub fn encode<'h>(
    method: &Method,
    target: (&str, &str),
    host: &HeaderValue,
    (lines, headers): (
        &[u8],
        impl IntoIterator<Item = (&'h HeaderName, &'h HeaderValue)>,
    ),
    body: Announced,
) -> Vec<u8> {
    let line = target.0.len() + target.1.len() + LINE;
    let headers = headers.into_iter();
    let fields = headers.size_hint().0 * FIELD;
    let mut out = Vec::with_capacity(line + fields + lines.len() + body.gathered());
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.0.as_bytes());
    out.extend_from_slice(target.1.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut field = |name: &HeaderName, value: &HeaderValue| {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    field(&HOST, host);
    for (name, value) in headers {
        if *name != HOST && *name != CONTENT_LENGTH {
            field(name, value);
        }
    }
    out.extend_from_slice(lines);
    match body {
        Announced::Nothing => {}
        Announced::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(length.to_string().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Announced::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Parses a head at the front of `bytes`: the head and its length, or `None` while it is not whole.
///
/// # Errors
///
/// [`BadHead`] as soon as the bytes can be no head.
pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, BadHead> {
    // Room that is not cleared: to clear it would cost more than to parse the few fields there are.
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(BadHead::TooLarge),
        Err(error) => return Err(BadHead::Syntax(error)),
    };
    let code = parsed.code.unwrap_or_default();
    let status = StatusCode::from_u16(code)
        .ok()
        .filter(|status| status.as_u16() < 600);
    let head = Head {
        status: status.ok_or(BadHead::Status(code))?,
        version: if parsed.version == Some(0) {
            Version::HTTP_10
        } else {
            Version::HTTP_11
        },
        headers: headers(bytes, length, parsed.headers)?,
    };
    Ok(Some((head, length)))
}

/// The fields as a map whose values share one copy of the head.
fn headers(
    bytes: &[u8],
    length: usize,
    fields: &[httparse::Header<'_>],
) -> Result<HeaderMap, BadHead> {
    let shared = Bytes::copy_from_slice(&bytes[..length]);
    let start = bytes.as_ptr() as usize;
    // Room for what is put in later: growing means hashing every name again.
    let mut map = HeaderMap::with_capacity(fields.len() + ROOM);
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| BadHead::Syntax(httparse::Error::HeaderName))?;
        let from = field.value.as_ptr() as usize - start;
        let value = shared.slice(from..from + field.value.len());
        let value = HeaderValue::from_maybe_shared(value)
            .map_err(|_| BadHead::Syntax(httparse::Error::HeaderValue))?;
        map.append(name, value);
    }
    Ok(map)
}

/// The framing of the answer to a `method` request (RFC 9112 §6.3).
///
/// # Errors
///
/// [`BadHead::Length`] and [`BadHead::TransferEncoding`].
pub fn framing(method: &Method, head: &Head) -> Result<Framing, BadHead> {
    let bodiless = head.status.is_informational()
        || head.status == StatusCode::NO_CONTENT
        || head.status == StatusCode::NOT_MODIFIED
        || method == Method::HEAD;
    if bodiless {
        return Ok(Framing::Empty);
    }
    // One walk over the few fields there are costs less than to ask the map for each of the two.
    let mut length = Ok(None);
    for (name, value) in &head.headers {
        if *name == TRANSFER_ENCODING {
            return transfer_encoding(head);
        }
        if *name == CONTENT_LENGTH {
            length = length.and_then(|known| one_length(known, value));
        }
    }
    Ok(length?.map_or(Framing::Close, Framing::Length))
}

/// The length that `value` says, if it is the one that is `known` already.
fn one_length(mut known: Option<u64>, value: &HeaderValue) -> Result<Option<u64>, BadHead> {
    for part in value.as_bytes().split(|byte| *byte == b',') {
        let number = number(part.trim_ascii()).ok_or(BadHead::Length)?;
        if *known.get_or_insert(number) != number {
            return Err(BadHead::Length);
        }
    }
    Ok(known)
}

/// A number of nothing but digits.
fn number(digits: &[u8]) -> Option<u64> {
    let add = |number: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    let (first, rest) = digits.split_first()?;
    rest.iter().try_fold(add(0, first)?, add)
}

fn transfer_encoding(head: &Head) -> Result<Framing, BadHead> {
    let mut values = head.headers.get_all(TRANSFER_ENCODING).iter();
    let only = values.next().filter(|_| values.next().is_none());
    let chunked = only.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
    // An HTTP/1.0 server does not know the coding; what it means is anybody's guess (RFC 9112 §6.1).
    if !chunked || head.version == Version::HTTP_10 {
        return Err(BadHead::TransferEncoding);
    }
    Ok(Framing::Chunked)
}

/// Whether the connection may serve a further request after this answer (RFC 9112 §9.3).
pub fn keeps_alive(head: &Head) -> bool {
    let word = match head.version {
        Version::HTTP_10 => "keep-alive",
        _ => "close",
    };
    let (mut coded, mut measured, mut says) = (false, false, false);
    for (name, value) in &head.headers {
        coded |= *name == TRANSFER_ENCODING;
        measured |= *name == CONTENT_LENGTH;
        says |= *name == CONNECTION && has_token(value, word);
    }
    // Both fields at once are a sign of smuggling: read as chunked, then never used again (§6.3).
    !(coded && measured) && says == (head.version == Version::HTTP_10)
}

fn has_token(value: &HeaderValue, word: &str) -> bool {
    value.to_str().is_ok_and(|value| {
        value
            .split(',')
            .any(|token| token.trim().eq_ignore_ascii_case(word))
    })
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
