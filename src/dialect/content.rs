//! What of an answer's content one document carries: whether there is any, and how much text.
//!
//! Content is what a caller asked for: text, reasoning, a tool call, audio, an image, a refusal. A
//! role alone, an empty delta, a ping or a signature is none. Documents are looked at from the key
//! that holds their content, so that the cost is one substring search and a walk through a few
//! members, whatever else stands around them.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::members::{Members, Needle, Value, after_comma, behind_key, compact_len};
use crate::config::Dialect;

/// What a document carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sight {
    /// Whether there is content in it.
    pub(super) content: bool,
    /// Whether that is new, and does not repeat what earlier events brought.
    pub(super) new: bool,
    /// Bytes of new text, as written in the JSON string.
    pub(super) text: u64,
    /// Whether the document is a delta by its type, and carries nothing else.
    pub(super) delta: bool,
}

impl Sight {
    fn add(&mut self, other: Self) {
        self.content |= other.content;
        self.new |= other.new;
        self.text += other.text;
        self.delta |= other.delta;
    }

    /// Content that is no text.
    const THING: Self = Self {
        content: true,
        new: true,
        text: 0,
        delta: false,
    };

    fn text(bytes: u64) -> Self {
        Self {
            content: bytes > 0,
            new: bytes > 0,
            text: bytes,
            delta: false,
        }
    }

    fn thing_if(there: bool) -> Self {
        if there { Self::THING } else { Self::default() }
    }

    /// The same as something that was said before.
    fn repeated(self) -> Self {
        Self {
            content: self.content,
            ..Self::default()
        }
    }
}

/// What an event's or a line's document carries.
pub(super) fn in_event(dialect: Dialect, document: &[u8]) -> Sight {
    match dialect {
        Dialect::OpenaiChat => chat(document),
        Dialect::OpenaiText => completion(document),
        Dialect::OpenaiResponses => response_event(document),
        Dialect::AnthropicMessages => messages_event(document),
        Dialect::Gemini => gemini(document),
        Dialect::Ollama => ollama(document),
        Dialect::Plain | Dialect::Bedrock => Sight::default(),
    }
}

/// What a whole answer carries that is no stream.
pub(super) fn in_document(dialect: Dialect, document: &[u8]) -> Sight {
    match dialect {
        Dialect::OpenaiResponses => {
            let output = Members::of(document).find(|(key, _)| *key == b"output");
            output.map_or_else(Sight::default, |(_, list)| output_items(list))
        }
        Dialect::AnthropicMessages => {
            let content = Members::of(document).find(|(key, _)| *key == b"content");
            content.map_or_else(Sight::default, |(_, list)| blocks(list))
        }
        _ => in_event(dialect, document),
    }
}

static DELTA: Needle = LazyLock::new(|| Finder::new(b"\"delta\""));
static MESSAGE: Needle = LazyLock::new(|| Finder::new(b"\"message\""));
static TEXT: Needle = LazyLock::new(|| Finder::new(b"\"text\""));
static PARTS: Needle = LazyLock::new(|| Finder::new(b"\"parts\""));

/// The values behind `key` of the kind that begins with `first`; nested ones are left open.
fn values<'a>(
    key: &'static Needle,
    first: u8,
    document: &'a [u8],
) -> impl Iterator<Item = Value<'a>> {
    behind_key(key, document)
        .filter(move |behind| behind.first() == Some(&first))
        .filter_map(Value::open)
}

/// `{"choices":[{"delta":{…}}]}`. Only where there is no delta at all, the whole `message`, which
/// some backends repeat beside it.
fn chat(document: &[u8]) -> Sight {
    let mut sight = Sight::default();
    let mut has_delta = false;
    for delta in values(&DELTA, b'{', document) {
        has_delta = true;
        sight.add(chat_message(delta));
    }
    if !has_delta {
        for message in values(&MESSAGE, b'{', document) {
            sight.add(chat_message(message));
        }
    }
    sight
}

