//! Markers of every dialect at every split, and chunkings in general.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::{Marker, Watcher};
use crate::config::Dialect;
use crate::dialect::BodyKind;

fn watch(dialect: Dialect, kind: BodyKind, pieces: &[&[u8]]) -> Watcher {
    let mut watcher = Watcher::new(dialect, kind);
    for piece in pieces {
        watcher.feed(piece);
    }
    watcher
}

fn state(watcher: &Watcher) -> (Marker, u64, bool) {
    (watcher.marker(), watcher.events(), watcher.at_boundary())
}

/// The marker of a body, the same at every split into two and byte by byte.
fn marker(dialect: Dialect, kind: BodyKind, body: &str) -> Marker {
    let body = body.as_bytes();
    let whole = state(&watch(dialect, kind, &[body]));
    for at in 0..=body.len() {
        let split = watch(dialect, kind, &[&body[..at], &body[at..]]);
        assert_eq!(
            state(&split),
            whole,
            "split at {at}: {}",
            body.escape_ascii()
        );
    }
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(
        state(&watch(dialect, kind, &bytes)),
        whole,
        "{}",
        body.escape_ascii()
    );
    whole.0
}

fn sse(dialect: Dialect, body: &str) -> Marker {
    marker(dialect, BodyKind::Sse, body)
}

#[test]
fn chat_markers() {
    use Marker::{Done, Failed, Finished, None};
    for (body, expected) in [
        ("data: {\"choices\":[{\"finish_reason\":null}]}\n\n", None),
        (
            "data: {\"choices\":[{\"finish_reason\" : \"stop\"}]}\n\n",
            Finished,
        ),
        (
            "data:{\"choices\":[{\"finish_reason\":\t\"stop\"}]}\r\n\r\n",
            Finished,
        ),
        (
            "data: {\"choices\":[{\"native_finish_reason\":\"stop\"}]}\n\n",
            None,
        ),
        ("data: [DONE]\n\n", Done),
        ("data:[DONE]\r\r", Done),
        ("data: [DONE]", Done),
        ("data: [DONE", None),
        ("data: [DO NE]\n\n", None),
        ("data: x [DONE]\n\n", None),
        ("data: a\ndata: [DONE]\n\n", Done),
        (": [DONE]\n: data: [DONE]\n\n", None),
        (": {\"error\":{\"a\":1}}\n\n", None),
        ("event: data: [DONE]\n\n", None),
        ("metadata: [DONE]\n\n", None),
        ("data: {\"error\":{\"message\":\"no\"}}\n\n", Failed),
        (
            "data: {\"id\":\"1\",\"error\":\"no\"}\n\ndata: [DONE]\n\n",
            Failed,
        ),
        (
            "data: {\ndata:  \"error\": {\ndata:   \"code\": 1\ndata:  }\ndata: }\n\n",
            Failed,
        ),
        ("data: {\"error\":null}\n\n", None),
        ("event: error\ndata: {\"message\":\"no\"}\n\n", Failed),
        ("event:error\ndata: no\n\n", Failed),
        ("event: error\nevent: fine\ndata: no\n\n", None),
        ("event: errors\ndata: no\n\n", None),
        // A field that no SDK reads: nobody has been told.
        ("error: {\"code\":500}\n\n", None),
        ("data: {\"choices\":[{\"finish_reason\":\"stop\"}]", None),
        (
            "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}",
            Finished,
        ),
        ("\u{feff}data: [DONE]\n\n", Done),
        ("\n\n\ndata: [DONE]\n\n", Done),
    ] {
        assert_eq!(sse(Dialect::OpenaiChat, body), expected, "{body}");
        assert_eq!(sse(Dialect::OpenaiText, body), expected, "{body}");
        assert_eq!(sse(Dialect::Plain, body), None, "{body}");
    }
}

