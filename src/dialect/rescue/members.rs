//! The members of a JSON object, each with the place where its value stands.
//!
//! Invariant: no value is decoded or copied, so that a body of many megabytes costs one pass, and
//! an edit of one value leaves every other byte as it is.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The members of an object, in order; no name stands twice.
pub(super) struct Members<'a> {
    text: &'a str,
    list: Vec<(String, &'a RawValue)>,
}

impl<'a> Members<'a> {
    /// `None` where this is no object, or a name stands twice: readers disagree on which counts.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?;
        let List(list) = serde_json::from_str(text).ok()?;
        let mut names: Vec<_> = list.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let is_unique = names.windows(2).all(|pair| pair[0] != pair[1]);
        is_unique.then_some(Self { text, list })
    }

    /// The raw value of a member. `null` is none.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.raw(name).filter(|raw| *raw != "null")
    }

    /// The value of a member, decoded. `null` is none.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        serde_json::from_str(self.get(name)?).ok()
    }

    fn raw(&self, name: &str) -> Option<&'a str> {
        let found = self.list.iter().find(|(own, _)| own == name);
        found.map(|(_, raw)| raw.get())
    }

    /// Where a piece of the text stands in it.
    fn span(&self, piece: &str) -> Range<usize> {
        let start = piece.as_ptr().addr() - self.text.as_ptr().addr();
        start..start + piece.len()
    }
}

/// Changes of an object's text, to be made all at once.
pub(super) struct Edits<'a> {
    members: &'a Members<'a>,
    list: Vec<(Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    pub(super) fn of(members: &'a Members<'a>) -> Self {
        let list = Vec::new();
        Self { members, list }
    }

    /// Puts something in the place of a piece of the text.
    pub(super) fn replace(&mut self, piece: &str, new: String) {
        self.list.push((self.members.span(piece), new));
    }

    /// Puts something before the bracket that closes an array of the text.
    pub(super) fn append(&mut self, array: &str, new: String) {
        let end = self.members.span(array).end - 1;
        self.list.push((end..end, new));
    }

    /// Sets a member of an object that is not empty, in its place or behind the others.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        if let Some(raw) = self.members.raw(name) {
            return self.replace(raw, value.to_owned());
        }
        let end = self.members.text.trim_end().len() - 1;
        let member = format!(",{}:{value}", Value::from(name));
        self.list.push((end..end, member));
    }

    /// The text with the changes in it.
    pub(super) fn apply(mut self) -> Bytes {
        // Stable: of two at one place, the one asked for first comes first.
        self.list.sort_by_key(|(span, _)| span.start);
        let text = self.members.text;
        let added: usize = self.list.iter().map(|(_, new)| new.len()).sum();
        let mut edited = String::with_capacity(text.len() + added);
        let mut done = 0;
        for (span, new) in self.list {
            edited.push_str(&text[done..span.start]);
            edited.push_str(&new);
            done = span.end;
        }
        edited.push_str(&text[done..]);
        edited.into()
    }
}

struct List<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for List<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ListVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = List<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(member) = map.next_entry()? {
            list.push(member);
        }
        Ok(List(list))
    }
}
