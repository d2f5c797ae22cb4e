//! Answers made of two.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::naive::{Read, read};
use super::super::prefill::parts;
use super::{Passed, Sequel, TextBlock, Transcript};
use crate::config::Dialect;

/// The shapes in which backends say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Openai,
    Vllm,
    LlamaCpp,
    DeepSeek,
    Mistral,
    Completion,
    Anthropic,
}

const CHATS: [Shape; 5] = [
    Shape::Openai,
    Shape::Vllm,
    Shape::LlamaCpp,
    Shape::DeepSeek,
    Shape::Mistral,
];

impl Shape {
    fn dialect(self) -> Dialect {
        match self {
            Self::Anthropic => Dialect::AnthropicMessages,
            Self::Completion => Dialect::OpenaiText,
            _ => Dialect::OpenaiChat,
        }
    }
}

/// An answer as one backend streams it.
#[derive(Debug, Clone)]
struct Answer {
    shape: Shape,
    id: &'static str,
    thoughts: Vec<String>,
    pieces: Vec<String>,
}

impl Answer {
    fn text(&self) -> String {
        self.pieces.concat()
    }

    fn events(&self) -> Vec<String> {
        match self.shape {
            Shape::Anthropic => self.blocks(),
            Shape::Completion => self.completion(),
            _ => self.chat(),
        }
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>) -> String {
        let choice =
            json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.id.len(),
            "model": self.id,
            "choices": [choice],
            "usage": null,
        })
        .to_string()
    }

    fn chat(&self) -> Vec<String> {
        let mut events = Vec::new();
        let mut role = json!("assistant");
        match self.shape {
            Shape::Mistral => {}
            Shape::LlamaCpp => {
                let delta = json!({ "role": role.take(), "content": null });
                events.push(self.chunk(&delta, None));
            }
            _ => {
                let delta = json!({ "role": role.take(), "content": "", "refusal": null });
                events.push(self.chunk(&delta, None));
            }
        }
        let name = if self.shape == Shape::Vllm {
            "reasoning"
        } else {
            "reasoning_content"
        };
        for thought in &self.thoughts {
            let delta = json!({ name: thought, "content": null });
            events.push(self.chunk(&delta, None));
        }
        let mut last = json!({});
        for (at, piece) in self.pieces.iter().enumerate() {
            let mut delta = json!({ "content": piece });
            if self.shape == Shape::DeepSeek {
                delta["reasoning_content"] = Value::Null;
            }
            if !role.is_null() {
                delta["role"] = role.take();
            }
            if self.shape == Shape::Mistral && at + 1 == self.pieces.len() {
                last = delta;
                continue;
            }
            events.push(self.chunk(&delta, None));
        }
        if matches!(self.shape, Shape::Vllm | Shape::DeepSeek) {
            last = json!({ "content": "" });
        }
        events.push(self.chunk(&last, Some("stop")));
        if self.shape == Shape::Openai {
            let usage = json!({ "id": self.id, "choices": [], "usage": { "total_tokens": 9 } });
            events.push(usage.to_string());
        }
        events.push("[DONE]".to_owned());
        events
    }

    fn completion(&self) -> Vec<String> {
        let chunk = |text: &str, finish: Option<&str>| {
            let choice =
                json!({ "text": text, "index": 0, "logprobs": null, "finish_reason": finish });
            json!({ "id": self.id, "created": 1, "choices": [choice] }).to_string()
        };
        let mut events: Vec<_> = self.pieces.iter().map(|piece| chunk(piece, None)).collect();
        events.push(chunk("", Some("stop")));
        events.push("[DONE]".to_owned());
        events
    }

    fn blocks(&self) -> Vec<String> {
        let message = json!({ "id": self.id, "role": "assistant", "content": [] });
        let mut events = vec![json!({ "type": "message_start", "message": message })];
        let mut index = 0;
        let mut put = |kind: &str, start: &str, deltas: Vec<Value>| {
            let block = json!({ "type": start, start: "" });
            events.push(
                json!({ "type": "content_block_start", "index": index, "content_block": block }),
            );
            events.push(json!({ "type": "ping" }));
            for mut delta in deltas {
                if delta["type"].is_null() {
                    delta["type"] = kind.into();
                }
                events
                    .push(json!({ "type": "content_block_delta", "index": index, "delta": delta }));
            }
            events.push(json!({ "type": "content_block_stop", "index": index }));
            index += 1;
        };
        if !self.thoughts.is_empty() {
            let thoughts = self.thoughts.iter();
            let mut deltas: Vec<_> = thoughts.map(|one| json!({ "thinking": one })).collect();
            deltas.push(json!({ "type": "signature_delta", "signature": "s" }));
            put("thinking_delta", "thinking", deltas);
        }
        if !self.pieces.is_empty() {
            let pieces = self.pieces.iter();
            put(
                "text_delta",
                "text",
                pieces.map(|one| json!({ "text": one })).collect(),
            );
        }
        let delta = json!({ "stop_reason": "end_turn" });
        events.push(
            json!({ "type": "message_delta", "delta": delta, "usage": { "output_tokens": 9 } }),
        );
        events.push(json!({ "type": "message_stop" }));
        events.iter().map(Value::to_string).collect()
    }
}

