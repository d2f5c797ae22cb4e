//! What failed answers mean: recorded ones, ones written after what servers send, and any bytes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{trouble, trouble_in_event, wants_body};
use crate::config::{Dialect, Remedy, Trouble};
use Dialect::{AnthropicMessages, Bedrock, Gemini, Ollama, OpenaiChat, OpenaiResponses, Plain};
use Trouble::{
    ContextLength, Credentials, Failed, Overloaded, Quota, RateLimited, Refused, Transient,
    UnknownModel,
};

/// Every recorded answer with a status of 400 or more.
const RECORDED: &[(&str, Trouble)] = &[
    ("anthropic/messages-400-f036", ContextLength),
    ("anthropic/messages-404-0945", UnknownModel),
    ("anthropic/messages-429-1eca", RateLimited),
    ("anthropic/messages-429-4e81", RateLimited),
    ("anthropic/messages-429-d57e", RateLimited),
    ("anthropic/messages-429-e928", RateLimited),
    ("anthropic/messages-529-9c5a", Overloaded),
    ("anthropic/messages-529-bb98", Overloaded),
    ("azure-foundry/chat-429-ede2", RateLimited),
    ("azure-foundry/chat-500-5272", Failed),
    ("azure-openai/chat-404-31b3", UnknownModel),
    ("bedrock/converse-400-5bf9", UnknownModel),
    ("bedrock/converse-403-77c0", Credentials),
    ("bedrock/converse-404-8f09", UnknownModel),
    // Cohere's own API is no dialect of ours: its status counts alone.
    ("cohere/v2-400-6bed", Refused),
    ("cohere/v2-401-7b1d", Credentials),
    ("deepseek/chat-400-bbac", ContextLength),
    ("deepseek/chat-401-4c2d", Credentials),
    ("deepseek/responses-400-480d", Refused),
    ("doubleword/chat-403-c377", Credentials),
    ("gemini/generate-400-2ba1", Refused),
    ("gemini/generate-400-d3f5", Credentials),
    ("gemini/generate-404-1fc2", UnknownModel),
    ("gemini/generate-404-6823", UnknownModel),
    ("gemini/generate-404-83a5", UnknownModel),
    // A limit a minute, for all that it says of quotas and billing.
    ("gemini/generate-429-4ac4", RateLimited),
    ("gemini/generate-429-c15d", RateLimited),
    ("groq/chat-400-5fb6", Refused),
    ("groq/chat-401-6737", Credentials),
    ("groq/chat-404-2435", UnknownModel),
    ("groq/chat-429-d723", RateLimited),
    ("huggingface-router/chat-422-745c", Refused),
    ("mistral/chat-401-8766", Credentials),
    ("ollama-cloud/chat-401-594f", Credentials),
    ("openai-chatgpt-codex/responses-401-93d3", Credentials),
    ("openai/chat-400-0c36", Refused),
    ("openai/chat-400-8b06", Refused),
    ("openai/chat-400-d4bd", Refused),
    ("openai/completions-400-d771", Refused),
    ("openai/completions-404-3a7a", UnknownModel),
    ("openai/responses-400-0713", Refused),
    ("openai/responses-400-1bc1", ContextLength),
    ("openai/responses-400-6a2d", UnknownModel),
    ("openai/responses-400-9972", Refused),
    ("openai/responses-401-dc8d", Credentials),
    ("openai/responses-500-c35f", Failed),
    ("openrouter/chat-429-6c29", RateLimited),
    ("openrouter/chat-429-da28", RateLimited),
    ("perplexity/chat-401-fcfe", Credentials),
    ("together/chat-500-385e", Failed),
    ("venice/chat-404-2819", UnknownModel),
    ("vertex/generate-400-b89b", Credentials),
    ("vertex/generate-400-bf81", ContextLength),
    ("vertex/generate-403-8fac", Credentials),
    // A limit of nothing, which no pause outlasts.
    ("vertex/generate-429-e647", Quota),
    ("vertex/generate-429-ed10", RateLimited),
    ("xai/chat-503-b5d4", Overloaded),
    ("xai/responses-400-89f2", Credentials),
];

