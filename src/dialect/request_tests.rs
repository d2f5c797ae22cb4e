//! Request bodies against a JSON tree.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{BodyFault, Facts, Model, read_request, rename_model};

fn facts(body: &str) -> Facts {
    read_request(body.as_bytes()).unwrap()
}

fn fault(body: &str) -> BodyFault {
    read_request(body.as_bytes()).unwrap_err()
}

#[test]
fn model_and_stream_are_found_wherever_they_stand() {
    let body = r#" {"messages":[{"model":"not this"}], "stream" : true,"model" : "gpt-4o" }"#;
    let found = facts(body);
    assert_eq!(found.stream, Some(true));
    let model = found.model.unwrap();
    assert_eq!(
        (model.name.as_str(), &body[model.span]),
        ("gpt-4o", "\"gpt-4o\"")
    );
    assert_eq!(facts("{}"), Facts::default());
    assert_eq!(facts(r#"{"stream":false}"#).stream, Some(false));
}

#[test]
fn keys_and_names_are_decoded() {
    let found = facts(r#"{"mod\u0065l":"gpt\u002d4\n"}"#);
    assert_eq!(found.model.unwrap().name, "gpt-4\n");
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    for body in [
        r#"{"model":"a","model":"b"}"#,
        r#"{"model":"a","mod\u0065l":"b"}"#,
        r#"{"model":null,"model":"b"}"#,
        r#"{"model":"a","model":null}"#,
    ] {
        assert_eq!(fault(body), BodyFault::Duplicate("model"), "{body}");
    }
    assert_eq!(
        fault(r#"{"stream":true,"stream":true}"#),
        BodyFault::Duplicate("stream")
    );
    assert_eq!(
        facts(r#"{"x":1,"x":2,"Model":"a"}"#),
        Facts::default(),
        "other keys are not ours"
    );
}

#[test]
fn values_of_other_kinds() {
    assert_eq!(facts(r#"{"model":null,"stream":null}"#), Facts::default());
    assert_eq!(
        facts(r#"{"stream":"true"}"#).stream,
        None,
        "the backend's to judge"
    );
    for body in [
        r#"{"model":5}"#,
        r#"{"model":["a"]}"#,
        r#"{"model":{"name":"a"}}"#,
        r#"{"model":"\ud800"}"#,
    ] {
        assert_eq!(fault(body), BodyFault::ModelNotString, "{body}");
    }
}

#[test]
fn what_is_no_json_object_is_said_with_its_place() {
    assert_eq!(
        fault("{\"a\":1,\n\"b\":}"),
        BodyFault::NotJson { line: 2, column: 5 }
    );
    for body in [
        "",
        "{",
        "{\"model\":\"a\"",
        "{} {}",
        "nonsense",
        "{\"a\" 1}",
        "\u{feff}{}",
    ] {
        assert!(matches!(fault(body), BodyFault::NotJson { .. }), "{body}");
    }
    for body in ["[]", "[\"model\"]", "null", "5", "\"model\""] {
        assert_eq!(fault(body), BodyFault::NotAnObject, "{body}");
    }
    let text = fault("{\"a\":1,\n\"b\":}").to_string();
    assert_eq!(
        text,
        "the request body is not valid JSON, at line 2, column 5"
    );
}

#[test]
fn deep_nesting_is_stepped_over() {
    let depth = 200_000;
    let body = format!(
        "{{\"a\":{}{},\"model\":\"m\"}}",
        "[".repeat(depth),
        "]".repeat(depth)
    );
    assert_eq!(facts(&body).model.unwrap().name, "m");
}

#[test]
fn a_renamed_model_is_quoted_as_json() {
    let body = Bytes::from_static(br#"{ "model" : "a" , "x":1.0 }"#);
    let model = read_request(&body).unwrap().model.unwrap();
    assert_eq!(
        rename_model(&body, &model, "b\"c"),
        &br#"{ "model" : "b\"c" , "x":1.0 }"#[..]
    );
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("model|stream|[a-z]{0,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn reads_what_a_tree_would_say(body in json(), new in ".*") {
        let text = Bytes::from(body.to_string());
        let expected = match &body {
            Value::Object(members) => match members.get("model") {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(name)) => Ok(Some(name.clone())),
                Some(_) => Err(BodyFault::ModelNotString),
            },
            _ => Err(BodyFault::NotAnObject),
        };
        let found = read_request(&text).map(|facts| facts.model);
        prop_assert_eq!(found.clone().map(|model| model.map(|model| model.name)), expected);
        if let Ok(Some(model)) = found {
            let renamed: Value = serde_json::from_slice(&rename_model(&text, &model, &new)).unwrap();
            let mut body = body;
            body["model"] = json!(new);
            prop_assert_eq!(renamed, body);
        }
    }

    #[test]
    fn never_panics(body in prop::collection::vec(any::<u8>(), 0..64), tail in "[{}\\[\\]\":,a-z0-9\\\\ ]{0,40}") {
        let body = [&body[..], tail.as_bytes()].concat();
        for body in [&body[..], tail.as_bytes()] {
            if let Ok(Facts { model: Some(Model { span, .. }), .. }) = read_request(body) {
                prop_assert!(body[span].starts_with(b"\""));
            }
        }
    }
}