fn chat_message(message: Value<'_>) -> Sight {
    let mut sight = Sight::default();
    // Some backends give their reasoning under two names.
    let mut reasoning = Sight::default();
    for (key, value) in message.members() {
        match key {
            b"content" => sight.add(spoken(value)),
            b"reasoning" | b"reasoning_content" => {
                let other = spoken(value);
                if other.text >= reasoning.text && other.content {
                    reasoning = other;
                }
            }
            b"refusal" => sight.add(Sight::text(length(value))),
            b"tool_calls" | b"function_call" if !value.is_empty() => {
                sight.add(Sight::THING);
                sight.text += texts(value, DEPTH);
            }
            b"audio" => sight.add(audio(value)),
            b"images" | b"reasoning_details" => sight.add(Sight::thing_if(!value.is_empty())),
            _ => {}
        }
    }
    sight.add(reasoning);
    sight
}

/// A text, or a list of parts: those that are no text are content by being there.
fn spoken(value: Value<'_>) -> Sight {
    let mut sight = Sight::text(match value {
        Value::Text(text) => text.len() as u64,
        _ => texts(value, DEPTH),
    });
    let is_thing = |part: Value<'_>| {
        !part.is_empty()
            && matches!(part, Value::Object(_))
            && !part.members().any(|(key, _)| is_text_key(key))
    };
    if value.elements().any(is_thing) {
        sight.add(Sight::THING);
    }
    sight
}

fn audio(value: Value<'_>) -> Sight {
    let mut sight = Sight::default();
    for (key, value) in value.members() {
        match key {
            b"transcript" => sight.add(Sight::text(length(value))),
            b"data" => sight.add(Sight::thing_if(!value.is_empty())),
            _ => {}
        }
    }
    sight
}

/// `{"choices":[{"text":"…"}]}`.
fn completion(document: &[u8]) -> Sight {
    Sight::text(values(&TEXT, b'"', document).map(length).sum())
}

fn response_event(document: &[u8]) -> Sight {
    let kind = kind(document);
    if kind.ends_with(b".delta") {
        let text = values(&DELTA, b'"', document).next().map_or(0, length);
        let mut sight = Sight::text(text);
        if kind.ends_with(b"audio.delta") {
            sight.text = 0;
        }
        sight.delta = true;
        return sight;
    }
    let member = |name: &[u8]| {
        let found = Members::of(document).find(|(key, _)| *key == name);
        found.map_or(Value::Word(b""), |(_, value)| value)
    };
    match kind {
        b"response.output_item.added" => Sight::thing_if(is_call(member(b"item"))),
        b"response.image_generation_call.partial_image" => Sight::THING,
        // A backend may leave out the deltas: what is done was said, too.
        b"response.output_item.done" => output_item(member(b"item")).repeated(),
        b"response.completed" | b"response.incomplete" => {
            let output = member(b"response").member(b"output");
            output.map_or_else(Sight::default, |list| output_items(list).repeated())
        }
        _ => Sight::default(),
    }
}

fn output_items(list: Value<'_>) -> Sight {
    let mut sight = Sight::default();
    for item in list.elements() {
        sight.add(output_item(item));
    }
    sight
}

fn output_item(item: Value<'_>) -> Sight {
    let mut sight = Sight::thing_if(is_call(item));
    sight.add(Sight::text(texts(item, DEPTH)));
    sight
}

/// Whether an item of a response is a call of some tool.
fn is_call(item: Value<'_>) -> bool {
    matches!(item.member(b"type"), Some(Value::Text(kind)) if kind.ends_with(b"_call"))
}

fn messages_event(document: &[u8]) -> Sight {
    match kind(document) {
        b"content_block_delta" => {
            let delta = values(&DELTA, b'{', document).next();
            let members = delta.into_iter().flat_map(Value::members);
            let texts = members.filter(|(key, _)| is_text_key(key));
            let mut sight = Sight::text(texts.map(|(_, value)| length(value)).sum());
            sight.delta = true;
            sight
        }
        b"content_block_start" => {
            let started = Members::of(document).find(|(key, _)| *key == b"content_block");
            started.map_or_else(Sight::default, |(_, value)| block(value))
        }
        _ => Sight::default(),
    }
}

fn blocks(list: Value<'_>) -> Sight {
    let mut sight = Sight::default();
    for value in list.elements() {
        sight.add(block(value));
    }
    sight
}