/// What was delivered of an answer, cut behind so many events.
fn cut(dialect: Dialect, events: &[Vec<u8>]) -> Transcript {
    let mut transcript = Transcript::new(dialect);
    events.iter().for_each(|event| transcript.take(event));
    transcript
}

fn owned(events: &[String]) -> Vec<Vec<u8>> {
    events.iter().map(|event| event.clone().into()).collect()
}

/// What goes on to the caller of a second answer; `None` where it differs.
fn passed(mut sequel: Sequel, second: &[String]) -> Option<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for event in second {
        match sequel.pass(event.as_bytes()) {
            Passed::Drop => {}
            Passed::Keep => all.push(event.clone().into()),
            Passed::Instead(data) => all.push(data),
            Passed::Behind { name, first, data } => {
                let kind = serde_json::from_slice::<Value>(&first).unwrap();
                assert_eq!(kind["type"], name);
                all.push(first);
                all.push(data.unwrap_or_else(|| event.clone().into()));
            }
            Passed::Differs => {
                assert_eq!(sequel.pass(b"[DONE]"), Passed::Differs);
                return None;
            }
        }
    }
    Some(all)
}

/// Texts in which characters of all lengths and white space meet.
fn texts() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[ab \n\u{e9}\u{4e16}\u{1f30d}\u{3000}\"]{0,4}", 0..6)
}

/// The same text in other pieces.
fn again(text: &str, sizes: &[usize]) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut chars = text.chars().peekable();
    let mut sizes = sizes.iter().copied().chain(std::iter::repeat(3));
    while chars.peek().is_some() {
        let size = sizes.next().unwrap_or(1);
        pieces.push(chars.by_ref().take(size).collect());
    }
    pieces
}

fn shapes() -> impl Strategy<Value = (Shape, Shape)> {
    let chats = (0..CHATS.len(), 0..CHATS.len()).prop_map(|(a, b)| (CHATS[a], CHATS[b]));
    prop_oneof![
        3 => chats,
        1 => Just((Shape::Completion, Shape::Completion)),
        2 => Just((Shape::Anthropic, Shape::Anthropic)),
    ]
}

fn assert_one(dialect: Dialect, read: &Read, text: &str, thoughts: &[String]) {
    assert_eq!(read.text, text);
    assert_eq!(read.reasoning, thoughts.concat());
    assert_eq!(read.ids.len(), 1, "{read:?}");
    let has_role = dialect != Dialect::OpenaiText;
    assert!(read.roles <= usize::from(has_role), "{read:?}");
    read.assert_whole();
}

