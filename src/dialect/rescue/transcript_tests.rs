//! What is kept of answers, and what closes them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::{LONGEST, Transcript};
use crate::config::Dialect;

fn after(dialect: Dialect, events: &[Value]) -> Transcript {
    let mut transcript = Transcript::new(dialect);
    for event in events {
        transcript.take(event.to_string().as_bytes());
    }
    transcript
}

fn chat(delta: &Value) -> Value {
    json!({ "id": "a", "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
}

fn block(index: u64, kind: &str) -> Value {
    let block = json!({ "type": kind, "text": "", "id": "t" });
    json!({ "type": "content_block_start", "index": index, "content_block": block })
}

fn text(index: u64, text: &str) -> Value {
    let delta = json!({ "type": "text_delta", "text": text });
    json!({ "type": "content_block_delta", "index": index, "delta": delta })
}

#[test]
fn a_chat_is_open_while_it_says_text() {
    let open = [
        json!({ "id": "", "choices": [], "prompt_filter_results": [{}] }),
        chat(&json!({ "role": "assistant", "content": null, "tool_calls": [], "refusal": null })),
        chat(&json!({ "content": "Gr\u{fc}\u{df}e" })),
        chat(&json!({ "content": "", "reasoning_content": null })),
        chat(&json!({ "content": " 🌍" })),
    ];
    let mut transcript = after(Dialect::OpenaiChat, &open);
    transcript.take(b"  ");
    assert!(transcript.is_open());
    assert_eq!(transcript.text(), "Gr\u{fc}\u{df}e 🌍");

    let mut second = chat(&json!({ "content": "b" }));
    second["choices"][0]["index"] = 1.into();
    let mut finished = chat(&json!({}));
    finished["choices"][0]["finish_reason"] = "stop".into();
    let mut counted = chat(&json!({ "content": "b" }));
    counted["choices"][0]["logprobs"] = json!({ "content": [{}] });
    for closing in [
        second,
        finished,
        counted,
        chat(&json!({ "tool_calls": [{ "index": 0 }] })),
        chat(&json!({ "function_call": { "name": "f" } })),
        chat(&json!({ "refusal": "I" })),
        chat(&json!({ "content": [{ "type": "text", "text": "b" }] })),
        chat(&json!({ "content": "b", "annotations": [{ "type": "url_citation" }] })),
        chat(&json!({ "audio": { "id": "a" } })),
        json!({ "error": { "message": "m" } }),
        json!({ "choices": [{}, {}] }),
        json!(["[DONE]"]),
    ] {
        let mut closed = transcript.clone();
        closed.take(closing.to_string().as_bytes());
        assert!(!closed.is_open(), "{closing}");
        closed.take(open[2].to_string().as_bytes());
        assert_eq!((closed.is_open(), closed.text()), (false, ""), "{closing}");
    }
    transcript.take(b"[DONE]");
    assert!(!transcript.is_open());
}

#[test]
fn nobody_goes_on_with_a_thought() {
    for name in ["reasoning", "reasoning_content"] {
        let mut events = vec![chat(&json!({ name: "Hm" }))];
        assert!(!after(Dialect::OpenaiChat, &events).is_open());
        events.push(chat(&json!({ "content": "" })));
        assert!(!after(Dialect::OpenaiChat, &events).is_open());
        events.push(chat(&json!({ "content": "So" })));
        assert!(after(Dialect::OpenaiChat, &events).is_open());
    }
    let stop = json!({ "type": "content_block_stop", "index": 0 });
    let mut events = vec![block(0, "thinking"), stop, block(1, "redacted_thinking")];
    assert!(!after(Dialect::AnthropicMessages, &events).is_open());
    events.push(json!({ "type": "content_block_stop", "index": 1 }));
    assert!(!after(Dialect::AnthropicMessages, &events).is_open());
    events.push(block(2, "text"));
    assert!(after(Dialect::AnthropicMessages, &events).is_open());
}

#[test]
fn a_message_is_open_while_it_says_one_text() {
    let start = json!({ "type": "message_start", "message": { "id": "a", "content": [] } });
    let stop = json!({ "type": "content_block_stop", "index": 0 });
    let ping = json!({ "type": "ping" });
    let events = [
        start.clone(),
        block(0, "text"),
        ping,
        text(0, "One"),
        text(0, " two"),
        stop,
    ];
    for upto in 0..=events.len() {
        assert!(
            after(Dialect::AnthropicMessages, &events[..upto]).is_open(),
            "{upto}"
        );
    }
    assert_eq!(after(Dialect::AnthropicMessages, &events).text(), "One two");
    for closing in [
        start,
        block(1, "text"),
        block(1, "tool_use"),
        block(1, "server_tool_use"),
        block(1, "thinking"),
        text(0, "behind its end"),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" } }),
        json!({ "type": "message_stop" }),
        json!({ "type": "error", "error": {} }),
        json!({ "type": "unknown" }),
        json!({}),
    ] {
        let mut closed = after(Dialect::AnthropicMessages, &events);
        closed.take(closing.to_string().as_bytes());
        assert!(!closed.is_open(), "{closing}");
    }
    let citing = json!({ "type": "citations_delta", "citation": {} });
    let citing = json!({ "type": "content_block_delta", "index": 0, "delta": citing });
    let closed = after(Dialect::AnthropicMessages, &[block(0, "text"), citing]);
    assert!(!closed.is_open());
}

#[test]
fn it_keeps_so_much_and_no_more() {
    let half = "a".repeat(LONGEST / 2);
    let events = vec![json!({ "choices": [{ "text": half }] }); 2];
    let mut transcript = after(Dialect::OpenaiText, &events);
    assert!(transcript.is_open());
    assert_eq!(transcript.text().len(), LONGEST);
    transcript.take(br#"{"choices":[{"text":"b"}]}"#);
    assert_eq!((transcript.is_open(), transcript.text()), (false, ""));
}

#[test]
fn other_dialects_are_never_open() {
    for dialect in [Dialect::OpenaiResponses, Dialect::Gemini, Dialect::Plain] {
        assert!(!Transcript::new(dialect).is_open());
    }
}
