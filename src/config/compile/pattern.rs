//! What a route asks of a request's host, path, method and model, from text.

use std::net::Ipv6Addr;
use std::str::FromStr;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::config::faults::Malformed;
use crate::config::values::{HostPattern, ModelPattern, PathPattern, Segment};

impl FromStr for HostPattern {
    type Err = Malformed;

    /// Reads `api.example.com`, `*.example.com`, an IPv4 address or an IPv6 address in brackets.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let text = text.to_ascii_lowercase();
        let host = text.strip_suffix('.').unwrap_or(&text);
        if let Some(below) = host.strip_prefix("*.") {
            if !is_host_name(below) {
                return Err(not_a_host());
            }
            return Ok(Self::Below(format!(".{below}")));
        }
        let inside = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(Ok(address)) = inside.map(str::parse::<Ipv6Addr>) {
            return Ok(Self::Exact(format!("[{address}]")));
        }
        if !is_host_name(host) {
            return Err(not_a_host());
        }
        Ok(Self::Exact(host.to_owned()))
    }
}

fn not_a_host() -> Malformed {
    Malformed::new(
        "is not a host",
        r#"such as "api.example.com" or "*.example.com", without scheme and port; leave `host` out for any"#,
    )
}

/// Whether `host` is a DNS name, as loosely as the world writes them, or an IPv4 address.
pub(super) fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.len() <= 253 && host.split('.').all(label)
}

impl FromStr for PathPattern {
    type Err = Malformed;

    /// Reads `/exact`, `/prefix/*`, `/users/{id}/events`, `/send/{topic*}`. A slash at the end is a last
    /// segment that is empty: `/users/` is another path than `/users`.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let path = text.strip_prefix('/').ok_or_else(|| {
            Malformed::new(
                "does not begin with `/`",
                r#"such as "/v1/*" or "/users/{id}/events""#,
            )
        })?;
        check_path(text)?;
        if path.is_empty() {
            return Ok(Self::default());
        }
        let mut segments: Vec<&str> = path.split('/').collect();
        let rest_name = segments.last().and_then(|last| rest_name(last));
        let rest = rest_name.is_some() || segments.last() == Some(&"*");
        if rest {
            segments.pop();
        }
        if path.contains("//") || segments.first() == Some(&"") {
            return Err(Malformed::new(
                "has an empty segment",
                "take out the doubled `/`",
            ));
        }
        let segments = segments
            .into_iter()
            .map(segment)
            .collect::<Result<Vec<_>, _>>()?;
        for (index, one) in segments.iter().enumerate() {
            let Segment::Parameter(name) = one else {
                continue;
            };
            if segments[..index].contains(one) || rest_name.as_ref() == Some(name) {
                return Err(Malformed::new(
                    "names a parameter twice",
                    "give each its own name",
                ));
            }
        }
        Ok(Self {
            segments,
            rest,
            rest_name,
        })
    }
}

/// The name in `{name*}`.
fn rest_name(segment: &str) -> Option<String> {
    parameter(segment.strip_suffix("*}")?.strip_prefix('{')?)
}

/// `name`, if a parameter of a path may be called so.
fn parameter(name: &str) -> Option<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (!name.is_empty() && name.bytes().all(fits)).then(|| name.to_owned())
}

fn segment(text: &str) -> Result<Segment, Malformed> {
    if text.contains('*') {
        return Err(Malformed::new(
            "has a `*` that is not its whole last segment",
            r#"`*` stands for any rest, as in "/v1/*", with a name as in "/v1/{rest*}"; one segment is `{name}`"#,
        ));
    }
    if !text.contains(['{', '}']) {
        return literal(text).map(Segment::Literal);
    }
    let name = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    name.and_then(parameter)
        .map(Segment::Parameter)
        .ok_or_else(|| {
            Malformed::new(
                "has braces that do not fill a segment with a name",
                r#"a parameter is a whole segment, such as "/users/{id}/events""#,
            )
        })
}

fn literal(text: &str) -> Result<String, Malformed> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|decoded| decoded.into_owned())
        .map_err(|_| Malformed::new("does not decode to UTF-8", "mend the percent-encoding"))
}

/// What no path of the configuration may have.
fn check_path(path: &str) -> Result<(), Malformed> {
    if path.contains('?') {
        return Err(Malformed::new(
            "has a query",
            "parameters are matched by `query = { name = \"value\" }`",
        ));
    }
    if path.contains('#') {
        return Err(Malformed::new(
            "has a fragment",
            "fragments never reach a server: take it out",
        ));
    }
    if path.contains(|c: char| c.is_ascii_control() || c == ' ' || c == '\\') {
        return Err(Malformed::new(
            "has a character that no path has",
            "percent-encode it",
        ));
    }
    check_percent(path)?;
    check_dot_segments(path)
}

fn check_percent(path: &str) -> Result<(), Malformed> {
    let whole = path
        .split('%')
        .skip(1)
        .all(|after| after.len() >= 2 && after.bytes().take(2).all(|b| b.is_ascii_hexdigit()));
    if whole {
        return Ok(());
    }
    Err(Malformed::new(
        "has a `%` without two hexadecimal digits",
        "the sign itself is `%25`",
    ))
}

/// Refuses `.` and `..` as segments, also encoded: servers disagree on what they mean.
pub(super) fn check_dot_segments(path: &str) -> Result<(), Malformed> {
    let dots = path.split('/').any(|segment| {
        let decoded: Vec<u8> = percent_decode_str(segment).collect();
        decoded == b"." || decoded == b".."
    });
    if dots {
        return Err(Malformed::new(
            "has a `.` or `..` segment",
            "write the path out",
        ));
    }
    Ok(())
}

/// A path to rewrite to; kept as written, since it is sent.
pub(super) fn rewrite(text: &str) -> Result<String, Malformed> {
    if !text.starts_with('/') {
        return Err(Malformed::new(
            "does not begin with `/`",
            r#"such as "/" or "/api/v1""#,
        ));
    }
    check_path(text)?;
    if text.contains(['*', '{', '}']) {
        return Err(Malformed::new(
            "has a pattern in it",
            "it replaces what `path` names literally; the rest is appended by itself",
        ));
    }
    if !text.is_ascii() {
        return Err(Malformed::new(
            "has a character that no path has",
            "percent-encode it",
        ));
    }
    Ok(text.to_owned())
}

/// A method. They are case-sensitive (RFC 9110 §9.1), and nobody means `get`.
pub(super) fn method(text: &str) -> Result<Method, Malformed> {
    let help = r#"such as "GET" or "POST", in capitals; leave it out for any"#;
    let wrong = || Malformed::new("is not a method", help);
    if text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err(Malformed::new("is not in capitals", help));
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| wrong())
}

impl FromStr for ModelPattern {
    type Err = Malformed;

    /// Reads `gpt-4o`, or `gpt-*` for any name that begins so.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (name, any_rest) = match text.strip_suffix('*') {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains('*') {
            return Err(Malformed::new(
                "has a `*` that is not at its end",
                r#"a name such as "gpt-4o", or one `*` at the end: "gpt-*""#,
            ));
        }
        if text.is_empty() {
            return Err(Malformed::new("is empty", r#"such as "gpt-4o" or "gpt-*""#));
        }
        Ok(if any_rest {
            Self::Prefix(name.to_owned())
        } else {
            Self::Exact(name.to_owned())
        })
    }
}
