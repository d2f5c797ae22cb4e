//! Whole answers through a watcher.

#![allow(clippy::unwrap_used)]

use crate::config::Dialect;
use crate::dialect::{BodyKind, Usage, Watcher, usage_in_document};

fn watch(dialect: Dialect, body: &[u8], piece: usize) -> Watcher {
    let mut watcher = Watcher::new(dialect, BodyKind::Opaque);
    for piece in body.chunks(piece) {
        watcher.feed(piece);
    }
    watcher
}

#[test]
fn a_whole_answer_tells_its_usage_at_its_end() {
    let body = br#"
        {"model":"m","choices":[{"message":{"content":"Hello"}}],
         "usage":{"prompt_tokens":5,"completion_tokens":2}}
    "#;
    let usage = usage_in_document(Dialect::OpenaiChat, body);
    assert_eq!(
        (usage.prompt, usage.completion, usage.deltas),
        (Some(5), Some(2), 0)
    );
    for piece in 1..body.len() {
        let watcher = watch(Dialect::OpenaiChat, body, piece);
        assert_eq!(watcher.usage(), usage, "{piece}");
        assert_eq!(watcher.model(), Some("m"));
        assert!(!watcher.has_content() && watcher.error().is_none());
    }
    for cut in 0..body.trim_ascii_end().len() {
        let watcher = watch(Dialect::OpenaiChat, &body[..cut], 7);
        assert_eq!(watcher.usage(), Usage::default(), "{cut}");
        assert_eq!(watcher.model(), None, "{cut}");
    }
}

#[test]
fn a_long_answer_tells_its_usage() {
    let text = "word ".repeat(100_000);
    let body = format!(
        "{{\"output\":[{{\"content\":[{{\"text\":\"{text}\"}}]}}],\"usage\":{{\"output_tokens\":100000}}}}"
    );
    let watcher = watch(Dialect::OpenaiResponses, body.as_bytes(), 16_384);
    assert_eq!(watcher.usage().completion, Some(100_000));
}

#[test]
fn other_bodies_tell_nothing() {
    let json = br#"{"usage":{"prompt_tokens":5}}"#;
    for (dialect, body) in [
        (Dialect::Plain, json.to_vec()),
        (Dialect::Bedrock, json.to_vec()),
        (Dialect::OpenaiChat, [b"\x1f\x8b", &json[..]].concat()),
        (Dialect::OpenaiChat, Vec::new()),
    ] {
        let watcher = watch(dialect, &body, 5);
        assert_eq!(watcher.usage(), Usage::default());
    }
}
