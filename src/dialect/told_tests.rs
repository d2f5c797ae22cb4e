//! Errors, models, long and broken documents, and chunkings in general.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use crate::config::Dialect;
use crate::dialect::{BodyKind, Marker, Usage, Watcher};

fn watch(dialect: Dialect, kind: BodyKind, pieces: &[&[u8]]) -> Watcher {
    let mut watcher = Watcher::new(dialect, kind);
    for piece in pieces {
        watcher.feed(piece);
    }
    watcher
}

#[derive(Debug, PartialEq)]
struct State {
    usage: Usage,
    content: bool,
    error: Option<Vec<u8>>,
    model: Option<String>,
}

fn state(watcher: &Watcher) -> State {
    State {
        usage: watcher.usage(),
        content: watcher.has_content(),
        error: watcher.error().map(<[u8]>::to_vec),
        model: watcher.model().map(str::to_owned),
    }
}

/// What a body tells, the same at every split into two and byte by byte.
fn told(dialect: Dialect, kind: BodyKind, body: &str) -> State {
    let body = body.as_bytes();
    let whole = state(&watch(dialect, kind, &[body]));
    for at in 0..=body.len() {
        let split = watch(dialect, kind, &[&body[..at], &body[at..]]);
        assert_eq!(state(&split), whole, "at {at}: {}", body.escape_ascii());
    }
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    let dribbled = watch(dialect, kind, &bytes);
    assert_eq!(state(&dribbled), whole, "{}", body.escape_ascii());
    whole
}

fn error(dialect: Dialect, body: &str) -> Option<String> {
    let kind = if dialect == Dialect::Ollama {
        BodyKind::Ndjson
    } else {
        BodyKind::Sse
    };
    let error = told(dialect, kind, body).error;
    error.map(|error| String::from_utf8(error).unwrap())
}

#[test]
fn the_first_error_is_told() {
    let chat = Dialect::OpenaiChat;
    for (dialect, body, expected) in [
        (
            chat,
            "data: {\"a\":1}\n\ndata: {\"error\":{\"code\":1}}\n\ndata: {\"error\":2}\n\n",
            Some("{\"error\":{\"code\":1}}"),
        ),
        (chat, "data: {\"error\":null}\n\ndata: [DONE]\n\n", None),
        (chat, "data: {\"error\":\"no\"}", Some("{\"error\":\"no\"}")),
        (
            chat,
            "data: {\"error\":\"no\"}  \r\n",
            Some("{\"error\":\"no\"}"),
        ),
        (
            chat,
            "data: {\ndata: \"error\": \"no\"\ndata: }\n\n",
            Some("{\n\"error\": \"no\"\n}"),
        ),
        (
            chat,
            "event: error\ndata: no\ndata: way\n\n",
            Some("no\nway"),
        ),
        (chat, "event: error\ndata: {\"x\":1}\n\n", Some("{\"x\":1}")),
        (chat, "event: error\n\n", Some("")),
        (
            Dialect::AnthropicMessages,
            "event: error\ndata: {\"type\":\"error\",\"error\":{}}\n\nevent: error\ndata: {}\n\n",
            Some("{\"type\":\"error\",\"error\":{}}"),
        ),
        (
            Dialect::OpenaiResponses,
            "data: {\"type\":\"response.failed\",\"response\":{}}\n\n",
            Some("{\"type\":\"response.failed\",\"response\":{}}"),
        ),
        (
            Dialect::Gemini,
            "data: {\"x\":1}\n\n{\n  \"error\": {\n    \"code\": 1\n  }\n}\n",
            Some("{\n\"error\": {\n\"code\": 1\n}\n}"),
        ),
        (
            Dialect::Ollama,
            "{\"done\":false}\n{\"error\":\"no\"}\n",
            Some("{\"error\":\"no\"}"),
        ),
    ] {
        assert_eq!(error(dialect, body).as_deref(), expected, "{body}");
    }
}

#[test]
fn an_error_is_bounded() {
    let long = "x".repeat(10_000);
    let body = format!("data: {{\"error\":\"{long}\"}}\n\n");
    let watcher = watch(Dialect::OpenaiChat, BodyKind::Sse, &[body.as_bytes()]);
    assert_eq!(watcher.error().unwrap().len(), 4096);
    let (one, other) = body.as_bytes().split_at(5000);
    let pieces = watch(Dialect::OpenaiChat, BodyKind::Sse, &[one, other]);
    assert_eq!(pieces.error(), watcher.error());
}

#[test]
fn the_model_is_the_first_one_named() {
    let body = "data: {\"choices\":[]}\n\ndata: {\"model\":\"a/b\"}\n\ndata: {\"model\":\"c\"}\n\n";
    let told_by = |dialect, body: &str| told(dialect, BodyKind::Sse, body).model;
    assert_eq!(told_by(Dialect::OpenaiChat, body).unwrap(), "a/b");
    let start = "data: {\"type\":\"message_start\",\"message\":{\"model\": \"claude\"}}\n\n";
    assert_eq!(
        told_by(Dialect::AnthropicMessages, start).unwrap(),
        "claude"
    );
    let gemini = "data: {\"modelVersion\":\"gemini\",\"model\":\"x\"}\n\n";
    assert_eq!(told_by(Dialect::Gemini, gemini).unwrap(), "gemini");
    assert_eq!(
        told_by(Dialect::OpenaiChat, "data: {\"model\":null}\n\n"),
        None
    );
    let late = format!("{}{body}", "data: {}\n\n".repeat(9));
    assert_eq!(told_by(Dialect::OpenaiChat, &late), None);
    let long = format!("data: {{\"model\":\"{}\"}}\n\n", "ü".repeat(200));
    assert_eq!(
        told_by(Dialect::OpenaiChat, &long).unwrap(),
        "ü".repeat(128)
    );
}

