//! Query conditions: names and values are percent-decoded, `+` is a space, a `%` that escapes
//! nothing stands for itself (WHATWG URL, application/x-www-form-urlencoded parsing). Of a parameter
//! that is there several times the first counts, so that two different values exclude each other.

use super::path::escaped;

/// Whether the first parameter `name` of `query` has the value `value`.
pub(super) fn has(query: Option<&str>, name: &str, value: &str) -> bool {
    first(query, name).is_some_and(|raw| decodes_to(raw, value))
}

/// The value of the first parameter `name`, still encoded.
pub(super) fn first<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    query?
        .split('&')
        .filter(|pair| !pair.is_empty())
        .find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            decodes_to(key, name).then_some(value)
        })
}

/// Whether `raw` decodes to `wanted`, told without a copy.
fn decodes_to(raw: &str, wanted: &str) -> bool {
    let mut raw = raw.as_bytes();
    for wanted in wanted.bytes() {
        let Some((&byte, rest)) = raw.split_first() else {
            return false;
        };
        let escape = (byte == b'%')
            .then(|| escaped(rest.first(), rest.get(1)))
            .flatten();
        raw = if escape.is_some() { &rest[2..] } else { rest };
        let decoded = escape.unwrap_or(if byte == b'+' { b' ' } else { byte });
        if decoded != wanted {
            return false;
        }
    }
    raw.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_value_counts() {
        assert!(has(Some("a=1&a=2"), "a", "1"));
        assert!(!has(Some("a=1&a=2"), "a", "2"));
        assert!(has(Some("&b&a=x+y%26"), "a", "x y&"));
        assert!(has(Some("b"), "b", ""));
        assert!(has(Some("%61lt=%73se"), "alt", "sse"));
        assert!(has(Some("a=100%"), "a", "100%"));
        assert!(has(Some("a=%zz"), "a", "%zz"));
        assert!(!has(Some("a=12"), "a", "1"));
        assert!(!has(Some("a=1"), "a", "12"));
        assert!(!has(None, "a", ""));
    }

    proptest! {
        #[test]
        fn whatever_is_encoded_is_found(name in "\\PC{1,8}", value in "\\PC{0,8}", junk in ".{0,20}") {
            let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
            let query = format!("{}={}&{junk}", encode(&name), encode(&value));
            prop_assert!(has(Some(&query), &name, &value));
            let _ = has(Some(&junk), &name, &value);
        }
    }
}
