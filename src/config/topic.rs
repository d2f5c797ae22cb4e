//! Names of topics, and patterns over them.
//!
//! A name is segments between slashes. Whatever could be read in two ways is no name: what is told to
//! one reader must never reach another because somebody resolved a `..`.

use std::fmt;
use std::sync::Arc;

/// Longest name, in bytes.
pub const LONGEST_TOPIC: usize = 255;

/// The name of a topic: known to be good.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// Topics by their names: segments, of which some may be wildcards. Known to be good.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicPattern(Arc<str>);

/// Why a text is no name of a topic, or no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTopic {
    /// Nothing, or nothing between two slashes, or a slash at an end.
    #[error("has an empty segment: write `a` or `a/b`")]
    Empty,
    /// Longer than [`LONGEST_TOPIC`].
    #[error("is longer than {LONGEST_TOPIC} bytes")]
    Long,
    /// A control character.
    #[error("holds a control character")]
    Control,
    /// A segment `.` or `..`.
    #[error("has a segment `.` or `..`")]
    Dots,
    /// `*` where it means nothing.
    #[error("holds a `*`, which stands for other names: only a pattern may, as a whole segment")]
    Wildcard,
    /// `{` or `}`.
    #[error("holds a brace")]
    Brace,
}

impl Topic {
    /// Checks `name`.
    ///
    /// # Errors
    ///
    /// [`BadTopic`] says what is wrong with it.
    pub fn new(name: &str) -> Result<Self, BadTopic> {
        check(name, false)?;
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TopicPattern {
    /// Checks `pattern`: a name in which whole segments may be `*`. At the end it stands for one segment
    /// or more, elsewhere for exactly one.
    ///
    /// # Errors
    ///
    /// [`BadTopic`] says what is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, BadTopic> {
        check(pattern, true)?;
        Ok(Self(pattern.into()))
    }

    /// Every topic.
    pub fn any() -> Self {
        Self("*".into())
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `*`: every topic.
    pub(super) fn every() -> Self {
        Self("*".into())
    }

    /// The one topic that is meant, if there is no wildcard.
    pub fn single(&self) -> Option<Topic> {
        (!self.0.contains('*')).then(|| Topic(self.0.clone()))
    }

    /// Whether `topic` is meant.
    pub fn matches(&self, topic: &Topic) -> bool {
        let mut segments = topic.0.split('/');
        let mut wanted = self.0.split('/').peekable();
        while let Some(want) = wanted.next() {
            let Some(segment) = segments.next() else {
                return false;
            };
            if want == "*" && wanted.peek().is_none() {
                return true;
            }
            if want != "*" && want != segment {
                return false;
            }
        }
        segments.next().is_none()
    }

    /// Whether every topic that `other` means is meant here too.
    pub fn covers(&self, other: &Self) -> bool {
        let mut theirs = other.0.split('/').peekable();
        let mut ours = self.0.split('/').peekable();
        while let Some(want) = ours.next() {
            let Some(segment) = theirs.next() else {
                return false;
            };
            let last = ours.peek().is_none();
            if want == "*" && last {
                return true;
            }
            // Their last wildcard is any number of segments, which no single one of ours is.
            if segment == "*" && theirs.peek().is_none() {
                return false;
            }
            if want != "*" && want != segment {
                return false;
            }
        }
        theirs.next().is_none()
    }

    /// For sorting: the more particular pattern comes first. Segment by segment from the left, a literal
    /// goes before `*`, and a `*` that is one segment before a `*` that is any rest. So a pattern goes
    /// before all that cover it.
    pub fn rank(&self) -> impl Ord + use<> {
        let mut segments = self.0.split('/').peekable();
        let mut ranks: Vec<(Width, String)> = Vec::new();
        while let Some(segment) = segments.next() {
            let width = match segment {
                "*" if segments.peek().is_none() => Width::Rest,
                "*" => Width::One,
                _ => Width::Literal,
            };
            ranks.push((width, segment.to_owned()));
        }
        ranks
    }
}

/// How much one segment of a pattern means, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    Literal,
    One,
    Rest,
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(name: &str, wildcards: bool) -> Result<(), BadTopic> {
    if name.len() > LONGEST_TOPIC {
        return Err(BadTopic::Long);
    }
    for segment in name.split('/') {
        if segment.is_empty() {
            return Err(BadTopic::Empty);
        }
        if segment == "." || segment == ".." {
            return Err(BadTopic::Dots);
        }
        if segment.chars().any(char::is_control) {
            return Err(BadTopic::Control);
        }
        if segment.contains('*') && !(wildcards && segment == "*") {
            return Err(BadTopic::Wildcard);
        }
        if segment.contains(['{', '}']) {
            return Err(BadTopic::Brace);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_name_is_told() {
        let cases = [
            ("", BadTopic::Empty),
            ("a//b", BadTopic::Empty),
            ("/a", BadTopic::Empty),
            ("a/", BadTopic::Empty),
            ("a/../b", BadTopic::Dots),
            (".", BadTopic::Dots),
            ("a\nb", BadTopic::Control),
            ("a\u{85}b", BadTopic::Control),
            ("a*", BadTopic::Wildcard),
            ("*", BadTopic::Wildcard),
            ("{a}", BadTopic::Brace),
        ];
        for (name, fault) in cases {
            assert_eq!(Topic::new(name), Err(fault), "{name:?}");
        }
        assert_eq!(Topic::new(&"x".repeat(256)), Err(BadTopic::Long));
        for name in ["a", "a/b", "user/1", "über/ü", "a.b", "...", "a b"] {
            assert!(Topic::new(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_pattern_means_whole_segments() {
        let cases = [
            ("a", "a", true),
            ("a", "a/b", false),
            ("a/*", "a", false),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", true),
            ("*/b", "a/b", true),
            ("*/b", "a/c/b", false),
            ("*", "a/b", true),
        ];
        for (pattern, topic, expected) in cases {
            let topic = Topic::new(topic).unwrap();
            let pattern = TopicPattern::new(pattern).unwrap();
            assert_eq!(pattern.matches(&topic), expected, "{pattern} {topic}");
        }
        assert_eq!(TopicPattern::new("a*/b"), Err(BadTopic::Wildcard));
    }

    #[test]
    fn a_pattern_covers_no_more_than_it_matches() {
        let cases = [
            ("a/*", "a/*", true),
            ("a/*", "a/b/*", true),
            ("a/b/*", "a/*", false),
            ("*", "a/*", true),
            ("*/b", "*/b", true),
            ("a/b", "a/*", false),
            ("*/b", "a/*", false),
            ("a/*/c", "a/*/c", true),
            ("a/*/c", "a/b/c", true),
        ];
        for (wide, narrow, expected) in cases {
            let (wide, narrow) = (
                TopicPattern::new(wide).unwrap(),
                TopicPattern::new(narrow).unwrap(),
            );
            assert_eq!(wide.covers(&narrow), expected, "{wide} {narrow}");
        }
    }

    #[test]
    fn the_more_particular_pattern_comes_first() {
        let sorted = [
            "a/b", "a/b/*", "a/*/c", "a/*/*", "a/*", "*/b", "*/*/*", "*/*", "*",
        ];
        for pair in sorted.windows(2) {
            let [first, second] = [pair[0], pair[1]].map(|text| TopicPattern::new(text).unwrap());
            assert!(first.rank() < second.rank(), "{first} before {second}");
        }
    }

    fn patterns() -> impl Strategy<Value = TopicPattern> {
        let segments = prop::collection::vec(prop::sample::select(vec!["a", "b", "*"]), 1..5);
        segments.prop_map(|segments| TopicPattern::new(&segments.join("/")).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn a_pattern_goes_before_all_that_cover_it(one in patterns(), other in patterns()) {
            if one != other && one.covers(&other) {
                prop_assert!(other.rank() < one.rank(), "{other} before {one}");
            }
        }

        #[test]
        fn what_is_covered_is_matched(
            one in patterns(),
            other in patterns(),
            topic in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..6),
        ) {
            let topic = Topic::new(&topic.join("/")).unwrap();
            if one.covers(&other) && other.matches(&topic) {
                prop_assert!(one.matches(&topic), "{one} covers {other}, which matches {topic}");
            }
        }
    }
}
