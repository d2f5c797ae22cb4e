//! The request that asks a backend for the rest of an answer.
//!
//! Invariant: it is the caller's request byte by byte, but for the answer's beginning put into it.
//! The beginning goes without the white space at its end. Anthropic refuses such an end, many chat
//! templates cut it off, and a model that has seen it goes on otherwise than one that has not,
//! since most tokens begin with their blank. So every backend goes on from the same place, and the
//! white space it says again is left out by [`super::Sequel`].

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::members::{Edits, Members};
use crate::config::{Dialect, Prefill};

/// The request that asks for the rest of an answer of which `text` was delivered, for a backend that
/// takes a beginning in this way. `None` where it does not: then the caller's own request is to be
/// sent, and the answer begun anew.
///
/// Chat: a last message of the assistant; one that the caller put there itself is made longer. The
/// marks of [`Prefill`] are OpenAI's only: Anthropic refuses unknown members. Completions: the
/// prompt made longer, if it is one string.
///
/// `max_tokens` stays, since nobody has counted the tokens of `text`: the whole may become longer
/// than the caller allowed, by what was delivered before.
pub fn prefilled(dialect: Dialect, body: &Bytes, text: &str, how: Prefill) -> Option<Bytes> {
    let (text, _) = parts(text);
    if how == Prefill::No || text.is_empty() {
        return None;
    }
    let members = Members::read(body)?;
    let mut edits = Edits::of(&members);
    match dialect {
        Dialect::OpenaiChat => {
            put_message(&members, &mut edits, text, how == Prefill::Prefix)?;
            if how == Prefill::Continue {
                edits.set("continue_final_message", "true");
                edits.set("add_generation_prompt", "false");
            }
        }
        Dialect::AnthropicMessages if may_begin(&members) => {
            put_message(&members, &mut edits, text, false)?;
        }
        Dialect::OpenaiText => {
            let raw = members.get("prompt")?;
            let prompt: String = serde_json::from_str(raw).ok()?;
            edits.replace(raw, Value::from(prompt + text).to_string());
        }
        _ => return None,
    }
    Some(edits.apply())
}

/// A delivered text: what a backend is shown of it, and the white space behind.
pub(super) fn parts(text: &str) -> (&str, &str) {
    // The last four are white space to Python, in which most backends are written.
    let is_white = |c: char| c.is_whitespace() || matches!(c, '\x1c'..='\x1f');
    text.split_at(text.trim_end_matches(is_white).len())
}

/// Whether Anthropic lets a caller begin the answer: not while the model thinks first.
fn may_begin(request: &Members<'_>) -> bool {
    let thinking = request.value("thinking");
    thinking.is_none_or(|thinking| thinking["type"] == "disabled")
}

fn put_message(
    request: &Members<'_>,
    edits: &mut Edits<'_>,
    text: &str,
    marked: bool,
) -> Option<()> {
    let raw = request.get("messages")?;
    let messages: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    let last = messages.last()?.get();
    let message: Map<String, Value> = serde_json::from_str(last).ok()?;
    if message.get("role")? == "assistant" {
        edits.replace(last, longer(message, text, marked)?);
        return Some(());
    }
    let mut message = json!({ "role": "assistant", "content": text });
    if marked {
        message["prefix"] = true.into();
    }
    edits.append(raw, format!(",{message}"));
    Some(())
}

/// The caller's own beginning with the text behind it. Only a plain one: how a backend joins two
/// parts of a list is not known, and behind a tool call comes its result.
fn longer(mut message: Map<String, Value>, text: &str, marked: bool) -> Option<String> {
    if message.contains_key("tool_calls") {
        return None;
    }
    let Some(Value::String(content)) = message.get_mut("content") else {
        return None;
    };
    content.push_str(text);
    if marked {
        message.insert("prefix".to_owned(), true.into());
    }
    Some(Value::Object(message).to_string())
}

#[cfg(test)]
#[path = "prefill_tests.rs"]
mod tests;