struct Recorded {
    dialect: Dialect,
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// The recorded answers with such a status, by name.
fn recorded(wanted: fn(u64) -> bool) -> BTreeMap<String, Recorded> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let folders = |path: &Path| -> Vec<_> {
        let entries = fs::read_dir(path).unwrap().map(|e| e.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    };
    let mut found = BTreeMap::new();
    for folder in folders(&root).iter().flat_map(|provider| folders(provider)) {
        let meta = fs::read(folder.join("meta.json")).unwrap();
        let meta: Value = serde_json::from_slice(&meta).unwrap();
        let status = meta["status"].as_u64().unwrap();
        if wanted(status) {
            let name = folder.strip_prefix(&root).unwrap().to_str().unwrap();
            let body = ["response.json", "response.sse", "response.ndjson"]
                .iter()
                .chain(&["response.txt", "response.bin"])
                .find_map(|file| fs::read(folder.join(file)).ok());
            let answer = Recorded {
                dialect: dialect(meta["dialect"].as_str().unwrap()),
                status: StatusCode::from_u16(status.try_into().unwrap()).unwrap(),
                headers: headers(&meta["response_headers"]),
                body: body.unwrap_or_else(|| panic!("{name} has no body")),
            };
            found.insert(name.replace('\\', "/"), answer);
        }
    }
    found
}

fn dialect(name: &str) -> Dialect {
    match name {
        "openai-chat" => OpenaiChat,
        "openai-completions" => Dialect::OpenaiText,
        "openai-responses" => OpenaiResponses,
        "anthropic-messages" => AnthropicMessages,
        "gemini" => Gemini,
        name if name.starts_with("ollama") => Ollama,
        name if name.starts_with("bedrock") => Bedrock,
        _ => Plain,
    }
}

fn headers(of: &Value) -> HeaderMap {
    let members = of.as_object().into_iter().flatten();
    members
        .filter_map(|(name, value)| {
            let name = HeaderName::try_from(name.as_str()).ok()?;
            Some((name, HeaderValue::from_str(value.as_str()?).ok()?))
        })
        .collect()
}

#[test]
fn recorded_errors_are_told_apart() {
    let found: Vec<_> = recorded(|status| status >= 400)
        .into_iter()
        .map(|(name, answer)| {
            let body = Some(&answer.body[..]);
            let trouble = trouble(answer.dialect, answer.status, &answer.headers, body);
            (name, trouble.expect("a failed answer is some trouble"))
        })
        .collect();
    let expected: Vec<_> = RECORDED
        .iter()
        .map(|(name, trouble)| ((*name).to_owned(), *trouble))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn recorded_successes_are_no_trouble() {
    let answers = recorded(|status| status < 400);
    assert!(answers.len() > 200, "only {}", answers.len());
    for (name, answer) in answers {
        // Streams are not judged whole; their errors are in their events.
        let body = answer.body.starts_with(b"{").then_some(&answer.body[..]);
        let trouble = trouble(answer.dialect, answer.status, &answer.headers, body);
        assert_eq!(trouble, None, "{name}");
    }
}

#[test]
fn recorded_errors_inside_streams_are_told_apart() {
    let cases = [
        ("anthropic/messages-error-event-2113", Overloaded),
        ("anthropic/messages-error-event-244e", Overloaded),
        ("openai/chat-midstream-error-5774", Failed),
        (
            "openrouter/chat-midstream-error-reasoning-comments-b4d2",
            Refused,
        ),
    ];
    let answers = recorded(|status| status == 200);
    for (name, expected) in cases {
        let answer = &answers[name];
        let text = std::str::from_utf8(&answer.body).unwrap();
        let mut data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        let error = data.find(|data| data.contains("\"error\"")).unwrap();
        assert_eq!(
            trouble_in_event(answer.dialect, error.as_bytes()),
            expected,
            "{name}"
        );
    }
    // Bare JSON behind two events.
    let blocked = std::str::from_utf8(&answers["vertex/generate-blocked-fdcb"].body).unwrap();
    let error = &blocked[blocked.rfind("\n{").unwrap()..];
    assert_eq!(trouble_in_event(Gemini, error.as_bytes()), Transient);
}

#[test]
fn coheres_words_are_known_where_they_come_in_a_dialect() {
    let answers = recorded(|status| status == 400);
    let body = &answers["cohere/v2-400-6bed"].body;
    assert_eq!(of(OpenaiChat, 400, body), ContextLength);
}

fn of(dialect: Dialect, status: u16, body: &[u8]) -> Trouble {
    let status = StatusCode::from_u16(status).unwrap();
    trouble(dialect, status, &HeaderMap::new(), Some(body)).unwrap()
}

/// An error as OpenAI puts it.
fn openai(kind: Value, code: Value, message: &str) -> Value {
    json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
}

/// Each line of `shapes.txt`.
#[test]
fn errors_as_servers_send_them() {
    let text = include_str!("trouble/shapes.txt");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut seen = 0;
    for line in lines {
        let mut parts = line.splitn(4, ' ');
        let mut part = || parts.next().unwrap_or_else(|| panic!("short: {line}"));
        let (expected, dialect, status, body) = (part(), by_name(part()), part(), part());
        let whole: Result<Value, _> = serde_json::from_str(body);
        assert!(whole.is_ok(), "no JSON: {line}");
        let found = match status {
            "event" => trouble_in_event(dialect, body.as_bytes()),
            status => of(dialect, status.parse().unwrap(), body.as_bytes()),
        };
        assert_eq!(found.word(), expected, "{line}");
        seen += 1;
    }
    assert!(seen > 80, "only {seen}");
}

fn by_name(name: &str) -> Dialect {
    let all = [
        OpenaiChat,
        OpenaiResponses,
        AnthropicMessages,
        Gemini,
        Ollama,
        Bedrock,
    ];
    let named = all.into_iter().find(|one| format!("{one:?}") == name);
    named.unwrap_or_else(|| panic!("no dialect {name}"))
}

#[test]
fn statuses_alone() {
    let cases = [
        (200, None),
        (204, None),
        (304, None),
        (400, Some(Refused)),
        (401, Some(Credentials)),
        (402, Some(Quota)),
        (403, Some(Credentials)),
        (404, Some(Refused)),
        (405, Some(Refused)),
        (408, Some(Transient)),
        (409, Some(Transient)),
        (413, Some(Refused)),
        (422, Some(Refused)),
        (425, Some(Transient)),
        (429, Some(RateLimited)),
        (451, Some(Refused)),
        (500, Some(Failed)),
        (502, Some(Failed)),
        (503, Some(Overloaded)),
        (504, Some(Failed)),
        (520, Some(Failed)),
        (527, Some(Failed)),
        (529, Some(Overloaded)),
        (999, Some(Failed)),
    ];
    for (status, expected) in cases {
        let status = StatusCode::from_u16(status).unwrap();
        for dialect in [Plain, OpenaiChat, Bedrock, Ollama] {
            let found = trouble(dialect, status, &HeaderMap::new(), None);
            assert_eq!(found, expected, "{dialect:?} {status}");
        }
    }
}

#[test]
fn without_a_dialect_bodies_say_nothing() {
    let body = openai(Value::Null, json!("context_length_exceeded"), "").to_string();
    assert_eq!(of(Plain, 400, body.as_bytes()), Refused);
    let model = br#"{"error":"model 'x' not found"}"#;
    assert_eq!(of(Plain, 404, model), Refused);
    assert_eq!(trouble_in_event(Plain, body.as_bytes()), Failed);
    for status in 100..=999 {
        let status = StatusCode::from_u16(status).unwrap();
        assert!(!wants_body(Plain, status), "{status}");
    }
}

#[test]
fn bodies_are_wanted_where_they_matter() {
    let wanted = [400, 403, 404, 413, 422, 424, 429, 451, 498, 500, 502, 503];
    let settled = [200, 301, 401, 402, 408, 409, 425, 520, 529];
    for (statuses, expected) in [(&wanted[..], true), (&settled[..], false)] {
        for status in statuses {
            let status = StatusCode::from_u16(*status).unwrap();
            assert_eq!(wants_body(OpenaiChat, status), expected, "{status}");
        }
    }
}

#[test]
fn contexts_too_long() {
    let messages = [
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 8545 tokens.",
        "You passed 1015 input tokens and requested 10 output tokens. However, the model's context length is only 1024 \
         tokens, resulting in a maximum input length of 1014 tokens.",
        "The decoder prompt (length 4097) is longer than the maximum model length of 4096.",
        "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
        "prompt is too long: 213462 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
        "Input is too long for requested model.",
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        "Please reduce the length of the messages or completion.",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3000 and 20",
        "the input length exceeds the context length",
        "Prompt contains 33000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
        "Requested tokens (2285) exceed context window of 2048",
        "prompt token count of 70000 exceeds the limit of 64000",
        "Range of input length should be [1, 30720]",
        "the request exceeds the available context size, try increasing it",
        "Trying to keep the first 5000 tokens when context the overflows.",
    ];
    for message in messages {
        for status in [400, 413, 422, 500] {
            let body = openai(json!("BadRequestError"), Value::Null, message).to_string();
            assert_eq!(
                of(OpenaiChat, status, body.as_bytes()),
                ContextLength,
                "{status} {message}"
            );
        }
        // As a text; as what a gateway was told; as a list of what is wrong.
        let told = json!({ "error": { "message": format!("Upstream said: {}", json!({ "message": message })) } });
        let list = json!({ "detail": [{ "loc": ["body"], "msg": message }] });
        for body in [message.to_owned(), told.to_string(), list.to_string()] {
            assert_eq!(
                of(OpenaiChat, 400, body.as_bytes()),
                ContextLength,
                "{body}"
            );
        }
        assert_eq!(
            of(OpenaiChat, 429, message.as_bytes()),
            RateLimited,
            "{message}"
        );
    }
}

#[test]
fn aws_names_its_errors_in_a_header() {
    let cases = [
        (400, "ThrottlingException", RateLimited),
        (
            400,
            "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/",
            RateLimited,
        ),
        (400, "ValidationException", Refused),
        (400, "ServiceQuotaExceededException", Quota),
        (424, "ModelErrorException", Failed),
        (503, "ServiceUnavailableException", Overloaded),
        (429, "ModelNotReadyException", Overloaded),
    ];
    for (status, name, expected) in cases {
        let mut headers = HeaderMap::new();
        headers.insert("x-amzn-errortype", HeaderValue::from_static(name));
        let status = StatusCode::from_u16(status).unwrap();
        let body = br#"{"message":"..."}"#;
        assert_eq!(
            trouble(Bedrock, status, &headers, Some(body)),
            Some(expected),
            "{name}"
        );
    }
}

#[test]
fn events_that_say_nothing_are_failures() {
    for data in [&b""[..], b"[DONE]", b"{", b"{}", b"null", b"\xff\xfe"] {
        assert_eq!(trouble_in_event(OpenaiChat, data), Failed, "{data:?}");
    }
}

#[test]
fn a_success_may_be_an_error() {
    let ok = |dialect, body: Value| {
        let body = body.to_string();
        trouble(
            dialect,
            StatusCode::OK,
            &HeaderMap::new(),
            Some(body.as_bytes()),
        )
    };
    let limited = json!({ "error": { "code": 429, "message": "no" } });
    assert_eq!(ok(OpenaiChat, limited.clone()), Some(RateLimited));
    assert_eq!(ok(Plain, limited), None);
    assert_eq!(
        ok(OpenaiChat, json!({ "choices": [], "error": null })),
        None
    );
    let response = |status: &str, error: Value| json!({ "status": status, "error": error });
    let told = json!({ "code": "rate_limit_exceeded", "message": "no" });
    assert_eq!(
        ok(OpenaiResponses, response("failed", told)),
        Some(RateLimited)
    );
    assert_eq!(
        ok(OpenaiResponses, response("completed", Value::Null)),
        None
    );
}

#[test]
fn pages_and_other_texts_change_nothing() {
    let page = b"<html><head><title>502 Bad Gateway</title></head><body>{nginx}</body></html>";
    assert_eq!(of(OpenaiChat, 502, page), Failed);
    assert_eq!(of(OpenaiChat, 413, page), Refused);
    let page = b"\n<p>No such page. Our models: <a>m</a></p><p>404 Not Found</p>";
    assert_eq!(of(OpenaiChat, 404, page), Refused);
    let event = b"data: {\"error\":{\"code\":\"model_not_found\"}}\n\n";
    assert_eq!(of(OpenaiChat, 404, event), UnknownModel);
    assert_eq!(of(OpenaiChat, 503, b""), Overloaded);
    let deep = "[".repeat(100_000);
    assert_eq!(of(OpenaiChat, 400, deep.as_bytes()), Refused);
}

/// A code is compared without case and punctuation, a message in lower case: what is written
/// otherwise in the tables is never found.
#[test]
fn every_row_can_be_found() {
    let mut seen = std::collections::BTreeSet::new();
    let refused = (Refused, super::codes::REFUSED);
    for (expected, codes) in super::codes::TABLE.into_iter().chain([refused]) {
        for code in codes {
            assert!(seen.insert(code), "{code} stands in two rows");
            let data = json!({ "error": { "type": code } }).to_string();
            let found = trouble_in_event(OpenaiChat, data.as_bytes());
            assert_eq!(found, expected, "{code}");
        }
    }
    for row in &super::phrases::TABLE {
        for phrase in row.phrases {
            for status in row.statuses.iter().filter(|status| **status >= 400) {
                let message = format!("Sorry: {}!", phrase.join(" x ").to_uppercase());
                let found = of(OpenaiChat, *status, message.as_bytes());
                assert_eq!(found, row.trouble, "{status} {message}");
            }
        }
    }
}

/// `docs/failures.md` says of each trouble what is done about it.
#[test]
fn the_reference_is_true() {
    let text = include_str!("../../docs/failures.md");
    let row = |word: &str| {
        let start = format!("| `{word}` |");
        let mut rows = text.lines().filter(|line| line.starts_with(&start));
        let row = rows.next().unwrap_or_else(|| panic!("no row for {word}"));
        assert_eq!(rows.next(), None, "two rows for {word}");
        row
    };
    for trouble in Trouble::ALL {
        let row = row(trouble.word());
        let remedy = match trouble.usual() {
            Remedy::Again => "again",
            Remedy::Next => "next",
            Remedy::Larger => "larger",
            Remedy::GiveUp => "give-up",
        };
        assert!(row.ends_with(&format!("| `{remedy}` |")), "{row}");
    }
    for remedy in ["again", "next", "larger", "give-up"] {
        row(remedy);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_some_trouble(body: Vec<u8>, status in 400_u16..=999) {
        let found = of(OpenaiChat, status, &body);
        prop_assert!(Trouble::ALL.contains(&found));
        trouble_in_event(OpenaiChat, &body);
    }

    #[test]
    fn what_is_not_wanted_is_not_looked_at(status in 400_u16..=999, code in "[a-z_]{0,24}|content_filter|429") {
        let body = openai(json!(code), json!(code), "maximum context length").to_string();
        let code = StatusCode::from_u16(status).unwrap();
        if !wants_body(OpenaiChat, code) {
            let without = trouble(OpenaiChat, code, &HeaderMap::new(), None).unwrap();
            prop_assert_eq!(of(OpenaiChat, status, body.as_bytes()), without);
        }
    }

    /// Documents out of the words that are looked for, in any order and depth.
    #[test]
    fn any_document_is_some_trouble(body in "([{}\\[\\]\",:0-9ü]|\"error\"|\"message\"|\"code\"|\"detail\"|\"raw\"|model|does not exist){0,40}") {
        of(OpenaiChat, 400, body.as_bytes());
        trouble_in_event(OpenaiResponses, body.as_bytes());
        let quoted = json!({ "error": { "message": body } }).to_string();
        of(OpenaiChat, 404, quoted.as_bytes());
    }
}
