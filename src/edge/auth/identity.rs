//! Whose request it is, as a number: what tells callers apart that must not share.

use http::HeaderMap;
use http::header::COOKIE;
use sha2::{Digest, Sha256};

use super::Principal;
use super::principal::subject;
use crate::edge::{KEY_FIELDS, is_key_field};

/// A number for the caller: the same for all requests of one principal; without one, the same for all
/// requests with the same `Authorization`, `Cookie`, `x-api-key`, `api-key` and `x-goog-api-key`. None
/// where there is nothing of all that.
///
/// A principal whose token names nobody (no `sub`) is told apart by all its claims.
pub fn identity(principal: Option<&Principal>, headers: &HeaderMap) -> Option<[u8; 32]> {
    // The first byte keeps names, claims and fields apart, the lengths keep each from the next.
    let mut hash = Sha256::new();
    let Some(principal) = principal else {
        hash.update([0]);
        return presented(headers, &mut hash).then(|| hash.finalize().into());
    };
    let nobody = principal
        .claims
        .as_ref()
        .filter(|claims| subject(claims).is_none());
    hash.update([1 + u8::from(nobody.is_some())]);
    add(principal.name.as_bytes(), &mut hash);
    if let Some(claims) = nobody {
        for (name, value) in &**claims {
            add(name.as_bytes(), &mut hash);
            add(value.to_string().as_bytes(), &mut hash);
        }
    }
    Some(hash.finalize().into())
}

/// Whether a caller shows anything it could prove itself with: [`identity`] is some then, and costs a hash.
pub fn shows_any(headers: &HeaderMap) -> bool {
    // One look at each field costs less than asking the map for every name.
    headers
        .keys()
        .any(|name| is_key_field(name) || *name == COOKIE)
}

/// Adds what a caller could have proved itself with; says whether there was anything.
fn presented(headers: &HeaderMap, hash: &mut Sha256) -> bool {
    let mut any = false;
    for (number, name) in (0u8..).zip(KEY_FIELDS.iter().chain([&COOKIE])) {
        for value in headers.get_all(name) {
            any = true;
            hash.update([number]);
            add(value.as_bytes(), hash);
        }
    }
    any
}

fn add(bytes: &[u8], hash: &mut Sha256) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn who_shows_anything_has_an_identity_and_nobody_else() {
        let others = [http::header::HOST, HeaderName::from_static("x-user")];
        for name in KEY_FIELDS.iter().chain([&COOKIE]).chain(&others) {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::ACCEPT, HeaderValue::from_static("*/*"));
            headers.insert(name, HeaderValue::from_static("a"));
            assert_eq!(
                shows_any(&headers),
                identity(None, &headers).is_some(),
                "{name}"
            );
            assert_eq!(shows_any(&headers), !others.contains(name), "{name}");
        }
    }
}
