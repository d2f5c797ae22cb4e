//! What one chunk of an OpenAI answer says, chat or completion.
//!
//! Invariant: what is not known to be harmless is told of, so that an answer with more in it than
//! its text is not taken for a text.

use serde_json::{Map, Value};

use crate::config::Dialect;

/// Members of a delta with what the model thinks: DeepSeek's and vLLM's, OpenRouter's, Ollama's,
/// LiteLLM's.
pub(super) const REASONING: [&str; 5] = [
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "thinking",
    "thinking_blocks",
];

/// Members of a delta that are no part of the answer.
const HARMLESS: [&str; 3] = ["role", "content", "index"];

/// What the one choice of a chunk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Said<'a> {
    /// Its piece of the answer's text; `null` is none.
    pub(super) text: Option<&'a str>,
    /// Something that the model thinks.
    pub(super) reasons: bool,
    /// A piece of a tool call.
    pub(super) calls: bool,
    /// A piece of a refusal.
    pub(super) refuses: bool,
    /// A reason why the answer ends.
    pub(super) ends: bool,
    /// A text that cannot be compared: Mistral's lists of parts, or a second choice.
    pub(super) is_garbled: bool,
    /// Something else that belongs to the answer: log-probabilities, annotations.
    pub(super) has_more: bool,
}

impl<'a> Said<'a> {
    /// Reads a choice of a chunk.
    pub(super) fn read(dialect: Dialect, choice: &'a Map<String, Value>) -> Self {
        let mut said = Self {
            ends: says(choice.get("finish_reason")),
            is_garbled: choice.get("index").is_some_and(|index| *index != 0),
            has_more: ["logprobs", "message", "token_ids"]
                .iter()
                .any(|name| says(choice.get(*name))),
            ..Self::default()
        };
        if dialect == Dialect::OpenaiText {
            said.read_text(choice.get("text"));
        } else if let Some(Value::Object(delta)) = choice.get("delta") {
            said.read_text(delta.get("content"));
            said.read_delta(delta);
        }
        said
    }

    fn read_text(&mut self, text: Option<&'a Value>) {
        match text {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => self.text = Some(text),
            Some(_) => self.is_garbled = true,
        }
    }

    fn read_delta(&mut self, delta: &Map<String, Value>) {
        for (name, value) in delta {
            if !says(Some(value)) || HARMLESS.contains(&name.as_str()) {
                continue;
            }
            match name.as_str() {
                "tool_calls" | "function_call" => self.calls = true,
                "refusal" => self.refuses = true,
                name if REASONING.contains(&name) => self.reasons = true,
                _ => self.has_more = true,
            }
        }
    }
}

/// Whether a value is more than a place for one.
pub(super) fn says(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(members)) => !members.is_empty(),
        Some(Value::Bool(true) | Value::Number(_)) => true,
    }
}
