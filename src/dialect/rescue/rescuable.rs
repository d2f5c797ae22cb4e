//! Which requests have answers that another backend can go on with.
//!
//! Invariant: in doubt not. An answer whose form is promised (a schema, a grammar, a forced tool)
//! or that is more than its text (token log-probabilities, token ids, several choices) cannot be
//! sewn together from two by looking at its text.

use serde_json::Value;

use super::members::Members;
use crate::config::Dialect;

/// Members that promise a form of the answer, or things in it beside its text. The names are those
/// of OpenAI, vLLM, SGLang and llama.cpp; what is false, empty or 0 asks for nothing.
const MORE_THAN_TEXT: [&str; 24] = [
    "audio",
    "ebnf",
    "echo",
    "format",
    "function_call",
    "grammar",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "json_schema",
    "logprobs",
    "output_format",
    "prompt_logprobs",
    "regex",
    "return_token_ids",
    "return_tokens_as_token_ids",
    "structural_tag",
    "structured_outputs",
    "top_logprobs",
    "use_beam_search",
    "return_logprob",
    "n_probs",
    "return_tokens",
];

/// Whether the answer to this request can be continued at all: a streamed answer of one text.
///
/// Not one with several choices, with a structure (`response_format`, Anthropic's output format, a
/// grammar, a forced tool), with log-probabilities or token ids, nor one that repeats its prompt.
/// `body` is the request's JSON. Never so for a dialect other than OpenAI's chat and completions
/// and Anthropic's messages. Not for Responses: their id is a handle that callers send back, and no
/// backend would have the whole answer under it.
pub fn can_be_rescued(dialect: Dialect, body: &[u8]) -> bool {
    let speaks = matches!(
        dialect,
        Dialect::OpenaiChat | Dialect::OpenaiText | Dialect::AnthropicMessages
    );
    let Some(request) = Members::read(body).filter(|_| speaks) else {
        return false;
    };
    request.get("stream") == Some("true")
        && ["n", "best_of"].iter().all(|name| is_one(&request, name))
        && MORE_THAN_TEXT
            .iter()
            .all(|name| asks_nothing(&request, name))
        && has_free_form(&request)
        && has_free_tools(&request)
        && has_only_text(&request)
        && (dialect != Dialect::OpenaiText || is_plain_completion(&request))
}

fn is_one(request: &Members<'_>, name: &str) -> bool {
    request.get(name).is_none_or(|raw| raw == "1")
}

fn asks_nothing(request: &Members<'_>, name: &str) -> bool {
    matches!(
        request.get(name),
        None | Some("false" | "0" | "\"\"" | "[]" | "{}" | "\"none\"" | "\"auto\"")
    )
}

fn has_free_form(request: &Members<'_>) -> bool {
    let format = request.value("response_format");
    let output = request.value("output_config");
    let output = output.as_ref().and_then(|output| output.get("format"));
    [format.as_ref(), output]
        .into_iter()
        .flatten()
        .all(|format| format.is_null() || format.get("type") == Some(&Value::from("text")))
}

/// Whether the model may answer without a tool. OpenAI says so with a word, Anthropic in an object.
fn has_free_tools(request: &Members<'_>) -> bool {
    let Some(choice) = request.value("tool_choice") else {
        return true;
    };
    let word = choice.get("type").unwrap_or(&choice).as_str();
    matches!(word, Some("auto" | "none"))
}

fn has_only_text(request: &Members<'_>) -> bool {
    let Some(modalities) = request.value("modalities") else {
        return true;
    };
    let list = modalities.as_array();
    list.is_some_and(|list| list.iter().all(|one| one == "text"))
}

/// Whether a completion has one prompt, and no log-probabilities: there, a `logprobs` of 0 asks for
/// those of the chosen tokens.
fn is_plain_completion(request: &Members<'_>) -> bool {
    let is_one_prompt = match request.value("prompt") {
        Some(Value::String(_)) => true,
        Some(Value::Array(prompts)) => {
            prompts.len() == 1 || (!prompts.is_empty() && prompts.iter().all(Value::is_u64))
        }
        _ => false,
    };
    let logprobs = request.get("logprobs");
    is_one_prompt && matches!(logprobs, None | Some("false"))
}

#[cfg(test)]
#[path = "rescuable_tests.rs"]
mod tests;
