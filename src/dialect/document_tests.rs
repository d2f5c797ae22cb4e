//! Keys, depths and values in documents, whole and byte by byte.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::Document;
use crate::config::Dialect;
use crate::dialect::Marker;

/// What a document shows once it is closed; `None` while it is open.
fn shown(dialect: Dialect, text: &str) -> Option<Marker> {
    let whole = Document::default().feed(dialect, text.as_bytes());
    let mut document = Document::default();
    let bytes = text
        .as_bytes()
        .chunks(1)
        .map(|byte| document.feed(dialect, byte));
    assert_eq!(whole, bytes.max().flatten(), "byte by byte: {text}");
    whole
}

#[test]
fn a_key_counts_at_its_depth_only() {
    let chat = |text| shown(Dialect::OpenaiChat, text);
    assert_eq!(
        chat(r#"{"choices":[{"finish_reason":"stop"}]}"#),
        Some(Marker::Finished)
    );
    assert_eq!(
        chat(r#"{"choices":[{"x":{"finish_reason":"stop"}}]}"#),
        Some(Marker::None)
    );
    assert_eq!(chat(r#"{"id":1,"error":{"code":1}}"#), Some(Marker::Failed));
    assert_eq!(
        chat(r#"{"choices":[{"error":{"code":1}}]}"#),
        Some(Marker::None)
    );
    let messages = |text| shown(Dialect::AnthropicMessages, text);
    assert_eq!(
        messages(r#"{"delta":{"stop_reason":"end_turn"}}"#),
        Some(Marker::Finished)
    );
    assert_eq!(
        messages(r#"{"content_block":{"input":{"stop_reason":"x"}}}"#),
        Some(Marker::None)
    );
}

#[test]
fn empty_values_show_nothing() {
    for value in ["null", "false", "\"\"", "{}", "{ }", "[]", "0"] {
        let text = format!(r#"{{"error" : {value} , "choices":[{{"finish_reason":{value}}}]}}"#);
        let expected = Some(Marker::None);
        assert_eq!(shown(Dialect::OpenaiChat, &text), expected, "{text}");
    }
    for value in ["true", "\"x\"", "{\"a\":null}", "[0]", "[[]]", "{\"\":{}}"] {
        let text = format!(r#"{{"error"{n}:{n}{value}}}"#, n = " \t");
        assert_eq!(
            shown(Dialect::OpenaiChat, &text),
            Some(Marker::Failed),
            "{text}"
        );
    }
}

#[test]
fn text_in_a_string_is_text() {
    for content in [
        r#"\"finish_reason\":\"stop\""#,
        r#"{\"error\":{\"a\":1}}"#,
        r#"\\\"error\":{"#,
        r#"[DONE]"#,
        r#"\\"#,
        r#"}}}}"#,
    ] {
        let text = format!(r#"{{"choices":[{{"delta":{{"content":"{content}"}}}}]}}"#);
        assert_eq!(
            shown(Dialect::OpenaiChat, &text),
            Some(Marker::None),
            "{text}"
        );
    }
    let value = r#"{"a":"error","b":["finish_reason","stop"],"\"error":{"x":1}}"#;
    assert_eq!(
        shown(Dialect::OpenaiChat, value),
        Some(Marker::None),
        "values, and a longer key"
    );
}

#[test]
fn an_open_document_shows_nothing_yet() {
    assert_eq!(
        shown(
            Dialect::OpenaiChat,
            r#"{"choices":[{"finish_reason":"stop"}]"#
        ),
        None
    );
    assert_eq!(
        shown(Dialect::OpenaiChat, r#"{"error":{"message":"a}"#),
        None
    );
}

#[test]
fn only_the_first_type_counts() {
    let responses = |text| shown(Dialect::OpenaiResponses, text);
    assert_eq!(
        responses(r#"{"type":"response.completed"}"#),
        Some(Marker::Done)
    );
    assert_eq!(
        responses(r#"{"type":"x","type":"response.completed"}"#),
        Some(Marker::None)
    );
    assert_eq!(
        responses(r#"{"item":{"type":"error"},"type":"response.failed"}"#),
        Some(Marker::Failed)
    );
    assert_eq!(
        responses(r#"{"type":"x","response":{"error":{"a":1}}}"#),
        Some(Marker::None)
    );
    assert_eq!(
        responses(r#"{"type":"response.completed.and.a.good.deal.more"}"#),
        Some(Marker::None)
    );
}

#[test]
fn a_colon_makes_a_key_of_the_string_before_it_only() {
    for text in [
        r#"{"error",:{"a":1}}"#,
        r#"{"error"[:{"a":1}]}"#,
        r#"{"error"::{"a":1}}"#,
    ] {
        assert_eq!(
            shown(Dialect::OpenaiChat, text),
            Some(Marker::None),
            "{text}"
        );
    }
}
