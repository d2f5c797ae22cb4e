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
    all(query, name).next()
}

/// The values of every parameter `name`, in order, still encoded.
pub(super) fn all<'q>(query: Option<&'q str>, name: &str) -> impl Iterator<Item = &'q str> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter_map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            decodes_to(key, name).then_some(value)
        })
}

/// What `raw` decodes to.
pub(super) fn decoded(raw: &str) -> String {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((byte, after)) = decode_one(rest) {
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The first byte that `raw` decodes to, and what is left of it.
fn decode_one(raw: &[u8]) -> Option<(u8, &[u8])> {
    let (&byte, rest) = raw.split_first()?;
    let escape = (byte == b'%')
        .then(|| escaped(rest.first(), rest.get(1)))
        .flatten();
    Some(match escape {
        Some(byte) => (byte, &rest[2..]),
        None => (if byte == b'+' { b' ' } else { byte }, rest),
    })
}

/// Whether `raw` decodes to `wanted`, told without a copy.
fn decodes_to(raw: &str, wanted: &str) -> bool {
    let mut raw = raw.as_bytes();
    for wanted in wanted.bytes() {
        let Some((decoded, rest)) = decode_one(raw) else {
            return false;
        };
        if decoded != wanted {
            return false;
        }
        raw = rest;
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
