//! Errors in each dialect's shape.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Failure, error_event, heartbeat, is_error_answer, refusal};
use crate::config::Dialect;
use crate::dialect::{BodyKind, Ending, Marker, TransportEnd, Watcher, judge};

const ALL: [Dialect; 8] = [
    Dialect::Plain,
    Dialect::OpenaiChat,
    Dialect::OpenaiText,
    Dialect::OpenaiResponses,
    Dialect::AnthropicMessages,
    Dialect::Gemini,
    Dialect::Ollama,
    Dialect::Bedrock,
];

fn failure(status: u16) -> Failure<'static> {
    Failure {
        status,
        code: "upstream_cut",
        message: "it was \"cut\"\n",
        request_id: "req-1",
    }
}

fn body(dialect: Dialect, status: u16) -> Value {
    serde_json::from_slice(&refusal(dialect, &failure(status))).unwrap()
}

/// The event's text, and its data.
fn event(dialect: Dialect) -> (String, Value) {
    let bytes = error_event(dialect, BodyKind::Sse, &failure(502)).unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let data = text
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap();
    let data = serde_json::from_str(data).unwrap();
    (text, data)
}

#[test]
fn chat_events_raise_by_their_error() {
    for dialect in [Dialect::OpenaiChat, Dialect::OpenaiText] {
        let (text, data) = event(dialect);
        assert!(text.starts_with("data: {\"error\":{"), "{text}");
        assert_eq!(
            data["error"],
            json!({ "message": "it was \"cut\"\n", "type": "server_error", "code": "upstream_cut", "param": null })
        );
    }
}

#[test]
fn responses_events_have_the_fields_of_the_apis_own() {
    let (text, data) = event(Dialect::OpenaiResponses);
    assert!(
        text.starts_with("event: error\ndata: {\"type\":\"error\""),
        "{text}"
    );
    assert_eq!(data["sequence_number"], 0);
    assert_eq!(data["code"], "upstream_cut");
    assert_eq!(data["param"], Value::Null);
    assert_eq!(data["message"], data["error"]["message"]);
}

#[test]
fn messages_events_raise_by_their_name() {
    let (text, data) = event(Dialect::AnthropicMessages);
    assert!(text.starts_with("event: error\n"), "{text}");
    assert_eq!(
        data,
        json!({
            "type": "error",
            "error": { "type": "api_error", "message": "it was \"cut\"\n" },
            "request_id": "req-1",
        })
    );
}

#[test]
fn gemini_events_have_the_error_first() {
    let (text, data) = event(Dialect::Gemini);
    assert!(text.starts_with("data: {\"error\":"), "{text}");
    assert_eq!(data["error"]["code"], 502);
    assert_eq!(data["error"]["status"], "UNAVAILABLE");
}

#[test]
fn ollama_gets_a_line() {
    let line = error_event(Dialect::Ollama, BodyKind::Ndjson, &failure(502)).unwrap();
    assert!(line.starts_with(b"{\"error\":\"it was \\\"cut\\\"\\n\"") && line.ends_with(b"}\n"));
}

#[test]
fn where_there_is_no_event_there_is_none() {
    for dialect in ALL {
        assert_eq!(error_event(dialect, BodyKind::Opaque, &failure(502)), None);
    }
    for dialect in [Dialect::Plain, Dialect::Ollama, Dialect::Bedrock] {
        assert_eq!(error_event(dialect, BodyKind::Sse, &failure(502)), None);
    }
    assert_eq!(
        error_event(Dialect::OpenaiChat, BodyKind::Ndjson, &failure(502)),
        None
    );
}

