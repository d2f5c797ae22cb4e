//! The page at `/`: one self-contained HTML document, its style and script joined into it.
//!
//! Invariant: the policy sent with it allows exactly this style and this script, each by its hash,
//! and connections to the page's own origin only. A changed file changes its hash by itself.

use std::sync::LazyLock;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use sha2::{Digest, Sha256};

use super::answer::{Answer, whole};

const DOCUMENT: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = concat!(
    include_str!("page/measure.js"),
    include_str!("page/completion.js"),
    include_str!("page/feed.js"),
);

/// Where style and script go in the document.
const STYLE_PLACE: &str = "{{style}}";
const SCRIPT_PLACE: &str = "{{script}}";

static PAGE: LazyLock<Bytes> = LazyLock::new(|| {
    Bytes::from(
        DOCUMENT
            .replace(STYLE_PLACE, STYLE)
            .replace(SCRIPT_PLACE, SCRIPT),
    )
});

static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
    HeaderValue::try_from(format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        base64(&Sha256::digest(STYLE)),
        base64(&Sha256::digest(SCRIPT)),
    ))
    .ok()
});

/// The page.
pub(super) fn answer() -> Answer {
    let mut answer = whole("text/html; charset=utf-8", PAGE.clone());
    let headers = answer.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Some(policy) = POLICY.as_ref() {
        headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
    }
    answer
}

/// Standard base64 with padding (RFC 4648 §4), for the two hashes.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().enumerate().fold(0u32, |bits, (at, byte)| {
            bits | u32::from(*byte) << (16 - 8 * at)
        });
        for place in 0..4 {
            if place > group.len() {
                text.push('=');
            } else {
                text.push(char::from(
                    ALPHABET[(bits >> (18 - 6 * place) & 63) as usize],
                ));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_gives_the_test_vectors_of_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn style_and_script_stand_in_the_document_once_and_unchanged() {
        let page = String::from_utf8_lossy(&PAGE);
        for part in [STYLE, SCRIPT] {
            assert_eq!(page.matches(part).count(), 1);
        }
        assert!(!page.contains(STYLE_PLACE) && !page.contains(SCRIPT_PLACE));
        assert!(page.contains(&format!("<style>{STYLE}</style>")));
        assert!(page.contains(&format!("<script>{SCRIPT}</script>")));
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        let page = String::from_utf8_lossy(&PAGE);
        for reference in ["src=\"", "@import", "url(", "href=\"http"] {
            assert!(!page.contains(reference), "{reference}");
        }
        let style_attribute = " style=\"";
        assert!(
            !DOCUMENT.contains(style_attribute),
            "the policy forbids style attributes"
        );
    }
}