/// A content block. Text and thinking begin empty; anything else is content once it is there.
fn block(value: Value<'_>) -> Sight {
    let Some(Value::Text(kind)) = value.member(b"type") else {
        return Sight::default();
    };
    if matches!(kind, b"text" | b"thinking" | b"compaction") {
        return Sight::text(texts(value, DEPTH));
    }
    let mut sight = Sight::THING;
    if let Some(Value::Object(input)) = value.member(b"input").filter(|input| !input.is_empty()) {
        sight.text = compact_len(input);
    }
    sight
}

/// `{"candidates":[{"content":{"parts":[…]}}]}`, at whatever depth: Code Assist wraps it.
fn gemini(document: &[u8]) -> Sight {
    let mut sight = Sight::default();
    for mut rest in behind_key(&PARTS, document) {
        // Part by part, each walked through once.
        rest = rest.strip_prefix(b"[").unwrap_or_default();
        while !rest.is_empty() {
            let mut part = Members::of(after_comma(rest));
            part.by_ref()
                .for_each(|(key, value)| sight.add(gemini_member(key, value)));
            rest = part.behind();
        }
    }
    sight
}

fn gemini_member(key: &[u8], value: Value<'_>) -> Sight {
    match key {
        b"text" => Sight::text(length(value)),
        b"inlineData" | b"fileData" => Sight::thing_if(!value.is_empty()),
        b"functionCall" | b"executableCode" | b"codeExecutionResult" if !value.is_empty() => {
            Sight {
                text: written(value),
                ..Sight::THING
            }
        }
        _ => Sight::default(),
    }
}

/// The bytes of a call's arguments, or of code.
fn written(call: Value<'_>) -> u64 {
    call.members()
        .map(|(key, value)| match (key, value) {
            (b"args", Value::Object(args)) => compact_len(args),
            (b"code" | b"output", value) => length(value),
            _ => 0,
        })
        .sum()
}

/// `{"message":{…}}` of a chat, `{"response":"…","thinking":"…"}` of a generation.
fn ollama(document: &[u8]) -> Sight {
    let mut sight = Sight::default();
    for (key, value) in Members::of(document) {
        match key {
            b"message" => value
                .members()
                .for_each(|(key, value)| sight.add(ollama_member(key, value))),
            b"response" | b"thinking" => sight.add(Sight::text(length(value))),
            // Behind `done` there are only figures, and a long list of them for a generation.
            b"done" => break,
            _ => {}
        }
    }
    sight
}

fn ollama_member(key: &[u8], value: Value<'_>) -> Sight {
    match key {
        b"content" | b"thinking" => Sight::text(length(value)),
        b"tool_calls" | b"images" => {
            let mut sight = Sight::thing_if(!value.is_empty());
            for call in value.elements() {
                if let Some(args) = call
                    .member(b"function")
                    .and_then(|it| it.member(b"arguments"))
                {
                    sight.text += match args {
                        Value::Object(args) => compact_len(args),
                        _ => 0,
                    };
                }
            }
            sight
        }
        _ => Sight::default(),
    }
}

/// How deep [`texts`] looks.
const DEPTH: u32 = 4;

fn is_text_key(key: &[u8]) -> bool {
    matches!(
        key,
        b"text" | b"thinking" | b"content" | b"arguments" | b"partial_json" | b"refusal" | b"input"
    )
}

/// The bytes of all text below a value, as far down as a text may be.
fn texts(value: Value<'_>, depth: u32) -> u64 {
    if depth == 0 {
        return 0;
    }
    let below = |value: Value<'_>| match value {
        Value::Object(_) | Value::List(_) => texts(value, depth - 1),
        _ => 0,
    };
    match value {
        Value::List(_) => value.elements().map(below).sum(),
        Value::Object(_) => value
            .members()
            .map(|(key, value)| match value {
                Value::Text(text) if is_text_key(key) => text.len() as u64,
                _ => below(value),
            })
            .sum(),
        Value::Text(_) | Value::Word(_) => 0,
    }
}

/// The length of a text; nothing else has one.
fn length(value: Value<'_>) -> u64 {
    match value {
        Value::Text(text) => text.len() as u64,
        _ => 0,
    }
}

/// The object's `type`. Backends write it first, or nearly so.
pub(super) fn kind(document: &[u8]) -> &[u8] {
    match Members::of(document).find(|(key, _)| *key == b"type") {
        Some((_, Value::Text(kind))) => kind,
        _ => b"",
    }
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