/// Our own events are one whole event each, and are seen as errors by a gateway behind us.
#[test]
fn events_are_recognised_as_failures() {
    for dialect in ALL {
        for kind in [BodyKind::Sse, BodyKind::Ndjson] {
            let Some(event) = error_event(dialect, kind, &failure(504)) else {
                continue;
            };
            let mut watcher = Watcher::new(dialect, kind);
            watcher.feed(&event);
            assert_eq!(
                (watcher.marker(), watcher.events()),
                (Marker::Failed, 1),
                "{dialect:?}"
            );
            assert!(watcher.at_boundary());
            assert_eq!(judge(TransportEnd::Framed, &watcher).ending, Ending::Failed);
        }
    }
}

#[test]
fn refusals_have_each_dialects_shape_and_the_request_id() {
    for dialect in ALL {
        for status in [
            400, 401, 403, 404, 405, 408, 413, 429, 500, 502, 503, 504, 529,
        ] {
            let text = body(dialect, status).to_string();
            assert!(text.contains("req-1") && text.contains("it was"), "{text}");
        }
    }
    assert_eq!(
        body(Dialect::OpenaiChat, 404)["error"]["type"],
        "invalid_request_error"
    );
    assert_eq!(
        body(Dialect::OpenaiResponses, 503)["error"]["type"],
        "server_error"
    );
    assert_eq!(
        body(Dialect::AnthropicMessages, 404)["error"]["type"],
        "not_found_error"
    );
    assert_eq!(
        body(Dialect::AnthropicMessages, 413)["error"]["type"],
        "request_too_large"
    );
    assert_eq!(
        body(Dialect::Gemini, 504)["error"]["status"],
        "DEADLINE_EXCEEDED"
    );
    assert_eq!(
        body(Dialect::Gemini, 413)["error"]["status"],
        "INVALID_ARGUMENT"
    );
    assert_eq!(body(Dialect::Ollama, 404)["error"], "it was \"cut\"\n");
    assert_eq!(body(Dialect::Bedrock, 429)["__type"], "ThrottlingException");
    assert_eq!(
        body(Dialect::Plain, 502)["error"],
        json!({ "code": "upstream_cut", "message": "it was \"cut\"\n", "status": 502, "request_id": "req-1" })
    );
}

#[test]
fn heartbeats_are_no_events_and_leave_the_boundary() {
    for dialect in ALL {
        let mut watcher = Watcher::new(dialect, BodyKind::Sse);
        watcher.feed(b"data: {}\n\n");
        watcher.feed(heartbeat(dialect));
        assert!(watcher.at_boundary());
        assert_eq!((watcher.events(), watcher.marker()), (1, Marker::None));
    }
    assert_eq!(heartbeat(Dialect::Gemini), b"\n");
}

#[test]
fn answers_that_are_errors() {
    let is = |dialect, body: &'static str| {
        is_error_answer(dialect, &Bytes::from_static(body.as_bytes()))
    };
    for body in [
        r#"{"error":{"message":"no"}}"#,
        r#" {"object":"error","error":"no"}"#,
        r#"{"choices":[],"error":{"code":1}}"#,
    ] {
        assert!(
            is(Dialect::OpenaiChat, body) && is(Dialect::Gemini, body),
            "{body}"
        );
        for other in [
            Dialect::Plain,
            Dialect::OpenaiResponses,
            Dialect::Bedrock,
            Dialect::AnthropicMessages,
        ] {
            assert!(!is(other, body), "{other:?} {body}");
        }
    }
    for body in [
        r#"{"error":null}"#,
        r#"{"error":{}}"#,
        r#"{"error":""}"#,
        r#"{"error":false}"#,
        r#"{"choices":[{"error":"no"}]}"#,
        r#"["no"]"#,
        r#"{"error":"#,
        "",
    ] {
        assert!(!is(Dialect::OpenaiChat, body), "{body}");
    }
    assert!(is(
        Dialect::AnthropicMessages,
        r#"{"type":"error","error":{}}"#
    ));
    assert!(!is(
        Dialect::AnthropicMessages,
        r#"{"type":"message","content":[]}"#
    ));
    assert!(is(Dialect::Ollama, r#"{"error":"model not found"}"#));
}
