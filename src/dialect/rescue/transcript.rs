//! What of an answer was delivered, and whether it can still be gone on with.
//!
//! Invariant: it is open only while everything delivered is known to be the text of one answer, or
//! thinking that is over. Whatever is not understood closes it for good.

use serde_json::{Map, Value};

use super::chunk::{Said, says};
use crate::config::Dialect;

/// Most bytes of text that are kept. An answer longer than this is not rescued.
const LONGEST: usize = 1024 * 1024;

/// What of an answer was delivered. To be shown each whole event that goes to the caller, those of
/// a [`super::Sequel`] included, so that an answer can be rescued more than once.
#[derive(Debug, Clone)]
pub struct Transcript {
    dialect: Dialect,
    is_closed: bool,
    text: String,
    /// Whether the model has thought, and not begun to say something since.
    is_thinking: bool,
    pub(super) delivered: Delivered,
}

/// What the answer's own events must fit to.
#[derive(Debug, Clone, Default)]
pub(super) struct Delivered {
    /// OpenAI's last `id`, and `created` of the chunk that brought it.
    pub(super) id: Option<Value>,
    pub(super) created: Option<Value>,
    /// Whether the answer's beginning was: Anthropic's `message_start`, OpenAI's role.
    pub(super) has_begun: bool,
    /// Whether anything that the model thinks was.
    pub(super) has_reasoned: bool,
    /// The index of Anthropic's next block.
    pub(super) next_block: u64,
    pub(super) text_block: TextBlock,
}

/// Anthropic's block with the text. In an answer that is open there is but one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum TextBlock {
    #[default]
    None,
    /// At this index.
    Open(u64),
    Closed,
}

impl Transcript {
    /// Before the first event of an answer.
    pub fn new(dialect: Dialect) -> Self {
        let speaks = matches!(
            dialect,
            Dialect::OpenaiChat | Dialect::OpenaiText | Dialect::AnthropicMessages
        );
        Self {
            dialect,
            is_closed: !speaks,
            text: String::new(),
            is_thinking: false,
            delivered: Delivered::default(),
        }
    }

    /// Takes one event: its data, which is a JSON document or `[DONE]`.
    pub fn take(&mut self, event: &[u8]) {
        if self.is_closed || event.trim_ascii().is_empty() {
            return;
        }
        let fits = match serde_json::from_slice(event) {
            Ok(Value::Object(event)) if self.dialect == Dialect::AnthropicMessages => {
                self.take_block_event(&event)
            }
            Ok(Value::Object(chunk)) => self.take_chunk(&chunk),
            // `[DONE]`, too: nothing comes behind it.
            _ => None,
        };
        if fits.is_none() {
            self.is_closed = true;
            self.text = String::new();
        }
    }

    /// The text that was delivered; empty once the answer is not open any more.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the answer may still be gone on with. Not once it has ended or refused, called a
    /// tool, or said anything beside its text that could come twice; not while the model thinks,
    /// since nobody can go on with a thought; and not beyond 1 MiB of text.
    pub fn is_open(&self) -> bool {
        !self.is_closed && !self.is_thinking
    }

    /// The dialect of the answer.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// `None` where the chunk closes the answer.
    fn take_chunk(&mut self, chunk: &Map<String, Value>) -> Option<()> {
        if says(chunk.get("error")) {
            return None;
        }
        let id = chunk.get("id").filter(|id| says(Some(id)));
        if id.is_some_and(|id| self.delivered.id.as_ref() != Some(id)) {
            self.delivered.id = id.cloned();
            self.delivered.created = chunk.get("created").cloned();
        }
        let choice = match chunk.get("choices").and_then(Value::as_array) {
            None => return Some(()),
            Some(choices) => match choices.as_slice() {
                [] => return Some(()),
                [choice] => choice.as_object()?,
                _ => return None,
            },
        };
        let said = Said::read(self.dialect, choice);
        if said.calls || said.refuses || said.ends || said.is_garbled || said.has_more {
            return None;
        }
        let delta = choice.get("delta").and_then(Value::as_object);
        self.delivered.has_begun |= delta.is_some_and(|delta| says(delta.get("role")));
        if said.reasons {
            self.delivered.has_reasoned = true;
            self.is_thinking = true;
        }
        self.append(said.text.unwrap_or_default())
    }

    fn take_block_event(&mut self, event: &Map<String, Value>) -> Option<()> {
        match event.get("type")?.as_str()? {
            "ping" => Some(()),
            "message_start" => {
                let message = event.get("message")?;
                let is_second = std::mem::replace(&mut self.delivered.has_begun, true);
                (!is_second && !says(message.get("content"))).then_some(())
            }
            "content_block_start" => {
                let index = event.get("index")?.as_u64()?;
                self.take_block(index, event.get("content_block")?)
            }
            "content_block_delta" => {
                let index = event.get("index")?.as_u64()?;
                self.take_delta(index, event.get("delta")?)
            }
            "content_block_stop" => self.take_stop(),
            _ => None,
        }
    }

    fn take_block(&mut self, index: u64, block: &Value) -> Option<()> {
        let delivered = &mut self.delivered;
        // A second text, or thinking between two, cannot be told apart in another answer.
        if delivered.text_block != TextBlock::None {
            return None;
        }
        delivered.next_block = delivered.next_block.max(index.checked_add(1)?);
        match block.get("type")?.as_str()? {
            "text" if !says(block.get("citations")) => {
                delivered.text_block = TextBlock::Open(index);
                self.is_thinking = false;
                self.append(block.get("text")?.as_str()?)
            }
            "thinking" | "redacted_thinking" => {
                delivered.has_reasoned = true;
                self.is_thinking = true;
                Some(())
            }
            _ => None,
        }
    }

    fn take_delta(&mut self, index: u64, delta: &Value) -> Option<()> {
        let is_text = self.delivered.text_block == TextBlock::Open(index);
        match delta.get("type")?.as_str()? {
            "text_delta" if is_text => self.append(delta.get("text")?.as_str()?),
            "thinking_delta" | "signature_delta" if self.is_thinking => Some(()),
            _ => None,
        }
    }

    fn take_stop(&mut self) -> Option<()> {
        let block = &mut self.delivered.text_block;
        let is_text = matches!(block, TextBlock::Open(_));
        if is_text {
            *block = TextBlock::Closed;
        }
        // Behind a thought comes perhaps a further one.
        (is_text || self.is_thinking).then_some(())
    }

    fn append(&mut self, text: &str) -> Option<()> {
        if self.text.len() + text.len() > LONGEST {
            return None;
        }
        self.is_thinking &= text.is_empty();
        self.text.push_str(text);
        Some(())
    }
}

#[cfg(test)]
#[path = "transcript_tests.rs"]
mod tests;
