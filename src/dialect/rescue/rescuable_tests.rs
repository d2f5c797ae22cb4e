//! Requests that may and may not be rescued.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::can_be_rescued;
use crate::config::Dialect;

fn plain(dialect: Dialect) -> Value {
    match dialect {
        Dialect::OpenaiText => json!({ "model": "m", "prompt": "Once", "stream": true }),
        _ => json!({
            "model": "m",
            "messages": [{ "role": "user", "content": "Hi" }],
            "stream": true,
        }),
    }
}

fn with(dialect: Dialect, members: &Value) -> bool {
    let mut request = plain(dialect);
    for (name, value) in members.as_object().unwrap() {
        request[name] = value.clone();
    }
    can_be_rescued(dialect, request.to_string().as_bytes())
}

#[test]
fn a_streamed_text_can_be_rescued() {
    for dialect in [
        Dialect::OpenaiChat,
        Dialect::OpenaiText,
        Dialect::AnthropicMessages,
    ] {
        assert!(with(dialect, &json!({})), "{dialect:?}");
        for members in [
            json!({ "n": 1, "logprobs": null, "response_format": null }),
            json!({ "response_format": { "type": "text" }, "max_tokens": 9, "seed": 1 }),
            json!({ "tools": [{}], "tool_choice": "auto", "echo": false, "best_of": 1 }),
            json!({ "tool_choice": { "type": "auto" }, "modalities": ["text"] }),
            json!({ "output_config": { "effort": "low" }, "thinking": { "type": "enabled" } }),
        ] {
            assert!(with(dialect, &members), "{dialect:?} {members}");
        }
    }
}

#[test]
fn more_than_a_text_cannot() {
    for members in [
        json!({ "stream": false }),
        json!({ "stream": null }),
        json!({ "n": 2 }),
        json!({ "best_of": 3 }),
        json!({ "response_format": { "type": "json_object" } }),
        json!({ "response_format": "json" }),
        json!({ "output_format": { "type": "json_schema" } }),
        json!({ "output_config": { "format": { "type": "json_schema" } } }),
        json!({ "tool_choice": "required" }),
        json!({ "tool_choice": { "type": "any" } }),
        json!({ "tool_choice": { "type": "function", "function": { "name": "f" } } }),
        json!({ "function_call": { "name": "f" } }),
        json!({ "guided_json": { "type": "object" } }),
        json!({ "structured_outputs": { "choice": ["a"] } }),
        json!({ "grammar": "root ::= \"a\"" }),
        json!({ "logprobs": true }),
        json!({ "top_logprobs": 2 }),
        json!({ "echo": true }),
        json!({ "return_token_ids": true }),
        json!({ "modalities": ["text", "audio"] }),
    ] {
        for dialect in [
            Dialect::OpenaiChat,
            Dialect::OpenaiText,
            Dialect::AnthropicMessages,
        ] {
            assert!(!with(dialect, &members), "{dialect:?} {members}");
        }
    }
}

#[test]
fn a_completion_has_one_prompt() {
    let takes = |members: Value| with(Dialect::OpenaiText, &members);
    assert!(takes(json!({ "prompt": ["one"] })));
    assert!(takes(json!({ "prompt": [1, 2, 3] })));
    assert!(!takes(json!({ "prompt": ["one", "two"] })));
    assert!(!takes(json!({ "prompt": [[1], [2]] })));
    assert!(!takes(json!({ "prompt": [] })));
    assert!(!takes(json!({ "prompt": null })));
    assert!(!takes(json!({ "logprobs": 0 })));
}

#[test]
fn other_dialects_and_doubtful_bodies_cannot() {
    for dialect in [
        Dialect::OpenaiResponses,
        Dialect::Gemini,
        Dialect::Ollama,
        Dialect::Bedrock,
        Dialect::Plain,
    ] {
        assert!(!with(dialect, &json!({})), "{dialect:?}");
    }
    for body in [
        r#"{"stream":true,"n":1,"n":2}"#,
        r#"{"stream":true,"n":1,"\u006e":2}"#,
        r#"{"stream":true"#,
        r#"[{"stream":true}]"#,
        "",
    ] {
        assert!(
            !can_be_rescued(Dialect::OpenaiChat, body.as_bytes()),
            "{body}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read(body in proptest::collection::vec(any::<u8>(), 0..99)) {
        can_be_rescued(Dialect::OpenaiChat, &body);
    }
}
