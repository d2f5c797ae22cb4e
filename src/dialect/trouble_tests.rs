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
    ContentFilter, ContextLength, Credentials, Failed, Overloaded, Quota, RateLimited, Refused,
    Transient, UnknownModel,
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

fn check(cases: &[(Dialect, u16, Value, Trouble)]) {
    for (dialect, status, body, expected) in cases {
        let bytes = body.to_string().into_bytes();
        let found = of(*dialect, *status, &bytes);
        assert_eq!(found, *expected, "{status} {body}");
    }
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
fn limits_and_quotas() {
    let invalid = || json!("invalid_request_error");
    let daily = |id: &str| {
        json!([{ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED",
            "message": "You exceeded your current quota, please check your plan and billing details.",
            "details": [{ "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{ "quotaId": id }] }] } }])
    };
    let tpm = "Request too large for model `m` in organization `o` on tokens per minute (TPM): Limit 6000, \
               Requested 36114, please reduce your message size and try again.";
    let quota = "You exceeded your current quota, please check your plan and billing details.";
    check(&[
        // OpenAI
        (
            OpenaiChat,
            429,
            openai(
                json!("insufficient_quota"),
                json!("insufficient_quota"),
                quota,
            ),
            Quota,
        ),
        (
            OpenaiChat,
            429,
            openai(invalid(), json!("billing_hard_limit_reached"), ""),
            Quota,
        ),
        (
            OpenaiChat,
            429,
            openai(
                json!("requests"),
                json!("rate_limit_exceeded"),
                "Rate limit reached",
            ),
            RateLimited,
        ),
        (
            OpenaiChat,
            429,
            openai(json!("tokens"), json!("rate_limit_exceeded"), tpm),
            Quota,
        ),
        // Servers that speak its dialect without its codes
        (
            OpenaiChat,
            429,
            openai(Value::Null, Value::Null, quota),
            Quota,
        ),
        (
            OpenaiChat,
            413,
            openai(json!("tokens"), json!("rate_limit_exceeded"), tpm),
            Quota,
        ),
        (
            OpenaiChat,
            429,
            json!({"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"}),
            RateLimited,
        ),
        // Gemini, also through its OpenAI door
        (
            Gemini,
            429,
            daily("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
            Quota,
        ),
        (
            OpenaiChat,
            429,
            daily("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
            Quota,
        ),
        (
            Gemini,
            429,
            daily("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
            RateLimited,
        ),
        (
            Gemini,
            429,
            json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED",
            "message": "* Quota exceeded for metric: free_tier_requests, limit: 0, model: gemini-pro"}}),
            Quota,
        ),
        // Anthropic
        (
            AnthropicMessages,
            400,
            json!({"type": "error", "error": {"type": "invalid_request_error",
            "message": "Your credit balance is too low to access the Anthropic API."}}),
            Quota,
        ),
        // DeepSeek, Moonshot, xAI, DashScope, OpenRouter
        (
            OpenaiChat,
            402,
            openai(json!("unknown_error"), invalid(), "Insufficient Balance"),
            Quota,
        ),
        (
            OpenaiChat,
            429,
            openai(json!("exceeded_current_quota_error"), Value::Null, ""),
            Quota,
        ),
        (
            OpenaiChat,
            403,
            json!({"code": "The caller does not have permission to execute the specified operation",
            "error": "Your team has either used all available credits or reached its monthly spending limit."}),
            Quota,
        ),
        (
            OpenaiChat,
            403,
            openai(json!("AllocationQuota.FreeTierOnly"), Value::Null, ""),
            Quota,
        ),
        (
            OpenaiChat,
            400,
            openai(json!("Arrearage"), json!("Arrearage"), "Access denied."),
            Quota,
        ),
        (
            OpenaiChat,
            403,
            json!({"error": {"code": 403, "message": "Key limit exceeded (total limit)."}}),
            Quota,
        ),
        // A rate limit under another status
        (
            Gemini,
            403,
            json!({"error": {"code": 403, "status": "PERMISSION_DENIED",
            "errors": [{"reason": "rateLimitExceeded"}]}}),
            RateLimited,
        ),
        (
            OpenaiChat,
            500,
            openai(json!("server_error"), json!("rate_limit_exceeded"), ""),
            RateLimited,
        ),
        (
            OpenaiChat,
            503,
            openai(Value::Null, json!(429), "Provider returned error"),
            RateLimited,
        ),
        (
            Bedrock,
            400,
            json!({"__type": "com.amazon.coral.service#ThrottlingException", "message": "Rate exceeded"}),
            RateLimited,
        ),
    ]);
}

#[test]
fn overloads() {
    let raw = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    check(&[
        (
            AnthropicMessages,
            500,
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
            Overloaded,
        ),
        (
            AnthropicMessages,
            429,
            json!({"type": "error", "error": {"type": "overloaded_error"}}),
            Overloaded,
        ),
        // Anthropic behind OpenRouter
        (
            OpenaiChat,
            502,
            json!({"error": {"code": 502, "message": "Provider returned error", "metadata": {"raw": raw}}}),
            Overloaded,
        ),
        (
            OpenaiChat,
            429,
            openai(
                json!("engine_overloaded_error"),
                Value::Null,
                "The engine is currently overloaded",
            ),
            Overloaded,
        ),
        (
            OpenaiChat,
            429,
            json!({"error": "Model is overloaded", "error_type": "overloaded"}),
            Overloaded,
        ),
        (
            OpenaiChat,
            503,
            json!({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
            Overloaded,
        ),
        (
            OpenaiChat,
            498,
            openai(
                json!("invalid_request_error"),
                json!("capacity_exceeded"),
                "",
            ),
            Overloaded,
        ),
        (
            Ollama,
            503,
            json!({"error": "server busy, please try again.  maximum pending requests exceeded"}),
            Overloaded,
        ),
        (
            Gemini,
            503,
            json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}),
            Overloaded,
        ),
        (
            Bedrock,
            429,
            json!({"__type": "ModelNotReadyException"}),
            Overloaded,
        ),
    ]);
}

#[test]
fn unknown_models() {
    let vllm = "The model `m` does not exist.";
    check(&[
        (
            OpenaiChat,
            404,
            json!({"object": "error", "message": vllm, "type": "NotFoundError", "param": null, "code": 404}),
            UnknownModel,
        ),
        (
            OpenaiChat,
            404,
            json!({"error": {"message": vllm, "type": "NotFoundError", "param": null, "code": 404}}),
            UnknownModel,
        ),
        (
            OpenaiChat,
            403,
            openai(
                json!("invalid_request_error"),
                json!("model_not_found"),
                "Project does not have access",
            ),
            UnknownModel,
        ),
        (
            OpenaiChat,
            400,
            openai(
                json!("invalid_request_error"),
                json!("invalid_request_error"),
                "Model Not Exist",
            ),
            UnknownModel,
        ),
        (
            OpenaiChat,
            400,
            json!({"object": "error", "message": "Invalid model: m", "type": "invalid_model", "code": "1500"}),
            UnknownModel,
        ),
        (
            OpenaiChat,
            400,
            openai(
                json!("invalid_request_error"),
                json!("model_decommissioned"),
                "",
            ),
            UnknownModel,
        ),
        (
            OpenaiChat,
            400,
            json!({"error": {"message": "m is not a valid model ID", "code": 400}}),
            UnknownModel,
        ),
        (
            OpenaiChat,
            404,
            json!({"error": {"message": "No endpoints found for m.", "code": 404}}),
            UnknownModel,
        ),
        (
            Ollama,
            404,
            json!({"error": "model \"m\" not found, try pulling it first"}),
            UnknownModel,
        ),
        (
            Ollama,
            404,
            json!({"error": "model 'm' not found"}),
            UnknownModel,
        ),
        (
            AnthropicMessages,
            404,
            json!({"type": "error", "error": {"type": "not_found_error", "message": "model: m"}}),
            UnknownModel,
        ),
        (
            Gemini,
            404,
            json!({"error": {"code": 404, "status": "NOT_FOUND",
            "message": "Publisher Model `projects/p/locations/l/publishers/google/models/m` was not found."}}),
            UnknownModel,
        ),
        // Something else is not there.
        (
            OpenaiChat,
            404,
            openai(
                json!("invalid_request_error"),
                Value::Null,
                "Invalid URL (POST /v1/x)",
            ),
            Refused,
        ),
        (OpenaiChat, 404, json!({"detail": "Not Found"}), Refused),
        (
            AnthropicMessages,
            404,
            json!({"type": "error", "error": {"type": "not_found_error", "message": "Not found"}}),
            Refused,
        ),
        // A member of this name is wrong.
        (
            AnthropicMessages,
            400,
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": "model: Field required"}}),
            Refused,
        ),
    ]);
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
    let llama = |code: u16| {
        json!({ "error": { "code": code, "message": "too much", "type": "exceed_context_size_error",
            "n_prompt_tokens": 1407, "n_ctx": 256 } })
    };
    check(&[
        (
            OpenaiChat,
            400,
            openai(
                json!("invalid_request_error"),
                json!("context_length_exceeded"),
                "",
            ),
            ContextLength,
        ),
        (OpenaiChat, 400, llama(400), ContextLength),
        (OpenaiChat, 500, llama(500), ContextLength),
        (
            Bedrock,
            400,
            json!({"__type": "ValidationException", "message": "Input is too long for requested model."}),
            ContextLength,
        ),
        // The server's own bound on a body's size, in bytes, is no model's context.
        (
            AnthropicMessages,
            413,
            json!({"type": "error", "error": {"type": "request_too_large",
            "message": "Request exceeds the maximum size"}}),
            Refused,
        ),
    ]);
}

#[test]
fn contents_held_back() {
    let azure = json!({ "error": { "code": "content_filter", "type": null, "param": "prompt", "status": 400,
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "innererror": { "code": "ResponsibleAIPolicyViolation" } } });
    let inner = json!({ "error": { "code": "BadRequest", "message": "",
        "innererror": { "code": "ResponsibleAIPolicyViolation" } } });
    let anthropic = json!({ "type": "error", "error": { "type": "invalid_request_error",
        "message": "Output blocked by content filtering policy" } });
    check(&[
        (OpenaiChat, 400, azure, ContentFilter),
        (OpenaiChat, 400, inner, ContentFilter),
        (AnthropicMessages, 400, anthropic, ContentFilter),
        (
            OpenaiChat,
            403,
            openai(json!("content_policy_violation"), Value::Null, ""),
            ContentFilter,
        ),
        (
            OpenaiChat,
            400,
            openai(
                json!("data_inspection_failed"),
                json!("data_inspection_failed"),
                "",
            ),
            ContentFilter,
        ),
        (
            OpenaiChat,
            400,
            json!({"error": {"message": "<400> InternalError.Algo.DataInspectionFailed: Input text data \
            may contain inappropriate content."}}),
            ContentFilter,
        ),
        (
            OpenaiResponses,
            400,
            openai(
                json!("invalid_request_error"),
                json!("invalid_prompt"),
                "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            ),
            ContentFilter,
        ),
        (
            OpenaiChat,
            403,
            json!({"error": {"code": 403, "message": "m requires moderation. Your input was flagged for \
            \"violence\".", "metadata": {"reasons": ["violence"], "flagged_input": "maximum context length"}}}),
            ContentFilter,
        ),
        (
            OpenaiChat,
            400,
            openai(
                json!("invalid_request_error"),
                json!("invalid_request_error"),
                "Content Exists Risk",
            ),
            ContentFilter,
        ),
        (
            Gemini,
            400,
            json!({"error": {"code": 400, "status": "PROHIBITED_CONTENT", "message": ""}}),
            ContentFilter,
        ),
        (
            Gemini,
            400,
            json!({"error": {"code": 400, "message": "no"}, "promptFeedback": {"blockReason": "SAFETY"}}),
            ContentFilter,
        ),
    ]);
}

/// What is quoted of the request, or of what the model wrote, says nothing of the error.
#[test]
fn quotes_are_not_read() {
    let quote = "prompt is too long; content_filter; model x does not exist";
    check(&[
        (
            OpenaiChat,
            422,
            json!({"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required",
            "input": {"message": quote, "error": {"code": "content_filter"}}}]}),
            Refused,
        ),
        (
            OpenaiChat,
            400,
            json!({"error": {"code": "tool_use_failed", "failed_generation": quote, "message": "no"}}),
            Refused,
        ),
        (
            OpenaiResponses,
            400,
            json!({"metadata": {"code": "content_filter", "error": quote}, "error": {"message": "no"}}),
            Refused,
        ),
    ]);
    let failed = json!({ "type": "response.failed", "response": {
        "error": { "code": "server_error", "message": "Sorry" }, "status": "failed",
        "metadata": { "code": "content_filter" }, "instructions": quote } });
    assert_eq!(
        trouble_in_event(OpenaiResponses, failed.to_string().as_bytes()),
        Failed
    );
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
        (424, "ModelErrorException", Refused),
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
fn errors_inside_streams() {
    let cases = [
        (
            OpenaiChat,
            json!({"error": {"message": "no", "type": "server_error", "code": null}}),
            Failed,
        ),
        (
            OpenaiChat,
            json!({"error": {"message": "no", "type": "invalid_request_error"}}),
            Refused,
        ),
        (
            OpenaiChat,
            json!({"error": {"code": 429, "message": "slow down"}}),
            RateLimited,
        ),
        (
            OpenaiChat,
            json!({"error": {"code": 502, "message": "Provider disconnected"}}),
            Failed,
        ),
        (
            OpenaiChat,
            json!({"error": {"object": "error", "message": "This model's maximum context length is 4096 tokens.",
            "type": "BadRequestError", "code": 400}}),
            ContextLength,
        ),
        (
            AnthropicMessages,
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
            Overloaded,
        ),
        (
            AnthropicMessages,
            json!({"type": "error", "error": {"type": "rate_limit_error", "message": "no"}}),
            RateLimited,
        ),
        (
            AnthropicMessages,
            json!({"type": "error", "error": {"type": "api_error", "message": "Internal server error"}}),
            Failed,
        ),
        (
            AnthropicMessages,
            json!({"type": "error", "error": {"details": null, "type": "invalid_request_error",
            "message": "Output blocked by content filtering policy"}}),
            ContentFilter,
        ),
        (
            OpenaiResponses,
            json!({"type": "response.failed", "response": {"status": "failed",
            "error": {"code": "rate_limit_exceeded", "message": "Rate limit reached"}}}),
            RateLimited,
        ),
        (
            OpenaiResponses,
            json!({"type": "response.failed", "response": {"error": {"code": "server_error"}}}),
            Failed,
        ),
        (
            OpenaiResponses,
            json!({"type": "error", "code": "context_length_exceeded", "message": "no", "sequence_number": 3}),
            ContextLength,
        ),
        (
            Gemini,
            json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}),
            Overloaded,
        ),
        (
            Gemini,
            json!([{"error": {"code": 500, "message": "no", "status": "INTERNAL"}}]),
            Failed,
        ),
        (
            Gemini,
            json!({"error": {"code": 499, "message": "The operation was cancelled.", "status": "CANCELLED"}}),
            Transient,
        ),
        (
            Ollama,
            json!({"error": "an error was encountered while running the model: CUDA error"}),
            Failed,
        ),
        (
            Ollama,
            json!({"error": "model 'm' not found"}),
            UnknownModel,
        ),
        (
            Bedrock,
            json!({"message": "Too many tokens, please wait before trying again."}),
            RateLimited,
        ),
        (
            Bedrock,
            json!({"throttlingException": {"message": "no"}}),
            RateLimited,
        ),
        (
            Bedrock,
            json!({"internalServerException": {"message": "no"}}),
            Failed,
        ),
    ];
    for (dialect, data, expected) in cases {
        let found = trouble_in_event(dialect, data.to_string().as_bytes());
        assert_eq!(found, expected, "{data}");
    }
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
    assert_eq!(of(OpenaiChat, 503, b""), Overloaded);
    let deep = "[".repeat(100_000);
    assert_eq!(of(OpenaiChat, 400, deep.as_bytes()), Refused);
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
