//! Places: all values that can be another one, and how long others are.

use proptest::prelude::*;

use super::{Place, odd_byte, places, text_len};

#[test]
fn strings_and_numbers_of_members_have_places() {
    let document = br#"{"a":"x\"y","b" : 12,"c":[1,"z",{"d":""}],"e":-3,"f":4.5,"g":null  }"#;
    let found = places(document);
    let written: Vec<_> = found
        .iter()
        .map(|place| str::from_utf8(&document[place.range()]).unwrap())
        .collect();
    assert_eq!(written, [r#"x\"y"#, "12", "", "4", "  "]);
    assert!(matches!(found[0], Place::Text(_)));
    assert!(matches!(found[1], Place::Digits(_)));
    assert!(matches!(found[4], Place::Blanks(_)));
    assert_eq!(
        found[1].behind(5).range(),
        found[1].range().start + 5..found[1].range().end + 5
    );
}

#[test]
fn what_is_cut_off_has_the_places_it_has() {
    assert_eq!(places(b"{\"a\":\"x"), []);
    assert_eq!(places(b"{\"a\":1"), [Place::Digits(5..6)]);
    assert_eq!(places(b"{}"), [Place::Blanks(1..1)]);
    assert_eq!(places(b""), []);
}

#[test]
fn a_value_ends_where_its_kind_ends() {
    for (place, bytes, len) in [
        (Place::Text(0..0), "ab\",", Some(2)),
        (Place::Text(0..0), "ab", None),
        (Place::Digits(0..0), "12}", Some(2)),
        (Place::Digits(0..0), "12", None),
        (Place::Blanks(0..0), "  }", Some(2)),
        (Place::Blanks(0..0), "}", Some(0)),
    ] {
        assert_eq!(place.len_in(bytes.as_bytes()), len, "{place:?} {bytes}");
    }
}

#[test]
fn a_text_is_as_long_as_it_is_written() {
    for len in 0..70 {
        let text = "é".repeat(len / 2) + &"a".repeat(len % 2);
        assert_eq!(text_len(format!("{text}\"").as_bytes()), Some(len));
        assert_eq!(text_len(format!("{text}\\\"\"").as_bytes()), Some(len + 2));
        assert_eq!(text_len(format!("{text}\n\"").as_bytes()), None);
        assert_eq!(text_len(format!("{text}\\").as_bytes()), None);
        assert_eq!(text_len(text.as_bytes()), None);
    }
}

proptest! {
    #[test]
    fn the_first_odd_byte_is_found(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let is_odd = |byte: &u8| *byte < b' ' || b"\"\\".contains(byte);
        prop_assert_eq!(odd_byte(&bytes), bytes.iter().position(is_odd));
        let even: Vec<u8> = bytes.into_iter().filter(|byte| !is_odd(byte)).collect();
        prop_assert_eq!(odd_byte(&even), None);
    }
}

/// An escape stepped over the line's end.
#[test]
fn no_string_goes_on_in_the_next_line() {
    for text in ["a\\\nb\"", "a\\\rb\"", "a\nb\"", "a\\"] {
        assert_eq!(Place::Text(0..0).len_in(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(Place::Text(0..0).len_in(b"a\\\"b\""), Some(4));
}
