//! The upgrade to a WebSocket, and whose pages may ask for one.

use http::header::{
    CONNECTION, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use thiserror::Error;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::delivery::transport::list;

/// Why a request cannot become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadUpgrade {
    /// Not a GET of HTTP/1.1, or without the fields of an upgrade.
    #[error(
        "a WebSocket begins with a GET of HTTP/1.1 with Upgrade: websocket and Connection: Upgrade"
    )]
    Request,
    /// Another version than 13.
    #[error("this is version 13 of the WebSocket protocol, and no other")]
    Version,
    /// Not one key of 16 bytes in base64.
    #[error("Sec-WebSocket-Key has to be 16 bytes in base64")]
    Key,
}

impl BadUpgrade {
    /// The status of the refusal.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Request | Self::Key => StatusCode::BAD_REQUEST,
        }
    }

    /// The fields of the refusal: the version to ask for (RFC 6455 §4.4).
    pub fn headers(self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self == Self::Version {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        }
        headers
    }
}

/// Whether a request asks for a WebSocket, well or badly.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    lists(headers, &UPGRADE, "websocket") && lists(headers, &CONNECTION, "upgrade")
}

fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    list(headers, name).any(|element| element.eq_ignore_ascii_case(token))
}

/// Checks an upgrade (RFC 6455 §4.2.1) and gives the fields of the answer, whose status is 101. No
/// extension and no subprotocol is agreed on.
///
/// # Errors
///
/// A [`BadUpgrade`] that says what is wrong.
pub fn accept(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
) -> Result<HeaderMap, BadUpgrade> {
    let is_request = method == Method::GET && version == Version::HTTP_11 && is_upgrade(headers);
    if !is_request || !headers.contains_key(HOST) {
        return Err(BadUpgrade::Request);
    }
    if only(headers, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(BadUpgrade::Version);
    }
    let key = only(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes()));
    let accepted = derive_accept_key(key.ok_or(BadUpgrade::Key)?.as_bytes());
    let mut answer = HeaderMap::with_capacity(3);
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accepted = HeaderValue::try_from(accepted).map_err(|_| BadUpgrade::Key)?;
    answer.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    Ok(answer)
}

/// The value of a field that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether this is the base64 of 16 bytes: 22 characters and two of padding.
fn is_key(text: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.strip_suffix(b"==")
        .is_some_and(|key| key.len() == 22 && key.iter().all(is_base64))
}

/// Whether the page that asks may have a WebSocket. A browser lets any page ask for one, with the
/// user's cookies, and no cross-origin rule stands before it (RFC 6455 §10.2): so this does.
///
/// Without `Origin` it is no browser, and may. A page of `host`, the authority that the request is for,
/// may. Any other has to be listed.
pub fn origin_allowed(
    headers: &HeaderMap,
    is_listed: impl Fn(&HeaderValue) -> bool,
    host: &str,
) -> bool {
    if !headers.contains_key(ORIGIN) {
        return true;
    }
    only(headers, &ORIGIN).is_some_and(|origin| is_of_host(origin, host) || is_listed(origin))
}

/// The scheme is not compared: whether TLS ends in front of us is not told. A port is.
fn is_of_host(origin: &HeaderValue, host: &str) -> bool {
    let origin = origin.to_str().ok().and_then(|text| text.split_once("://"));
    let Some((scheme, authority)) = origin else {
        return false;
    };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |authority| str::strip_suffix(authority, default_port).unwrap_or(authority);
    !authority.is_empty() && bare(authority).eq_ignore_ascii_case(bare(host))
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
