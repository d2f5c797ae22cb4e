//! What a `POST` to a topic publishes: one event, or many.
//!
//! | `Content-Type` | the body is |
//! |---|---|
//! | `text/event-stream` | an event stream: each event is published |
//! | `application/x-ndjson`, `application/jsonl` | a JSON object a line: `{"data": …, "event": …, "id": …, "retry": …}` |
//! | anything else | the data of one event; its name, id and `retry` stand in fields or in the query |

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::hub::Unnumbered;
use crate::relay::head::essence;
use crate::relay::refusal::Refusal;
use crate::router::query_values;
use crate::sse::{BadEvent, Block, EventId, Frame, Splitter, event_id_text};

/// Most events of one publication.
const MOST_EVENTS: usize = 10_000;
/// Most blocks of an event stream: some may say an id or a `retry` alone.
const MOST_BLOCKS: usize = 2 * MOST_EVENTS;
/// Bytes of an event stream that are looked through at once.
const PIECE: usize = 64 * 1024;

/// A publication as it came.
pub(super) struct Publication<'p> {
    pub(super) headers: &'p HeaderMap,
    pub(super) query: Option<&'p str>,
    pub(super) body: &'p Bytes,
    /// Largest event, in bytes.
    pub(super) most: usize,
}

/// A line of an NDJSON body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// As it was written: numbers too large or too fine for us are none of our business.
    data: Box<RawValue>,
    event: Option<String>,
    id: Option<String>,
    retry: Option<u64>,
}

/// The events of a publication, in order.
///
/// # Errors
///
/// A [`Refusal`] that says which event is wrong, and how.
pub(super) fn read(publication: &Publication<'_>) -> Result<Vec<Unnumbered>, Refusal> {
    let events = match essence(publication.headers)
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        Some("text/event-stream") => stream(publication)?,
        Some("application/x-ndjson" | "application/jsonl" | "application/ndjson") => {
            lines(publication)?
        }
        _ => vec![single(publication)?],
    };
    if events.is_empty() {
        return Err(bad(
            "holds no event: an event ends with an empty line, and has a `data` line",
        ));
    }
    if events.len() > MOST_EVENTS {
        return Err(too_many());
    }
    match events
        .iter()
        .position(|event| event.frame.len() > publication.most)
    {
        Some(which) => Err(too_large(which, publication.most)),
        None => Ok(events),
    }
}

fn single(publication: &Publication<'_>) -> Result<Unnumbered, Refusal> {
    let data = text(publication.body)?;
    let name = said(publication, "event")?;
    let retry = said(publication, "retry")?;
    let retry = retry.map(|retry| {
        retry
            .parse()
            .map_err(|_| bad("has a `retry` that is no number of milliseconds"))
    });
    let frame = Frame::new(name.as_deref(), data, retry.transpose()?);
    let frame = frame.map_err(|fault| bad_event(0, fault))?;
    let id = said(publication, "id")?;
    Ok(Unnumbered {
        frame,
        alias: id.map(|id| alias(0, &id)).transpose()?,
    })
}

/// What a field `Deltaway-NAME` or a query parameter says.
fn said(publication: &Publication<'_>, name: &str) -> Result<Option<String>, Refusal> {
    let field = publication.headers.get(format!("deltaway-{name}"));
    if let Some(value) = field {
        let text = std::str::from_utf8(value.as_bytes());
        let text = text.map_err(|_| bad(&format!("has a `Deltaway-{name}` that is no UTF-8")))?;
        return Ok(Some(text.to_owned()));
    }
    Ok(query_values(publication.query, name).into_iter().next())
}

fn stream(publication: &Publication<'_>) -> Result<Vec<Unnumbered>, Refusal> {
    text(publication.body)?;
    let mut blocks = Vec::new();
    let mut splitter = Splitter::new(publication.most);
    // Looked through in pieces, so that of too many events no more are held than there may be.
    for piece in publication.body.chunks(PIECE) {
        let fed = splitter.feed(piece, &mut |block| blocks.push(block));
        fed.map_err(|_| too_large(blocks.len(), publication.most))?;
        if blocks.len() > MOST_BLOCKS {
            return Err(too_many());
        }
    }
    // An application that forgets the last empty line means its event all the same.
    let closed = splitter.feed(b"\n\n", &mut |block| blocks.push(block));
    closed.map_err(|_| too_large(blocks.len(), publication.most))?;
    let said = blocks
        .into_iter()
        .filter(|block: &Block| block.frame.is_some())
        .enumerate();
    said.filter_map(|(which, block)| Some((which, block.frame?, block.id)))
        .map(|(which, frame, id)| {
            let id = id.filter(|id| !id.is_empty());
            Ok(Unnumbered {
                frame,
                alias: id.map(|id| alias(which, &id)).transpose()?,
            })
        })
        .collect()
}

fn lines(publication: &Publication<'_>) -> Result<Vec<Unnumbered>, Refusal> {
    let body = text(publication.body)?;
    let lines = body
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .take(MOST_EVENTS + 1)
        .map(|(which, line)| {
            let line: Line = serde_json::from_str(line).map_err(|fault| {
                bad(&format!(
                    "is wrong in line {}: {fault}; a line is {{\"data\": …}}, perhaps with \"event\", \"id\" and \"retry\"",
                    which + 1
                ))
            })?;
            let data = match serde_json::from_str::<Cow<'_, str>>(line.data.get()) {
                Ok(text) => text,
                Err(_) => line.data.get().into(),
            };
            let frame = Frame::new(line.event.as_deref(), &data, line.retry);
            Ok(Unnumbered {
                frame: frame.map_err(|fault| bad_event(which, fault))?,
                alias: line.id.map(|id| alias(which, &id)).transpose()?,
            })
        })
        .collect()
}

fn alias(which: usize, id: &str) -> Result<Arc<str>, Refusal> {
    let id = event_id_text(id).map_err(|fault| bad_event(which, fault))?;
    if id.parse::<EventId>().is_ok() {
        return Err(bad(&format!(
            "gives event {} an id in the form of the gateway's own: take another",
            which + 1
        )));
    }
    Ok(id.into())
}

fn text(body: &Bytes) -> Result<&str, Refusal> {
    std::str::from_utf8(body).map_err(|fault| {
        bad(&format!(
            "is no UTF-8, at byte {}: events are text",
            fault.valid_up_to()
        ))
    })
}

fn too_many() -> Refusal {
    bad(&format!(
        "holds more than {MOST_EVENTS} events: send them in several requests"
    ))
}

fn bad_event(which: usize, fault: BadEvent) -> Refusal {
    bad(&format!("is wrong in event {}: {fault}", which + 1))
}

fn bad(what: &str) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "bad_event",
        format!("the publication {what}"),
    )
}

fn too_large(which: usize, most: usize) -> Refusal {
    let message = format!(
        "event {} is larger than {most} bytes, which is what `hub.event` allows",
        which + 1
    );
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "event_too_large", message)
}
