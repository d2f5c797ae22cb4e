//! Who called, and over which hops: `X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via`
//! (RFC 9110 §7.6.3).
//!
//! Anyone can write these fields, so they are worth what the peer is worth: from a trusted proxy
//! they are kept and our hop is added; from anyone else they are replaced, and fields of the family
//! that we do not set ourselves (`X-Forwarded-Port`, `X-Real-IP`, …) are removed. `Via` alone is
//! always kept: it proves nothing, and is there to find loops (RFC 9110 §7.6.3 asks every proxy to
//! add to it).

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Version};
use ipnet::IpNet;

use super::added::Added;
use super::append_element;

/// What is known of the hop from the client to us.
#[derive(Debug, Clone, Copy)]
pub struct Forwarding<'a> {
    /// The other end of the connection.
    pub peer: &'a Peer,
    /// Whether what the peer says of the hops before it is believed ([`is_trusted`]).
    pub trusted: bool,
    /// The `Host` of the request as it came.
    pub host: Option<&'a HeaderValue>,
    /// The protocol version of the request.
    pub http_version: Version,
}

/// The other end of a connection, as fields name it. What is written of it is kept for the next request, since a
/// client asks for one host again and again.
#[derive(Debug)]
pub struct Peer {
    address: HeaderValue,
    /// The last element of `Forwarded`, and the host in it.
    last: Mutex<Option<(Option<HeaderValue>, HeaderValue)>>,
}

impl Peer {
    /// The peer at `address`; one of IPv4 mapped into IPv6 is one of IPv4.
    pub fn new(address: IpAddr) -> Self {
        let text = address.to_canonical().to_string();
        Self {
            // An address is always a field value.
            address: HeaderValue::try_from(text)
                .unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            last: Mutex::default(),
        }
    }

    /// The element of `Forwarded` for a request to `host`.
    fn forwarded(&self, host: Option<&HeaderValue>) -> HeaderValue {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, element)) = &*last
            && known.as_ref() == host
        {
            return element.clone();
        }
        // What is built of addresses and hosts is always a field value.
        let element = Bytes::from(forwarded_element(self.address.as_bytes(), host));
        let element = HeaderValue::from_maybe_shared(element)
            .unwrap_or_else(|_| HeaderValue::from_static("for=unknown"));
        *last = Some((host.cloned(), element.clone()));
        element
    }
}

const X_FORWARDED: &str = "x-forwarded-";
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host that the client asked for.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The listener speaks no TLS itself.
const SCHEME: HeaderValue = HeaderValue::from_static("http");

/// Whether `peer` is in one of `proxies`. An IPv4 address mapped into IPv6 counts as IPv4.
pub fn is_trusted(peer: IpAddr, proxies: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    proxies.iter().any(|net| net.contains(&peer))
}

impl Forwarding<'_> {
    /// Writes the fields of a request on its way to the upstream: into `added`, or into `headers` where it came
    /// with some of them.
    pub fn apply(&self, headers: &mut HeaderMap, added: &mut Added) {
        let list = [
            (X_FORWARDED_FOR, self.peer.address.clone()),
            (header::FORWARDED, self.peer.forwarded(self.host)),
            (header::VIA, hop(self.http_version)),
        ];
        let host = self.host.map(|host| (X_FORWARDED_HOST, host.clone()));
        // Most requests come with none of them.
        if !headers.keys().any(is_of_family) {
            for (name, value) in list {
                added.push(name, value);
            }
            added.push(X_FORWARDED_PROTO, SCHEME);
            if let Some((name, host)) = host {
                added.push(name, host);
            }
            return;
        }
        if !self.trusted {
            forget(headers);
        }
        for (name, element) in list {
            append_element(headers, &name, element);
        }
        headers.entry(X_FORWARDED_PROTO).or_insert(SCHEME);
        if let Some((name, host)) = host {
            headers.entry(name).or_insert(host);
        }
    }
}

/// `for=…;host=…;proto=…` (RFC 7239 §4): addresses of IPv6 in brackets and quotes (§6.1),
/// a host in quotes unless it is a token.
fn forwarded_element(peer: &[u8], host: Option<&HeaderValue>) -> Vec<u8> {
    let (open, close) = match peer.contains(&b':') {
        true => ("for=\"[", "]\""),
        false => ("for=", ""),
    };
    // RFC 7239 §5.3: the host as it was received; what is not visible ASCII names no host.
    let host = host.and_then(|host| host.to_str().ok());
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
    append_element(headers, &header::VIA, hop(version));
}

fn hop(version: Version) -> HeaderValue {
    // Constants, so that the compiler and not every request looks at each of their bytes.
    match version {
        Version::HTTP_09 => const { HeaderValue::from_static("0.9 deltaway") },
        Version::HTTP_10 => const { HeaderValue::from_static("1.0 deltaway") },
        Version::HTTP_2 => const { HeaderValue::from_static("2.0 deltaway") },
        Version::HTTP_3 => const { HeaderValue::from_static("3.0 deltaway") },
        _ => const { HeaderValue::from_static("1.1 deltaway") },
    }
}

/// Removes what a peer that is not trusted says of itself.
fn forget(headers: &mut HeaderMap) {
    let is_told = |name: &&HeaderName| **name != header::VIA && is_of_family(name);
    while let Some(name) = headers.keys().find(is_told).cloned() {
        headers.remove(name);
    }
}

/// Whether a field says who called, or over which hops.
fn is_of_family(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "via" | "forwarded" | "x-real-ip") || name.starts_with(X_FORWARDED)
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
