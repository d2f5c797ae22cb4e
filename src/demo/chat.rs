//! `POST /v1/chat/completions` in OpenAI's shape: one JSON object, or chunks word by word.
//!
//! The stream has what clients look for: a first chunk with the role, one chunk a word, a finish
//! reason, the usage where `stream_options.include_usage` asks for it, and `[DONE]`. The first word
//! leaves at once, so that the time to the first token is the way's and not the demo's.
//! A "token" here is a word with the space before it, and usage counts those.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, Answer, Refusal, event_stream};
use super::paced::{Pace, Paced, Step};

/// Words in a second, unless the query asks for others: a fast model, or a very fast reader.
const PER_SECOND: f64 = 25.0;

/// The longest request body that is read, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// The longest part of the caller's message that is quoted back, in characters.
const QUOTE: usize = 80;

/// The model's name in the list, and where a request names none.
const MODEL: &str = "demo";

/// Answers a chat completion request, whatever model it names.
///
/// # Errors
///
/// [`Refusal`] where the body is too long, is no such request, or holds no message.
pub(super) async fn complete(request: Request<Incoming>) -> Result<Answer, Refusal> {
    let pace = Pace::of(request.uri(), PER_SECOND)?;
    let chat: Chat = serde_json::from_slice(&read(request.into_body()).await?)?;
    if chat.messages.is_empty() {
        return Err(Refusal::Parameter {
            name: "messages",
            message: "messages holds at least one message.".to_owned(),
        });
    }
    let streamed = chat.stream == Some(true);
    let usage_wanted = chat
        .stream_options
        .as_ref()
        .is_some_and(|o| o.include_usage == Some(true));
    let completion = Completion::of(chat);
    Ok(if streamed {
        event_stream(Paced::new(completion.steps(pace, usage_wanted)))
    } else {
        answer::json(&completion.whole())
    })
}

/// `GET /v1/models`: the list with the one model.
pub(super) fn models() -> Answer {
    answer::json(&json!({
        "object": "list",
        "data": [{ "id": MODEL, "object": "model", "created": 0, "owned_by": "deltaway" }],
    }))
}

/// The parts of a request that the demo heeds.
#[derive(Debug, Deserialize)]
struct Chat {
    model: Option<String>,
    messages: Vec<Message>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Value,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl Message {
    /// The message's text: the string itself, or the text parts of a list.
    fn text(&self) -> String {
        match &self.content {
            Value::String(text) => text.clone(),
            Value::Array(parts) => {
                let texts: Vec<_> = parts
                    .iter()
                    .filter_map(|part| part.get("text")?.as_str())
                    .collect();
                texts.join(" ")
            }
            _ => String::new(),
        }
    }
}

/// One answer, ready to be sent whole or in chunks.
struct Completion {
    id: String,
    created: u64,
    model: String,
    words: Vec<String>,
    finish: &'static str,
    prompt_tokens: usize,
}

impl Completion {
    fn of(chat: Chat) -> Self {
        let said = chat
            .messages
            .iter()
            .rev()
            .find(|message| message.role == "user");
        let mut words = words(&reply(&said.map(Message::text).unwrap_or_default()));
        let limit = chat
            .max_completion_tokens
            .or(chat.max_tokens)
            .unwrap_or(usize::MAX);
        let finish = if words.len() > limit {
            "length"
        } else {
            "stop"
        };
        words.truncate(limit);
        let prompt_tokens = chat
            .messages
            .iter()
            .map(|message| message.text().split_whitespace().count())
            .sum();
        Self {
            id: format!("chatcmpl-demo-{:016x}", fastrand::u64(..)),
            created: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |age| age.as_secs()),
            model: chat.model.unwrap_or_else(|| MODEL.to_owned()),
            words,
            finish,
            prompt_tokens,
        }
    }

    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.words.len(),
            "total_tokens": self.prompt_tokens + self.words.len(),
        })
    }

    fn whole(&self) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": self.words.concat(), "refusal": null },
                "logprobs": null,
                "finish_reason": self.finish,
            }],
            "usage": self.usage(),
        })
    }

    /// The stream: role, words, finish reason, usage if wanted, `[DONE]`.
    fn steps(self, pace: Pace, usage_wanted: bool) -> impl Iterator<Item = Step> + Send {
        let at_once = |frame| Step {
            after: Duration::ZERO,
            frame,
        };
        let role = data(&self.chunk(json!({ "role": "assistant", "content": "" }), None));
        let mut last = vec![data(&self.chunk(json!({}), Some(self.finish)))];
        if usage_wanted {
            last.push(data(&self.envelope(json!([]), self.usage())));
        }
        last.push(Bytes::from_static(b"data: [DONE]\n\n"));
        let words = (0..self.words.len()).map(move |at| Step {
            after: if at == 0 {
                Duration::ZERO
            } else {
                pace.varied()
            },
            frame: data(&self.chunk(json!({ "content": self.words[at] }), None)),
        });
        std::iter::once(at_once(role))
            .chain(words)
            .chain(last.into_iter().map(at_once))
    }

    fn chunk(&self, delta: Value, finish: Option<&str>) -> Value {
        let choice =
            json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
        self.envelope(json!([choice]), Value::Null)
    }

    fn envelope(&self, choices: Value, usage: Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "usage": usage,
        })
    }
}

