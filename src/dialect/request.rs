//! What a request's JSON body says that a gateway must know: its model, and whether it streams.
//!
//! Invariant: the body is read as the backend will read it, or refused. Keys are decoded before
//! they are compared, so that `"mod\u0065l"` is `model`; a key that stands twice is refused, since
//! readers disagree on which of the two counts. No tree is built: values of other keys are stepped
//! over, and 20 MB of images cost one pass and no memory.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

/// What a request's body says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The model, if there is one. `null` is none.
    pub model: Option<Model>,
    /// Whether a stream is asked for; `None` where the body does not say it with a boolean.
    pub stream: Option<bool>,
}

/// The model that a body names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its name, decoded.
    pub name: String,
    /// Where it stands in the body, in bytes: the JSON string with its quotes.
    pub span: Range<usize>,
}

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// Not JSON, or JSON that stops short, or more than one document.
    #[error("the request body is not valid JSON, at line {line}, column {column}")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1; 0 where a line ends.
        column: usize,
    },
    /// JSON, but no object.
    #[error("the request body is not a JSON object")]
    NotAnObject,
    /// A key that stands more than once.
    #[error("the request body has more than one `{0}`")]
    Duplicate(&'static str),
    /// A `model` that is something else than a string or null.
    #[error("`model` in the request body is not a string")]
    ModelNotString,
}

/// Reads a body in one pass. Every byte must be there.
///
/// # Errors
/// Where it is no JSON object, has `model` or `stream` twice, or a `model` that is no string.
pub fn read_request(body: &[u8]) -> Result<Facts, BodyFault> {
    let found: Found<'_> =
        serde_json::from_slice(body).map_err(|error| match error.classify() {
            Category::Data => BodyFault::NotAnObject,
            Category::Io | Category::Syntax | Category::Eof => BodyFault::NotJson {
                line: error.line(),
                column: error.column(),
            },
        })?;
    if let Some(key) = found.duplicate {
        return Err(BodyFault::Duplicate(key));
    }
    let model = match found.model.map(RawValue::get) {
        None | Some("null") => None,
        Some(raw) => {
            let name = serde_json::from_str(raw).map_err(|_| BodyFault::ModelNotString)?;
            // The raw value borrows from `body`: the difference of the two is where it stands.
            let start = raw.as_ptr().addr() - body.as_ptr().addr();
            Some(Model {
                name,
                span: start..start + raw.len(),
            })
        }
    };
    let stream = found.stream.and_then(|raw| match raw.get() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    });
    Ok(Facts { model, stream })
}

/// The body with another model in place of `model`, which [`read_request`] found in it. Every
/// other byte stays.
pub fn rename_model(body: &Bytes, model: &Model, new: &str) -> Bytes {
    let name = serde_json::Value::from(new).to_string();
    let before = &body[..model.span.start];
    let after = &body[model.span.end..];
    [before, name.as_bytes(), after].concat().into()
}

#[derive(Default)]
struct Found<'a> {
    model: Option<&'a RawValue>,
    stream: Option<&'a RawValue>,
    duplicate: Option<&'static str>,
}

impl<'de> Deserialize<'de> for Found<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FoundVisitor)
    }
}

struct FoundVisitor;

impl<'de> Visitor<'de> for FoundVisitor {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found::default();
        while let Some(key) = map.next_key()? {
            let (slot, name) = match key {
                Key::Model => (&mut found.model, "model"),
                Key::Stream => (&mut found.stream, "stream"),
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if slot.replace(map.next_value()?).is_some() {
                found.duplicate = Some(name);
            }
        }
        Ok(found)
    }
}

enum Key {
    Model,
    Stream,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "model" => Key::Model,
            "stream" => Key::Stream,
            _ => Key::Other,
        })
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
