//! What an answer has told so far besides its end: content, usage, an error, its model.
//!
//! Each document is read once, when its line or its event is over. One that lies whole in a chunk
//! is read where it stands; else it is gathered, and let go when it is read. Invariant: any chunking
//! tells the same, since what is gathered does not depend on the pieces.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::content::{self, Sight};
use super::gathered::{Extract, Gathered};
use super::members::{Needle, Value, behind_key};
use super::usage::{Counts, Usage};
use crate::config::Dialect;

/// Reads the data of events, or lines, one after another.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    deltas: u64,
    text_bytes: u64,
    content: bool,
    /// Whether the event in progress has told the first error.
    failing: bool,
    /// Whether a byte of the line in progress has come that is not blank.
    begun: bool,
    /// In how many documents the model was looked for.
    looked: u8,
    gathered: Option<Box<Gathered>>,
    rare: Option<Box<Rare>>,
}

/// What few events tell.
#[derive(Debug, Clone, Default)]
struct Rare {
    counts: Counts,
    error: Option<Box<[u8]>>,
    model: Option<Box<str>>,
}

/// The most that is kept of an error's data, in bytes.
const ERROR_LIMIT: usize = 4096;
/// The most that is kept of a model's name, in bytes.
const MODEL_LIMIT: usize = 256;
/// In how many documents the model is looked for: backends name it in the first or never.
const MODEL_LOOKS: u8 = 8;

static MODEL: Needle = LazyLock::new(|| Finder::new(b"\"model\""));
static MODEL_VERSION: Needle = LazyLock::new(|| Finder::new(b"\"modelVersion\""));

impl Told {
    /// A line of data that lies whole in one chunk.
    pub(super) fn whole(&mut self, dialect: Dialect, line: &[u8]) {
        if !is_read(dialect) {
            return;
        }
        let text = line.trim_ascii_start();
        let alone = text.starts_with(b"{") && text.trim_ascii_end().ends_with(b"}");
        if alone && self.gathered.as_ref().is_none_or(|it| !it.is_object()) {
            self.gathered = None;
            self.read(dialect, Extract::of(text));
        } else {
            self.piece(dialect, line, true, true);
        }
    }

    /// A piece of one.
    pub(super) fn piece(&mut self, dialect: Dialect, bytes: &[u8], starts: bool, ends: bool) {
        if !is_read(dialect) {
            return;
        }
        self.begun &= !starts;
        if self.begun {
            if let Some(gathered) = &mut self.gathered {
                gathered.push(bytes);
            }
        } else {
            self.line_begins(bytes.trim_ascii_start());
        }
        let over = |it: &Gathered| it.one_line && it.is_object() && it.may_be_closed();
        if ends && self.gathered.as_deref().is_some_and(over) {
            self.read_gathered(dialect);
        }
    }

    /// The event, or the line of NDJSON, is over.
    pub(super) fn event_end(&mut self, dialect: Dialect) {
        if self.gathered.is_some() {
            self.read_gathered(dialect);
        }
        if self.failing {
            self.keep_error(&[]);
        }
    }

    /// An event went by that carries so many bytes of text, and nothing else.
    #[inline]
    pub(super) fn add_text(&mut self, bytes: usize) {
        self.content = true;
        self.deltas += 1;
        self.text_bytes += bytes as u64;
    }

    /// Whether documents are looked through for content and usage only.
    pub(super) fn looks_for_no_model(&self) -> bool {
        self.looked == MODEL_LOOKS
    }

    /// The event in progress is the first one that tells an error.
    pub(super) fn fails(&mut self) {
        self.failing = true;
    }

    pub(super) fn has_content(&self, dialect: Dialect) -> bool {
        self.content || self.ahead(dialect).is_some_and(|ahead| ahead.content)
    }

    pub(super) fn usage(&self, dialect: Dialect) -> Usage {
        if let Some(ahead) = self.ahead(dialect) {
            return ahead.usage(dialect);
        }
        let counts = self.rare.as_ref().map(|rare| rare.counts);
        Usage {
            deltas: self.deltas,
            text_bytes: self.text_bytes,
            ..counts.unwrap_or_default().usage(Sight::default())
        }
    }

