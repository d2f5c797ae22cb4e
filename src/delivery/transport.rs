//! By which means a reader gets its events, as its request asks.

use http::HeaderMap;
use http::header::{ACCEPT, HeaderName, HeaderValue};
use thiserror::Error;

/// The means by which events reach a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// An open answer of Server-Sent Events.
    Sse,
    /// An open answer of JSON objects, one a line.
    Ndjson,
    /// One answer as soon as there is an event.
    LongPoll,
    /// One answer at once.
    Poll,
    /// Text messages of a WebSocket (RFC 6455).
    WebSocket,
}

/// Why there is no means.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadTransport {
    /// 400: `?transport=` has a word that is none.
    #[error("transport={0:?} is none of sse, ndjson, long-poll, poll, websocket")]
    Unknown(String),
    /// 426: a WebSocket is asked for by a request that upgrades to none.
    #[error("transport=websocket needs a request that upgrades to a WebSocket")]
    NoUpgrade,
    /// 406: nothing that is accepted can be given.
    #[error(
        "none of the accepted types is given here: text/event-stream, application/x-ndjson, \
         application/json"
    )]
    NotAcceptable,
}

/// The types of an answer, in the order of preference, and what they stand for. SSE comes first: who
/// accepts everything gets it.
const TYPES: &[(&str, Transport)] = &[
    ("text/event-stream", Transport::Sse),
    ("application/x-ndjson", Transport::Ndjson),
    ("application/jsonl", Transport::Ndjson),
    ("application/json", Transport::LongPoll),
];

impl Transport {
    /// The `Content-Type` of its answers; none for a WebSocket.
    pub fn content_type(self) -> Option<HeaderValue> {
        let name = match self {
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
            Self::LongPoll | Self::Poll => "application/json",
            Self::WebSocket => return None,
        };
        Some(HeaderValue::from_static(name))
    }

    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "sse" => Self::Sse,
            "ndjson" => Self::Ndjson,
            "long-poll" => Self::LongPoll,
            "poll" => Self::Poll,
            "websocket" => Self::WebSocket,
            _ => return None,
        })
    }
}

/// The means that a request asks for: by `?transport=`, else by an upgrade, else by `Accept`. A request
/// that says nothing gets [`Transport::Sse`].
///
/// # Errors
///
/// A [`BadTransport`] if it asks for something that there is not.
pub fn choose(
    query_transport: Option<&str>,
    headers: &HeaderMap,
    upgrade_websocket: bool,
) -> Result<Transport, BadTransport> {
    match query_transport.map(|word| (word, Transport::named(word))) {
        Some((word, None)) => Err(BadTransport::Unknown(word.to_owned())),
        Some((_, Some(Transport::WebSocket))) if !upgrade_websocket => Err(BadTransport::NoUpgrade),
        Some((_, Some(transport))) => Ok(transport),
        None if upgrade_websocket => Ok(Transport::WebSocket),
        None => accepted(headers),
    }
}

/// The transport of the heaviest accepted type (RFC 9110 §12.5.1). What cannot be read as a media range
/// is passed over, as if it were not there.
fn accepted(headers: &HeaderMap) -> Result<Transport, BadTransport> {
    let ranges: Vec<Range<'_>> = list(headers, &ACCEPT).filter_map(Range::read).collect();
    if ranges.is_empty() {
        return Ok(Transport::Sse);
    }
    let mut best = (0, Err(BadTransport::NotAcceptable));
    for &(name, transport) in TYPES {
        // The most specific range decides about a type.
        let decides = ranges
            .iter()
            .max_by_key(|range| range.rank(name))
            .filter(|range| range.rank(name) > 0);
        let weight = decides.map_or(0, |range| range.weight);
        if weight > best.0 {
            best = (weight, Ok(transport));
        }
    }
    best.1
}

/// The elements of a field that is a list, over all its lines.
pub(super) fn list<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

/// A media range with its weight in thousandths.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    weight: u16,
}

impl<'a> Range<'a> {
    fn read(element: &'a str) -> Option<Self> {
        let mut parts = element.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut weight = 1000;
        for parameter in parts {
            if let Some((name, value)) = parameter.split_once('=')
                && name.trim_end().eq_ignore_ascii_case("q")
            {
                weight = thousandths(value.trim_start())?;
            }
        }
        Some(Self {
            kind,
            subtype,
            weight,
        })
    }

    /// How specifically it speaks of a type: 3 names it, 2 its kind, 1 all; 0 does not.
    fn rank(&self, name: &str) -> u8 {
        let Some((kind, subtype)) = name.split_once('/') else {
            return 0;
        };
        match (self.kind, self.subtype) {
            ("*", "*") => 1,
            (own, "*") if own.eq_ignore_ascii_case(kind) => 2,
            (own, sub) if own.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) => 3,
            _ => 0,
        }
    }
}

/// A weight: a number from 0 to 1 with at most three decimals (RFC 9110 §12.4.2).
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_number = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let decimals: u16 = format!("{decimals:0<3}")
        .parse()
        .ok()
        .filter(|_| is_number)?;
    match (whole, decimals) {
        ("0", decimals) => Some(decimals),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
