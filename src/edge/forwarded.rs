//! Who called, and over which hops: `X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via`
//! (RFC 9110 §7.6.3).
//!
//! Anyone can write these fields, so they are worth what the peer is worth: from a trusted proxy
//! they are kept and our hop is added; from anyone else they are replaced, and fields of the family
//! that we do not set ourselves (`X-Forwarded-Port`, `X-Real-IP`, …) are removed. `Via` alone is
//! always kept: it proves nothing, and is there to find loops (RFC 9110 §7.6.3 asks every proxy to
//! add to it).

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Version};
use ipnet::IpNet;

use super::append_element;

/// What is known of the hop from the client to us.
#[derive(Debug, Clone, Copy)]
pub struct Forwarding<'a> {
    /// The address at the other end of the connection ([`named`]).
    pub peer: &'a HeaderValue,
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

/// An address as fields name it: one of IPv4 mapped into IPv6 is one of IPv4.
pub fn named(peer: IpAddr) -> HeaderValue {
    // An address is always a field value.
    HeaderValue::try_from(peer.to_canonical().to_string())
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

impl Forwarding<'_> {
    /// Writes the fields of a request on its way to the upstream.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if !self.trusted {
            forget(headers);
        }
        append_element(headers, &X_FORWARDED_FOR, self.peer.clone());
        // What `forwarded_element` builds is always a field value.
        if let Ok(element) = HeaderValue::from_maybe_shared(Bytes::from(self.forwarded_element())) {
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
    /// a host in quotes unless it is a token.
    fn forwarded_element(&self) -> Vec<u8> {
        let peer = self.peer.as_bytes();
        let (open, close) = match peer.contains(&b':') {
            true => ("for=\"[", "]\""),
            false => ("for=", ""),
        };
        // RFC 7239 §5.3: the host as it was received; what is not visible ASCII names no host.
        let host = self.host.and_then(|host| host.to_str().ok());
        let mut text = Vec::with_capacity(40 + peer.len() + host.map_or(0, str::len));
        text.extend_from_slice(open.as_bytes());
        text.extend_from_slice(peer);
        text.extend_from_slice(close.as_bytes());
        if let Some(host) = host {
            text.extend_from_slice(b";host=");
            if !host.is_empty() && host.bytes().all(is_token) {
                text.extend_from_slice(host.as_bytes());
            } else {
                quote(host, &mut text);
            }
        }
        text.extend_from_slice(b";proto=http");
        text
    }
}

/// A quoted string (RFC 9110 §5.6.4).
fn quote(plain: &str, text: &mut Vec<u8>) {
    text.push(b'"');
    for byte in plain.bytes() {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(byte);
    }
    text.push(b'"');
}

/// Adds our hop to `Via`. `version` is that of the message as it was received: of the client's
/// request on the way up, of the upstream's response on the way down.
pub fn via(headers: &mut HeaderMap, version: Version) {
    // Constants, so that the compiler and not every request looks at each of their bytes.
    let hop = match version {
        Version::HTTP_09 => const { HeaderValue::from_static("0.9 deltaway") },
        Version::HTTP_10 => const { HeaderValue::from_static("1.0 deltaway") },
        Version::HTTP_2 => const { HeaderValue::from_static("2.0 deltaway") },
        Version::HTTP_3 => const { HeaderValue::from_static("3.0 deltaway") },
        _ => const { HeaderValue::from_static("1.1 deltaway") },
    };
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
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests;
