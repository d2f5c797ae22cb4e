//! Documents in pieces, against the same in one slice.

#![allow(clippy::unwrap_used)]

use super::{Extract, Gathered};

fn document(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn gathered(document: &[u8], piece: usize) -> Gathered {
    let mut gathered = Gathered::default();
    for piece in document.chunks(piece) {
        gathered.push(piece);
    }
    gathered
}

#[test]
fn pieces_make_no_difference() {
    const LIMIT: usize = Gathered::LIMIT;
    for len in [
        0,
        1,
        100,
        LIMIT - 1,
        LIMIT,
        LIMIT + 1,
        81_000,
        98_303,
        98_305,
        300_000,
    ] {
        let document = document(len);
        for piece in [1, 7, 1000, 16_383, 16_384, 16_385, 40_000, 66_000, 400_000] {
            if piece < 100 && len > 100_000 {
                continue;
            }
            let gathered = gathered(&document, piece);
            assert!(
                gathered.extract() == Extract::of(&document),
                "{len} by {piece}"
            );
            assert!(gathered.bytes.len() <= LIMIT, "{len} by {piece}");
        }
    }
}

#[test]
fn what_is_kept_of_a_long_document() {
    let document = document(200_000);
    let extract = Extract::of(&document);
    assert!(document.starts_with(extract.head));
    assert!(document.ends_with(extract.tail));
    assert_eq!((extract.head.len(), extract.tail.len()), (32_768, 16_384));
    let whole = &document[..Gathered::LIMIT];
    assert!(Extract::of(whole).head == whole);
}

#[test]
fn closed_is_one_whole_object_or_list() {
    let closed = |text: &str| gathered(text.as_bytes(), 3).closed().is_some();
    for text in ["{}", "{\"a\":{}}", "[{}]", "{} \n", "{\"a\":\"}\"}"] {
        assert!(closed(text), "{text}");
    }
    for text in [
        "",
        "{",
        "{\"a\":{}",
        "{\"a\":\"}",
        "{}}",
        "{}{}",
        "no}",
        "[}",
        "{]",
    ] {
        assert!(!closed(text), "{text}");
    }
}