/// The whole request body.
async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge { limit: MAX_BODY }),
        Err(error) => Err(Refusal::Unreadable(error.to_string())),
    }
}

/// What the demo says. It has no model behind it and does not pretend to.
fn reply(said: &str) -> String {
    let quote = quote(said);
    let greeting = if quote.is_empty() {
        "You sent no words, so here are a few of mine.".to_owned()
    } else if quote.ends_with('?') {
        format!(
            "You asked: “{quote}” A good question for a model, and there is none behind this demo. \
             What I can tell you is what you are looking at."
        )
    } else {
        format!(
            "You wrote: “{quote}” There is no model behind this demo to reply, so let me tell \
             you what you are looking at."
        )
    };
    format!(
        "{greeting} Each word here is an event of its own. It leaves a small server inside this \
         process, crosses a socket to Deltaway, and is passed on in the same moment: nothing waits \
         for a buffer to fill. The first word left at once. After it the server rests about a \
         twenty-fifth of a second between words, now a little more, now a little less, the way a \
         model does. Any other unevenness you see was made on the way to you, and now you can \
         measure it. Put your own backend in the place of this one, and its words will come down \
         the same channel."
    )
}

/// A short piece of what was said, on one line and without control characters.
fn quote(said: &str) -> String {
    let line = said
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    match line.char_indices().nth(QUOTE) {
        None => line,
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
    }
}

/// The text in words, each with the space before it: joined again they are the text.
fn words(text: &str) -> Vec<String> {
    text.split_inclusive(' ')
        .fold(Vec::new(), |mut words, piece| {
            let word = piece.trim_end_matches(' ');
            words.push(if words.is_empty() {
                word.to_owned()
            } else {
                format!(" {word}")
            });
            words
        })
}

/// One event with this data.
fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_joined_are_the_reply(said in any::<String>()) {
            let text = reply(&said);
            prop_assert_eq!(words(&text).concat(), text);
        }

        #[test]
        fn a_quote_is_one_short_line(said in any::<String>()) {
            let quote = quote(&said);
            prop_assert!(quote.chars().count() <= QUOTE + 1);
            prop_assert!(!quote.chars().any(char::is_control));
        }

        #[test]
        fn a_chunk_is_one_event_whatever_was_said(said in any::<String>()) {
            let frame = data(&json!({ "content": said }));
            let text = std::str::from_utf8(&frame).unwrap();
            prop_assert_eq!(text.matches('\n').count(), 2);
            prop_assert!(!text.contains('\r') && text.ends_with("\n\n"));
        }
    }

    #[test]
    fn content_in_parts_is_read_as_text() {
        let message: Message = serde_json::from_value(json!({
            "role": "user",
            "content": [{ "type": "text", "text": "two" }, { "type": "image_url" }, { "text": "parts" }],
        }))
        .unwrap();
        assert_eq!(message.text(), "two parts");
    }
}
