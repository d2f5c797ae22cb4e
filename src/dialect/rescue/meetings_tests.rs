//! Where two answers meet: what goes on, event by event.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::{Passed, Sequel, Transcript};
use crate::config::Dialect;

const CHAT: Dialect = Dialect::OpenaiChat;
const MESSAGES: Dialect = Dialect::AnthropicMessages;

/// A sequel of an answer of which these events were delivered.
fn sequel(dialect: Dialect, delivered: &[Value], is_prefilled: bool) -> Sequel {
    let mut transcript = Transcript::new(dialect);
    for event in delivered {
        transcript.take(event.to_string().as_bytes());
    }
    assert!(transcript.is_open());
    Sequel::after(&transcript, is_prefilled)
}

fn pass(sequel: &mut Sequel, event: &Value) -> Passed {
    sequel.pass(event.to_string().as_bytes())
}

fn instead(event: &Value) -> Passed {
    Passed::Instead(event.to_string().into_bytes())
}

fn chunk(id: &str, delta: &Value, finish: Option<&str>) -> Value {
    json!({
        "id": id, "created": id.len(), "model": id,
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
    })
}

fn said(text: &str) -> [Value; 1] {
    [chunk(
        "a",
        &json!({ "role": "assistant", "content": text }),
        None,
    )]
}

fn block(index: u64, kind: &str) -> Value {
    let block = json!({ "type": kind, "text": "" });
    json!({ "type": "content_block_start", "index": index, "content_block": block })
}

fn text(index: u64, text: &str) -> Value {
    let delta = json!({ "type": "text_delta", "text": text });
    json!({ "type": "content_block_delta", "index": index, "delta": delta })
}

fn stop(index: u64) -> Value {
    json!({ "type": "content_block_stop", "index": index })
}

fn begun() -> Value {
    json!({ "type": "message_start", "message": { "id": "a", "content": [] } })
}

fn ended() -> Value {
    json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": {} })
}

#[test]
fn a_chunk_becomes_one_of_the_first_answer_but_for_its_model() {
    let mut sequel = sequel(CHAT, &said("Gr\u{fc}"), false);
    let role = chunk(
        "other",
        &json!({ "role": "assistant", "content": "" }),
        None,
    );
    assert_eq!(pass(&mut sequel, &role), Passed::Drop);
    let half = chunk("other", &json!({ "content": "Gr" }), None);
    assert_eq!(pass(&mut sequel, &half), Passed::Drop);
    let over = json!({ "role": "assistant", "content": "\u{fc}\u{df}e" });
    let expected = json!({
        "id": "a", "created": 1, "model": "other",
        "choices": [{ "index": 0, "delta": { "content": "\u{df}e" }, "finish_reason": null }],
    });
    assert_eq!(
        pass(&mut sequel, &chunk("other", &over, None)),
        instead(&expected)
    );
    let own = chunk("a", &json!({ "content": "!" }), None);
    assert_eq!(pass(&mut sequel, &own), Passed::Keep);
    let counted = json!({ "id": "other", "choices": [], "usage": { "total_tokens": 3 } });
    let expected = json!({ "id": "a", "choices": [], "usage": { "total_tokens": 3 } });
    assert_eq!(pass(&mut sequel, &counted), instead(&expected));
    assert_eq!(sequel.pass(b"[DONE]"), Passed::Keep);
}

#[test]
fn the_last_text_may_end_the_answer() {
    let mut sequel = sequel(CHAT, &said("One"), false);
    let last = chunk("a", &json!({ "content": "One" }), Some("length"));
    let expected = chunk("a", &json!({ "content": "" }), Some("length"));
    assert_eq!(pass(&mut sequel, &last), instead(&expected));
}