#[test]
fn a_broken_event_does_not_spoil_the_next() {
    let finish = "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n";
    for broken in [
        "{\"a\":\"",
        "{\"a\":[",
        "\"",
        "{\"error\":{\"a\":1}",
        "{\"error\":",
        "[DON",
    ] {
        let body = format!("data: {broken}\n\n{finish}");
        assert_eq!(sse(Dialect::OpenaiChat, &body), Marker::Finished, "{body}");
        let lines = format!("{broken}\n{{\"done\":true}}\n");
        assert_eq!(
            marker(Dialect::Ollama, BodyKind::Ndjson, &lines),
            Marker::Done,
            "{lines}"
        );
    }
}

#[test]
fn messages_markers() {
    use Marker::{Done, Failed, Finished, None};
    let delta =
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":";
    for (body, expected) in [
        (format!("{delta}\"end_turn\"}}}}\n\n"), Finished),
        (format!("{delta} null}}}}\n\n"), None),
        (
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".into(),
            Done,
        ),
        ("event: message_stop\ndata: {}\n\n".into(), Done),
        ("data: {\"type\": \"message_stop\"}\n\n".into(), Done),
        (
            "event: message_stop\ndata: {\"type\":\"message_stop\"".into(),
            None,
        ),
        (
            "event: message_stop\ndata: {\"type\":\"message_stop\"}".into(),
            Done,
        ),
        (
            "event: error\ndata: {\"type\":\"error\",\"error\":{}}\n\n".into(),
            Failed,
        ),
        ("data: {\"error\":{},\"type\":\"error\"}\n\n".into(), Failed),
        (
            "data: {\"type\":\"ping\",\"error\":{\"a\":1}}\n\n".into(),
            None,
        ),
        ("data: [DONE]\n\n".into(), None),
    ] {
        assert_eq!(sse(Dialect::AnthropicMessages, &body), expected, "{body}");
    }
}

#[test]
fn responses_markers() {
    use Marker::{Done, Failed, None};
    for (body, expected) in [
        (
            "data: {\"type\":\"response.created\",\"response\":{\"error\":null}}\n\n",
            None,
        ),
        (
            "data: {\"type\":\"response.created\",\"response\":{\"error\":{\"a\":1}}}\n\n",
            None,
        ),
        (
            "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n",
            Done,
        ),
        (
            "data: {\"sequence_number\":1,\"type\":\"response.incomplete\"}\n\n",
            Done,
        ),
        (
            "data: {\"type\":\"response.failed\",\"response\":{}}\n\n",
            Failed,
        ),
        ("data: {\"type\":\"error\",\"message\":\"no\"}\n\n", Failed),
        ("event: error\ndata: {\"code\":1}\n\n", Failed),
        ("data: {\"error\":{\"message\":\"no\"}}\n\n", Failed),
        (
            "data: {\"type\":\"response.output_text.delta\",\"delta\":\"response.completed\"}\n\n",
            None,
        ),
        ("data: [DONE]\n\n", Done),
    ] {
        assert_eq!(sse(Dialect::OpenaiResponses, body), expected, "{body}");
    }
}

#[test]
fn gemini_markers() {
    use Marker::{Failed, Finished, None};
    for (body, expected) in [
        (
            "data: {\"candidates\": [{\"finishReason\": \"STOP\"}]}\r\n\r\n",
            Finished,
        ),
        (
            "data: {\"response\":{\"candidates\":[{\"finishReason\":\"STOP\"}]}}\r\n\r\n",
            Finished,
        ),
        (
            "data: {\"promptFeedback\": {\"blockReason\": \"SAFETY\"}}\n\n",
            Finished,
        ),
        ("data: {\"candidates\": [{\"index\": 0}]}\n\n", None),
        ("data: {\"error\":{\"code\":500}}\n\n", Failed),
        (
            "data: {}\n\n{\n  \"error\": {\n    \"code\": 499\n  }\n}\n",
            Failed,
        ),
        ("{\"error\":{\"code\":404}}", Failed),
        (":{\"error\":{\"code\":404}}\n\n", None),
    ] {
        assert_eq!(sse(Dialect::Gemini, body), expected, "{body}");
    }
}

