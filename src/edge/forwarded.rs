//! Who called, and over which hops: `X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via`
//! (RFC 9110 §7.6.3).
//!
//! Anyone can write these fields, so they are worth what the peer is worth: from a trusted proxy
//! they are kept and our hop is added; from anyone else they are replaced, and fields of the family
//! that we do not set ourselves (`X-Forwarded-Port`, `X-Real-IP`, …) are removed. `Via` alone is
//! always kept: it proves nothing, and is there to find loops (RFC 9110 §7.6.3 asks every proxy to
//! add to it).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Version};
use ipnet::IpNet;

use super::added::{Added, Lines};
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

/// The other end of a connection, as fields name it. What is written of it is kept for the next request: a
/// client asks for one host again and again.
#[derive(Debug)]
pub struct Peer {
    address: HeaderValue,
    last: Mutex<Option<Told>>,
}

/// What was told of a request, and what decides about that beside its peer.
#[derive(Debug)]
struct Told {
    host: Option<HeaderValue>,
    http_version: Version,
    lines: Arc<Lines>,
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

    fn told(&self, host: Option<&HeaderValue>, http_version: Version) -> Arc<Lines> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(told) if told.host.as_ref() == host && told.http_version == http_version => {
                told.lines.clone()
            }
            _ => {
                // As it came it is a part of the server's read buffer, which it would keep with it.
                let host = host.and_then(|host| HeaderValue::from_bytes(host.as_bytes()).ok());
                let lines = Arc::new(Lines::new(self.fields(host.as_ref(), http_version)));
                *last = Some(Told {
                    host,
                    http_version,
                    lines: lines.clone(),
                });
                lines
            }
        }
    }

    fn fields(
        &self,
        host: Option<&HeaderValue>,
        version: Version,
    ) -> Vec<(HeaderName, HeaderValue)> {
        // What is built of addresses and hosts is always a field value.
        let element = Bytes::from(forwarded_element(self.address.as_bytes(), host));
        let element = HeaderValue::from_maybe_shared(element).ok();
        let fields = [
            (X_FORWARDED_FOR, Some(self.address.clone())),
            (header::FORWARDED, element),
            (X_FORWARDED_PROTO, Some(SCHEME)),
            (X_FORWARDED_HOST, host.cloned()),
            (header::VIA, Some(hop(version))),
        ];
        let known = |(name, value): (_, Option<_>)| Some((name, value?));
        fields.into_iter().filter_map(known).collect()
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
        let lines = self.peer.told(self.host, self.http_version);
        // Most requests come with none of them.
        if !headers.keys().any(is_of_family) {
            added.share(lines);
            return;
        }
        if !self.trusted {
            forget(headers);
        }
        for (name, value) in lines.fields() {
            if [X_FORWARDED_PROTO, X_FORWARDED_HOST].contains(name) {
                headers.entry(name).or_insert_with(|| value.clone());
            } else {
                append_element(headers, name, value.clone());
            }
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
