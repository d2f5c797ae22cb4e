//! Durations and sizes as they are written, and written back.
//!
//! A number without a unit is refused everywhere: `timeout = 30` has meant seconds to one half of
//! the world's configuration files and milliseconds to the other.

use std::time::Duration;

use super::faults::Malformed;

/// The longest duration that can be written; beyond it, `"off"` is what is meant. It also keeps
/// every sum of a present moment and a duration within what the operating system's clock can hold.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The units of a duration, smallest first, in milliseconds.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// The units of a size, in bytes; the order is the one in which a size is written back.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1000),
    ("B", 1),
];

/// Reads a duration such as `250ms`, `15s`, `2m`, `1h`, `1d` (of 24 hours).
///
/// # Errors
///
/// [`Malformed`] for anything else, and for more than [`LONGEST`].
pub fn parse_duration(text: &str) -> Result<Duration, Malformed> {
    const HELP: &str = r#"write a whole number and its unit: "250ms", "15s", "2m", "1h", "1d""#;
    let (number, unit) = number_and_unit(text, "duration", HELP)?;
    let (_, factor) = DURATION_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| Malformed::new("a duration with an unknown unit", HELP))?;
    number
        .checked_mul(*factor)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| {
            let longest = show_duration(LONGEST);
            Malformed::new(
                "a duration that is too long",
                format!("at most \"{longest}\""),
            )
        })
}

/// Reads a size such as `64KiB`, `20MiB`, `1MB`, in bytes.
///
/// # Errors
///
/// [`Malformed`] for anything else, and for what does not fit into 63 bits.
pub fn parse_size(text: &str) -> Result<u64, Malformed> {
    const HELP: &str = r#"write a whole number and its unit: "512B", "64KiB", "20MiB", "1MB""#;
    let (number, unit) = number_and_unit(text, "size", HELP)?;
    let (_, factor) = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| Malformed::new("a size with an unknown unit", HELP))?;
    number
        .checked_mul(*factor)
        .filter(|size| i64::try_from(*size).is_ok())
        .ok_or_else(|| Malformed::new("a size that is too large", "at most \"8191GiB\""))
}

/// Writes a duration the way [`parse_duration`] reads it, in the largest unit that fits evenly.
/// What is below a millisecond is cut off.
pub fn show_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = DURATION_UNITS
        .into_iter()
        .rev()
        .find(|(unit, factor)| {
            milliseconds.is_multiple_of(*factor) && (milliseconds > 0 || *unit == "s")
        })
        .unwrap_or(DURATION_UNITS[0]);
    format!("{}{unit}", milliseconds / factor)
}

/// Writes a size the way [`parse_size`] reads it, in the largest unit that fits evenly.
pub fn show_size(bytes: u64) -> String {
    let (unit, factor) = SIZE_UNITS
        .into_iter()
        .find(|(unit, factor)| bytes.is_multiple_of(*factor) && (bytes > 0 || *unit == "B"))
        .unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

fn number_and_unit<'t>(text: &'t str, kind: &str, help: &str) -> Result<(u64, &'t str), Malformed> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(Malformed::new(format!("not a {kind}"), help));
    }
    if unit.is_empty() {
        return Err(Malformed::new(format!("a {kind} without a unit"), help));
    }
    let number = number
        .parse()
        .map_err(|_| Malformed::new(format!("a {kind} whose number is too large"), help))?;
    Ok((number, unit))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_in_each_unit() {
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(parse_duration("15s").unwrap(), Duration::from_secs(15));
        assert_eq!(parse_duration("2m").unwrap(), Duration::from_secs(120));
        assert_eq!(parse_duration("1h").unwrap(), Duration::from_secs(3600));
        assert_eq!(parse_duration("1d").unwrap(), Duration::from_secs(86_400));
        assert_eq!(parse_duration("0s").unwrap(), Duration::ZERO);
    }

    #[test]
    fn sizes_are_read_in_each_unit() {
        assert_eq!(parse_size("512B").unwrap(), 512);
        assert_eq!(parse_size("64KiB").unwrap(), 65_536);
        assert_eq!(parse_size("20MiB").unwrap(), 20 << 20);
        assert_eq!(parse_size("1MB").unwrap(), 1_000_000);
        assert_eq!(parse_size("1GiB").unwrap(), 1 << 30);
        assert_eq!(parse_size("8191GiB").unwrap(), 8191 << 30);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let duration = |text: &str| parse_duration(text).unwrap_err().message;
        assert_eq!(duration("15"), "a duration without a unit");
        assert_eq!(duration("15 s"), "a duration with an unknown unit");
        assert_eq!(duration("15sec"), "a duration with an unknown unit");
        assert_eq!(duration("1.5s"), "a duration with an unknown unit");
        assert_eq!(duration("-1s"), "not a duration");
        assert_eq!(duration(""), "not a duration");
        assert_eq!(duration("9000h"), "a duration that is too long");
        assert_eq!(
            duration("18446744073709551616s"),
            "a duration whose number is too large"
        );
        let size = |text: &str| parse_size(text).unwrap_err().message;
        assert_eq!(size("64"), "a size without a unit");
        assert_eq!(size("64kb"), "a size with an unknown unit");
        assert_eq!(size("9000000000GiB"), "a size that is too large");
    }

    proptest! {
        #[test]
        fn durations_survive_being_written_and_read(milliseconds in 0u64..=31_536_000_000) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }

        #[test]
        fn sizes_survive_being_written_and_read(bytes in 0u64..=i64::MAX as u64) {
            prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn any_number_with_a_unit_is_its_product(number in 0u64..365, unit in 0usize..5) {
            let (name, factor) = DURATION_UNITS[unit];
            let read = parse_duration(&format!("{number}{name}"));
            prop_assert_eq!(read, Ok(Duration::from_millis(number * factor)));
        }

        #[test]
        fn arbitrary_text_is_refused_or_read_but_never_a_panic(text in ".{0,24}") {
            if let Ok(duration) = parse_duration(&text) {
                prop_assert!(duration <= LONGEST);
                prop_assert!(text.starts_with(|c: char| c.is_ascii_digit()));
            }
            if parse_size(&text).is_ok() {
                prop_assert!(text.ends_with('B'));
            }
        }
    }
}
