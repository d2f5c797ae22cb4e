//! What an answer has taken: tokens as its backend reports them, and what went by.
//!
//! A figure counts as the last one reported, since running figures grow; but zeros take nothing
//! back: some backends repeat what they have told before as 0.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::content::{self, Sight};
use super::gathered::Extract;
use super::members::{Members, Needle, Value, behind_key};
use crate::config::Dialect;

/// What an answer has taken.
///
/// The first four are tokens, as the backend reports them; a figure that it does not report is
/// none. Nothing is made equal between APIs but the names: where `prompt` of an API leaves out what
/// came from a cache (Anthropic), it is added, so that `cached` is a part of `prompt` everywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt. Anthropic: `input_tokens` with those read from and written to the
    /// cache.
    pub prompt: Option<u64>,
    /// Tokens of the answer. Gemini: candidates and thoughts. Anthropic's `message_start` has a
    /// placeholder for them, which is not taken: it would be all that a cut answer is charged.
    pub completion: Option<u64>,
    /// Tokens of the prompt that came from a cache.
    pub cached: Option<u64>,
    /// Tokens of reasoning. Part of `completion` with most backends, beside it with xAI.
    pub reasoning: Option<u64>,
    /// Events with content that went by; a whole answer with content is one.
    pub deltas: u64,
    /// Bytes of text in them, reasoning and arguments of tool calls included, as written in the
    /// JSON string: an escape counts as long as it is.
    pub text_bytes: u64,
}

impl Usage {
    /// Tokens that were delivered to the caller: as reported, or else an estimate. The flag says
    /// whether it is one. None if nothing is reported and nothing went by.
    ///
    /// The estimate is the greater of two figures that are rather too small than too great: one
    /// token for each event with content, since backends send a token at a time or several
    /// together; and one for four bytes of text, which is what tokenizers make of English and
    /// code, and less than they make of other scripts.
    pub fn delivered(&self) -> Option<(u64, bool)> {
        if let Some(completion) = self.completion {
            return Some((completion, false));
        }
        let estimate = self.deltas.max(self.text_bytes.div_ceil(4));
        (estimate > 0).then_some((estimate, true))
    }
}

/// The usage of a whole answer that is no stream, as its body tells it. A body that is no JSON
/// tells nothing. What went by is counted only where the tokens of the answer are not told: nothing
/// is reckoned from it otherwise.
pub fn usage_in_document(dialect: Dialect, body: &[u8]) -> Usage {
    let head = body.trim_ascii_start();
    in_extract(dialect, Extract { head, tail: &[] })
}

/// The same for what was kept of one.
pub(super) fn in_extract(dialect: Dialect, document: Extract<'_>) -> Usage {
    let head = document.head;
    if !matches!(head.first(), Some(b'{' | b'[')) {
        return Usage::default();
    }
    let counts = Counts::of(dialect, document).unwrap_or_default();
    let told = counts.usage(Sight::default());
    match told.completion {
        Some(_) => told,
        None => counts.usage(content::in_document(dialect, head)),
    }
}

/// The figures as they were reported so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    input: Option<u64>,
    /// Tokens of the answer, without `aside`.
    output: Option<u64>,
    /// Gemini's thoughts, which its candidates do not count.
    aside: Option<u64>,
    cached: Option<u64>,
    /// Anthropic's tokens written to the cache.
    stored: Option<u64>,
    reasoning: Option<u64>,
    /// Whether `cached` is no part of `input`.
    cached_aside: bool,
}

static USAGE: Needle = LazyLock::new(|| Finder::new(b"\"usage\""));
static USAGE_METADATA: Needle = LazyLock::new(|| Finder::new(b"\"usageMetadata\""));
static EVAL_COUNT: Needle = LazyLock::new(|| Finder::new(b"\"eval_count\""));

impl Counts {
    /// What a document reports, if anything: nearly all are dismissed by a search.
    pub(super) fn of(dialect: Dialect, document: Extract<'_>) -> Option<Self> {
        match dialect {
            Dialect::OpenaiChat | Dialect::OpenaiText | Dialect::OpenaiResponses => {
                Self::objects(document, &USAGE, openai)
            }
            Dialect::AnthropicMessages => {
                let mut told = Self::objects(document, &USAGE, messages)?;
                if content::kind(document.head) == b"message_start" {
                    told.output = None;
                }
                Some(told)
            }
            Dialect::Gemini => Self::objects(document, &USAGE_METADATA, gemini),
            Dialect::Ollama => {
                EVAL_COUNT.find(document.head)?;
                Some(Self::members(document.head, ollama))
            }
            Dialect::Plain | Dialect::Bedrock => None,
        }
    }

