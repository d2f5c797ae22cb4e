//! A glance at one whole JSON document, to dismiss it without reading it.
//!
//! Nearly every event of a stream shows nothing; this is what keeps the cost of such an event at
//! one or two substring searches. Invariant: where [`Document`](super::document::Document) would
//! find a marker, [`may_show`] is true. The other way round it may err; then the document is read
//! for nothing.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::document::type_marker;
use super::marker::Marker;
use crate::config::Dialect;

/// Whether `document`, an object from its `{` to its `}`, may show a marker.
pub(super) fn may_show(dialect: Dialect, document: &[u8]) -> bool {
    match dialect {
        Dialect::OpenaiChat | Dialect::OpenaiText => {
            has_live(&FINISH_REASON, document) || has_live(&ERROR, document)
        }
        Dialect::Gemini => {
            has_live(&FINISH_REASON_CAMEL, document)
                || has_live(&BLOCK_REASON, document)
                || has_live(&ERROR, document)
        }
        Dialect::Ollama => has_live(&DONE, document) || has_live(&ERROR, document),
        Dialect::AnthropicMessages => {
            has_live(&STOP_REASON, document) || type_may_show(dialect, document)
        }
        Dialect::OpenaiResponses => has_live(&ERROR, document) || type_may_show(dialect, document),
        Dialect::Plain | Dialect::Bedrock => false,
    }
}

type Needle = LazyLock<Finder<'static>>;

static FINISH_REASON: Needle = LazyLock::new(|| Finder::new(b"\"finish_reason\""));
static FINISH_REASON_CAMEL: Needle = LazyLock::new(|| Finder::new(b"\"finishReason\""));
static BLOCK_REASON: Needle = LazyLock::new(|| Finder::new(b"\"blockReason\""));
static STOP_REASON: Needle = LazyLock::new(|| Finder::new(b"\"stop_reason\""));
static DONE: Needle = LazyLock::new(|| Finder::new(b"\"done\""));
static ERROR: Needle = LazyLock::new(|| Finder::new(b"\"error\""));
static MESSAGE_STOP: Needle = LazyLock::new(|| Finder::new(b"\"message_stop\""));
static RESPONSE: Needle = LazyLock::new(|| Finder::new(b"\"response."));

/// Whether `key` (with its quotes) stands before a colon and a value that is not null, false or "".
fn has_live(key: &Needle, document: &[u8]) -> bool {
    key.find_iter(document).any(|at| {
        let behind = document[at + key.needle().len()..].trim_ascii_start();
        let Some(value) = behind.strip_prefix(b":") else {
            return false;
        };
        !matches!(
            value.trim_ascii_start(),
            [b'n' | b'f', ..] | [b'"', b'"', ..]
        )
    })
}

/// Whether the object's `type` may be one that ends an answer. Backends write it first.
fn type_may_show(dialect: Dialect, document: &[u8]) -> bool {
    if let Some(name) = leading_type(document) {
        return type_marker(dialect, name) != Marker::None;
    }
    let terminal = if dialect == Dialect::AnthropicMessages {
        &MESSAGE_STOP
    } else {
        &RESPONSE
    };
    terminal.find(document).is_some() || ERROR.find(document).is_some()
}

/// The value of `type`, where that is the object's first key and its value a string.
fn leading_type(document: &[u8]) -> Option<&[u8]> {
    let key = document.strip_prefix(b"{")?.trim_ascii_start();
    let colon = key.strip_prefix(b"\"type\"")?.trim_ascii_start();
    let value = colon
        .strip_prefix(b":")?
        .trim_ascii_start()
        .strip_prefix(b"\"")?;
    let end = memchr::memchr(b'"', value)?;
    Some(&value[..end])
}
