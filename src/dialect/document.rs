//! Finds the markers in a JSON document that comes in pieces.
//!
//! A tokenizer that knows strings, nesting depth and which string is a key, and nothing else: it
//! checks no grammar. So text inside a string never counts, however it looks, and a key counts only
//! at the depth where its API has it (a tool's own `"error"` inside an answer is no error).
//!
//! Invariant: the state is of fixed size, and the pieces make no difference. A marker is given out
//! only when its document closes, since a client can do nothing with the half of one.
//! Keys are compared as they are written; no backend escapes letters in them.

use memchr::memchr2;

use super::marker::Marker;
use crate::config::Dialect;

/// Follows one document after another.
#[derive(Debug, Clone, Default)]
pub(super) struct Document {
    depth: u32,
    mode: Mode,
    step: Step,
    want: Want,
    /// Whether a `type` of the outermost object was seen: only the first one counts.
    typed: bool,
    /// What the document in progress has shown so far.
    found: Marker,
    word: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Between,
    Text,
    /// In a string, behind a backslash.
    Escape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Step {
    #[default]
    Other,
    /// Behind a string that is no awaited value: a colon makes it a key.
    Text,
}

/// What the value that comes next decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Want {
    #[default]
    Nothing,
    /// `type`: the name of the event.
    Type,
    /// An error unless it is empty, null or false: as the SDKs see it.
    Error,
    /// Inside the brackets of an error that is none if they are empty.
    ErrorBody,
    /// A reason why the answer ended, unless it is null or empty.
    Finish,
    /// `true` once all is said.
    Done,
}

/// The beginning of a string, as written. What is cut off does not matter: no name of interest is
/// as long as what is kept.
#[derive(Debug, Clone, Default)]
struct Word {
    bytes: [u8; Word::LEN],
    len: u8,
}

impl Word {
    const LEN: usize = 24;

    fn push(&mut self, piece: &[u8]) {
        let len = usize::from(self.len);
        let taken = piece.len().min(Self::LEN - len);
        self.bytes[len..len + taken].copy_from_slice(&piece[..taken]);
        self.len += taken as u8;
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Document {
    /// Whether no document is in progress.
    pub(super) fn is_fresh(&self) -> bool {
        self.depth == 0 && self.mode == Mode::Between && self.step == Step::Other
    }

    /// Forgets the document in progress.
    pub(super) fn reset(&mut self) {
        self.depth = 0;
        self.mode = Mode::Between;
        self.step = Step::Other;
        self.want = Want::Nothing;
        self.typed = false;
        self.found = Marker::None;
    }

    /// Reads on. Gives what the documents that closed within `bytes` have shown, if any closed.
    pub(super) fn feed(&mut self, dialect: Dialect, bytes: &[u8]) -> Option<Marker> {
        let mut closed = None;
        let mut rest = bytes;
        while let Some((&byte, behind)) = rest.split_first() {
            match self.mode {
                Mode::Text => rest = self.text(dialect, rest),
                Mode::Escape => {
                    self.word.push(&rest[..1]);
                    self.mode = Mode::Text;
                    rest = behind;
                }
                Mode::Between => {
                    if self.between(dialect, byte) {
                        closed = closed.max(Some(self.found));
                        self.reset();
                    }
                    rest = behind;
                }
            }
        }
        closed
    }

    /// Runs through a string to its end, its next backslash, or the end of what there is.
    fn text<'a>(&mut self, dialect: Dialect, bytes: &'a [u8]) -> &'a [u8] {
        let Some(at) = memchr2(b'"', b'\\', bytes) else {
            self.word.push(bytes);
            return &[];
        };
        self.word.push(&bytes[..at]);
        if bytes[at] == b'\\' {
            self.word.push(b"\\");
            self.mode = Mode::Escape;
        } else {
            self.mode = Mode::Between;
            self.text_end(dialect);
        }
        &bytes[at + 1..]
    }

    fn text_end(&mut self, dialect: Dialect) {
        let value = match std::mem::take(&mut self.want) {
            Want::Type => type_marker(dialect, self.word.get()),
            Want::Error if self.word.len > 0 => Marker::Failed,
            Want::Finish if self.word.len > 0 => Marker::Finished,
            Want::Error | Want::Finish | Want::Done => Marker::None,
            Want::Nothing | Want::ErrorBody => {
                self.step = Step::Text;
                Marker::None
            }
        };
        self.found = self.found.max(value);
    }

    /// One byte outside strings. True when it closes the document.
    fn between(&mut self, dialect: Dialect, byte: u8) -> bool {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return false;
        }
        let step = std::mem::take(&mut self.step);
        if self.want == Want::ErrorBody {
            self.want = Want::Nothing;
            if !matches!(byte, b'}' | b']') {
                self.found = Marker::Failed;
            }
        }
        match byte {
            b'"' => {
                self.word.len = 0;
                self.mode = Mode::Text;
                return false;
            }
            b':' if step == Step::Text => self.want = self.wanted(dialect),
            b'{' | b'[' => {
                let error = self.want == Want::Error;
                self.want = if error {
                    Want::ErrorBody
                } else {
                    Want::Nothing
                };
                self.depth = self.depth.saturating_add(1);
            }
            b'}' | b']' => {
                self.want = Want::Nothing;
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {
                let value = match std::mem::take(&mut self.want) {
                    Want::Error if byte == b't' => Marker::Failed,
                    Want::Done if byte == b't' => Marker::Done,
                    _ => Marker::None,
                };
                self.found = self.found.max(value);
            }
        }
        false
    }

    /// What the value of the key just read decides.
    fn wanted(&mut self, dialect: Dialect) -> Want {
        use Dialect::{AnthropicMessages, Gemini, Ollama, OpenaiChat, OpenaiResponses, OpenaiText};
        match (dialect, self.word.get(), self.depth) {
            (AnthropicMessages | OpenaiResponses, b"type", 1) if !self.typed => {
                self.typed = true;
                Want::Type
            }
            (OpenaiChat | OpenaiText | OpenaiResponses | Gemini | Ollama, b"error", 1) => {
                Want::Error
            }
            // {"choices":[{"finish_reason":…
            (OpenaiChat | OpenaiText, b"finish_reason", 1..=3) => Want::Finish,
            // {"type":"message_delta","delta":{"stop_reason":…
            (AnthropicMessages, b"stop_reason", 1..=2) => Want::Finish,
            // {"candidates":[{"finishReason":…, one deeper inside Code Assist's "response".
            (Gemini, b"finishReason", 1..=4) => Want::Finish,
            // {"promptFeedback":{"blockReason":…, likewise.
            (Gemini, b"blockReason", 1..=3) => Want::Finish,
            (Ollama, b"done", 1) => Want::Done,
            _ => Want::Nothing,
        }
    }
}

/// What an event of this type, or of this name, means.
pub(super) fn type_marker(dialect: Dialect, name: &[u8]) -> Marker {
    match (dialect, name) {
        (Dialect::AnthropicMessages, b"message_stop") => Marker::Done,
        (
            Dialect::OpenaiResponses,
            b"response.completed" | b"response.incomplete" | b"response.cancelled",
        ) => Marker::Done,
        (Dialect::OpenaiResponses, b"response.failed") => Marker::Failed,
        (_, b"error") => Marker::Failed,
        _ => Marker::None,
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
