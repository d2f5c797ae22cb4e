//! Who called, and over which hops: `X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via`
//! (RFC 9110 §7.6.3).
//!
//! Anyone can write these fields, so they are worth what the peer is worth: from a trusted proxy
//! they are kept and our hop is added; from anyone else they are replaced, and fields of the family
//! that we do not set ourselves (`X-Forwarded-Port`, `X-Real-IP`, …) are removed. `Via` alone is
//! always kept: it proves nothing, and is there to find loops (RFC 9110 §7.6.3 asks every proxy to
//! add to it).

use std::fmt::Write as _;
use std::net::IpAddr;
use std::ops::Range;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Version};
use ipnet::IpNet;

use super::append_element;

/// What is known of the hop from the client to us.
#[derive(Debug, Clone, Copy)]
pub struct Forwarding<'a> {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Whether what the peer says of the hops before it is believed ([`is_trusted`]).
    pub trusted: bool,
    /// The `Host` of the request as it came.
    pub host: Option<&'a HeaderValue>,
    /// The protocol version of the request.
    pub http_version: Version,
}

const X_FORWARDED: &str = "x-forwarded-";
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host that the client asked for.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The listener speaks no TLS itself.
const SCHEME: HeaderValue = HeaderValue::from_static("http");

/// Whether `peer` is in one of `proxies`. An IPv4 address mapped into IPv6 counts as IPv4.
pub fn is_trusted(peer: IpAddr, proxies: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    proxies.iter().any(|net| net.contains(&peer))
}

impl Forwarding<'_> {
    /// Writes the fields of a request on its way to the upstream.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if !self.trusted {
            forget(headers);
        }
        let peer = self.peer.to_canonical();
        // Addresses, and what `forwarded_element` builds of them, are always field values.
        let mut text = String::with_capacity(96);
        let address = self.forwarded_element(peer, &mut text);
        if let Ok(element) = HeaderValue::from_str(&text[address]) {
            append_element(headers, &X_FORWARDED_FOR, element);
        }
        if let Ok(element) = HeaderValue::from_str(&text) {
            append_element(headers, &header::FORWARDED, element);
        }
        headers.entry(X_FORWARDED_PROTO).or_insert(SCHEME);
        if let Some(host) = self.host {
            headers
                .entry(X_FORWARDED_HOST)
                .or_insert_with(|| host.clone());
        }
        via(headers, self.http_version);
    }

    /// `for=…;host=…;proto=…` (RFC 7239 §4): addresses of IPv6 in brackets and quotes (§6.1),
    /// a host in quotes unless it is a token. Gives the place of the bare address in `text`, so that
    /// it is formatted once.
    fn forwarded_element(&self, peer: IpAddr, text: &mut String) -> Range<usize> {
        let (open, close) = if peer.is_ipv6() {
            ("for=\"[", "]\"")
        } else {
            ("for=", "")
        };
        text.push_str(open);
        // Writing to a string cannot fail.
        let _ = write!(text, "{peer}");
        let address = open.len()..text.len();
        text.push_str(close);
        // RFC 7239 §5.3: the host as it was received; what is not visible ASCII names no host.
        if let Some(host) = self.host.and_then(|host| host.to_str().ok()) {
            text.push_str(";host=");
            if !host.is_empty() && host.bytes().all(is_token) {
                text.push_str(host);
            } else {
                text.push('"');
                for part in host.chars() {
                    if matches!(part, '"' | '\\') {
                        text.push('\\');
                    }
                    text.push(part);
                }
                text.push('"');
            }
        }
        text.push_str(";proto=http");
        address
    }
}

/// Adds our hop to `Via`. `version` is that of the message as it was received: of the client's
/// request on the way up, of the upstream's response on the way down.
pub fn via(headers: &mut HeaderMap, version: Version) {
    let hop = HeaderValue::from_static(match version {
        Version::HTTP_09 => "0.9 deltaway",
        Version::HTTP_10 => "1.0 deltaway",
        Version::HTTP_2 => "2.0 deltaway",
        Version::HTTP_3 => "3.0 deltaway",
        _ => "1.1 deltaway",
    });
    append_element(headers, &header::VIA, hop);
}

/// Removes what a peer that is not trusted says of itself.
fn forget(headers: &mut HeaderMap) {
    let is_ours = |name: &&HeaderName| {
        *name == header::FORWARDED || *name == X_REAL_IP || name.as_str().starts_with(X_FORWARDED)
    };
    while let Some(name) = headers.keys().find(is_ours).cloned() {
        headers.remove(name);
    }
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
