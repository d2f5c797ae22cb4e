//! Where a key or token may stand in a request, and how it is taken out of there.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use percent_encoding::percent_decode;

use crate::config::CredentialsIn;
use crate::edge::KEY_FIELDS;

/// One place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A field of [`KEY_FIELDS`], by its number.
    Field(usize),
    /// The cookie that the route names.
    Cookie,
    /// The query parameter that the route names.
    Query,
}

/// The places at which something valid stood.
#[derive(Debug, Default)]
pub(super) struct Carriers {
    fields: [bool; KEY_FIELDS.len()],
    cookie: bool,
    query: bool,
}

impl Carriers {
    /// Something valid stood at `place`.
    pub(super) fn add(&mut self, place: Place) {
        match place {
            Place::Field(number) => self.fields[number] = true,
            Place::Cookie => self.cookie = true,
            Place::Query => self.query = true,
        }
    }

    /// Takes the fields, the cookie and the query parameter out of `request`, all values of each.
    pub(super) fn empty(&self, places: &CredentialsIn, request: &mut Parts) {
        for (name, valid) in KEY_FIELDS.iter().zip(self.fields) {
            if valid {
                request.headers.remove(name);
            }
        }
        if let Some(name) = places.cookie.as_ref().filter(|_| self.cookie) {
            remove_cookie(name, request);
        }
        if let Some(name) = places.query.as_ref().filter(|_| self.query) {
            remove_parameter(name, request);
        }
    }
}

/// Hands everything to `look` that is presented in `request`, in the order in which it counts.
pub(super) fn each(places: &CredentialsIn, request: &Parts, look: &mut dyn FnMut(Place, &[u8])) {
    let mut look = |place, shown: &[u8]| {
        if !shown.is_empty() {
            look(place, shown);
        }
    };
    for (number, name) in KEY_FIELDS.iter().enumerate() {
        for value in request.headers.get_all(name) {
            look(Place::Field(number), in_field(name, value));
        }
    }
    if let Some(wanted) = &places.cookie {
        for line in request.headers.get_all(COOKIE) {
            for (_, name, value) in cookies(line.as_bytes()) {
                if name == wanted.as_bytes() {
                    look(Place::Cookie, value);
                }
            }
        }
    }
    if let (Some(wanted), Some(query)) = (&places.query, request.uri.query()) {
        for (_, name, value) in parameters(query) {
            if *name == *wanted.as_bytes() {
                look(Place::Query, &value);
            }
        }
    }
}

/// What a field presents, perhaps nothing; for `Authorization` the token of the `Bearer` scheme.
fn in_field<'v>(name: &HeaderName, value: &'v HeaderValue) -> &'v [u8] {
    let value = value.as_bytes().trim_ascii();
    if *name != AUTHORIZATION {
        return value;
    }
    match value.split_at_checked(b"bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
        _ => b"",
    }
}

/// The cookies of one line: as they stand there, and with name and value apart (RFC 6265 §5.4, §4.1.1:
/// a value may stand in quotes).
fn cookies(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
    line.split(|byte| *byte == b';').map(|cookie| {
        let cookie = cookie.trim_ascii();
        let equals = memchr::memchr(b'=', cookie);
        let (name, value) = match equals {
            Some(at) => (cookie[..at].trim_ascii(), cookie[at + 1..].trim_ascii()),
            None => (&b""[..], cookie),
        };
        let bare = value.strip_prefix(b"\"");
        let bare = bare.and_then(|value| value.strip_suffix(b"\""));
        (cookie, name, bare.unwrap_or(value))
    })
}

fn remove_cookie(wanted: &str, request: &mut Parts) {
    let lines: Vec<_> = request.headers.get_all(COOKIE).iter().cloned().collect();
    request.headers.remove(COOKIE);
    for line in lines {
        let all = cookies(line.as_bytes());
        let kept: Vec<_> = all
            .filter(|(cookie, name, _)| *name != wanted.as_bytes() && !cookie.is_empty())
            .map(|(cookie, ..)| cookie)
            .collect();
        // Pieces of a field value with `; ` between them are one.
        if let (false, Ok(line)) = (
            kept.is_empty(),
            HeaderValue::from_bytes(&kept.join(&b"; "[..])),
        ) {
            request.headers.append(COOKIE, line);
        }
    }
}

/// The parameters of a query: as they stand there, and decoded (WHATWG URL, parsing of
/// application/x-www-form-urlencoded).
fn parameters(query: &str) -> impl Iterator<Item = (&str, Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    query.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (pair, decoded(name), decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('+') {
        return percent_decode(text.as_bytes()).into();
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode(spaced.as_bytes()).collect())
}

fn remove_parameter(wanted: &str, request: &mut Parts) {
    let path = request.uri.path();
    let query = request.uri.query().unwrap_or_default();
    let kept: Vec<_> = parameters(query)
        .filter(|(_, name, _)| **name != *wanted.as_bytes())
        .map(|(pair, ..)| pair)
        .collect();
    let target = match kept.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", kept.join("&")),
    };
    // Pieces of a target are a target; were they not, the path alone holds no credential either.
    let target = PathAndQuery::try_from(target)
        .or_else(|_| PathAndQuery::try_from(path))
        .unwrap_or_else(|_| PathAndQuery::from_static("/"));
    let mut parts = std::mem::take(&mut request.uri).into_parts();
    parts.path_and_query = Some(target);
    request.uri = Uri::from_parts(parts).unwrap_or_default();
}
