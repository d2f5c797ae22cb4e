//! Paths, headers, and what they tell.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use http::{HeaderMap, Method};

use super::{BodyKind, body_kind, model_in_path, recognise};
use crate::config::{Dialect, DialectChoice};

fn by_post(path: &str) -> Dialect {
    recognise(DialectChoice::Auto, &Method::POST, path)
}

#[test]
fn paths_tell_dialects() {
    use Dialect::{
        AnthropicMessages, Bedrock, Gemini, Ollama, OpenaiChat, OpenaiResponses, OpenaiText, Plain,
    };
    for (path, dialect) in [
        ("/v1/chat/completions", OpenaiChat),
        ("/chat/completions", OpenaiChat),
        ("/v1/chat/completions/", OpenaiChat),
        ("/openai/deployments/gpt-4o/chat/completions", OpenaiChat),
        ("/v1beta/openai/chat/completions", OpenaiChat),
        ("/models/chat/completions", OpenaiChat),
        ("/v1/completions", OpenaiText),
        ("/openai/deployments/x/completions", OpenaiText),
        ("/v1/responses", OpenaiResponses),
        ("/responses", OpenaiResponses),
        ("/openai/responses", OpenaiResponses),
        ("/backend-api/codex/responses", OpenaiResponses),
        ("/v1/messages", AnthropicMessages),
        ("/anthropic/v1/messages", AnthropicMessages),
        (
            "/v1/projects/p/locations/l/publishers/anthropic/models/c@1:streamRawPredict",
            AnthropicMessages,
        ),
        (
            "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
            Gemini,
        ),
        (
            "/v1beta/models/gemini-2.5-pro%3AstreamGenerateContent",
            Gemini,
        ),
        ("/v1beta/models/gemini-2.5-pro:generateContent", Gemini),
        (
            "/v1/projects/p/locations/l/publishers/google/models/g:generateContent",
            Gemini,
        ),
        ("/v1internal:streamGenerateContent", Gemini),
        ("/api/chat", Ollama),
        ("/api/generate", Ollama),
        ("/model/anthropic.claude-v2%3A1/converse-stream", Bedrock),
        (
            "/model/anthropic.claude-v2:1/invoke-with-response-stream",
            Bedrock,
        ),
        ("/model/meta.llama2-13b-chat-v1/invoke", Bedrock),
        ("/", Plain),
        ("", Plain),
        ("/messages", Plain),
        ("/conversations/7/messages", Plain),
        ("/v1/threads/t/messages", Plain),
        ("/v1/messages/count_tokens", Plain),
        ("/surveys/7/responses", Plain),
        ("/v1/responses/resp_1/cancel", Plain),
        ("/v1beta/models/gemini-2.5-pro:countTokens", Plain),
        ("/v1/models/llama:latest", Plain),
        ("/robots/7/invoke", Plain),
        ("/v1/chat", Plain),
        ("/mychat/completionss", Plain),
    ] {
        assert_eq!(by_post(path), dialect, "{path}");
    }
}

#[test]
fn only_a_post_is_recognised_and_a_choice_outweighs_all() {
    let get = recognise(DialectChoice::Auto, &Method::GET, "/v1/chat/completions");
    assert_eq!(get, Dialect::Plain);
    let fixed = DialectChoice::Fixed(Dialect::Gemini);
    assert_eq!(
        recognise(fixed, &Method::GET, "/v1/chat/completions"),
        Dialect::Gemini
    );
    let plain = DialectChoice::Fixed(Dialect::Plain);
    assert_eq!(
        recognise(plain, &Method::POST, "/v1/chat/completions"),
        Dialect::Plain
    );
}

fn kind(headers: &[(&'static str, &str)]) -> BodyKind {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    body_kind(&headers)
}

#[test]
fn content_type_tells_the_kind() {
    for media in [
        "text/event-stream",
        "Text/Event-Stream; charset=utf-8",
        "text/event-stream;charset=UTF-8",
    ] {
        assert_eq!(kind(&[("content-type", media)]), BodyKind::Sse, "{media}");
    }
    for media in [
        "application/x-ndjson",
        "application/jsonl ; a=b",
        "APPLICATION/NDJSON",
    ] {
        assert_eq!(
            kind(&[("content-type", media)]),
            BodyKind::Ndjson,
            "{media}"
        );
    }
    for media in [
        "application/json",
        "text/event-streams",
        "",
        "application/vnd.amazon.eventstream",
    ] {
        assert_eq!(
            kind(&[("content-type", media)]),
            BodyKind::Opaque,
            "{media}"
        );
    }
    assert_eq!(kind(&[]), BodyKind::Opaque);
}

#[test]
fn what_is_compressed_is_opaque() {
    let with = |coding| {
        kind(&[
            ("content-type", "text/event-stream"),
            ("content-encoding", coding),
        ])
    };
    assert_eq!(with("identity"), BodyKind::Sse);
    assert_eq!(with(""), BodyKind::Sse);
    assert_eq!(with("gzip"), BodyKind::Opaque);
    assert_eq!(with("identity, BR"), BodyKind::Opaque);
}

#[test]
fn paths_name_models() {
    for (path, model) in [
        (
            "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
            Some("gemini-2.5-pro"),
        ),
        (
            "/v1beta/models/gemini%2D2.5%3AgenerateContent",
            Some("gemini-2.5"),
        ),
        ("/v1beta/tunedModels/mine:generateContent", Some("mine")),
        (
            "/v1/publishers/anthropic/models/claude-3@1:rawPredict",
            Some("claude-3@1"),
        ),
        (
            "/openai/deployments/my%20gpt/chat/completions",
            Some("my gpt"),
        ),
        (
            "/model/us.anthropic.claude-v1%3A0/converse-stream",
            Some("us.anthropic.claude-v1:0"),
        ),
        (
            "/model/us.anthropic.claude-v1:0/invoke",
            Some("us.anthropic.claude-v1:0"),
        ),
        (
            "/model/arn%3Aaws%3Abedrock%3A%3A1%3Aprofile%2Fx/invoke",
            Some("arn:aws:bedrock::1:profile/x"),
        ),
        ("/v1/models/gpt-4o", None),
        ("/v1/models/llama3:latest", None),
        ("/openai/deployments/x", None),
        ("/openai/deployments//chat/completions", None),
        ("/v1/chat/completions", None),
        ("/model/%FF/invoke", None),
    ] {
        assert_eq!(model_in_path(path).as_deref(), model, "{path}");
    }
}
