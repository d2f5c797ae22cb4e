//! The host of a request, as routes compare it: without port, brackets and trailing dot, in any case.

use std::net::Ipv6Addr;

use crate::config::HostPattern;

/// The host of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host<'a> {
    /// A name, or an IPv4 address.
    Name(&'a str),
    /// What stood in brackets; compared by value, since it can be written in many ways.
    Address(Ipv6Addr),
    /// The request named no usable host: it matches only routes that ask for none.
    Unknown,
}

impl<'a> Host<'a> {
    /// Reads `host`, `host:port`, `[address]` or `[address]:port` (RFC 9110 §7.2).
    pub(super) fn read(raw: Option<&'a str>) -> Self {
        raw.and_then(host).unwrap_or(Self::Unknown)
    }

    /// Whether `pattern` matches; `None` is any host.
    pub(super) fn matches(self, pattern: Option<&HostPattern>) -> bool {
        let Some(pattern) = pattern else {
            return true;
        };
        match (self, pattern) {
            (Self::Unknown, _) | (Self::Address(_), HostPattern::Below(_)) => false,
            (Self::Address(address), HostPattern::Exact(wanted)) => {
                in_brackets(wanted) == Some(address)
            }
            (Self::Name(name), HostPattern::Exact(wanted)) => name.eq_ignore_ascii_case(wanted),
            (Self::Name(name), HostPattern::Below(suffix)) => {
                let (name, suffix) = (name.as_bytes(), suffix.as_bytes());
                name.len() > suffix.len()
                    && name[name.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
            }
        }
    }
}

/// `pattern` in the one form that is compared with others.
pub(super) fn normal(pattern: &HostPattern) -> HostPattern {
    let lower = |text: &str| text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    match pattern {
        HostPattern::Exact(name) => HostPattern::Exact(match in_brackets(name) {
            Some(address) => format!("[{address}]"),
            None => lower(name),
        }),
        HostPattern::Below(suffix) => HostPattern::Below(lower(suffix)),
    }
}

fn host(raw: &str) -> Option<Host<'_>> {
    if raw.starts_with('[') {
        let (address, port) = raw.split_at(raw.find(']')? + 1);
        return in_brackets(address)
            .filter(|_| is_port(port))
            .map(Host::Address);
    }
    let colon = raw.bytes().position(|byte| byte == b':');
    let (name, port) = raw.split_at(colon.unwrap_or(raw.len()));
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    (is_name && is_port(port)).then_some(Host::Name(name))
}

fn in_brackets(text: &str) -> Option<Ipv6Addr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
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
        let address = |text: &str| text.parse().map_or(Host::Unknown, Host::Address);
        for (raw, wanted) in [
            ("example.com", Host::Name("example.com")),
            ("Example.com.", Host::Name("Example.com")),
            ("example.com:8080", Host::Name("example.com")),
            ("example.com.:8080", Host::Name("example.com")),
            ("example.com:", Host::Name("example.com")),
            ("127.0.0.1:80", Host::Name("127.0.0.1")),
            ("[::1]:80", address("::1")),
            ("[2001:DB8:0::1]", address("2001:db8::1")),
        ] {
            assert_eq!(Host::read(Some(raw)), wanted, "{raw}");
        }
        for raw in [
            "[::1]x",
            "[::1",
            "[::1]:x",
            "[example.com]",
            "::1",
            "example.com:80:80",
            "a@example.com",
            "example.com:x",
            "",
            ".",
            ":80",
            "[",
            "]",
        ] {
            assert_eq!(Host::read(Some(raw)), Host::Unknown, "{raw}");
        }
        assert_eq!(Host::read(None), Host::Unknown);
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
        let address = normal(&HostPattern::Exact("[0::1]".into()));
        assert_eq!(address, HostPattern::Exact("[::1]".into()));
        assert!(Host::read(Some("[0:0::1]:9")).matches(Some(&address)));
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
