//! Splitting, decoding and refusing, also against everything that proptest can think of.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn segments(raw: &str) -> Result<Vec<String>, BadPath> {
    let path = Path::read(raw)?.unwrap();
    Ok((0..path.count)
        .map(|at| String::from_utf8_lossy(path.segment(at)).into())
        .collect())
}

#[test]
fn splits_and_decodes() {
    assert_eq!(segments("/").unwrap(), Vec::<String>::new());
    assert_eq!(segments("/a/").unwrap(), ["a", ""]);
    assert_eq!(segments("//a").unwrap(), ["", "a"]);
    assert_eq!(segments("/%61%2Fb/c%5Cd").unwrap(), ["a/b", "c\\d"]);
    assert_eq!(segments("/...").unwrap(), ["..."]);
    assert_eq!(
        segments("/a.b/.well-known").unwrap(),
        ["a.b", ".well-known"]
    );
    assert!(Path::read("*").unwrap().is_none());
    assert!(Path::read("").unwrap().is_none());
}

#[test]
fn refuses_what_could_be_read_twice() {
    let dots = [
        "/.",
        "/..",
        "/a/../b",
        "/a/%2e%2E/b",
        "/a/.%2e",
        "/a/..%2Fb",
        "/a/b%2f..%2Fc",
        "/a/..%5Cb",
        "/a/x\\..",
        "/a/..;/b",
        "/a/..;x=1/b",
        "/a/.;",
    ];
    for raw in dots {
        assert_eq!(segments(raw), Err(BadPath::DotSegment), "{raw}");
    }
    assert_eq!(segments("/a%00"), Err(BadPath::Control(0)));
    assert_eq!(segments("/a%0d%0ab"), Err(BadPath::Control(0x0d)));
    assert_eq!(segments("/a\u{7f}"), Err(BadPath::Control(0x7f)));
    for raw in ["/%", "/%a", "/%zz", "/a%/b", "/%+1"] {
        assert_eq!(segments(raw), Err(BadPath::Escape), "{raw}");
    }
}

#[test]
fn the_part_behind_the_literals() {
    let pattern = |text: &str, rest| PathPattern {
        segments: text
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| match segment.strip_prefix(':') {
                Some(name) => Segment::Parameter(name.into()),
                None => Segment::Literal(segment.into()),
            })
            .collect(),
        rest,
        rest_name: None,
    };
    assert_eq!(
        after_literals(&pattern("v1", true), "/v1/chat/x"),
        "/chat/x"
    );
    assert_eq!(after_literals(&pattern("v1", true), "/v1"), "");
    assert_eq!(after_literals(&pattern("v1", true), "/%761/"), "/");
    assert_eq!(after_literals(&pattern("", true), "/a/b"), "/a/b");
    assert_eq!(
        after_literals(&pattern("users/:id/events", false), "/users/7/events"),
        "/7/events"
    );
}

proptest! {
    /// However a segment is encoded, it decodes to itself, and slashes never leak out of it.
    #[test]
    fn encoding_does_not_matter(
        wanted in prop::collection::vec("[a-z/%é;]{0,6}", 1..24),
        plain in any::<u64>(),
    ) {
        let mut raw = String::new();
        for segment in &wanted {
            raw.push('/');
            for (at, byte) in segment.bytes().enumerate() {
                let keep = byte.is_ascii_lowercase() && plain >> (at % 64) & 1 == 1;
                if keep { raw.push(byte as char) } else { raw.push_str(&format!("%{byte:02x}")) }
            }
        }
        let expected = if raw == "/" { Vec::new() } else { wanted };
        prop_assert_eq!(segments(&raw).unwrap(), expected);
    }

    #[test]
    fn never_panics(raw in ".{0,60}") {
        let _ = Path::read(&raw);
        let _ = Path::read(&format!("/{raw}"));
    }

    /// Nothing that is let through decodes to a dot segment.
    #[test]
    fn no_dots_get_through(raw in "/([./;\\\\]|%2e|%2E|%2f|%5c|a){0,12}") {
        if let Ok(all) = segments(&raw) {
            let all = all.join("/").replace('\\', "/");
            prop_assert!(all.split('/').all(|part| part != "." && part != ".."), "{}", all);
        }
    }
}
