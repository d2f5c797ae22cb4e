//! What stands in a request where a route has a name: `{name}` and `{name*}` of its path, and the
//! parameters of the query. Topics are called after these values, so no value may mean two things.

use super::path::{BadPath, Path};
use super::query;
use crate::config::{PathPattern, Segment};

/// The values of a path's parameters, percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parameters<'p>(Vec<(&'p str, String)>);

impl Parameters<'_> {
    /// The value of `{name}` or `{name*}`; none where the pattern has no such parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What stands in `path` where `pattern` has parameters. Between the segments of a `{name*}` slashes are
/// kept. `path` is one that the pattern matches, as it was sent; for any other, some are missing.
///
/// # Errors
///
/// [`BadPath`] when the path could be read in two ways: also when a value holds an encoded slash, which
/// could not be told from the end of its segment, or is no UTF-8 (400).
pub fn parameters<'p>(pattern: &'p PathPattern, path: &str) -> Result<Parameters<'p>, BadPath> {
    let mut found = Parameters::default();
    let Some(path) = Path::read(path)? else {
        return Ok(found);
    };
    let segments: Vec<&[u8]> = path.segments().collect();
    for (wanted, segment) in pattern.segments.iter().zip(&segments) {
        if let Segment::Parameter(name) = wanted {
            found.0.push((name, value(segment)?.to_owned()));
        }
    }
    if let (Some(name), Some(rest)) = (&pattern.rest_name, segments.get(pattern.segments.len()..)) {
        let rest: Result<Vec<&str>, BadPath> = rest.iter().map(|segment| value(segment)).collect();
        found.0.push((name, rest?.join("/")));
    }
    Ok(found)
}

/// Every value of the query parameter `name`, in order: percent-decoded, `+` a space (WHATWG URL,
/// application/x-www-form-urlencoded parsing). What is no UTF-8 becomes U+FFFD.
pub fn query_values(query: Option<&str>, name: &str) -> Vec<String> {
    query::all(query, name).map(query::decoded).collect()
}

/// A decoded segment as text.
fn value(segment: &[u8]) -> Result<&str, BadPath> {
    if segment.contains(&b'/') {
        return Err(BadPath::SlashInside);
    }
    std::str::from_utf8(segment).map_err(|_| BadPath::NotText)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> PathPattern {
        text.parse().unwrap()
    }

    fn encoded(text: &str) -> String {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    }

    #[test]
    fn each_parameter_has_its_segment_and_the_rest_is_whole() {
        let pattern = pattern("/{a}/x/{b}/{rest*}");
        let found = parameters(&pattern, "/%C3%BC/x/1+2/c/d%20e").unwrap();
        assert_eq!(found.get("a"), Some("ü"));
        assert_eq!(found.get("b"), Some("1+2"), "a plus in a path is a plus");
        assert_eq!(found.get("rest"), Some("c/d e"));
        assert_eq!(found.get("x"), None);
    }

    #[test]
    fn an_encoded_slash_is_never_taken_for_a_slash() {
        let single = pattern("/topics/{topic}");
        let rest = pattern("/send/{topic*}");
        assert_eq!(
            parameters(&single, "/topics/a%2Fb"),
            Err(BadPath::SlashInside)
        );
        assert_eq!(
            parameters(&rest, "/send/a%2fb/c"),
            Err(BadPath::SlashInside)
        );
        let found = parameters(&rest, "/send/a/b").unwrap();
        assert_eq!(found.get("topic"), Some("a/b"));
        let literal = pattern("/a%2Fb/{id}");
        let found = parameters(&literal, "/a%2Fb/1").unwrap();
        assert_eq!(found.get("id"), Some("1"), "the literal is not a value");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let pattern = pattern("/{a}");
        assert_eq!(parameters(&pattern, "/%ff"), Err(BadPath::NotText));
        assert_eq!(parameters(&pattern, "/a%00"), Err(BadPath::Control(0)));
        assert_eq!(parameters(&pattern, "/%2e%2e"), Err(BadPath::DotSegment));
        assert_eq!(parameters(&pattern, "*"), Ok(Parameters::default()));
    }

    #[test]
    fn every_value_of_the_query_counts() {
        let query = Some("topic=a&x=1&t%6Fpic=b+c%2Fd&topic&topic=%zz");
        assert_eq!(query_values(query, "topic"), ["a", "b c/d", "", "%zz"]);
        assert_eq!(query_values(query, "y"), [""; 0]);
        assert_eq!(query_values(None, "topic"), [""; 0]);
    }

    proptest! {
        #[test]
        fn what_was_put_in_comes_out(
            id in "[^/\\\\.;[:cntrl:]]{1,8}",
            rest in prop::collection::vec("[^/\\\\.;[:cntrl:]]{1,8}", 1..5),
        ) {
            let pattern = pattern("/{id}/{rest*}");
            let path: String = std::iter::once(&id)
                .chain(&rest)
                .map(|segment| format!("/{}", encoded(segment)))
                .collect();
            let found = parameters(&pattern, &path).unwrap();
            prop_assert_eq!(found.get("id"), Some(id.as_str()));
            let rest = rest.join("/");
            prop_assert_eq!(found.get("rest"), Some(rest.as_str()));
        }

        #[test]
        fn no_value_of_one_segment_holds_a_slash(path in "/([a/]|%2f|%2F|%61){0,12}") {
            let pattern = pattern("/{a}/{b}");
            if let Ok(found) = parameters(&pattern, &path) {
                for name in ["a", "b"] {
                    prop_assert!(!found.get(name).unwrap_or_default().contains('/'));
                }
            }
        }

        #[test]
        fn values_of_the_query_survive(values in prop::collection::vec("\\PC{0,8}", 0..4), junk in ".{0,20}") {
            let query: Vec<_> = values.iter().map(|value| format!("a={}", encoded(value))).collect();
            prop_assert_eq!(query_values(Some(&query.join("&")), "a"), values);
            let _ = query_values(Some(&junk), "a");
        }
    }
}
