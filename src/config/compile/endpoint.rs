//! One address of an upstream, from its URL.

use std::net::Ipv6Addr;
use std::str::FromStr;

use http::Uri;

use super::pattern::{check_dot_segments, is_host_name};
use crate::config::faults::Malformed;
use crate::config::values::Endpoint;

impl FromStr for Endpoint {
    type Err = Malformed;

    /// Reads `http://host:port/base`, `https://…` or `builtin:demo`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without the URL itself: it may hold a password.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text == "builtin:demo" {
            return Ok(Self::Demo);
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(no_scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(no_scheme()),
        };
        check_parts(rest)?;
        let uri: Uri = text.parse().map_err(|_| not_a_url())?;
        let authority = uri.authority().ok_or_else(not_a_url)?;
        let port = match (authority.port_u16(), authority.as_str().rfind(':')) {
            (Some(0), _) => return Err(Malformed::new("has port 0", "give the server's port")),
            (Some(port), _) => port,
            (None, Some(colon)) if !authority.as_str()[colon..].contains(']') => {
                return Err(Malformed::new("has no good port", "a port is 1 to 65535"));
            }
            (None, _) => {
                if tls {
                    443
                } else {
                    80
                }
            }
        };
        let base = uri.path().trim_end_matches('/');
        check_dot_segments(base)?;
        Ok(Self::Url {
            tls,
            host: host(authority.host())?.into(),
            port,
            base: base.into(),
        })
    }
}

/// What an endpoint may not have, since every request brings its own or none is ever sent.
fn check_parts(rest: &str) -> Result<(), Malformed> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Malformed::new(
            "has a user name in its URL",
            "take it out; secrets go into `credentials`",
        ));
    }
    if rest.contains('#') {
        return Err(Malformed::new(
            "has a fragment",
            "take out the `#` and what follows",
        ));
    }
    if rest.contains('?') {
        return Err(Malformed::new(
            "has a query",
            "take it out; a secret parameter goes into `credentials = { query = …, value = … }`",
        ));
    }
    Ok(())
}

fn host(written: &str) -> Result<String, Malformed> {
    if let Some(inside) = written.strip_prefix('[') {
        let inside = inside.strip_suffix(']').unwrap_or_default();
        let address: Ipv6Addr = inside.parse().map_err(|_| no_host())?;
        return Ok(address.to_string());
    }
    if !is_host_name(written) {
        return Err(no_host());
    }
    Ok(written.to_ascii_lowercase())
}

fn no_scheme() -> Malformed {
    Malformed::new(
        "does not begin with `http://` or `https://`",
        r#"such as "http://127.0.0.1:9000", "https://api.example.com/base", or "builtin:demo""#,
    )
}

fn not_a_url() -> Malformed {
    Malformed::new(
        "is not a URL",
        r#"such as "http://127.0.0.1:9000" or "https://api.example.com/base""#,
    )
}

fn no_host() -> Malformed {
    Malformed::new(
        "has no good host",
        "a name of letters, digits, `-`, `_` and `.`, an IPv4 address, or an IPv6 address in brackets",
    )
}