#[test]
fn an_end_before_all_was_said_again_differs() {
    let finished = chunk("b", &json!({}), Some("stop"));
    let refused = chunk("b", &json!({ "refusal": "I" }), None);
    let called = chunk("b", &json!({ "tool_calls": [{ "index": 0 }] }), None);
    for event in [&finished, &refused, &called] {
        let mut sequel = sequel(CHAT, &said("One two"), false);
        let half = chunk("b", &json!({ "content": "One" }), None);
        assert_eq!(pass(&mut sequel, &half), Passed::Drop);
        assert_eq!(pass(&mut sequel, event), Passed::Differs);
        assert_eq!(pass(&mut sequel, &half), Passed::Differs);
    }
    assert_eq!(
        sequel(CHAT, &said("One"), false).pass(b"[DONE]"),
        Passed::Differs
    );
    for event in [
        ended(),
        stop(0),
        block(1, "tool_use"),
        json!({ "type": "message_stop" }),
    ] {
        let delivered = [begun(), block(0, "text"), text(0, "One")];
        let mut sequel = sequel(MESSAGES, &delivered, false);
        assert_eq!(pass(&mut sequel, &block(0, "text")), Passed::Drop);
        assert_eq!(pass(&mut sequel, &event), Passed::Differs, "{event}");
    }
}

#[test]
fn a_tool_call_may_follow_the_text() {
    for is_prefilled in [false, true] {
        let mut sequel = sequel(CHAT, &said("One"), is_prefilled);
        if !is_prefilled {
            let same = chunk("a", &json!({ "content": "One" }), None);
            assert_eq!(pass(&mut sequel, &same), Passed::Drop);
        }
        let call = chunk("a", &json!({ "tool_calls": [{ "index": 0 }] }), None);
        assert_eq!(pass(&mut sequel, &call), Passed::Keep);
        let end = chunk("a", &json!({}), Some("tool_calls"));
        assert_eq!(pass(&mut sequel, &end), Passed::Keep);
    }
}

#[test]
fn a_refusal_is_no_continuation() {
    let refused = chunk("b", &json!({ "refusal": "I" }), None);
    let mut after_text = sequel(CHAT, &said("One"), true);
    assert_eq!(pass(&mut after_text, &refused), Passed::Differs);
    let mut after_nothing = sequel(CHAT, &[], false);
    assert_eq!(pass(&mut after_nothing, &refused), Passed::Keep);
}

#[test]
fn one_that_thinks_in_place_of_going_on_is_no_continuation() {
    let thought = chunk("a", &json!({ "reasoning_content": "Hm" }), None);
    let end = chunk("a", &json!({}), Some("stop"));
    let mut lost = sequel(CHAT, &said("One"), true);
    assert_eq!(pass(&mut lost, &thought), Passed::Drop);
    assert_eq!(pass(&mut lost, &end), Passed::Differs);
    let mut found = sequel(CHAT, &said("One"), true);
    assert_eq!(pass(&mut found, &thought), Passed::Drop);
    let more = chunk(
        "a",
        &json!({ "content": " two", "reasoning_content": "!" }),
        None,
    );
    assert_ne!(pass(&mut found, &more), Passed::Drop);
    assert_eq!(pass(&mut found, &end), Passed::Keep);
}

#[test]
fn white_space_that_was_not_sent_may_come_again_or_not() {
    for (comes, goes) in [
        (" \n two", Some(" two")),
        (" ", None),
        ("two", Some("two")),
        ("\ttwo", Some("\ttwo")),
    ] {
        let mut sequel = sequel(CHAT, &said("One \n"), true);
        let event = chunk("a", &json!({ "content": comes }), None);
        let passed = match pass(&mut sequel, &event) {
            Passed::Drop => None,
            Passed::Keep => Some(comes.to_owned()),
            Passed::Instead(data) => {
                let event: Value = serde_json::from_slice(&data).unwrap();
                event["choices"][0]["delta"]["content"]
                    .as_str()
                    .map(str::to_owned)
            }
            passed => panic!("{passed:?}"),
        };
        assert_eq!(passed.as_deref(), goes, "{comes:?}");
    }
}

#[test]
fn errors_are_left_to_whoever_asked() {
    let error = json!({ "type": "error", "error": { "message": "m" } });
    assert_eq!(
        pass(&mut sequel(CHAT, &said("One"), false), &error),
        Passed::Keep
    );
    let delivered = [begun(), block(0, "text"), text(0, "One")];
    assert_eq!(
        pass(&mut sequel(MESSAGES, &delivered, false), &error),
        Passed::Keep
    );
}

