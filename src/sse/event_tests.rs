//! Frames: what is put in comes out again, for a reader that follows the standard, too.

use std::borrow::Cow;

use bytes::Bytes;
use proptest::prelude::*;

use super::{BadEvent, Frame, LONGEST_ID, Parts, event_id_text};
use crate::sse::{Splitter, reference};

fn parts(lines: &'static str) -> Parts<'static> {
    // Leaked, because parts borrow from their frame.
    Box::leak(Box::new(Frame::from_lines(Bytes::from_static(
        lines.as_bytes(),
    ))))
    .parts()
}

fn text(frame: &Frame) -> &str {
    str::from_utf8(frame.as_bytes()).unwrap()
}

#[test]
fn a_frame_is_written_line_by_line() {
    let frame = Frame::new(Some("price"), "a\nb\r\nc\rd", Some(1500)).unwrap();
    assert_eq!(
        text(&frame),
        "event: price\nretry: 1500\ndata: a\ndata: b\ndata: c\ndata: d\n"
    );
    assert_eq!(frame.len(), text(&frame).len());
    assert!(!frame.is_empty());
}

#[test]
fn every_frame_has_a_data_line() {
    let text = |data| text(&Frame::new(None, data, None).unwrap()).to_owned();
    assert_eq!(text(""), "data: \n");
    assert_eq!(text("\n"), "data: \ndata: \n");
    assert_eq!(text("\r\n\r"), "data: \ndata: \ndata: \n");
    assert_eq!(text(" a"), "data:  a\n", "only one blank is the field's");
}

#[test]
fn an_empty_name_is_none() {
    let frame = Frame::new(Some(""), "a", None).unwrap();
    assert_eq!(text(&frame), "data: a\n");
    assert_eq!(parts("event:\ndata: a\n").event, None);
    assert_eq!(
        parts("event: a\nevent\ndata: a\n").event,
        None,
        "the last one"
    );
}

#[test]
fn a_name_stays_on_its_line() {
    for name in ["a\nb", "a\rb", "a\0b", "\n"] {
        assert_eq!(
            Frame::new(Some(name), "", None),
            Err(BadEvent::Name),
            "{name:?}"
        );
    }
}

#[test]
fn parts_are_what_a_client_makes_of_the_lines() {
    let said = parts("data\nevent:a: b\ndata:  two\nretry:0010\nretry: x\ndata:three\n");
    assert_eq!(said.event, Some(Cow::Borrowed("a: b")));
    assert_eq!(said.data, "\n two\nthree");
    assert_eq!(
        said.retry,
        Some(10),
        "one that is no number changes nothing"
    );
    for retry in ["retry\n", "retry: \n", "retry: +1\n", "retry: 1 \n"] {
        assert_eq!(parts(retry).retry, None, "{retry:?}");
    }
    assert_eq!(parts("retry: 18446744073709551616\n").retry, None);
    assert_eq!(parts("retry: 18446744073709551615\n").retry, Some(u64::MAX));
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    let frame = Frame::from_lines(Bytes::from_static(b"event: \xFF\ndata: a\xE4\xB8\n"));
    assert_eq!(frame.parts().event.as_deref(), Some("\u{FFFD}"));
    assert_eq!(frame.parts().data, "a\u{FFFD}");
}

#[test]
fn frames_out_of_one_chunk_share_nothing() {
    let large = "x".repeat(100_000);
    let stream = format!("data: a\n\ndata: {large}\n\ndata: b\n\n");
    let mut frames = Vec::new();
    Splitter::new(usize::MAX)
        .feed(stream.as_bytes(), &mut |block| frames.extend(block.frame))
        .unwrap();
    assert_eq!(frames.len(), 3);
    assert!(frames.iter().all(|frame| frame.0.is_unique()));
}

#[test]
fn an_id_fits_into_a_line_and_a_head() {
    assert_eq!(event_id_text("a b:c").as_deref(), Ok("a b:c"));
    assert_eq!(event_id_text(""), Err(BadEvent::EmptyId));
    let longest = "é".repeat(LONGEST_ID / 2);
    assert_eq!(event_id_text(&longest).as_deref(), Ok(&*longest));
    let longer = format!("{longest}a");
    assert_eq!(
        event_id_text(&longer),
        Err(BadEvent::LongId {
            len: LONGEST_ID + 1
        })
    );
    for id in ["a\n", "\ra", "a\0"] {
        assert_eq!(event_id_text(id), Err(BadEvent::Id), "{id:?}");
    }
    assert!(
        event_id_text(&longer)
            .unwrap_err()
            .to_string()
            .contains("257")
    );
}

/// Text with line ends, blanks and colons in it.
fn written() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "[ab: \r\n]{0,12}",
        1 => any::<String>(),
    ]
}

fn with_line_feeds(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_goes_in_comes_out(
        name in prop::option::of("[a: é]{0,4}"),
        data in written(),
        retry in prop::option::of(any::<u64>()),
    ) {
        let frame = Frame::new(name.as_deref(), &data, retry).unwrap();
        let said = frame.parts();
        let name = name.filter(|name| !name.is_empty());
        prop_assert_eq!(said.event.as_deref(), name.as_deref());
        prop_assert_eq!(&said.data, &with_line_feeds(&data));
        prop_assert_eq!(said.retry, retry);
    }

    /// The same, read by the standard's algorithm and by the splitter.
    #[test]
    fn a_frame_is_one_event_on_the_wire(name in prop::option::of("[a: é]{0,4}"), data in written()) {
        let frame = Frame::new(name.as_deref(), &data, None).unwrap();
        let wire = [frame.as_bytes(), b"\n"].concat();
        let blocks = reference::blocks(&wire);
        prop_assert_eq!(blocks.len(), 1);
        prop_assert_eq!(&blocks[0].name, name.as_deref().unwrap_or_default());
        prop_assert_eq!(blocks[0].data.as_deref(), Some(&*with_line_feeds(&data)));
        let mut frames = Vec::new();
        let fed = Splitter::new(frame.len()).feed(&wire, &mut |block| frames.extend(block.frame));
        prop_assert_eq!(fed, Ok(()));
        prop_assert_eq!(frames, [frame]);
    }

    #[test]
    fn parts_never_fail(lines in prop::collection::vec(line(), 0..8), data in "[a\u{FEFF}: ]{0,3}") {
        let lines: Vec<u8> = lines
            .iter()
            .map(|line| &line[..])
            .chain([format!("data:{data}").as_bytes()])
            .flat_map(|line| [line, b"\n"].concat())
            .collect();
        // A byte order mark is one at the very start of a stream only.
        let blocks = reference::blocks(&[b"\n", &lines[..], b"\n"].concat());
        prop_assert_eq!(blocks.len(), 2);
        let frame = Frame::from_lines(lines.into());
        let said = frame.parts();
        prop_assert_eq!(Some(said.data), blocks[1].data.clone());
        prop_assert_eq!(said.event.unwrap_or_default(), blocks[1].name.clone());
        prop_assert_eq!(said.retry, blocks[1].retry);
    }
}

/// A line of any bytes, or of a field that counts.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("a line end", |byte| !b"\r\n".contains(byte));
    let any_bytes = prop::collection::vec(byte, 1..12);
    let field = prop::sample::select(&["data", "event", "retry", "id"][..]);
    let known = (field, any_bytes.clone(), "[0-9]{0,22}");
    prop_oneof![
        1 => any_bytes,
        1 => known.clone().prop_map(|(field, bytes, _)| [field.as_bytes(), b":", &bytes].concat()),
        1 => known.prop_map(|(field, _, digits)| format!("{field}: {digits}").into_bytes()),
    ]
}