#[test]
fn ollama_markers_and_lines() {
    use Marker::{Done, Failed, None};
    let lines = |body| marker(Dialect::Ollama, BodyKind::Ndjson, body);
    assert_eq!(lines("{\"done\":false}\n"), None);
    assert_eq!(
        lines("{\"done\":false}\r\n{\"done\": true,\"done_reason\":\"stop\"}\r\n"),
        Done
    );
    assert_eq!(lines("{\"done\":true}"), Done);
    assert_eq!(lines("{\"error\":\"no\"}\n"), Failed);
    assert_eq!(lines("{\"message\":{\"done\":true}}\n"), None);
    let body = b"{\"done\":false}\n\n \n{\"done\":true}";
    let watcher = watch(Dialect::Ollama, BodyKind::Ndjson, &[body]);
    assert_eq!((watcher.events(), watcher.at_boundary()), (1, false));
    let watcher = watch(Dialect::Plain, BodyKind::Ndjson, &[b"{\"done\":true}\n"]);
    assert_eq!(state(&watcher), (None, 1, true));
}

#[test]
fn an_opaque_body_tells_nothing() {
    let watcher = watch(
        Dialect::OpenaiChat,
        BodyKind::Opaque,
        &[b"data: [DONE]\n\n"],
    );
    assert_eq!(state(&watcher), (Marker::None, 0, false));
    assert_eq!(watcher.kind(), BodyKind::Opaque);
    assert_eq!(watcher.dialect(), Dialect::OpenaiChat);
}

#[test]
fn the_state_is_small() {
    assert!(
        size_of::<Watcher>() <= 200,
        "{} bytes",
        size_of::<Watcher>()
    );
}

/// Streams full of almost-markers: pieces of lines, keys, values and broken JSON.
fn body() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "data: ",
        "data:",
        "data: {\"",
        "event: ",
        "event:",
        ": ",
        "\n",
        "\r\n",
        "\r",
        "\n\n",
        "\n\n",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        "\\\"",
        ":",
        " : ",
        ",",
        " ",
        "null",
        "true",
        "false",
        "[DONE]",
        "[DO",
        "NE]",
        "error",
        "\"error\"",
        "\"error\":{\"",
        "\"error\":\"x\"",
        "\"finish_reason\":\"stop\"",
        "\"finish_reason\":",
        "\"stop_reason\":\"x\"",
        "\"finishReason\": \"STOP\"",
        "\"done\":true",
        "{\"type\":\"message_stop\"}",
        "{\"type\":\"error\"",
        "\"type\":\"response.completed\"",
        "message_stop",
        "response.failed",
        "{\"choices\":[{",
        "}]}",
        "}}",
        "\u{c}",
        "ü",
        "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n",
    ]);
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

fn dialect() -> impl Strategy<Value = (Dialect, BodyKind)> {
    prop::sample::select(vec![
        (Dialect::OpenaiChat, BodyKind::Sse),
        (Dialect::OpenaiResponses, BodyKind::Sse),
        (Dialect::AnthropicMessages, BodyKind::Sse),
        (Dialect::Gemini, BodyKind::Sse),
        (Dialect::Ollama, BodyKind::Ndjson),
        (Dialect::Plain, BodyKind::Sse),
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
        }
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        prop_assert_eq!(state(&watch(dialect, kind, &bytes)), state(&watcher));
    }

    /// Against a JSON parser: a finish reason counts where it is one, in whatever text.
    #[test]
    fn a_finish_reason_is_what_a_parser_sees(content in ".*", reason in prop::option::of("[a-z]{1,9}")) {
        let chunk = serde_json::json!({
            "choices": [{ "delta": { "content": content }, "finish_reason": reason }]
        });
        let expected = if reason.is_some() { Marker::Finished } else { Marker::None };
        let body = format!("data: {chunk}\n\n");
        let watcher = watch(Dialect::OpenaiChat, BodyKind::Sse, &[body.as_bytes()]);
        prop_assert_eq!(state(&watcher), (expected, 1, true));
    }
}
