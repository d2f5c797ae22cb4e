//! The host of a request, as routes compare it: without port, brackets and trailing dot, in any case.

use crate::config::HostPattern;

/// A host name or address, or none where the request named no usable one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Host<'a>(Option<&'a str>);

impl<'a> Host<'a> {
    /// Reads `host`, `host:port`, `[address]` or `[address]:port` (RFC 9110 §7.2). What is none of
    /// these matches only routes that ask for no host.
    pub(super) fn read(raw: Option<&'a str>) -> Self {
        Self(raw.and_then(name))
    }

    /// Whether `pattern` matches; `None` is any host.
    pub(super) fn matches(self, pattern: Option<&HostPattern>) -> bool {
        let Some(pattern) = pattern else {
            return true;
        };
        let Some(name) = self.0 else {
            return false;
        };
        match pattern {
            HostPattern::Exact(wanted) => name.eq_ignore_ascii_case(wanted),
            HostPattern::Below(suffix) => {
                let (name, suffix) = (name.as_bytes(), suffix.as_bytes());
                name.len() > suffix.len()
                    && name[name.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
            }
        }
    }
}

/// A pattern as [`Host`] compares it, however it was written.
pub(super) fn normal(pattern: &HostPattern) -> HostPattern {
    let trim = |text: &str| {
        let text = text
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(text);
        text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()
    };
    match pattern {
        HostPattern::Exact(name) => HostPattern::Exact(trim(name)),
        HostPattern::Below(suffix) => HostPattern::Below(trim(suffix)),
    }
}

fn name(raw: &str) -> Option<&str> {
    if let Some(inner) = raw.strip_prefix('[') {
        let (address, port) = inner.split_once(']')?;
        let address_like = address
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
        return (address_like && address.contains(':') && is_port(port)).then_some(address);
    }
    let (name, port) = raw.find(':').map_or((raw, ""), |colon| raw.split_at(colon));
    let name = name.strip_suffix('.').unwrap_or(name);
    let name_like = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    (name_like && !name.is_empty() && is_port(port)).then_some(name)
}

/// Nothing, or a colon and digits (RFC 3986 §3.2.3 lets them be none).
fn is_port(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_names_and_addresses() {
        for (raw, wanted) in [
            ("example.com", Some("example.com")),
            ("Example.com.", Some("Example.com")),
            ("example.com:8080", Some("example.com")),
            ("example.com.:8080", Some("example.com")),
            ("example.com:", Some("example.com")),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("[::1]:80", Some("::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[::1]x", None),
            ("[::1", None),
            ("[example.com]", None),
            ("example.com:80:80", None),
            ("a@example.com", None),
            ("example.com:x", None),
            ("", None),
            (".", None),
            (":80", None),
        ] {
            assert_eq!(Host::read(Some(raw)), Host(wanted), "{raw}");
        }
    }

    #[test]
    fn patterns() {
        let below = HostPattern::Below(".example.com".into());
        assert!(Host::read(Some("A.Example.COM:1")).matches(Some(&below)));
        assert!(Host::read(Some("a.b.example.com")).matches(Some(&below)));
        assert!(!Host::read(Some("example.com")).matches(Some(&below)));
        assert!(!Host::read(Some("badexample.com")).matches(Some(&below)));
        assert!(Host::read(None).matches(None));
        assert!(!Host::read(None).matches(Some(&below)));
        let address = normal(&HostPattern::Exact("[::1]".into()));
        assert!(Host::read(Some("[::1]:9")).matches(Some(&address)));
    }

    proptest! {
        #[test]
        fn never_panics_and_finds_what_was_put_in(raw in ".{0,20}", name in "[a-z][a-z0-9.-]{0,8}[a-z]", port in 0u16..) {
            let _ = Host::read(Some(&raw));
            let whole = format!("{}:{port}", name.to_uppercase());
            prop_assert!(Host::read(Some(&whole)).matches(Some(&HostPattern::Exact(name))));
        }
    }
}
