//! Which dialect a request speaks, and which kind of body answers it.
//!
//! Told from method and path alone, so that it is known before any body is read. Cautious where a
//! path's last word is an everyday one: a wrong guess would put an error event behind a good answer
//! of an application that has nothing to do with model APIs, while a dialect missed only means
//! plain treatment, and a route may always name its dialect.

use std::borrow::Cow;

use http::Method;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;

use crate::config::{Dialect, DialectChoice};

/// How a response body is built, as far as it can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// Server-Sent Events in the clear.
    Sse,
    /// One JSON document a line, in the clear.
    Ndjson,
    /// Anything else, and whatever is compressed: bytes without places between them.
    Opaque,
}

/// The dialect of a request: the route's own choice, else told by method and path.
///
/// Only POST is recognised. `path` is the request's path without its query, as it came.
pub fn recognise(choice: DialectChoice, method: &Method, path: &str) -> Dialect {
    match choice {
        DialectChoice::Fixed(dialect) => dialect,
        DialectChoice::Auto if *method == Method::POST => by_path(path),
        DialectChoice::Auto => Dialect::Plain,
    }
}

/// The kind of a response body, from its `Content-Type` and `Content-Encoding`.
pub fn body_kind(headers: &HeaderMap) -> BodyKind {
    let kind = headers.get(CONTENT_TYPE).map_or(BodyKind::Opaque, by_type);
    // Asked last: most answers are opaque anyway.
    match kind != BodyKind::Opaque && is_encoded(headers) {
        true => BodyKind::Opaque,
        false => kind,
    }
}

fn by_type(value: &HeaderValue) -> BodyKind {
    let value = value.as_bytes();
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let media = value[..end].trim_ascii();
    let is = |name: &str| media.eq_ignore_ascii_case(name.as_bytes());
    if is("text/event-stream") {
        BodyKind::Sse
    } else if NDJSON.iter().any(|name| is(name)) {
        BodyKind::Ndjson
    } else {
        BodyKind::Opaque
    }
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|value| {
        value.as_bytes().split(|&b| b == b',').any(|coding| {
            let coding = coding.trim_ascii();
            !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
        })
    })
}

/// The model that a path names, percent-decoded: Gemini's `/models/{model}:method`, Azure's
/// `/deployments/{model}/…`, Bedrock's `/model/{model}/…`.
pub fn model_in_path(path: &str) -> Option<Cow<'_, str>> {
    let segment = if let Some(rest) = behind(path, "/deployments/") {
        rest.split_once('/')?.0
    } else if let Some(rest) = behind(path, "/model/") {
        rest.split_once('/')?.0
    } else {
        let rest = behind(path, "/models/").or_else(|| behind(path, "/tunedModels/"))?;
        let (model, method) = split_method(rest)?;
        // `GET /v1/models/llama3:latest` has a tag behind its colon, no method.
        METHODS
            .iter()
            .any(|end| method.ends_with(end))
            .then_some(model)?
    };
    if segment.is_empty() || segment.contains('/') {
        return None;
    }
    percent_decode_str(segment).decode_utf8().ok()
}

/// How the names of Google's methods on a model end.
const METHODS: [&str; 6] = [
    "Content",
    "Contents",
    "Tokens",
    "Predict",
    "predict",
    "predictLongRunning",
];

const NDJSON: [&str; 5] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/jsonlines",
];

/// What stands before the last slash and behind it. Segments are short: a walk over one is quicker than a search
/// that has to be set up.
fn last_segment(path: &str) -> Option<(&str, &str)> {
    let slash = path.bytes().rposition(|byte| byte == b'/')?;
    Some((&path[..slash], &path[slash + 1..]))
}

fn by_path(path: &str) -> Dialect {
    let path = path.strip_suffix('/').unwrap_or(path);
    let (base, last) = last_segment(path).unwrap_or(("", path));
    let before = last_segment(base).map_or(base, |(_, segment)| segment);
    match (before, last) {
        ("chat", "completions") => Dialect::OpenaiChat,
        (_, "completions") => Dialect::OpenaiText,
        // `/responses` alone, as some vendors have it, or below a version or `openai`; not what
        // an application collects under `/surveys/7/responses`.
        ("" | "openai" | "codex", "responses") => Dialect::OpenaiResponses,
        (before, "responses") if is_version(before) => Dialect::OpenaiResponses,
        // Only below a version: `/messages` of its own is what chat applications and MCP servers
        // call theirs. Anthropic's SDKs always ask for `/v1/messages`.
        (before, "messages") if is_version(before) => Dialect::AnthropicMessages,
        ("api", "chat" | "generate") => Dialect::Ollama,
        (_, "converse" | "converse-stream" | "invoke" | "invoke-with-response-stream")
            if behind(path, "/model/").is_some() =>
        {
            Dialect::Bedrock
        }
        (before, last) => by_method_suffix(path, before, last),
    }
}

/// Google's paths: `…/models/{model}:method`.
fn by_method_suffix(path: &str, before: &str, last: &str) -> Dialect {
    if !matches!(before, "models" | "tunedModels" | "endpoints") && !last.starts_with(':') {
        // Code Assist asks for `/v1internal:streamGenerateContent`.
        if !split_method(last).is_some_and(|(version, _)| is_version(version)) {
            return Dialect::Plain;
        }
    }
    match split_method(last) {
        Some((_, "generateContent" | "streamGenerateContent")) => Dialect::Gemini,
        Some((_, "rawPredict" | "streamRawPredict"))
            if behind(path, "/publishers/anthropic/").is_some() =>
        {
            Dialect::AnthropicMessages
        }
        _ => Dialect::Plain,
    }
}

/// `name:method`, whose colon some clients escape.
fn split_method(segment: &str) -> Option<(&str, &str)> {
    segment
        .rsplit_once(':')
        .or_else(|| segment.rsplit_once("%3A"))
        .or_else(|| segment.rsplit_once("%3a"))
}

/// `v1`, `v1beta`, `v4`, `v1internal`.
fn is_version(segment: &str) -> bool {
    segment
        .strip_prefix('v')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// What stands behind the last `mark` in `path`.
fn behind<'a>(path: &'a str, mark: &str) -> Option<&'a str> {
    path.rfind(mark).map(|at| &path[at + mark.len()..])
}

#[cfg(test)]
#[path = "recognise_tests.rs"]
mod tests;