#[test]
fn a_text_that_the_second_answer_lacks_is_ended() {
    let delivered = [begun(), block(0, "text"), text(0, "One")];
    let first = stop(0).to_string().into_bytes();
    let name = "content_block_stop";
    let mut ending = sequel(MESSAGES, &delivered, true);
    assert_eq!(pass(&mut ending, &begun()), Passed::Drop);
    let behind = Passed::Behind {
        name,
        first: first.clone(),
        data: None,
    };
    assert_eq!(pass(&mut ending, &ended()), behind);
    assert_eq!(
        pass(&mut ending, &json!({ "type": "message_stop" })),
        Passed::Keep
    );

    let mut calling = sequel(MESSAGES, &delivered, true);
    let data = Some(block(1, "tool_use").to_string().into_bytes());
    assert_eq!(
        pass(&mut calling, &block(0, "tool_use")),
        Passed::Behind { name, first, data }
    );
    assert_eq!(pass(&mut calling, &stop(0)), instead(&stop(1)));
}

#[test]
fn a_text_that_has_ended_is_not_begun_again_for_nothing() {
    let delivered = [begun(), block(0, "text"), text(0, "One "), stop(0)];
    let mut silent = sequel(MESSAGES, &delivered, true);
    assert_eq!(pass(&mut silent, &block(0, "text")), Passed::Drop);
    assert_eq!(pass(&mut silent, &text(0, " ")), Passed::Drop);
    assert_eq!(pass(&mut silent, &stop(0)), Passed::Drop);
    assert_eq!(pass(&mut silent, &ended()), Passed::Keep);

    let mut telling = sequel(MESSAGES, &delivered, true);
    assert_eq!(pass(&mut telling, &block(0, "text")), Passed::Drop);
    let behind = Passed::Behind {
        name: "content_block_start",
        first: block(1, "text").to_string().into_bytes(),
        data: Some(text(1, "two").to_string().into_bytes()),
    };
    assert_eq!(pass(&mut telling, &text(0, " two")), behind);
    assert_eq!(pass(&mut telling, &text(0, "!")), instead(&text(1, "!")));
    assert_eq!(pass(&mut telling, &stop(0)), instead(&stop(1)));
}

#[test]
fn blocks_go_on_where_the_first_answer_left_off() {
    let delivered = [
        begun(),
        block(0, "thinking"),
        stop(0),
        block(1, "text"),
        text(1, "One"),
    ];
    let mut sequel = sequel(MESSAGES, &delivered, false);
    for dropped in [begun(), block(0, "text"), text(0, "On")] {
        assert_eq!(pass(&mut sequel, &dropped), Passed::Drop);
    }
    assert_eq!(
        pass(&mut sequel, &text(0, "e two")),
        instead(&text(1, " two"))
    );
    assert_eq!(pass(&mut sequel, &stop(0)), instead(&stop(1)));
    assert_eq!(
        pass(&mut sequel, &block(1, "thinking")),
        instead(&block(2, "thinking"))
    );
    assert_eq!(pass(&mut sequel, &stop(1)), instead(&stop(2)));
    assert_eq!(
        pass(&mut sequel, &block(2, "tool_use")),
        instead(&block(3, "tool_use"))
    );
}

#[test]
fn the_first_events_go_on_if_none_was_delivered() {
    let mut chat = sequel(CHAT, &[], false);
    let role = chunk("b", &json!({ "role": "assistant", "content": "" }), None);
    assert_eq!(pass(&mut chat, &role), Passed::Keep);
    let mut messages = sequel(MESSAGES, &[], false);
    for event in [
        begun(),
        block(0, "thinking"),
        stop(0),
        block(1, "text"),
        text(1, "a"),
    ] {
        assert_eq!(pass(&mut messages, &event), Passed::Keep, "{event}");
    }
}

#[test]
fn white_space_behind_other_text_is_new() {
    let mut sequel = sequel(CHAT, &said("One \n"), true);
    for text in ["two", " \nthree", ""] {
        let event = chunk("a", &json!({ "content": text }), None);
        assert_eq!(pass(&mut sequel, &event), Passed::Keep, "{text:?}");
    }
}
