//! The words by which servers tell of an error that they have no code for, in lower case.
//!
//! A phrase is a list of parts that stand in one message, in this order and near each other. The
//! statuses of a row keep words from meaning more than they do: "reduce the length" is said of a
//! rate limit too.

use crate::config::Trouble;

/// The status of an error inside a stream that names none.
pub(super) const UNTOLD: u16 = 0;

/// What phrases mean, with some statuses.
pub(super) struct Row {
    pub trouble: Trouble,
    pub statuses: &'static [u16],
    pub phrases: &'static [Phrase],
}

type Phrase = &'static [&'static str];

/// Of several rows the first counts.
pub(super) const TABLE: [Row; 8] = [
    Row {
        trouble: Trouble::ContentFilter,
        statuses: &[400, 403, 422, 451, 500, 502, UNTOLD],
        phrases: CONTENT_FILTER,
    },
    Row {
        trouble: Trouble::ContextLength,
        statuses: &[400, 413, 422, 500, 502, UNTOLD],
        phrases: CONTEXT_LENGTH,
    },
    Row {
        trouble: Trouble::Quota,
        statuses: &[400, 403, 413, 429, 500, UNTOLD],
        phrases: QUOTA,
    },
    Row {
        trouble: Trouble::Overloaded,
        statuses: &[429, 500, 502, UNTOLD],
        phrases: OVERLOADED,
    },
    Row {
        trouble: Trouble::RateLimited,
        statuses: &[403, 500, 502, 503, UNTOLD],
        phrases: RATE_LIMITED,
    },
    Row {
        trouble: Trouble::UnknownModel,
        statuses: &[400, 404, 410, 422, UNTOLD],
        phrases: UNKNOWN_MODEL,
    },
    // Anthropic's message is nothing but `model: NAME`; with 400 that is the name of a member.
    Row {
        trouble: Trouble::UnknownModel,
        statuses: &[404],
        phrases: &[&["model: "]],
    },
    Row {
        trouble: Trouble::Credentials,
        statuses: &[400, UNTOLD],
        phrases: CREDENTIALS,
    },
];

/// Said of rate limits that no pause outlasts.
pub(super) const NEVER: &[Phrase] = &[
    // OpenAI, Groq: more tokens in one request than are allowed in a minute.
    &["request too large for", "limit"],
    // Gemini: the account has none of this model.
    &["quota exceeded", "limit: 0,"],
    &["quota exceeded", "limit: 0\n"],
];

const CONTENT_FILTER: &[Phrase] = &[
    // Azure
    &["content management policy"],
    // Anthropic
    &["blocked by content filtering policy"],
    // OpenAI
    &["flagged as potentially violating"],
    &["rejected as a result of our safety system"],
    // DashScope
    &["may contain inappropriate content"],
    // DeepSeek
    &["content exists risk"],
    // xAI
    &["content violates usage guidelines"],
    // OpenRouter
    &["input was flagged"],
    // Gemini
    &["prompt", "blocked due to"],
    &["prohibited_content"],
    // Bedrock
    &["blocked by our content filters"],
    // Moonshot
    &["considered high risk"],
    // MiniMax
    &["new_sensitive"],
    // Zhipu, whose code for it is a number, as others have for other things
    &["不安全或敏感内容"],
    &["unsafe or sensitive content"],
    // StepFun
    &["content you provided or machine outputted is blocked"],
];

const CONTEXT_LENGTH: &[Phrase] = &[
    // OpenAI, vLLM, DeepSeek, Mistral, OpenRouter, Fireworks
    &["maximum context length"],
    // vLLM from 0.16
    &["model's context length is only"],
    // vLLM's engine; SGLang
    &["longer than the maximum model length"],
    &["longer than the model's context length"],
    // OpenAI Responses; llama-cpp-python
    &["exceeds the context window"],
    &["exceed context window"],
    // llama.cpp, now and as it was
    &["exceeds the available context size"],
    &["context size has been exceeded"],
    &["exceeds context size"],
    // Anthropic, also behind Bedrock and Vertex
    &["prompt is too long"],
    &["exceed context limit"],
    // Gemini
    &["input token count", "exceeds the maximum"],
    // Bedrock
    &["input is too long for requested model"],
    &["too many input tokens"],
    &["number of input tokens exceeds"],
    // xAI
    &["maximum prompt length is"],
    // Groq
    &["reduce the length of the messages"],
    // TGI, also behind Hugging Face and Together
    &["`inputs` tokens + `max_new_tokens` must be"],
    &["`inputs` must have less than"],
    // Ollama
    &["input length exceeds"],
    // LM Studio
    &["greater than the context length"],
    &["context the overflows"],
    // Copilot
    &["prompt token count", "exceeds the limit"],
    // DashScope
    &["range of input length should be"],
    // MiniMax, Moonshot, Zhipu
    &["context window exceeds limit"],
    &["exceeded model token limit"],
    &["prompt exceeds max length"],
    // TensorRT-LLM
    &["exceeds maximum input length"],
    &["maximum context limit"],
    // LiteLLM
    &["contextwindowexceedederror"],
];

const QUOTA: &[Phrase] = &[
    // OpenAI
    &["exceeded your current quota", "billing"],
    &["billing hard limit"],
    // Anthropic
    &["credit balance is too low"],
    &["reached your specified api usage limits"],
    // xAI
    &["used all available credits"],
    &["doesn't have any credits"],
    // DeepSeek, OpenRouter, Hugging Face
    &["insufficient balance"],
    &["insufficient credits"],
    &["exceeded your monthly included credits"],
    &["key limit exceeded"],
    // Moonshot
    &["suspended due to insufficient balance"],
    // Groq, where it names no code
    &["request too large for", "tokens per"],
];

const OVERLOADED: &[Phrase] = &[
    // OpenAI, Anthropic, Gemini, TGI
    &["overloaded"],
    // Hugging Face
    &["model too busy"],
    // Ollama
    &["server busy"],
    // xAI
    &["at capacity"],
];

const RATE_LIMITED: &[Phrase] = &[
    &["too many requests"],
    // Bedrock, which says so of a rate
    &["too many tokens, please wait"],
    &["rate limit exceeded"],
    &["rate limit reached"],
    &["exceeded rate limit"],
    // OpenRouter
    &["temporarily rate-limited"],
];

const UNKNOWN_MODEL: &[Phrase] = &[
    // OpenAI, vLLM, Groq, xAI
    &["model", "does not exist"],
    // Ollama, Fireworks, Venice, Vertex
    &["model", "not found"],
    // DeepSeek
    &["model not exist"],
    // Gemini
    &["models/", "is not found"],
    // Mistral, Perplexity; LiteLLM
    &["invalid model: "],
    &["invalid model '"],
    &["invalid model name"],
    // OpenRouter
    &["is not a valid model id"],
    &["no endpoints found for"],
    // Bedrock
    &["model identifier is invalid"],
    &["could not resolve the foundation model"],
    &["model version has reached the end of its life"],
    // Together
    &["unable to access model"],
    // Hugging Face
    &["requested model", "is not supported by any provider"],
    // Groq
    &["model", "has been decommissioned"],
];

const CREDENTIALS: &[Phrase] = &[
    // xAI, OpenAI
    &["incorrect api key"],
    &["invalid api key"],
    // Gemini
    &["api key not valid"],
    &["user location is not supported"],
];
