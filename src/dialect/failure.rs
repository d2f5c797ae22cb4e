//! Errors in the shape of each dialect, before the head and inside a stream.
//!
//! Invariant: the API's own clients raise what is rendered here. They differ in what they look at:
//! OpenAI's at an `error` in the data, Anthropic's at the event's name, Google's at an `error` that
//! is the first key. So the shapes are each vendor's own, down to the names of their error types,
//! and a request id is put only where no client trips over it.

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::recognise::BodyKind;
use crate::config::Dialect;

/// What went wrong, before it is put in a dialect's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The HTTP status that says it; inside a stream, the one that would have.
    pub status: u16,
    /// A short name for machines, such as `upstream_timeout`.
    pub code: &'a str,
    /// What and why, for people.
    pub message: &'a str,
    /// The id of the request, for whoever asks the operator.
    pub request_id: &'a str,
}

/// The event that tells a client inside a stream that its answer is not whole. To be put between
/// two events only. `None` where the dialect, or this kind of body, has none.
pub fn error_event(dialect: Dialect, kind: BodyKind, failure: &Failure<'_>) -> Option<Bytes> {
    let event = match (dialect, kind) {
        (Dialect::OpenaiChat | Dialect::OpenaiText, BodyKind::Sse) => {
            format!("data: {}\n\n", openai(failure))
        }
        (Dialect::OpenaiResponses, BodyKind::Sse) => {
            format!("event: error\ndata: {}\n\n", responses_event(failure))
        }
        (Dialect::AnthropicMessages, BodyKind::Sse) => {
            format!("event: error\ndata: {}\n\n", anthropic(failure))
        }
        (Dialect::Gemini, BodyKind::Sse) => format!("data: {}\n\n", gemini(failure)),
        (Dialect::Ollama, BodyKind::Ndjson) => format!("{}\n", ollama(failure)),
        _ => return None,
    };
    Some(event.into())
}

/// The JSON body of a refusal, before any head was sent.
pub fn refusal(dialect: Dialect, failure: &Failure<'_>) -> Bytes {
    let body = match dialect {
        Dialect::OpenaiChat | Dialect::OpenaiText | Dialect::OpenaiResponses => openai(failure),
        Dialect::AnthropicMessages => anthropic(failure),
        Dialect::Gemini => gemini(failure),
        Dialect::Ollama => ollama(failure),
        Dialect::Bedrock => bedrock(failure),
        Dialect::Plain => plain(failure),
    };
    body.to_string().into()
}

/// The bytes that keep a silent event stream of this dialect alive, between two events.
///
/// A comment with its blank line; for Gemini the blank line alone. Google's Python SDK takes every
/// line that is neither blank nor `data: …` for a piece of a JSON document, and fails on a comment.
/// A blank line behind a blank line is nothing, to it and to every other client.
pub fn heartbeat(dialect: Dialect) -> &'static [u8] {
    if dialect == Dialect::Gemini {
        b"\n"
    } else {
        b":\n\n"
    }
}

static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));

/// Whether the JSON body of a successful answer is really an error: some servers say 200 to all.
///
/// A top-level `error` that is an object or a string and not empty; for Anthropic a `type` of
/// `error`. Never so for Responses, whose answers have an `error` of their own, nor where there is
/// no dialect to say what an `error` is.
pub fn is_error_answer(dialect: Dialect, body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
        #[serde(borrow, rename = "type")]
        kind: Option<&'a RawValue>,
    }
    let speaks = !matches!(
        dialect,
        Dialect::Plain | Dialect::Bedrock | Dialect::OpenaiResponses
    );
    // Every error of every dialect has the word; most answers do not, and are not parsed.
    let may_be = speaks && body.trim_ascii_start().starts_with(b"{") && ERROR.find(body).is_some();
    if !may_be {
        return false;
    }
    let Ok(answer) = serde_json::from_slice::<Answer<'_>>(body) else {
        return false;
    };
    if dialect == Dialect::AnthropicMessages {
        return answer.kind.is_some_and(|kind| kind.get() == "\"error\"");
    }
    match answer.error.map(|error| error.get().as_bytes()) {
        Some([b'"', text @ .., b'"']) => !text.is_empty(),
        Some([b'{', members @ .., b'}']) => !members.trim_ascii().is_empty(),
        _ => false,
    }
}

/// The words for people in the JSON body of an error, in whatever API's shape; at most 1 KiB, in one line.
pub fn error_message(body: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(body.trim_ascii()).ok()?;
    let outer = document.get(0).unwrap_or(&document);
    let error = outer.get("error").unwrap_or(outer);
    let named = ["message", "detail", "error"];
    let text = error
        .as_str()
        .or_else(|| named.iter().find_map(|name| error.get(*name)?.as_str()))?;
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(1024)
        .collect();
    Some(line).filter(|line| !line.trim().is_empty())
}

fn openai(failure: &Failure<'_>) -> Value {
    json!({ "error": openai_error(failure), "request_id": failure.request_id })
}

fn openai_error(failure: &Failure<'_>) -> Value {
    let kind = match failure.status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    json!({ "message": failure.message, "type": kind, "code": failure.code, "param": null })
}

/// The SDKs raise on `error`; typed clients want the fields of the API's own `error` event, whose
/// `sequence_number` nobody but the backend knows.
fn responses_event(failure: &Failure<'_>) -> Value {
    json!({
        "type": "error",
        "code": failure.code,
        "message": failure.message,
        "param": null,
        "sequence_number": 0,
        "error": openai_error(failure),
        "request_id": failure.request_id,
    })
}

fn anthropic(failure: &Failure<'_>) -> Value {
    let kind = match failure.status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        408 | 504 => "timeout_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    };
    json!({
        "type": "error",
        "error": { "type": kind, "message": failure.message },
        "request_id": failure.request_id,
    })
}

/// `google.rpc.Status`; the request id in the detail that Google has for it.
fn gemini(failure: &Failure<'_>) -> Value {
    let status = match failure.status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        408 | 504 => "DEADLINE_EXCEEDED",
        499 => "CANCELLED",
        400..=498 => "INVALID_ARGUMENT",
        501 => "UNIMPLEMENTED",
        502 | 503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    json!({ "error": {
        "code": failure.status,
        "message": failure.message,
        "status": status,
        "details": [{
            "@type": "type.googleapis.com/google.rpc.RequestInfo",
            "requestId": failure.request_id,
        }],
    } })
}

fn ollama(failure: &Failure<'_>) -> Value {
    json!({ "error": failure.message, "request_id": failure.request_id })
}

fn bedrock(failure: &Failure<'_>) -> Value {
    let kind = match failure.status {
        401 | 403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        429 => "ThrottlingException",
        408 | 504 => "ModelTimeoutException",
        503 => "ServiceUnavailableException",
        400..=499 => "ValidationException",
        _ => "InternalServerException",
    };
    json!({ "__type": kind, "message": failure.message, "request_id": failure.request_id })
}

fn plain(failure: &Failure<'_>) -> Value {
    json!({ "error": {
        "code": failure.code,
        "message": failure.message,
        "status": failure.status,
        "request_id": failure.request_id,
    } })
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