#[test]
fn what_has_no_end_tells_nothing_yet() {
    let sse = |body: &str| told(Dialect::OpenaiChat, BodyKind::Sse, body);
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}],\"usage\":{\"completion_tokens\":1}}";
    let cut = sse(&event[..event.len() - 1]);
    assert!(!cut.content && cut.usage == Usage::default());
    let whole = sse(event);
    assert!(whole.content);
    assert_eq!(whole, sse(&format!("{event}\n\n")));
    // Nor do other fields, comments, and other dialects.
    let comment = event.replace("data:", ":");
    assert!(!sse(&format!("{comment}\n\n")).content);
    let plain = told(
        Dialect::Plain,
        BodyKind::Ndjson,
        &format!("{}\n", &event[6..]),
    );
    assert!(!plain.content && plain.usage == Usage::default());
}

#[test]
fn data_in_several_lines_is_one_document() {
    let event = "data: {\"choices\":[\ndata: {\"delta\":{\"content\":\ndata: \"Hi\"}}],\ndata: \"usage\":{\"completion_tokens\":1}}\n\n";
    let told = told(Dialect::OpenaiChat, BodyKind::Sse, &event.repeat(2));
    assert!(told.content);
    assert_eq!((told.usage.deltas, told.usage.text_bytes), (2, 4));
    assert_eq!(told.usage.completion, Some(1));
}

#[test]
fn a_broken_event_does_not_spoil_the_next() {
    let next = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    for broken in ["{", "{\"a\":\"", "[", "x", "[DONE]", "{\"error\":"] {
        let body = format!("data: {broken}\n\n{next}");
        let told = told(Dialect::OpenaiChat, BodyKind::Sse, &body);
        assert_eq!(told.usage.text_bytes, 2, "{body}");
        assert_eq!(told.usage.deltas, 1, "{body}");
    }
}

/// An image of a megabyte in one event, with the usage behind it.
#[test]
fn a_long_event_is_one_delta_with_its_usage() {
    let image = "A".repeat(1_000_000);
    let body = format!(
        "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"inlineData\":{{\"data\":\"{image}\"}}}}]}}}}],\
         \"usageMetadata\":{{\"promptTokenCount\":5,\"candidatesTokenCount\":1290}}}}\n\n"
    );
    let body = body.as_bytes();
    let whole = watch(Dialect::Gemini, BodyKind::Sse, &[body]);
    assert_eq!(whole.usage().completion, Some(1290));
    assert_eq!((whole.usage().deltas, whole.usage().text_bytes), (1, 0));
    for size in [1000, 16_384, 70_000, 999_999] {
        let pieces: Vec<&[u8]> = body.chunks(size).collect();
        let pieces = watch(Dialect::Gemini, BodyKind::Sse, &pieces);
        assert_eq!(state(&pieces), state(&whole), "{size}");
    }
}

/// Streams of almost-events: pieces of lines, keys, values and broken JSON.
fn body() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "data: ",
        "data: {",
        "data: {\"choices\":[{\"delta\":{\"content\":\"",
        "\"}}]}",
        "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n",
        "data: {\"model\":\"m\",\"error\":{\"a\":1}}\n\n",
        "{\"message\":{\"content\":\"Hi\"},\"eval_count\":7}\n",
        "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\"}}\n",
        "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":4}}\n\n",
        "data: {\"usageMetadata\":{\"candidatesTokenCount\":4}}\n\n",
        "\"usage\":{\"input_tokens\":3}",
        "\"parts\":[{\"text\":\"x\"}]",
        "\"error\":\"x\"",
        "event: error\n",
        "event: ",
        ": ",
        "\n",
        "\r\n",
        "\r",
        "\n\n",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        "[DONE]",
        ",",
        " ",
        "ü",
        "x",
    ]);
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

fn dialect() -> impl Strategy<Value = (Dialect, BodyKind)> {
    prop::sample::select(vec![
        (Dialect::OpenaiChat, BodyKind::Sse),
        (Dialect::OpenaiResponses, BodyKind::Sse),
        (Dialect::AnthropicMessages, BodyKind::Sse),
        (Dialect::Gemini, BodyKind::Sse),
        (Dialect::Ollama, BodyKind::Ndjson),
        (Dialect::OpenaiChat, BodyKind::Opaque),
        (Dialect::Plain, BodyKind::Ndjson),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn chunks_make_no_difference(
        (dialect, kind) in dialect(),
        body in body(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let body = body.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let mut watcher = Watcher::new(dialect, kind);
        for pair in cuts.windows(2) {
            watcher.feed(&body[pair[0]..pair[1]]);
            let at_once = watch(dialect, kind, &[&body[..pair[1]]]);
            prop_assert_eq!(state(&watcher), state(&at_once), "{}", body[..pair[1]].escape_ascii());
            prop_assert_eq!(watcher.error().is_some(), watcher.marker() == Marker::Failed);
        }
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        prop_assert_eq!(state(&watch(dialect, kind, &bytes)), state(&watcher));
    }

    /// Against a JSON parser: text is counted as it is written, whatever it says.
    #[test]
    fn text_is_measured_as_written(content in ".*") {
        let written = serde_json::to_string(&content).unwrap();
        let body = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":{written}}}}}]}}\n\n");
        let watcher = watch(Dialect::OpenaiChat, BodyKind::Sse, &[body.as_bytes()]);
        prop_assert_eq!(watcher.usage().text_bytes, written.len() as u64 - 2);
        prop_assert_eq!(watcher.has_content(), !content.is_empty());
        prop_assert_eq!(watcher.usage().completion, None);
    }
}
