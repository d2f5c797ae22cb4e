//! The configuration as written: the document after the walk, each value of the kind its key wants.
//!
//! Readers never fail. What was wrong is among the faults already, and a configuration with any
//! fault is thrown away whole, so a reader may hand out whatever stands in for a wrong value.

use std::path::PathBuf;
use std::time::Duration;

use super::keys::{Fallback, Key};
use super::secret::Secret;
use super::values::Limit;

/// A table of the document.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// Its path, such as `routes.chat`.
    pub(super) path: String,
    /// Where its name stands, in bytes.
    pub(super) at: usize,
    /// Its entries, in the order of the file.
    pub(super) entries: Vec<Entry>,
}

/// A key of a table with its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// The key as written.
    pub(super) name: String,
    /// Its value.
    pub(super) node: Node,
}

/// A value of the document.
#[derive(Debug)]
pub(super) struct Node {
    /// Its path, such as `routes.chat.to[0]`.
    pub(super) path: String,
    /// Where it stands, in bytes.
    pub(super) at: usize,
    /// The value.
    pub(super) value: Value,
}

/// A value, of the kind its key wants.
#[derive(Debug)]
pub(super) enum Value {
    /// Text and words, variables put in.
    Text(Text),
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Count(u64),
    /// A duration.
    Duration(Duration),
    /// A duration, or off.
    Limit(Limit),
    /// A size in bytes.
    Size(u64),
    /// A secret.
    Secret(Secret),
    /// A file that was read.
    File(File),
    /// A list, also where one alone was written.
    List(Vec<Node>),
    /// A table.
    Table(Section),
    /// Not what was wanted; already among the faults.
    Wrong,
}

/// A text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    /// With variables put in. Not to be shown.
    pub(super) value: String,
    /// As it stands in the file, for messages.
    pub(super) raw: String,
}

/// A file and its text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Its path, the folder of the configuration put before it.
    pub(super) path: PathBuf,
    /// Its text. Not to be shown.
    pub(super) text: String,
}

impl Section {
    /// The value of `key`, if it was written and is of its kind.
    pub(super) fn node(&self, key: &Key) -> Option<&Node> {
        let entry = self.entries.iter().find(|entry| entry.name == key.name)?;
        (!matches!(entry.node.value, Value::Wrong)).then_some(&entry.node)
    }

    /// Whether `key` was written at all, rightly or wrongly.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.entries.iter().any(|entry| entry.name == key.name)
    }

    /// The path `key` has in this table.
    pub(super) fn path_of(&self, key: &Key) -> String {
        child(&self.path, key.name)
    }

    /// The table at `key`.
    pub(super) fn section(&self, key: &Key) -> Option<&Self> {
        match &self.node(key)?.value {
            Value::Table(section) => Some(section),
            _ => None,
        }
    }

    /// The tables named freely below `key`, with their names.
    pub(super) fn sections(&self, key: &Key) -> impl Iterator<Item = (&str, &Self)> {
        self.section(key).into_iter().flat_map(|named| {
            named
                .entries
                .iter()
                .filter_map(|entry| match &entry.node.value {
                    Value::Table(section) => Some((entry.name.as_str(), section)),
                    _ => None,
                })
        })
    }

    /// The values of the list at `key`; none if it was not written.
    pub(super) fn list(&self, key: &Key) -> &[Node] {
        match self.node(key).map(|node| &node.value) {
            Some(Value::List(nodes)) => nodes,
            _ => &[],
        }
    }

    /// The text or word at `key`, or its default.
    pub(super) fn text(&self, key: &Key) -> &str {
        match (self.node(key).map(|node| &node.value), key.fallback) {
            (Some(Value::Text(text)), _) => &text.value,
            (_, Fallback::Text(text)) => text,
            _ => "",
        }
    }

    /// The flag at `key`, or its default.
    pub(super) fn flag(&self, key: &Key) -> bool {
        match (self.node(key).map(|node| &node.value), key.fallback) {
            (Some(Value::Flag(flag)), _) => *flag,
            (_, Fallback::Flag(flag)) => flag,
            _ => false,
        }
    }

    /// The number at `key`, or its default.
    pub(super) fn count(&self, key: &Key) -> Option<usize> {
        let count = match (self.node(key).map(|node| &node.value), key.fallback) {
            (Some(Value::Count(count)), _) => *count,
            (_, Fallback::Count(count)) => count,
            _ => return None,
        };
        usize::try_from(count).ok()
    }

    /// The size at `key` in bytes, or its default.
    pub(super) fn size(&self, key: &Key) -> u64 {
        match (self.node(key).map(|node| &node.value), key.fallback) {
            (Some(Value::Size(size)), _) => *size,
            (_, Fallback::Size(size)) => size,
            _ => 0,
        }
    }

    /// The duration at `key`, or its default.
    pub(super) fn duration(&self, key: &Key) -> Duration {
        match (self.node(key).map(|node| &node.value), key.fallback) {
            (Some(Value::Duration(duration)), _) => *duration,
            (_, Fallback::Duration(duration)) => duration,
            _ => Duration::ZERO,
        }
    }

    /// The limit at `key`, or its default, or that there is none here.
    pub(super) fn limit(&self, key: &Key) -> Limit {
        match (self.node(key).map(|node| &node.value), key.fallback) {
            (Some(Value::Limit(limit)), _) => *limit,
            (_, Fallback::Limit(limit)) => limit,
            _ => Limit::Unset,
        }
    }

    /// The secret at `key`.
    pub(super) fn secret(&self, key: &Key) -> Option<&Secret> {
        match &self.node(key)?.value {
            Value::Secret(secret) => Some(secret),
            _ => None,
        }
    }

    /// The file at `key`.
    pub(super) fn file(&self, key: &Key) -> Option<&File> {
        match &self.node(key)?.value {
            Value::File(file) => Some(file),
            _ => None,
        }
    }
}

impl Node {
    /// The text, if this is one.
    pub(super) fn text(&self) -> Option<&Text> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The path of `name` in the table at `path`, quoted where TOML quotes it.
pub(super) fn child(path: &str, name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let quoted;
    let name = if !name.is_empty() && name.chars().all(bare) {
        name
    } else {
        quoted = format!("{name:?}");
        &quoted
    };
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
