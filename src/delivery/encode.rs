//! Events as their readers get them: Server-Sent Events, or JSON objects.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use crate::sse::Frame;

/// How a body carries events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Server-Sent Events with ids (WHATWG HTML §9.2).
    Sse,
    /// Server-Sent Events without ids, for clients that do not bear them.
    SsePlain,
    /// Each event's data and a line feed: lines of JSON as the backend sent them. Names, ids and gaps
    /// have no place there.
    Data,
    /// Each event as a JSON object on a line of its own: `{"id":"…","event":"…","data":"…"}`, `event`
    /// left out where it is `message`.
    Ndjson,
}

impl Encoding {
    fn is_sse(self) -> bool {
        matches!(self, Self::Sse | Self::SsePlain)
    }
}

/// One event for a reader.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// Its id as shown: one line.
    pub id: &'a str,
    /// Its lines.
    pub frame: &'a Frame,
}

/// Why a reader does not get what comes after its cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The events are no longer kept.
    Evicted,
    /// The cursor is of another epoch.
    Epoch,
    /// The cursor is none that was given out.
    Unknown,
    /// The cursor is beyond the newest event.
    Ahead,
}

/// Events that a reader does not get: sent as an event named `gap`, with this as its JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap<'a> {
    /// Why.
    pub reason: Reason,
    /// The id that the reader had, if it is one.
    pub after: Option<&'a str>,
    /// The id of the last event that is missing.
    pub through: Option<&'a str>,
    /// How many events are missing, where that can be told.
    pub missed: Option<u64>,
    /// The topic they belong to, where there may be several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<&'a str>,
}

impl Gap<'_> {
    /// The gap as an event.
    pub fn frame(&self) -> Frame {
        let mut lines = BytesMut::from(&b"event: gap\ndata: "[..]);
        put_json(self, &mut lines);
        lines.put_u8(b'\n');
        Frame::from_lines(lines.freeze())
    }
}

/// Appends one event.
pub fn encode(encoding: Encoding, item: Item<'_>, out: &mut BytesMut) {
    put(encoding, Some(item.id), item.frame, out);
}

/// Appends a gap, after which the reader stands at `id`. [`Encoding::Data`] cannot say it.
pub fn gap(encoding: Encoding, id: &str, gap: &Gap<'_>, out: &mut BytesMut) {
    if encoding != Encoding::Data {
        put(encoding, Some(id), &gap.frame(), out);
    }
}

/// Appends an event of ours that is in no log and has no id: a reader that resumes does not get it again
/// for want of one.
pub fn greeting(encoding: Encoding, frame: &Frame, out: &mut BytesMut) {
    put(encoding, None, frame, out);
}

/// The block that tells a native `EventSource` where it stands before its first event: an id alone
/// is remembered and dispatches nothing (WHATWG HTML §9.2.6). For [`Encoding::Sse`] only.
pub fn prime(id: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(id.len() + "id: \n\n".len());
    put_id(id, &mut out);
    out.put_u8(b'\n');
    out.freeze()
}

/// What keeps a silent connection alive and says nothing: a comment, or an empty line.
pub fn heartbeat(encoding: Encoding) -> Bytes {
    Bytes::from_static(if encoding.is_sse() { b":\n\n" } else { b"\n" })
}

/// The answer to a poll, as `application/json`: the events, the id to ask on from, and whether none
/// will follow.
pub fn poll_body<'a>(
    items: impl IntoIterator<Item = Item<'a>>,
    cursor: &str,
    closed: bool,
) -> Bytes {
    let mut out = BytesMut::from(&b"{\"events\":["[..]);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        put_object(Some(item.id), item.frame, &mut out);
    }
    out.put_slice(b"],\"cursor\":");
    put_json(cursor, &mut out);
    out.put_slice(b",\"closed\":");
    put_json(&closed, &mut out);
    out.put_u8(b'}');
    out.freeze()
}

/// One event as the JSON object of [`Encoding::Ndjson`], for a text message of a WebSocket. No id for a
/// greeting.
pub fn object(id: Option<&str>, frame: &Frame) -> String {
    let mut out = BytesMut::with_capacity(frame.len());
    put_object(id, frame, &mut out);
    String::from_utf8(out.into()).unwrap_or_default()
}

fn put(encoding: Encoding, id: Option<&str>, frame: &Frame, out: &mut BytesMut) {
    match encoding {
        Encoding::Sse | Encoding::SsePlain => {
            if let Some(id) = id.filter(|_| encoding == Encoding::Sse) {
                put_id(id, out);
            }
            out.extend_from_slice(frame.as_bytes());
        }
        Encoding::Data => out.extend_from_slice(frame.parts().data.as_bytes()),
        Encoding::Ndjson => put_object(id, frame, out),
    }
    out.extend_from_slice(b"\n");
}

fn put_id(id: &str, out: &mut BytesMut) {
    let is_line = !id.contains(['\r', '\n', '\0']);
    debug_assert!(is_line, "an id that would end its line: {id:?}");
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b"\n");
}

fn put_object(id: Option<&str>, frame: &Frame, out: &mut BytesMut) {
    #[derive(Serialize)]
    struct Shown<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        event: Option<&'a str>,
        data: &'a str,
    }
    let parts = frame.parts();
    let shown = Shown {
        id,
        event: parts.event.as_deref().filter(|name| *name != "message"),
        data: &parts.data,
    };
    put_json(&shown, out);
}

fn put_json(value: &(impl Serialize + ?Sized), out: &mut BytesMut) {
    // Neither the values nor a buffer that grows can fail.
    let _ = serde_json::to_writer(out.writer(), value);
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
