//! Content of every dialect.

use super::{Sight, in_document, in_event};
use crate::config::Dialect;

/// Text of so many bytes; 0 for content that is no text; none for no content.
fn sight(dialect: Dialect, document: &str) -> Option<u64> {
    let Sight {
        content, new, text, ..
    } = in_event(dialect, document.as_bytes());
    assert_eq!(content, new, "{document}");
    assert!(content || text == 0, "{document}");
    content.then_some(text)
}

#[test]
fn chat_content() {
    for (delta, expected) in [
        (r#"{"content":"Hi"}"#, Some(2)),
        (r#"{"role":"assistant","content":"a\n\"b\""}"#, Some(8)),
        (r#"{"role":"assistant","content":""}"#, None),
        (
            r#"{"role":"assistant","content":null,"tool_calls":null}"#,
            None,
        ),
        (r#"{"role":"assistant","content":[]}"#, None),
        (r#"{}"#, None),
        (r#"{"refusal":"No"}"#, Some(2)),
        (r#"{"refusal":null}"#, None),
        (r#"{"reasoning_content":"Hm"}"#, Some(2)),
        (r#"{"reasoning":"Hm","reasoning_content":"Hm"}"#, Some(2)),
        (
            r#"{"content":"","reasoning":"Hm","reasoning_details":[{"text":"Hm"}]}"#,
            Some(2),
        ),
        (
            r#"{"content":"","reasoning_details":[{"type":"reasoning.encrypted","data":"x"}]}"#,
            Some(0),
        ),
        (r#"{"content":"a","reasoning":"Hm"}"#, Some(3)),
        (
            r#"{"tool_calls":[{"index":0,"id":"1","function":{"name":"f","arguments":""}}]}"#,
            Some(0),
        ),
        (
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]}"#,
            Some(6),
        ),
        (r#"{"tool_calls":[]}"#, None),
        (
            r#"{"function_call":{"name":"f","arguments":"{}"}}"#,
            Some(2),
        ),
        (r#"{"audio":{"id":"x"}}"#, None),
        (r#"{"audio":{"id":"x","data":"AAAA"}}"#, Some(0)),
        (r#"{"audio":{"transcript":"Hi"}}"#, Some(2)),
        (
            r#"{"images":[{"type":"image_url","image_url":{"url":"data:"}}]}"#,
            Some(0),
        ),
        (r#"{"images":[]}"#, None),
        (r#"{"content":[{"type":"text","text":"Hi"}]}"#, Some(2)),
        (r#"{"content":[{"type":"text","text":""}]}"#, None),
        (
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"Hm"}]}]}"#,
            Some(2),
        ),
        (
            r#"{"content":[{"type":"reference","reference_ids":[1]}]}"#,
            Some(0),
        ),
    ] {
        let event = format!(
            r#"{{"id":"1","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#
        );
        assert_eq!(sight(Dialect::OpenaiChat, &event), expected, "{event}");
        let message = event.replace("\"delta\"", "\"message\"");
        assert_eq!(sight(Dialect::OpenaiChat, &message), expected, "{message}");
    }
    // What a message repeats does not count beside a delta.
    let both = r#"{"choices":[{"message":{"content":"Hello"},"delta":{"content":"lo"}}]}"#;
    assert_eq!(sight(Dialect::OpenaiChat, both), Some(2));
    let two = r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"bc"}}]}"#;
    assert_eq!(sight(Dialect::OpenaiChat, two), Some(3));
    let said = r#"{"choices":[{"delta":{"content":"{\"delta\":{\"content\":\"abc\"}}"}}]}"#;
    assert_eq!(sight(Dialect::OpenaiChat, said), Some(33));
    let error = r#"{"error":{"message":"no"}}"#;
    assert_eq!(sight(Dialect::OpenaiChat, error), None);
}

#[test]
fn completion_content() {
    let text = Dialect::OpenaiText;
    assert_eq!(
        sight(text, r#"{"choices":[{"text":"Hi","logprobs":null}]}"#),
        Some(2)
    );
    assert_eq!(sight(text, r#"{"choices":[{"text":""}]}"#), None);
    assert_eq!(sight(text, r#"{"choices":[],"usage":{}}"#), None);
}

#[test]
fn response_content() {
    let responses = Dialect::OpenaiResponses;
    for (event, expected) in [
        (
            r#"{"type":"response.output_text.delta","delta":"Hi"}"#,
            Some(2),
        ),
        (
            r#"{"sequence_number":1,"type":"response.refusal.delta","delta":"No"}"#,
            Some(2),
        ),
        (
            r#"{"type":"response.function_call_arguments.delta","delta":"{"}"#,
            Some(1),
        ),
        (r#"{"type":"response.audio.delta","delta":"AAAA"}"#, Some(0)),
        (
            r#"{"type":"response.audio.transcript.delta","delta":"Hi"}"#,
            Some(2),
        ),
        (r#"{"type":"response.output_text.delta","delta":""}"#, None),
        (
            r#"{"type":"response.output_text.delta","delta":null}"#,
            None,
        ),
        (
            r#"{"type":"response.created","response":{"output":[]}}"#,
            None,
        ),
        (
            r#"{"type":"response.output_item.added","item":{"type":"message","content":[]}}"#,
            None,
        ),
        (
            r#"{"type":"response.output_item.added","item":{"type":"function_call"}}"#,
            Some(0),
        ),
        (r#"{"type":"error","message":"no"}"#, None),
    ] {
        assert_eq!(sight(responses, event), expected, "{event}");
    }
    let repeated = Sight {
        content: true,
        ..Sight::default()
    };
    let item = r#"{"type":"message","content":[{"type":"output_text","text":"Hi"}]}"#;
    let done = format!(r#"{{"type":"response.output_item.done","item":{item}}}"#);
    assert_eq!(in_event(responses, done.as_bytes()), repeated);
    let completed = format!(r#"{{"type":"response.completed","response":{{"output":[{item}]}}}}"#);
    assert_eq!(in_event(responses, completed.as_bytes()), repeated);
    let empty = r#"{"type":"response.completed","response":{"output":[{"type":"reasoning","summary":[]}]}}"#;
    assert_eq!(in_event(responses, empty.as_bytes()), Sight::default());
    let whole = format!(r#"{{"id":"1","output":[{item},{item}]}}"#);
    assert_eq!(in_document(responses, whole.as_bytes()).text, 4);
}

#[test]
fn messages_content() {
    let start = |block: &str| {
        format!(r#"{{"type":"content_block_start","index":0,"content_block":{block}}}"#)
    };
    let delta =
        |delta: &str| format!(r#"{{"type":"content_block_delta","index":0,"delta":{delta}}}"#);
    for (event, expected) in [
        (delta(r#"{"type":"text_delta","text":"Hi"}"#), Some(2)),
        (
            delta(r#"{"type":"thinking_delta","thinking":"Hm"}"#),
            Some(2),
        ),
        (
            delta(r#"{"type":"input_json_delta","partial_json":"{\"a"}"#),
            Some(4),
        ),
        (
            delta(r#"{"type":"input_json_delta","partial_json":""}"#),
            None,
        ),
        (
            delta(r#"{"type":"signature_delta","signature":"abc"}"#),
            None,
        ),
        (delta(r#"{"type":"text_delta","text":""}"#), None),
        (start(r#"{"type":"text","text":""}"#), None),
        (start(r#"{"type":"text","text":"Hi"}"#), Some(2)),
        (
            start(r#"{"type":"thinking","thinking":"","signature":""}"#),
            None,
        ),
        (
            start(r#"{"type":"tool_use","id":"1","name":"f","input":{}}"#),
            Some(0),
        ),
        (start(r#"{"type":"tool_use","input":{"a": 1}}"#), Some(7)),
        (start(r#"{"type":"redacted_thinking","data":"x"}"#), Some(0)),
        (r#"{"type":"ping"}"#.into(), None),
        (
            r#"{"type":"message_start","message":{"content":[]}}"#.into(),
            None,
        ),
        (
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#.into(),
            None,
        ),
        (r#"{"type":"error","error":{"message":"no"}}"#.into(), None),
    ] {
        assert_eq!(
            sight(Dialect::AnthropicMessages, &event),
            expected,
            "{event}"
        );
    }
    let whole = br#"{"type":"message","content":[{"type":"thinking","thinking":"Hm"},{"type":"text","text":"Hi"}]}"#;
    assert_eq!(in_document(Dialect::AnthropicMessages, whole).text, 4);
}

#[test]
fn gemini_content() {
    for (part, expected) in [
        (r#"{"text":"Hi"}"#, Some(2)),
        (r#"{"text": "Hm", "thought": true}"#, Some(2)),
        (r#"{"text":"","thoughtSignature":"abc"}"#, None),
        (
            r#"{"functionCall":{"name":"f","args":{ "a" : 1 }}}"#,
            Some(7),
        ),
        (r#"{"functionCall":{}}"#, None),
        (
            r#"{"inlineData":{"mimeType":"image/png","data":"AAAA"}}"#,
            Some(0),
        ),
        (r#"{"executableCode":{"code":"1+1"}}"#, Some(3)),
    ] {
        let event =
            format!(r#"{{"candidates":[{{"content":{{"parts":[{part}],"role":"model"}}}}]}}"#);
        assert_eq!(sight(Dialect::Gemini, &event), expected, "{event}");
        let wrapped = format!(r#"{{"response":{event}}}"#);
        assert_eq!(sight(Dialect::Gemini, &wrapped), expected, "{wrapped}");
    }
    assert_eq!(sight(Dialect::Gemini, r#"{"usageMetadata":{}}"#), None);
}

#[test]
fn ollama_content() {
    for (line, expected) in [
        (
            r#"{"message":{"role":"assistant","content":"Hi"},"done":false}"#,
            Some(2),
        ),
        (
            r#"{"message":{"role":"assistant","content":"","thinking":"Hm"},"done":false}"#,
            Some(2),
        ),
        (
            r#"{"message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]}}"#,
            Some(7),
        ),
        (
            r#"{"message":{"role":"assistant","content":""},"done":true}"#,
            None,
        ),
        (r#"{"response":"Hi","done":false}"#, Some(2)),
        (r#"{"response":"","done":true,"context":[1,2]}"#, None),
        (r#"{"error":"no"}"#, None),
    ] {
        assert_eq!(sight(Dialect::Ollama, line), expected, "{line}");
    }
}
