//! Ids: one way to write each, and no other is read.

use proptest::prelude::*;

use super::{BadId, Epoch, EventId};

fn id(text: &str) -> Result<EventId, BadId> {
    text.parse()
}

#[test]
fn an_epoch_is_twelve_characters() {
    assert_eq!(Epoch::new(0).to_string(), "000000000000");
    assert_eq!(Epoch::new(31).to_string(), "00000000000z");
    assert_eq!(Epoch::new(32 * 18).to_string(), "0000000000j0");
    assert_eq!(Epoch::new((1 << 60) - 1).to_string(), "zzzzzzzzzzzz");
}

#[test]
fn the_upper_four_bits_do_not_count() {
    assert_eq!(Epoch::new(0xF000_0000_0000_0007), Epoch::new(7));
}

#[test]
fn an_id_is_read_as_it_is_written() {
    let one = EventId {
        epoch: Epoch::new(1),
        position: u64::MAX,
    };
    assert_eq!(one.to_string(), "000000000001.18446744073709551615");
    assert_eq!(id("000000000001.18446744073709551615"), Ok(one));
    assert_eq!(id("000000000000.0").map(|id| id.position), Ok(0));
}

#[test]
fn no_other_text_is_an_id() {
    for text in [
        "",
        ".",
        "1",
        "000000000000",
        "000000000000.",
        ".1",
        "000000000000.01",
        "000000000000.00",
        "000000000000.+1",
        "000000000000.-1",
        "000000000000. 1",
        "000000000000.1 ",
        " 000000000000.1",
        "000000000000.1.2",
        "000000000000.1a",
        "000000000000.18446744073709551616",
        "00000000000.1",
        "0000000000000.1",
        "00000000000A.1",
        "00000000000i.1",
        "00000000000l.1",
        "00000000000o.1",
        "00000000000u.1",
        "00000000000-.1",
        "0000000000é.1",
        "000000000000.١",
    ] {
        assert_eq!(id(text), Err(BadId), "{text:?}");
    }
    assert!(BadId.to_string().contains("12 characters"));
}

proptest! {
    #[test]
    fn ids_come_back(bits in any::<u64>(), position in any::<u64>()) {
        let one = EventId { epoch: Epoch::new(bits), position };
        prop_assert_eq!(id(&one.to_string()), Ok(one));
        prop_assert_eq!(one.epoch.to_string().parse(), Ok(one.epoch));
    }

    #[test]
    fn what_is_read_is_written_the_same(text in "[0-9a-zA-Z+]{11,13}\\.[0-9+-]{0,3}") {
        if let Ok(id) = id(&text) {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        if let Ok(id) = id(&text) {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
