//! Requests for the rest of an answer.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{parts, prefilled};
use crate::config::{Dialect, Prefill};

const CHAT: &str = r#"{ "seed": 12345678901234567890123, "messages": [ {"role":"user","content":"Hi"} ], "x": 1.0e2 }"#;

fn asked(dialect: Dialect, body: &str, text: &str, how: Prefill) -> Option<String> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let asked = prefilled(dialect, &body, text, how)?;
    Some(String::from_utf8(asked.to_vec()).unwrap())
}

#[test]
fn a_message_of_the_assistant_is_put_behind_the_others() {
    let asked = |how| asked(Dialect::OpenaiChat, CHAT, "One \"two\" \n", how).unwrap();
    assert_eq!(
        asked(Prefill::Assistant),
        r#"{ "seed": 12345678901234567890123, "messages": [ {"role":"user","content":"Hi"} ,{"role":"assistant","content":"One \"two\""}], "x": 1.0e2 }"#
    );
    assert_eq!(
        asked(Prefill::Prefix),
        r#"{ "seed": 12345678901234567890123, "messages": [ {"role":"user","content":"Hi"} ,{"role":"assistant","content":"One \"two\"","prefix":true}], "x": 1.0e2 }"#
    );
    assert_eq!(
        asked(Prefill::Continue),
        r#"{ "seed": 12345678901234567890123, "messages": [ {"role":"user","content":"Hi"} ,{"role":"assistant","content":"One \"two\""}], "x": 1.0e2 ,"continue_final_message":true,"add_generation_prompt":false}"#
    );
}

#[test]
fn what_the_caller_said_about_continuing_is_replaced() {
    let body = r#"{"add_generation_prompt":true,"messages":[{"role":"user","content":"Hi"}]}"#;
    assert_eq!(
        asked(Dialect::OpenaiChat, body, "One", Prefill::Continue).unwrap(),
        r#"{"add_generation_prompt":false,"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"One"}],"continue_final_message":true}"#
    );
}

#[test]
fn a_beginning_of_the_callers_own_is_made_longer() {
    let body = r#"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Well, ","name":"a"}]}"#;
    for dialect in [Dialect::OpenaiChat, Dialect::AnthropicMessages] {
        assert_eq!(
            asked(dialect, body, "one ", Prefill::Assistant).unwrap(),
            r#"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Well, one","name":"a"}]}"#
        );
    }
    let listed = r#"{"messages":[{"role":"assistant","content":[{"type":"text","text":"Well"}]}]}"#;
    assert_eq!(
        asked(
            Dialect::AnthropicMessages,
            listed,
            "one",
            Prefill::Assistant
        ),
        None
    );
    let calling = r#"{"messages":[{"role":"assistant","content":"a","tool_calls":[]}]}"#;
    assert_eq!(
        asked(Dialect::OpenaiChat, calling, "one", Prefill::Prefix),
        None
    );
}

#[test]
fn anthropic_knows_no_marks_and_no_beginning_while_it_thinks() {
    let body = r#"{"messages":[{"role":"user","content":"Hi"}]}"#;
    for how in [Prefill::Assistant, Prefill::Prefix, Prefill::Continue] {
        assert_eq!(
            asked(Dialect::AnthropicMessages, body, "One\u{3000}", how).unwrap(),
            r#"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"One"}]}"#
        );
    }
    for (thinking, takes) in [("enabled", false), ("adaptive", false), ("disabled", true)] {
        let body = json!({
            "messages": [{ "role": "user", "content": "Hi" }],
            "thinking": { "type": thinking },
        });
        let asked = asked(
            Dialect::AnthropicMessages,
            &body.to_string(),
            "One",
            Prefill::Assistant,
        );
        assert_eq!(asked.is_some(), takes, "{thinking}");
    }
}

#[test]
fn a_prompt_is_made_longer() {
    let body = r#"{"prompt": "Once upon \u0061", "suffix":"."}"#;
    assert_eq!(
        asked(Dialect::OpenaiText, body, " time\n", Prefill::Assistant).unwrap(),
        r#"{"prompt": "Once upon a time", "suffix":"."}"#
    );
    for body in [r#"{"prompt":["a"]}"#, r#"{"prompt":null}"#, "{}"] {
        assert_eq!(
            asked(Dialect::OpenaiText, body, "b", Prefill::Assistant),
            None
        );
    }
}

#[test]
fn without_a_beginning_or_a_way_to_put_it_the_answer_begins_anew() {
    assert_eq!(asked(Dialect::OpenaiChat, CHAT, "One", Prefill::No), None);
    assert_eq!(
        asked(Dialect::OpenaiChat, CHAT, " \n", Prefill::Assistant),
        None
    );
    for body in [
        "",
        "{",
        "{}",
        "[]",
        r#"{"messages":[]}"#,
        r#"{"messages":"a"}"#,
    ] {
        assert_eq!(
            asked(Dialect::OpenaiChat, body, "One", Prefill::Assistant),
            None
        );
    }
    for dialect in [Dialect::OpenaiResponses, Dialect::Gemini, Dialect::Plain] {
        assert_eq!(asked(dialect, CHAT, "One", Prefill::Assistant), None);
    }
}

proptest! {
    #[test]
    fn the_beginning_is_the_text_without_its_white_end(text in any::<String>(), n in 1..4usize) {
        let messages = vec![json!({ "role": "user", "content": text }); n];
        let body = json!({ "a": 1, "messages": messages, "b": [2] });
        let asked = asked(Dialect::OpenaiChat, &body.to_string(), &text, Prefill::Assistant);
        let (sent, white) = parts(&text);
        prop_assert_eq!(sent.to_owned() + white, text.clone());
        prop_assert!(!sent.ends_with(char::is_whitespace));
        prop_assert_eq!(asked.is_some(), !sent.is_empty());
        if let Some(asked) = asked {
            let mut expected = body;
            let message = json!({ "role": "assistant", "content": sent });
            expected["messages"].as_array_mut().unwrap().push(message);
            let asked: Value = serde_json::from_str(&asked).unwrap();
            prop_assert_eq!(asked, expected);
        }
    }

    #[test]
    fn any_bytes_are_read(body in proptest::collection::vec(any::<u8>(), 0..99)) {
        prefilled(Dialect::OpenaiText, &body.into(), "a", Prefill::Assistant);
    }
}