    pub(super) fn usage(&self, seen: Sight) -> Usage {
        let mut prompt = self.input;
        if self.cached_aside {
            prompt = sum(sum(prompt, self.cached), self.stored);
        }
        Usage {
            prompt,
            completion: sum(self.output, self.aside),
            cached: self.cached,
            reasoning: self.reasoning.or(self.aside),
            deltas: u64::from(seen.new),
            text_bytes: seen.text,
        }
    }

    /// Takes what was told later: the figures of the prompt, and those of the answer, unless they
    /// are all zero and would take back what was told before.
    pub(super) fn overlay(&mut self, told: Self) {
        self.cached_aside |= told.cached_aside;
        let prompt = [
            (&mut self.input, told.input),
            (&mut self.cached, told.cached),
            (&mut self.stored, told.stored),
        ];
        overlay(prompt);
        let answer = [
            (&mut self.output, told.output),
            (&mut self.aside, told.aside),
            (&mut self.reasoning, told.reasoning),
        ];
        overlay(answer);
    }

    /// The object behind `key`, the first one that has figures: a tool's own `usage` has none, and
    /// Groq puts those of each model behind the sum of them. Of Gemini's all are read: a whole
    /// answer may be a list of what would be events, with running figures in each.
    fn objects(document: Extract<'_>, key: &'static Needle, take: Take) -> Option<Self> {
        let mut all: Option<Self> = None;
        for part in [document.head, document.tail] {
            for object in behind_key(key, part).filter(|behind| behind.starts_with(b"{")) {
                let told = Self::members(object, take);
                if told.input.or(told.output).or(told.aside).is_none() {
                    continue;
                }
                all.get_or_insert_default().overlay(told);
                if key.needle() == USAGE.needle() {
                    return all;
                }
            }
        }
        all
    }

    fn members(object: &[u8], take: Take) -> Self {
        let mut told = Self::default();
        Members::of(object).for_each(|(key, value)| take(&mut told, key, value));
        told
    }
}

type Take = fn(&mut Counts, &[u8], Value<'_>);

/// Chat completions, text completions and responses; the last say input and output.
fn openai(counts: &mut Counts, key: &[u8], value: Value<'_>) {
    match key {
        b"prompt_tokens" | b"input_tokens" => put(&mut counts.input, value),
        b"completion_tokens" | b"output_tokens" => put(&mut counts.output, value),
        // The last two are DeepSeek's and Moonshot's.
        b"prompt_tokens_details" | b"input_tokens_details" => {
            put_member(&mut counts.cached, value, b"cached_tokens");
        }
        b"prompt_cache_hit_tokens" | b"cached_tokens" => put(&mut counts.cached, value),
        b"completion_tokens_details" | b"output_tokens_details" => {
            put_member(&mut counts.reasoning, value, b"reasoning_tokens");
        }
        b"reasoning_tokens" => put(&mut counts.reasoning, value),
        _ => {}
    }
}

fn messages(counts: &mut Counts, key: &[u8], value: Value<'_>) {
    counts.cached_aside = true;
    match key {
        b"input_tokens" => put(&mut counts.input, value),
        b"output_tokens" => put(&mut counts.output, value),
        b"cache_read_input_tokens" => put(&mut counts.cached, value),
        b"cache_creation_input_tokens" => put(&mut counts.stored, value),
        b"output_tokens_details" => put_member(&mut counts.reasoning, value, b"thinking_tokens"),
        _ => {}
    }
}

fn gemini(counts: &mut Counts, key: &[u8], value: Value<'_>) {
    match key {
        b"promptTokenCount" => put(&mut counts.input, value),
        b"candidatesTokenCount" => put(&mut counts.output, value),
        b"thoughtsTokenCount" => put(&mut counts.aside, value),
        b"cachedContentTokenCount" => put(&mut counts.cached, value),
        _ => {}
    }
}

fn ollama(counts: &mut Counts, key: &[u8], value: Value<'_>) {
    match key {
        b"prompt_eval_count" => put(&mut counts.input, value),
        b"eval_count" => put(&mut counts.output, value),
        _ => {}
    }
}

fn overlay(figures: [(&mut Option<u64>, Option<u64>); 3]) {
    let live = figures
        .iter()
        .any(|(_, told)| told.is_some_and(|it| it > 0));
    for (slot, told) in figures {
        *slot = if live { told.or(*slot) } else { slot.or(told) };
    }
}

/// Most tokens that one answer is believed to have taken: larger figures are none, and would spoil every sum they enter.
const MOST: u64 = 1_000_000_000;

fn put(slot: &mut Option<u64>, value: Value<'_>) {
    *slot = value.number().filter(|&number| number <= MOST).or(*slot);
}

fn put_member(slot: &mut Option<u64>, value: Value<'_>, name: &[u8]) {
    if let Some(value) = value.member(name) {
        put(slot, value);
    }
}

fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
#[path = "usage_tests.rs"]
mod tests;
