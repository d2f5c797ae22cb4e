//! Each encoding, and that what was encoded is read again.

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Encoding, Gap, Item, Reason, encode, gap, greeting, heartbeat, object, poll_body, prime,
};
use crate::sse::{Frame, Splitter};

const ID: &str = "0123456789ab.7";

fn frame(name: Option<&str>, data: &str) -> Frame {
    Frame::new(name, data, None).unwrap()
}

fn encoded(encoding: Encoding, frame: &Frame) -> String {
    let mut out = BytesMut::new();
    encode(encoding, Item { id: ID, frame }, &mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn each_encoding_has_its_form() {
    let event = Frame::new(Some("price"), "a\n\"b\"", Some(5)).unwrap();
    for (encoding, expected) in [
        (
            Encoding::Sse,
            "id: 0123456789ab.7\nevent: price\nretry: 5\ndata: a\ndata: \"b\"\n\n",
        ),
        (
            Encoding::SsePlain,
            "event: price\nretry: 5\ndata: a\ndata: \"b\"\n\n",
        ),
        (Encoding::Data, "a\n\"b\"\n"),
        (
            Encoding::Ndjson,
            "{\"id\":\"0123456789ab.7\",\"event\":\"price\",\"data\":\"a\\n\\\"b\\\"\"}\n",
        ),
    ] {
        assert_eq!(encoded(encoding, &event), expected, "{encoding:?}");
    }
}

#[test]
fn the_name_of_a_plain_message_is_left_out_of_json() {
    for name in [None, Some("message")] {
        let line = encoded(Encoding::Ndjson, &frame(name, "x"));
        assert_eq!(line, "{\"id\":\"0123456789ab.7\",\"data\":\"x\"}\n");
    }
}

#[test]
fn a_primer_is_an_id_and_no_event() {
    let mut seen = Vec::new();
    let primer = prime(ID);
    assert_eq!(primer, "id: 0123456789ab.7\n\n");
    Splitter::new(1000)
        .feed(&primer, &mut |block| seen.push(block))
        .unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!((&seen[0].frame, seen[0].id.as_deref()), (&None, Some(ID)));
}

#[test]
fn a_gap_says_what_is_missing() {
    let missing = Gap {
        reason: Reason::Evicted,
        after: Some("e.1"),
        through: Some("e.4"),
        missed: Some(3),
        topic: None,
    };
    let written = |encoding| {
        let mut out = BytesMut::new();
        gap(encoding, "e.4", &missing, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    };
    let json = r#"{"reason":"evicted","after":"e.1","through":"e.4","missed":3}"#;
    assert_eq!(
        written(Encoding::Sse),
        format!("id: e.4\nevent: gap\ndata: {json}\n\n")
    );
    assert_eq!(
        written(Encoding::SsePlain),
        format!("event: gap\ndata: {json}\n\n")
    );
    assert_eq!(written(Encoding::Data), "");
    let line: Value = serde_json::from_str(&written(Encoding::Ndjson)).unwrap();
    assert_eq!(line, json!({"id": "e.4", "event": "gap", "data": json}));
}

#[test]
fn what_a_gap_does_not_know_is_null() {
    for (reason, word) in [
        (Reason::Epoch, "epoch"),
        (Reason::Unknown, "unknown"),
        (Reason::Ahead, "ahead"),
    ] {
        let gap = Gap {
            reason,
            after: None,
            through: None,
            missed: None,
            topic: None,
        };
        let said: Value = serde_json::from_str(&gap.frame().parts().data).unwrap();
        let expected = json!({"reason": word, "after": null, "through": null, "missed": null});
        assert_eq!(said, expected);
    }
}

#[test]
fn a_cursor_with_line_ends_stays_within_its_line() {
    let gap = Gap {
        reason: Reason::Unknown,
        after: Some("a\nb\r\n\ndata: c"),
        through: None,
        missed: None,
        topic: None,
    };
    let frame = gap.frame();
    assert_eq!(
        frame
            .as_bytes()
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count(),
        2
    );
    let said: Value = serde_json::from_str(&frame.parts().data).unwrap();
    assert_eq!(said["after"], "a\nb\r\n\ndata: c");
}

#[test]
fn a_greeting_has_no_id() {
    let welcome = frame(Some("welcome"), "{}");
    for (encoding, expected) in [
        (Encoding::Sse, "event: welcome\ndata: {}\n\n"),
        (Encoding::SsePlain, "event: welcome\ndata: {}\n\n"),
        (Encoding::Data, "{}\n"),
        (
            Encoding::Ndjson,
            "{\"event\":\"welcome\",\"data\":\"{}\"}\n",
        ),
    ] {
        let mut out = BytesMut::new();
        greeting(encoding, &welcome, &mut out);
        assert_eq!(out, expected);
    }
    assert_eq!(object(None, &welcome), r#"{"event":"welcome","data":"{}"}"#);
}

#[test]
fn a_heartbeat_is_no_event() {
    let mut seen = 0;
    let beat = heartbeat(Encoding::Sse);
    Splitter::new(10).feed(&beat, &mut |_| seen += 1).unwrap();
    assert_eq!((&beat[..], seen), (&b":\n\n"[..], 0));
    assert_eq!(heartbeat(Encoding::SsePlain), beat);
    assert_eq!(heartbeat(Encoding::Ndjson), "\n");
    assert_eq!(heartbeat(Encoding::Data), "\n");
}

#[test]
fn a_poll_is_one_document() {
    let [one, two] = [frame(None, "1"), frame(Some("b"), "2")];
    let items = [
        Item {
            id: "e.1",
            frame: &one,
        },
        Item {
            id: "e.2",
            frame: &two,
        },
    ];
    let body: Value = serde_json::from_slice(&poll_body(items, "e.2", false)).unwrap();
    let expected = json!({
        "events": [{"id": "e.1", "data": "1"}, {"id": "e.2", "event": "b", "data": "2"}],
        "cursor": "e.2",
        "closed": false,
    });
    assert_eq!(body, expected);
    assert_eq!(
        poll_body([], "e.\"2", true),
        r#"{"events":[],"cursor":"e.\"2","closed":true}"#
    );
}

proptest! {
    #[test]
    fn sse_is_split_into_what_was_encoded(
        events in prop::collection::vec(("[^\r\n\0]{0,8}", "(?s).{0,40}"), 0..6),
    ) {
        let frames: Vec<_> = events.iter().map(|(name, data)| frame(Some(name), data)).collect();
        let mut out = BytesMut::new();
        for frame in &frames {
            encode(Encoding::Sse, Item { id: ID, frame }, &mut out);
            out.extend_from_slice(&heartbeat(Encoding::Sse));
        }
        let mut seen = Vec::new();
        Splitter::new(10_000).feed(&out, &mut |block| seen.push(block)).unwrap();
        prop_assert_eq!(seen.len(), frames.len());
        for (block, frame) in seen.iter().zip(&frames) {
            prop_assert_eq!(block.frame.as_ref(), Some(frame));
            prop_assert_eq!(block.id.as_deref(), Some(ID));
        }
    }

    #[test]
    fn json_lines_hold_one_event_each(
        events in prop::collection::vec(("[^\r\n\0]{0,8}", "(?s).{0,40}"), 0..6),
    ) {
        let frames: Vec<_> = events.iter().map(|(name, data)| frame(Some(name), data)).collect();
        let mut out = BytesMut::new();
        for frame in &frames {
            encode(Encoding::Ndjson, Item { id: ID, frame }, &mut out);
        }
        let lines: Vec<Value> = std::str::from_utf8(&out)
            .unwrap()
            .split_terminator('\n')
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        prop_assert_eq!(lines.len(), frames.len());
        for (line, frame) in lines.iter().zip(&frames) {
            let parts = frame.parts();
            prop_assert_eq!(&line["data"], &parts.data);
            prop_assert_eq!(line["id"].as_str(), Some(ID));
            let name = parts.event.filter(|name| name != "message");
            prop_assert_eq!(line.get("event").and_then(Value::as_str), name.as_deref());
        }
    }
}