proptest! {
    /// Begun anew and said in other pieces, at each cut.
    #[test]
    fn an_answer_begun_anew_is_delivered_once(
        (first, second) in shapes(),
        pieces in texts(),
        thoughts in proptest::collection::vec("[ab]{1,2}", 0..3),
        others in proptest::collection::vec("[ab]{1,2}", 0..3),
        sizes in proptest::collection::vec(0..4usize, 0..9),
    ) {
        let dialect = first.dialect();
        let thoughts = if first == Shape::Completion { Vec::new() } else { thoughts };
        let first = Answer { shape: first, id: "first", thoughts, pieces };
        let text = first.text();
        let pieces = again(&text, &sizes);
        let second = Answer { shape: second, id: "other", thoughts: others, pieces };
        let whole = owned(&first.events());
        for at in 0..whole.len() {
            let transcript = cut(dialect, &whole[..at]);
            if !transcript.is_open() {
                continue;
            }
            prop_assert!(text.starts_with(transcript.text()));
            let delivered = &transcript.delivered;
            let has_begun = !transcript.text().is_empty() || delivered.text_block != TextBlock::None;
            let thoughts = if delivered.has_reasoned || has_begun {
                &first.thoughts
            } else if dialect == Dialect::OpenaiText {
                &Vec::new()
            } else {
                &second.thoughts
            };
            let sequel = Sequel::after(&transcript, false);
            let rest = passed(sequel, &second.events());
            let all = [whole[..at].to_vec(), rest.expect("the same text")].concat();
            assert_one(dialect, &read(dialect, &all), &text, thoughts);
        }
    }

    /// From the beginning that it is sent, at each cut and once more behind that.
    #[test]
    fn an_answer_from_its_beginning_is_delivered_once(
        (first, second) in shapes(),
        pieces in texts(),
        thoughts in proptest::collection::vec("[ab]{1,2}", 0..3),
        sizes in proptest::collection::vec(0..4usize, 0..9),
    ) {
        let dialect = first.dialect();
        let thoughts = if first == Shape::Completion { Vec::new() } else { thoughts };
        let first = Answer { shape: first, id: "first", thoughts, pieces };
        let text = first.text();
        let whole = owned(&first.events());
        for at in 0..whole.len() {
            let mut all = whole[..at].to_vec();
            for id in ["other", "third"] {
                let transcript = cut(dialect, &all);
                let sent = parts(transcript.text()).0;
                if !transcript.is_open() || sent.is_empty() {
                    break;
                }
                let pieces = again(&text[sent.len()..], &sizes);
                let next = Answer { shape: second, id, thoughts: Vec::new(), pieces };
                let rest = passed(Sequel::after(&transcript, true), &next.events());
                let rest = rest.expect("the rest of the same text");
                let whole = [all.clone(), rest.clone()].concat();
                assert_one(dialect, &read(dialect, &whole), &text, &first.thoughts);
                all.extend(rest.into_iter().take(at / 2));
            }
        }
    }

    /// Another text is another answer, unless it begins with what was delivered.
    #[test]
    fn another_text_differs(
        (first, second) in shapes(),
        pieces in texts(),
        others in texts(),
        keeps in 0..9usize,
    ) {
        let dialect = first.dialect();
        let first = Answer { shape: first, id: "first", thoughts: Vec::new(), pieces };
        let mut pieces = vec![first.text().chars().take(keeps).collect()];
        pieces.extend(others);
        let second = Answer { shape: second, id: "other", thoughts: Vec::new(), pieces };
        let (text, whole) = (second.text(), owned(&first.events()));
        for at in 0..whole.len() {
            let transcript = cut(dialect, &whole[..at]);
            if !transcript.is_open() {
                continue;
            }
            let fits = match transcript.delivered.text_block {
                TextBlock::Closed => text == transcript.text(),
                TextBlock::None | TextBlock::Open(_) => text.starts_with(transcript.text()),
            };
            let rest = passed(Sequel::after(&transcript, false), &second.events());
            prop_assert_eq!(rest.is_some(), fits);
            if let Some(rest) = rest {
                let all = [whole[..at].to_vec(), rest].concat();
                assert_one(dialect, &read(dialect, &all), &text, &[]);
            }
        }
    }

    /// Whatever comes, nothing panics, and no part of a text that differs gets through.
    #[test]
    fn any_events_are_taken(
        events in proptest::collection::vec(odd_events(), 0..12),
        cut_at in 0..12usize,
        is_prefilled: bool,
        at in 0..3usize,
    ) {
        let dialect = [Dialect::OpenaiChat, Dialect::OpenaiText, Dialect::AnthropicMessages][at];
        let (before, behind) = events.split_at(cut_at.min(events.len()));
        let transcript = cut(dialect, before);
        let mut sequel = Sequel::after(&transcript, is_prefilled);
        let mut has_differed = false;
        for event in behind {
            let differs = sequel.pass(event) == Passed::Differs;
            prop_assert!(differs || !has_differed);
            has_differed = differs;
        }
    }
}

/// Events that are nearly right, and some that are nothing.
fn odd_events() -> impl Strategy<Value = Vec<u8>> {
    let values = prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        Just(json!(u64::MAX)),
        "[ab]{0,2}".prop_map(Value::from),
        Just(json!("text_delta")),
        Just(json!("text")),
        Just(json!("thinking")),
    ];
    let values = proptest::collection::vec(values, 5);
    let events = (0..7usize, values).prop_map(|(kind, values)| {
        let [a, b, c, d, e] = <[Value; 5]>::try_from(values).unwrap();
        match kind {
            0 => json!({ "id": a, "choices": [{ "delta": { "content": b, "role": c }, "index": d }] }),
            1 => json!({ "id": a, "choices": [{ "text": b, "finish_reason": c }] }),
            2 => json!({ "choices": a, "error": b, "usage": c }),
            3 => json!({ "type": "content_block_start", "index": a, "content_block": { "type": b, "text": c } }),
            4 => json!({ "type": "content_block_delta", "index": a, "delta": { "type": b, "text": c } }),
            5 => json!({ "type": "content_block_stop", "index": a }),
            _ => json!([a, b, c, d, e]),
        }
        .to_string()
        .into_bytes()
    });
    prop_oneof![
        8 => events,
        1 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => Just(br#"{"type":"message_stop"}"#.to_vec()),
    ]
}
