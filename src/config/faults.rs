//! Faults: what is wrong in a configuration, where, and what would be right.
//!
//! Every fault is gathered before any is reported, so that one run shows all there is to mend.
//! No fault holds the value of a secret, nor anything that came out of `${…}`: messages name keys,
//! kinds and the text as it stands in the file, and of secret settings not even that.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::values::Place;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands.
    pub place: Place,
    /// The path of the key, such as `routes.chat.to[0].upstream`; empty where no key could be read.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
}

impl Fault {
    /// A fault at `place`, in `key`.
    pub fn new(
        place: Place,
        key: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            place,
            key: key.into(),
            message: message.into(),
            help: help.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, column } = &self.place;
        write!(f, "{file}:{line}:{column}: ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(f, "\n    {}", self.help)?;
        }
        Ok(())
    }
}

/// Everything that is wrong, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl From<Vec<Fault>> for Faults {
    /// Sorts by place and drops what was said twice.
    fn from(mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| {
            let order = |fault: &Fault| (fault.place.line, fault.place.column);
            (&a.place.file, order(a), &a.key).cmp(&(&b.place.file, order(b), &b.key))
        });
        faults.dedup();
        Self(faults)
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl Deref for Faults {
    type Target = [Fault];

    fn deref(&self) -> &[Fault] {
        &self.0
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Why a text is not what its key wants. It never holds the text itself, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {help}")]
pub struct Malformed {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
}

impl Malformed {
    /// What is wrong, and what would be right.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
        }
    }
}

/// Gathers faults while one document is read; knows how byte offsets become places.
pub(super) struct Gathered<'a> {
    file: Arc<str>,
    source: &'a str,
    line_starts: Vec<usize>,
    faults: Vec<Fault>,
    broken_lines: Vec<usize>,
}

impl<'a> Gathered<'a> {
    /// Nothing wrong yet in `source`, which was read from `file`.
    pub(super) fn new(file: &str, source: &'a str) -> Self {
        let line_starts = std::iter::once(0)
            .chain(memchr::memchr_iter(b'\n', source.as_bytes()).map(|end| end + 1))
            .collect();
        Self {
            file: file.into(),
            source,
            line_starts,
            faults: Vec::new(),
            broken_lines: Vec::new(),
        }
    }

    /// The place of the byte at `offset`.
    pub(super) fn place(&self, offset: usize) -> Place {
        let mut offset = offset.min(self.source.len());
        while !self.source.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts[line - 1];
        Place {
            file: self.file.clone(),
            line,
            column: self.source[start..offset].chars().count() + 1,
        }
    }

    /// What stands at `offset` is not TOML.
    pub(super) fn syntax(&mut self, offset: usize, error: Malformed) {
        let place = self.place(offset);
        let Malformed { message, help } = error;
        self.broken_lines.push(place.line);
        self.faults.push(Fault::new(place, "", message, help));
    }

    /// What stands at `offset` is wrong. Not reported on a line that is not TOML to begin with:
    /// what the parser made of such a line is a guess.
    pub(super) fn wrong(&mut self, offset: usize, key: &str, error: Malformed) {
        let place = self.place(offset);
        if !self.broken_lines.contains(&place.line) {
            self.faults
                .push(Fault::new(place, key, error.message, error.help));
        }
    }

    /// Something is not there that ought to be. Not reported in a document that is broken TOML: it
    /// may well stand in the part that could not be read.
    pub(super) fn absent(&mut self, offset: usize, key: &str, error: Malformed) {
        if self.broken_lines.is_empty() {
            self.wrong(offset, key, error);
        }
    }

    /// Whether nothing was found wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Everything found wrong.
    pub(super) fn into_faults(self) -> Faults {
        Faults::from(self.faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let gathered = Gathered::new("f", "ab\nüö = 1\n");
        let at = |offset| {
            let place = gathered.place(offset);
            (place.line, place.column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(3), (2, 1));
        assert_eq!(
            at(7),
            (2, 3),
            "two characters of two bytes each stand before it"
        );
        assert_eq!(at(4), (2, 1), "inside a character is at that character");
        assert_eq!(at(999), (3, 1));
    }

    #[test]
    fn faults_are_sorted_by_place_and_said_once() {
        let place = |line, column| Place {
            file: "f".into(),
            line,
            column,
        };
        let late = Fault::new(place(10, 1), "b", "wrong", "do this");
        let early = Fault::new(place(9, 7), "a.b", "wrong too", "");
        let faults = Faults::from(vec![late.clone(), early.clone(), late]);
        assert_eq!(faults.len(), 2);
        assert_eq!(
            faults.to_string(),
            "f:9:7: a.b: wrong too\nf:10:1: b: wrong\n    do this"
        );
    }
}
