//! The walk through a document, against a JSON parser.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Map, Value as Json};

use super::{Value, compact_len, nested_end};

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<i32>().prop_map(Json::from),
        any::<f32>().prop_map(|number| Json::from(f64::from(number))),
        ".{0,12}".prop_map(Json::from),
        "[{}\\[\\],:\"\\\\ ]{0,8}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::vec(("[a-z{}\\[\\],:\" ]{0,6}", inner), 0..6)
                .prop_map(|members| Json::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// What a walk finds, put together again; strings by a parser, since they are found as written.
fn rebuilt(value: Value<'_>) -> Json {
    let text = |written: &[u8]| -> String {
        let quoted = [b"\"", written, b"\""].concat();
        serde_json::from_slice(&quoted).unwrap()
    };
    match value {
        Value::Text(written) => text(written).into(),
        Value::Word(word) => serde_json::from_slice(word).unwrap(),
        Value::List(_) => value.elements().map(rebuilt).collect(),
        Value::Object(_) => value
            .members()
            .map(|(key, value)| (text(key), rebuilt(value)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

/// Everything that can be asked of a value.
fn walk(value: Value<'_>) -> u64 {
    let below: u64 = value
        .elements()
        .chain(value.members().map(|it| it.1))
        .map(walk)
        .sum();
    below + u64::from(value.is_empty()) + value.number().unwrap_or_default() % 2
}

proptest! {
    #[test]
    fn a_walk_finds_what_a_parser_does(json in json(), pretty in any::<bool>()) {
        let written = if pretty {
            serde_json::to_vec_pretty(&json).unwrap()
        } else {
            serde_json::to_vec(&json).unwrap()
        };
        let (value, rest) = Value::read(&written).unwrap();
        prop_assert_eq!(rest, b"");
        prop_assert_eq!(rebuilt(value), json.clone());
        prop_assert_eq!(value.number(), json.as_u64().or(value.number()));
        if json.is_object() || json.is_array() {
            prop_assert_eq!(nested_end(&written), Some(written.len()));
            prop_assert_eq!(compact_len(&written), json.to_string().len() as u64);
        }
    }

    /// A document that is cut off gives the members before the cut, and ends.
    #[test]
    fn a_cut_document_gives_what_there_is(json in json(), at in any::<prop::sample::Index>()) {
        let written = serde_json::to_vec(&json).unwrap();
        let cut = &written[..at.index(written.len())];
        let whole = Value::read(&written).unwrap().0;
        if let Some((value, _)) = Value::read(cut) {
            let found = value.members().count();
            let all = whole.members().count();
            prop_assert!(found <= all, "{found} of {all}");
            if found > 0 {
                let same = value.members().zip(whole.members()).take(found - 1).all(|(a, b)| a == b);
                prop_assert!(same);
            }
        }
    }

    /// Bytes that are no JSON end, too.
    #[test]
    fn anything_ends(bytes in prop::collection::vec(
        prop::sample::select(b"{}[]\",:\\ \n1nta\xc3".to_vec()), 0..60)) {
        if let Some((value, rest)) = Value::read(&bytes) {
            prop_assert!(rest.len() <= bytes.len());
            prop_assert!(walk(value) < 1000);
        }
    }
}

#[test]
fn numbers_and_empty_values() {
    let read = |text: &'static str| Value::read(text.as_bytes()).unwrap().0;
    for (text, number) in [
        ("12", Some(12)),
        ("0", Some(0)),
        ("12.9", Some(12)),
        ("1e3", Some(1000)),
        ("-1", None),
        ("1e300", None),
        ("null", None),
        ("\"12\"", None),
        ("[1]", None),
    ] {
        assert_eq!(read(text).number(), number, "{text}");
    }
    for empty in ["\"\"", "{}", "{ }", "[]", "[\n]", "null", "false"] {
        assert!(read(empty).is_empty(), "{empty}");
    }
    for full in ["\" \"", "{\"a\":1}", "[0]", "0", "true"] {
        assert!(!read(full).is_empty(), "{full}");
    }
}
