//! What is alike is told as if it had been read, and what is not alike is read.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::{Alike, COST, LONGEST};
use crate::config::Dialect;
use crate::dialect::{BodyKind, Watcher};

const CHAT: &str = r#"data: {"id":"a","model":"m","choices":[{"index":0,"delta":{"content":"@"},"finish_reason":null}]}"#;
const CALL: &str = r#"data: {"id":"a","model":"m","choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"@"}}]}}]}"#;
const TWICE: &str = r#"data: {"id":"a","model":"m","choices":[{"delta":{"reasoning":"abc","reasoning_content":"@"}}]}"#;
const MESSAGES: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"@\"}}";
const COMPLETION: &str = r#"data: {"model":"m","choices":[{"text":"@","index":0,"usage":null}]}"#;

const PADDED: &str =
    r#"data: {"model":"m","n":~,"choices":[{"delta":{"content":"@"}}],"pad":"^" }"#;
const DELTA: &str = r#"data: {"type":"response.output_text.delta","n":~,"delta":"@","pad":"^"}"#;

fn event(template: &str, text: &str) -> String {
    template.replace('@', text) + "\n\n"
}

/// An event that has a number and padding besides.
fn padded(template: &str, text: &str, number: usize) -> String {
    let padding = "+".repeat(number % 5);
    let blanks = " ".repeat(number % 3) + "}\n\n";
    event(template, text)
        .replace('~', &number.to_string())
        .replace('^', &padding)
        .replace(" }\n\n", &blanks)
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
fn what_says_nothing_may_be_new_each_time() {
    for (dialect, template) in [
        (Dialect::OpenaiChat, PADDED),
        (Dialect::OpenaiResponses, DELTA),
    ] {
        let mut alike = Alike::default();
        for number in [8, 9] {
            alike.learn(dialect, padded(template, "Hello", number).as_bytes());
        }
        for number in 0..200 {
            let shown = padded(template, "Hello you", number);
            assert_eq!(alike.take(shown.as_bytes()), Some((9, &b""[..])), "{shown}");
            for changed in [
                shown.replacen("n\":", "n\":-", 1),
                shown.replace("pad\":", "pad\": "),
            ] {
                assert_eq!(alike.take(changed.as_bytes()), None, "{changed}");
            }
        }
    }
}

#[test]
fn what_says_something_must_not() {
    let types = DELTA.replace("output_text.delta", "^");
    let usage = PADDED.replace("\"n\":~", "\"usage\":{\"prompt_tokens\":~}");
    for (dialect, template) in [
        (Dialect::OpenaiResponses, &*types),
        (Dialect::OpenaiChat, &*usage),
        (Dialect::OpenaiChat, TWICE),
        (Dialect::OpenaiChat, &PADDED.replace("pad", "type")),
    ] {
        let mut alike = Alike::default();
        let shown = |number| padded(&template.replace("abc", "^"), "Hello", number);
        for number in [6, 7, 8] {
            alike.learn(dialect, shown(number).as_bytes());
            let other = shown(number + 1);
            assert_eq!(alike.take(other.as_bytes()), None, "{other}");
        }
    }
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

/// How often it was learnt from events that have nothing in common.
fn learnt(events: u32, alike: &mut Alike) -> usize {
    let learns = |number: &u32| {
        let shown = format!(
            "data: {{\"a{number}\":1,\"choices\":[{{\"delta\":{{\"content\":\"x\"}}}}]}}\n\n"
        );
        alike.learn(Dialect::OpenaiChat, shown.as_bytes());
        alike
            .known
            .as_ref()
            .is_some_and(|known| *known.bytes == *shown.as_bytes())
    };
    (0..events).filter(learns).count()
}

#[test]
fn it_is_learnt_where_it_is_worth_it() {
    let mut alike = Alike::default();
    assert_eq!(learnt(1100, &mut alike), 11, "the 1st, the 2nd, the 4th…");
    let known = alike.known.as_ref().unwrap().bytes.clone();
    for _ in 0..COST {
        assert_eq!(learnt(1, &mut alike), 0);
        assert_eq!(alike.take(&known), Some((1, &b""[..])));
    }
    assert_eq!(
        learnt(10, &mut alike),
        1,
        "once for so many that were taken"
    );
}

fn watched<'a>(dialect: Dialect, pieces: impl Iterator<Item = &'a [u8]>) -> Watcher {
    let mut watcher = Watcher::new(dialect, BodyKind::Sse);
    pieces.for_each(|piece| watcher.feed(piece));
    watcher
}

/// Every recorded stream, in every API's eyes: told the same in one piece, where nothing is compared, and event by event.
#[test]
fn recordings_are_told_the_same_when_they_come_event_by_event() {
    let dialects = [
        Dialect::OpenaiChat,
        Dialect::OpenaiText,
        Dialect::OpenaiResponses,
        Dialect::AnthropicMessages,
        Dialect::Gemini,
    ];
    let bodies = recorded("response.sse");
    assert!(bodies.len() > 190, "only {}", bodies.len());
    for body in bodies {
        let mut events = Vec::new();
        let mut rest = &body[..];
        while let Some(end) = memchr::memmem::find(rest, b"\n\n") {
            let (event, behind) = rest.split_at(end + 2);
            events.push(event);
            rest = behind;
        }
        events.push(rest);
        for dialect in dialects {
            let whole = watched(dialect, [&body[..]].into_iter());
            let told = watched(dialect, events.iter().copied());
            assert_eq!(told.usage(), whole.usage(), "{dialect:?}");
            assert_eq!(told.events(), whole.events());
            assert_eq!(told.marker(), whole.marker());
            assert_eq!(told.model(), whole.model());
            assert_eq!(told.error(), whole.error());
        }
    }
}

/// The files of this name in all recordings.
fn recorded(file: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let within = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    within(&root)
        .flat_map(|backend| within(&backend.path()).collect::<Vec<_>>())
        .filter_map(|recording| fs::read(recording.path().join(file)).ok())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// A stream is told the same when its events come whole, and are compared, and byte by byte, when they cannot be.
    #[test]
    fn compared_is_as_read(
        events in prop::collection::vec(
            (
                prop::sample::select(&[CHAT, CHAT, PADDED, PADDED, PADDED, DELTA, DELTA, CALL, TWICE, MESSAGES, COMPLETION][..]),
                "([a-z é{}:,]|\\\\\"|\\\\\\\\|\\\\n|error|usage|delta){0,12}",
            ),
            1..40,
        ),
        dialect in prop::sample::select(
            &[
                Dialect::OpenaiChat,
                Dialect::OpenaiChat,
                Dialect::OpenaiText,
                Dialect::OpenaiResponses,
                Dialect::AnthropicMessages,
            ][..],
        ),
    ) {
        let events = events.iter().enumerate();
        let events: Vec<_> = events
            .map(|(number, (template, text))| padded(template, text, number))
            .collect();
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

/// A string that gives way to another one when it is short was taken for one that says nothing.
#[test]
fn a_string_that_counts_when_it_is_long_is_no_padding() {
    let shown = |reasoning: &str, text: &str| {
        let shape = TWICE.replace("abc", reasoning);
        event(&shape, text)
    };
    let mut alike = Alike::default();
    for reasoning in ["a", "b", "c", "d"] {
        alike.learn(Dialect::OpenaiChat, shown(reasoning, "Hello").as_bytes());
    }
    let long = shown(&"r".repeat(33), "x");
    assert_eq!(alike.take(long.as_bytes()), None);
}
