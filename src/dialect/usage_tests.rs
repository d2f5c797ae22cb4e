//! Usage of every dialect, from streams and whole answers.

use super::{Usage, usage_in_document};
use crate::config::Dialect;
use crate::dialect::{BodyKind, Watcher};

type Figures = (Option<u64>, Option<u64>, Option<u64>, Option<u64>);

/// Prompt, completion, cached and reasoning tokens of a stream of these documents.
fn stream(dialect: Dialect, documents: &[&str]) -> Figures {
    let mut watcher = Watcher::new(dialect, BodyKind::Sse);
    for document in documents {
        watcher.feed(format!("data: {document}\n\n").as_bytes());
    }
    figures(watcher.usage())
}

fn figures(usage: Usage) -> Figures {
    (
        usage.prompt,
        usage.completion,
        usage.cached,
        usage.reasoning,
    )
}

#[test]
fn chat_usage() {
    let chat = |documents: &[&str]| stream(Dialect::OpenaiChat, documents);
    assert_eq!(
        chat(&[r#"{"choices":[],"usage":null}"#]),
        (None, None, None, None)
    );
    assert_eq!(
        chat(&[
            r#"{"usage":{"prompt_tokens":5,"completion_tokens":1}}"#,
            r#"{"usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":1}}}"#,
            r#"{"usage":null}"#,
        ]),
        (Some(5), Some(2), Some(3), Some(1))
    );
    assert_eq!(
        chat(&[
            r#"{"usage" : {"prompt_tokens":5,"completion_tokens":2,"prompt_cache_hit_tokens":4,"prompt_tokens_details":null}}"#
        ]),
        (Some(5), Some(2), Some(4), None)
    );
    // Where others have it.
    assert_eq!(
        chat(&[
            r#"{"choices":[{"delta":{},"usage":{"prompt_tokens":5,"completion_tokens":2,"cached_tokens":4}}]}"#
        ]),
        (Some(5), Some(2), Some(4), None)
    );
    // The models behind the sum are parts of it.
    let groq = r#"{"x_groq":{"usage":{"prompt_tokens":9,"completion_tokens":5},"usage_breakdown":{"models":[{"usage":{"prompt_tokens":4,"completion_tokens":2}},{"usage":{"prompt_tokens":5,"completion_tokens":3}}]}}}"#;
    assert_eq!(chat(&[groq]), (Some(9), Some(5), None, None));
    // Zeros take nothing back, and what a model says is no figure.
    assert_eq!(
        chat(&[
            r#"{"usage":{"prompt_tokens":5,"completion_tokens":2}}"#,
            r#"{"usage":{"prompt_tokens":0,"completion_tokens":0}}"#,
            r#"{"choices":[{"delta":{"content":"\"usage\":{\"prompt_tokens\":7}"}}]}"#,
        ]),
        (Some(5), Some(2), None, None)
    );
    assert_eq!(
        chat(&[r#"{"usage":{"prompt_tokens":0,"completion_tokens":0}}"#]),
        (Some(0), Some(0), None, None)
    );
}

#[test]
fn responses_usage() {
    let completed = r#"{"type":"response.completed","response":{"tools":[{"parameters":{"usage":{"type":"object"}}}],"usage":{"input_tokens":5,"input_tokens_details":{"cached_tokens":4},"output_tokens":3,"output_tokens_details":{"reasoning_tokens":2}}}}"#;
    let created = r#"{"type":"response.created","response":{"usage":null}}"#;
    assert_eq!(
        stream(Dialect::OpenaiResponses, &[created, completed]),
        (Some(5), Some(3), Some(4), Some(2))
    );
}

#[test]
fn messages_usage() {
    let messages = |documents: &[&str]| stream(Dialect::AnthropicMessages, documents);
    let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":100,"cache_creation_input_tokens":20,"output_tokens":1}}}"#;
    // A placeholder is no report: a cut answer would be charged a token.
    assert_eq!(messages(&[start]), (Some(125), None, Some(100), None));
    let delta = |usage: &str| format!(r#"{{"type":"message_delta","delta":{{}},"usage":{usage}}}"#);
    assert_eq!(
        messages(&[start, &delta(r#"{"output_tokens":9}"#)]),
        (Some(125), Some(9), Some(100), None)
    );
    assert_eq!(
        messages(&[start, &delta(r#"{"input_tokens":0,"output_tokens":9}"#)]),
        (Some(125), Some(9), Some(100), None)
    );
    // The last message of several.
    assert_eq!(
        messages(&[
            start,
            &delta(
                r#"{"input_tokens":8,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"output_tokens":9}"#
            )
        ]),
        (Some(8), Some(9), Some(0), None)
    );
}

#[test]
fn gemini_usage() {
    assert_eq!(
        stream(
            Dialect::Gemini,
            &[
                r#"{"usageMetadata":{"promptTokenCount":5,"thoughtsTokenCount":7}}"#,
                r#"{"usageMetadata":{"trafficType":"ON_DEMAND"}}"#,
                r#"{"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":3,"thoughtsTokenCount":7,"cachedContentTokenCount":2}}"#,
            ]
        ),
        (Some(5), Some(10), Some(2), Some(7))
    );
}

#[test]
fn whole_answers() {
    for (dialect, body, expected) in [
        (
            Dialect::OpenaiChat,
            r#" {"choices":[{"message":{"content":"Hello"}}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#,
            (Some(5), Some(2), 0),
        ),
        (
            Dialect::AnthropicMessages,
            r#"{"type":"message","content":[{"type":"text","text":"Hello"}],"usage":{"input_tokens":5,"output_tokens":2}}"#,
            (Some(5), Some(2), 0),
        ),
        (
            Dialect::Gemini,
            r#"[{"candidates":[{"content":{"parts":[{"text":"Hel"}]}}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":1}},
                {"candidates":[{"content":{"parts":[{"text":"lo"}]}}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2}}]"#,
            (Some(5), Some(2), 0),
        ),
        (
            Dialect::Ollama,
            r#"{"message":{"content":"Hello"},"done":true,"prompt_eval_count":5,"eval_count":2}"#,
            (Some(5), Some(2), 0),
        ),
        (
            Dialect::OpenaiChat,
            "no \"usage\":{\"prompt_tokens\":5}",
            (None, None, 0),
        ),
        (
            Dialect::Plain,
            r#"{"usage":{"prompt_tokens":5}}"#,
            (None, None, 0),
        ),
        (
            Dialect::OpenaiChat,
            r#"{"choices":[{"message":{"content":"Hello"}}],"usage":{"prompt_tokens":5}}"#,
            (Some(5), None, 5),
        ),
        (
            Dialect::AnthropicMessages,
            r#"{"type":"message","content":[{"type":"text","text":"Hello"}]}"#,
            (None, None, 5),
        ),
        (
            Dialect::Ollama,
            r#"{"message":{"content":"Hello"},"done":true}"#,
            (None, None, 5),
        ),
        (Dialect::OpenaiChat, "", (None, None, 0)),
    ] {
        let usage = usage_in_document(dialect, body.as_bytes());
        assert_eq!(
            (usage.prompt, usage.completion, usage.text_bytes),
            expected,
            "{body}"
        );
        assert_eq!(usage.deltas, u64::from(expected.2 > 0), "{body}");
    }
}

#[test]
fn delivered_is_reported_or_estimated() {
    let usage = |completion, deltas, text_bytes| Usage {
        completion,
        deltas,
        text_bytes,
        ..Usage::default()
    };
    assert_eq!(usage(Some(7), 100, 900).delivered(), Some((7, false)));
    assert_eq!(usage(Some(0), 3, 9).delivered(), Some((0, false)));
    assert_eq!(usage(None, 100, 90).delivered(), Some((100, true)));
    assert_eq!(usage(None, 2, 401).delivered(), Some((101, true)));
    assert_eq!(usage(None, 0, 0).delivered(), None);
}
