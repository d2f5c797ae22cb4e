//! What is alike is told as if it had been read, and what is not alike is read.

use proptest::prelude::*;

use super::{Alike, LONGEST, MOST_IN_VAIN, odd_byte, text_len};
use crate::config::Dialect;
use crate::dialect::{BodyKind, Watcher};

const CHAT: &str = r#"data: {"id":"a","model":"m","choices":[{"index":0,"delta":{"content":"@"},"finish_reason":null}]}"#;
const CALL: &str = r#"data: {"id":"a","model":"m","choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"@"}}]}}]}"#;
const TWICE: &str = r#"data: {"id":"a","model":"m","choices":[{"delta":{"reasoning":"abc","reasoning_content":"@"}}]}"#;
const MESSAGES: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"@\"}}";
const COMPLETION: &str = r#"data: {"model":"m","choices":[{"text":"@","index":0,"usage":null}]}"#;

fn event(template: &str, text: &str) -> String {
    template.replace('@', text) + "\n\n"
}

/// What was learnt from an event, shown another one: the length of its text.
fn taken(dialect: Dialect, learnt: &str, shown: &str) -> Option<usize> {
    let mut alike = Alike::default();
    alike.learn(dialect, learnt.as_bytes());
    alike.take(shown.as_bytes()).map(|(text, behind)| {
        assert!(behind.is_empty(), "{shown:?}");
        text
    })
}

#[test]
fn another_text_is_alike_and_anything_else_is_not() {
    use Dialect::{AnthropicMessages, OpenaiChat, OpenaiText};
    for (dialect, template) in [
        (OpenaiChat, CHAT),
        (OpenaiChat, CALL),
        (OpenaiText, COMPLETION),
        (AnthropicMessages, MESSAGES),
    ] {
        let learnt = event(template, "Hello");
        for text in [
            "a",
            "Hello",
            "a longer one, of \\n two lines",
            "\\\"error\\\":1",
        ] {
            let shown = event(template, text);
            assert_eq!(taken(dialect, &learnt, &shown), Some(text.len()), "{shown}");
        }
        for text in ["", "\\", "a\",\"b\":\"", "\n", "\r", "\0"] {
            let shown = event(template, text);
            assert_eq!(taken(dialect, &learnt, &shown), None, "{shown}");
        }
        let shown = event(template, "a");
        assert_eq!(taken(dialect, &learnt, &shown[..shown.len() - 1]), None);
        assert_eq!(
            taken(dialect, &learnt, &shown.replace("index", "Index")),
            None
        );
    }
}

#[test]
fn what_is_more_than_text_is_not_learnt() {
    let chat = |changed: &str, into: &str| event(&CHAT.replace(changed, into), "Hello");
    for learnt in [
        chat("null", "\"stop\""),
        chat("\"id\":\"a\"", "\"error\":{\"message\":\"Hello\"}"),
        chat("\"id\":\"a\"", "\"usage\":{\"prompt_tokens\":1}"),
        chat("data:", "event: error\ndata:"),
        chat("data:", "id: 1\ndata:"),
        chat("\"a\"", &format!("\"{}\"", "a".repeat(LONGEST))),
        chat("\"content\"", "\"role\""),
        event(CHAT, ""),
        event(TWICE, "Hello"),
        "data: [DONE]\n\n".to_owned(),
        "data: {}\n\n".to_owned(),
    ] {
        let dialect = Dialect::OpenaiChat;
        assert_eq!(taken(dialect, &learnt, &learnt), None, "{learnt}");
    }
    let named = event(MESSAGES, "Hello").replacen("content_block_delta", "message_stop", 1);
    assert_eq!(taken(Dialect::AnthropicMessages, &named, &named), None);
}

#[test]
fn of_several_events_the_last_is_learnt_and_all_are_taken() {
    let mut alike = Alike::default();
    let two = event(COMPLETION, "x") + &event(CHAT, "Hello");
    alike.learn(Dialect::OpenaiChat, two.as_bytes());
    let shown = event(CHAT, "ab") + &event(CHAT, "c") + "data:";
    let (text, behind) = alike.take(shown.as_bytes()).unwrap();
    assert_eq!(text, 2);
    assert_eq!(alike.take(behind), Some((1, &b"data:"[..])));
}

#[test]
fn who_is_never_alike_is_not_learnt_from_for_ever() {
    let mut alike = Alike::default();
    for _ in 0..MOST_IN_VAIN {
        alike.learn(Dialect::OpenaiChat, b"data: {}\n\n");
    }
    let shown = event(CHAT, "a");
    alike.learn(Dialect::OpenaiChat, shown.as_bytes());
    assert_eq!(alike.take(shown.as_bytes()), None);
}

#[test]
fn a_text_is_as_long_as_it_is_written() {
    for len in 0..70 {
        let text = "é".repeat(len / 2) + &"a".repeat(len % 2);
        assert_eq!(text_len(format!("{text}\"").as_bytes()), Some(len));
        assert_eq!(text_len(format!("{text}\\\"\"").as_bytes()), Some(len + 2));
        assert_eq!(text_len(format!("{text}\n\"").as_bytes()), None);
        assert_eq!(text_len(format!("{text}\\").as_bytes()), None);
        assert_eq!(text_len(text.as_bytes()), None);
    }
}

fn watched<'a>(dialect: Dialect, pieces: impl Iterator<Item = &'a [u8]>) -> Watcher {
    let mut watcher = Watcher::new(dialect, BodyKind::Sse);
    pieces.for_each(|piece| watcher.feed(piece));
    watcher
}

proptest! {
    #[test]
    fn the_first_odd_byte_is_found(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let is_odd = |byte: &u8| *byte < b' ' || b"\"\\".contains(byte);
        prop_assert_eq!(odd_byte(&bytes), bytes.iter().position(is_odd));
        let even: Vec<u8> = bytes.into_iter().filter(|byte| !is_odd(byte)).collect();
        prop_assert_eq!(odd_byte(&even), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// A stream is told the same when its events come whole, and are compared, and byte by byte, when they cannot be.
    #[test]
    fn compared_is_as_read(
        events in prop::collection::vec(
            (
                prop::sample::select(&[CHAT, CHAT, CHAT, CALL, TWICE, MESSAGES, COMPLETION][..]),
                "([a-z é{}:,]|\\\\\"|\\\\\\\\|\\\\n|error|usage|delta){0,12}",
            ),
            1..20,
        ),
        dialect in prop::sample::select(
            &[Dialect::OpenaiChat, Dialect::OpenaiText, Dialect::AnthropicMessages][..],
        ),
    ) {
        let events: Vec<_> = events.iter().map(|(template, text)| event(template, text)).collect();
        let whole = watched(dialect, events.iter().map(String::as_bytes));
        let body = events.concat();
        let read = watched(dialect, body.as_bytes().chunks(1));
        prop_assert_eq!(whole.usage(), read.usage());
        prop_assert_eq!(whole.events(), read.events());
        prop_assert_eq!(whole.marker(), read.marker());
        prop_assert_eq!(whole.has_content(), read.has_content());
        prop_assert_eq!(whole.error(), read.error());
        prop_assert_eq!(whole.at_boundary(), read.at_boundary());
    }
}