    pub(super) fn error(&self) -> Option<&[u8]> {
        if let Some(error) = self.rare.as_ref().and_then(|rare| rare.error.as_deref()) {
            return Some(error);
        }
        let head = self.gathered.as_ref().map(|it| it.extract().head);
        self.failing
            .then(|| bounded(head.unwrap_or_default(), ERROR_LIMIT))
    }

    pub(super) fn model(&self) -> Option<&str> {
        self.rare.as_ref()?.model.as_deref()
    }

    fn line_begins(&mut self, bytes: &[u8]) {
        let Some(&first) = bytes.first() else {
            return;
        };
        self.begun = true;
        // An object that was begun goes on; any other text is none of it.
        if first == b'{' && self.gathered.as_ref().is_some_and(|it| !it.is_object()) {
            self.gathered = None;
        }
        match &mut self.gathered {
            Some(gathered) => {
                gathered.one_line = false;
                gathered.push(b"\n");
                gathered.push(bytes);
            }
            None => {
                let mut gathered = Box::new(Gathered::default());
                gathered.one_line = true;
                gathered.push(bytes);
                self.gathered = Some(gathered);
            }
        }
    }

    fn read_gathered(&mut self, dialect: Dialect) {
        if let Some(gathered) = self.gathered.take() {
            self.read(dialect, gathered.extract());
        }
    }

    fn read(&mut self, dialect: Dialect, document: Extract<'_>) {
        if self.failing {
            self.keep_error(document.head);
        }
        if !document.head.starts_with(b"{") {
            return;
        }
        let sight = content::in_event(dialect, document.head);
        self.content |= sight.content;
        self.deltas += u64::from(sight.new);
        self.text_bytes += sight.text;
        if !sight.delta
            && let Some(counts) = Counts::of(dialect, document)
        {
            self.rare().counts.overlay(counts);
        }
        if self.looked < MODEL_LOOKS {
            self.look_for_model(dialect, document.head);
        }
    }

    fn look_for_model(&mut self, dialect: Dialect, document: &[u8]) {
        self.looked += 1;
        if let Some(name) = model_in(dialect, document) {
            self.looked = MODEL_LOOKS;
            self.rare().model = Some(name.into());
        }
    }

    fn keep_error(&mut self, data: &[u8]) {
        self.failing = false;
        self.rare().error = Some(bounded(data, ERROR_LIMIT).into());
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// All this once a document is read whose end has come, but not that of its line or event:
    /// what is not ended at the end of a body is told all the same. None where there is none.
    fn ahead(&self, dialect: Dialect) -> Option<Box<Self>> {
        let document = self.gathered.as_ref()?.closed()?;
        let mut ahead = Box::new(Self {
            gathered: None,
            ..self.clone()
        });
        ahead.read(dialect, document);
        Some(ahead)
    }
}

/// Whether answers of this dialect are read: lines of other ones may be anything.
pub(super) fn is_read(dialect: Dialect) -> bool {
    !matches!(dialect, Dialect::Plain | Dialect::Bedrock)
}

/// The first model that a document names, cut to [`MODEL_LIMIT`].
pub(super) fn model_in(dialect: Dialect, document: &[u8]) -> Option<&str> {
    let key = if dialect == Dialect::Gemini {
        &MODEL_VERSION
    } else {
        &MODEL
    };
    let values = behind_key(key, document).filter_map(Value::read);
    let name = values
        .map(|(value, _)| value)
        .find_map(|value| match value {
            Value::Text(name) if !name.is_empty() => std::str::from_utf8(name).ok(),
            _ => None,
        })?;
    Some(&name[..name.floor_char_boundary(MODEL_LIMIT)])
}

/// The first `limit` bytes, without blanks around.
fn bounded(data: &[u8], limit: usize) -> &[u8] {
    data[..data.len().min(limit)].trim_ascii()
}

#[cfg(test)]
#[path = "told_tests.rs"]
mod tests;
