//! The JSON Schema of the configuration, for editors that complete and check while one types.
//!
//! Made from the table of keys. It is never stricter than what is loaded: a text with a `$` in it may
//! become anything, so it passes every pattern.

use serde_json::{Map, Value, json};

use super::keys::root::ROOT;
use super::keys::{Fallback, Key, Kind, NAME, SECRET_FILE, Table};
use super::units::{show_duration, show_size};
use super::values::Limit;

/// What a duration looks like.
const DURATION: &str = "[0-9]+(ms|s|m|h|d)";
/// What a size looks like.
const SIZE: &str = "[0-9]+(B|KB|MB|GB|KiB|MiB|GiB)";

/// The JSON Schema (draft 2020-12) of a configuration file.
pub fn json_schema() -> Value {
    let mut schema = table_schema(&ROOT);
    let mut whole = Map::new();
    whole.insert(
        "$schema".into(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    whole.insert("title".into(), json!("Configuration of Deltaway"));
    if let Some(schema) = schema.as_object_mut() {
        whole.append(schema);
    }
    Value::Object(whole)
}

fn table_schema(table: &Table) -> Value {
    let properties: Map<_, _> = table
        .keys
        .iter()
        .map(|key| (key.name.to_owned(), key_schema(key)))
        .collect();
    let required: Vec<_> = table
        .keys
        .iter()
        .filter(|key| matches!(key.fallback, Fallback::Required))
        .map(|key| key.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !table.forms.is_empty() {
        let forms = table.forms.iter().map(|form| form_schema(form, table));
        schema["oneOf"] = forms.collect();
    }
    schema
}

/// One group of keys whole, and no key of the other groups.
fn form_schema(form: &[&str], table: &Table) -> Value {
    let others = table.forms.iter().copied().flatten();
    let refused: Map<_, _> = others
        .filter(|name| !form.contains(name))
        .map(|name| ((*name).to_owned(), json!(false)))
        .collect();
    json!({ "required": form, "properties": refused })
}

fn key_schema(key: &Key) -> Value {
    let mut schema = kind_schema(&key.kind);
    schema["description"] = json!(key.meaning);
    if let Some(default) = default(key.fallback) {
        schema["default"] = default;
    }
    if matches!(
        (key.fallback, key.kind),
        (Fallback::Required, Kind::Named(_))
    ) {
        schema["minProperties"] = json!(1);
    }
    schema
}

fn kind_schema(kind: &Kind) -> Value {
    match kind {
        Kind::Text(form) => text(form.pattern),
        Kind::Choice(words) => json!({ "anyOf": [{ "enum": words }, variable()] }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Count(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Duration(_) => text(DURATION),
        Kind::Limit => text(&format!("off|{DURATION}")),
        Kind::Size(..) => text(SIZE),
        Kind::Secret => {
            json!({ "anyOf": [{ "type": "string", "minLength": 1 }, table_schema(&SECRET_FILE)] })
        }
        Kind::File => json!({ "type": "string", "minLength": 1 }),
        Kind::List(least, kind) => list(*least, kind),
        Kind::OneOrMore(kind) => json!({ "anyOf": [kind_schema(kind), list(1, kind)] }),
        Kind::Map(kind) => json!({ "type": "object", "additionalProperties": kind_schema(kind) }),
        Kind::Named(table) => named(NAME.pattern, table),
        Kind::Each(form, table) => named(form.pattern, table),
        Kind::Table(table) => described(table),
        Kind::TextOrTable(form, table) => {
            json!({ "anyOf": [text(form.pattern), described(table)] })
        }
        Kind::FlagOrTable(table) => {
            json!({ "anyOf": [{ "type": "boolean" }, described(table)] })
        }
    }
}

fn named(pattern: &str, table: &Table) -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": format!("^(?:{pattern})$") },
        "additionalProperties": described(table),
    })
}

fn described(table: &Table) -> Value {
    let mut schema = table_schema(table);
    schema["description"] = json!(table.about);
    schema
}

fn list(least: usize, kind: &Kind) -> Value {
    json!({ "type": "array", "items": kind_schema(kind), "minItems": least })
}

fn text(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!(r"^(?:{pattern})$|\$") })
}

fn variable() -> Value {
    json!({ "type": "string", "pattern": r"\$" })
}

fn default(fallback: Fallback) -> Option<Value> {
    match fallback {
        Fallback::Text(text) => Some(json!(text)),
        Fallback::Flag(flag) => Some(json!(flag)),
        Fallback::Count(count) => Some(json!(count)),
        Fallback::Duration(duration) | Fallback::Limit(Limit::After(duration)) => {
            Some(json!(show_duration(duration)))
        }
        Fallback::Size(size) => Some(json!(show_size(size))),
        Fallback::Limit(Limit::Off) => Some(json!("off")),
        Fallback::Limit(Limit::Unset)
        | Fallback::Required
        | Fallback::Absent(_)
        | Fallback::Later(_) => None,
    }
}
