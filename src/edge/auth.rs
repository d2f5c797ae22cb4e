//! Who is calling: an API key against the hashes of the route's `allow`.
//!
//! Every key presented is hashed and compared with every hash, in constant time, whatever matched
//! before: how long it takes tells nothing about which key exists. A field that carried a valid key
//! is removed, since a key of this gateway must never reach a backend; one that carried anything
//! else stays, since it may be meant for the backend.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::KEY_FIELDS;
use crate::config::{Allow, ApiKey};

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The name of the key, as in the configuration.
    pub name: Arc<str>,
}

/// Why a caller is not let in (401).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No key was presented.
    #[error("this route asks for an API key (`Authorization: Bearer` or `x-api-key`)")]
    Missing,
    /// None of the keys presented is let in here.
    #[error("the API key is not known on this route")]
    Unknown,
}

impl Denied {
    /// The value of `WWW-Authenticate` (RFC 6750 §3: no error code where no key was presented).
    pub fn challenge(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Missing => r#"Bearer realm="deltaway""#,
            Self::Unknown => r#"Bearer realm="deltaway", error="invalid_token""#,
        })
    }
}

/// How many keys of one request are looked at. Clients send one, some two; without a bound, a head
/// full of keys would buy a hash for each of its lines.
const MOST_PRESENTED: usize = 8;

/// Lets the caller in, or not, and takes the valid key out of `headers`.
///
/// A key may stand in `Authorization: Bearer`, `x-api-key`, `api-key` or `x-goog-api-key`. Where
/// several are presented, any valid one counts; the first in that order names the principal. With
/// [`Allow::Everybody`] nothing is looked at nor removed, and there is no principal.
///
/// # Errors
///
/// [`Denied`] when no key was presented, or none that is let in; `headers` are then untouched.
pub fn authenticate(allow: &Allow, headers: &mut HeaderMap) -> Result<Option<Principal>, Denied> {
    let Allow::Keys(keys) = allow else {
        return Ok(None);
    };
    let mut principal = None;
    let mut carriers: [Option<&HeaderName>; 4] = [None; 4];
    let mut presented = 0;
    for (slot, name) in carriers.iter_mut().zip(&KEY_FIELDS) {
        for value in headers.get_all(name) {
            let Some(key) = key_in(name, value) else {
                continue;
            };
            presented += 1;
            if presented > MOST_PRESENTED {
                break;
            }
            if let Some(holder) = holder(keys, key) {
                principal.get_or_insert_with(|| Principal {
                    name: holder.name.clone(),
                });
                *slot = Some(name);
            }
        }
    }
    for name in carriers.into_iter().flatten() {
        headers.remove(name);
    }
    match principal {
        Some(principal) => Ok(Some(principal)),
        None if presented == 0 => Err(Denied::Missing),
        None => Err(Denied::Unknown),
    }
}

/// The key that a field presents; for `Authorization` the token of the `Bearer` scheme.
fn key_in<'v>(name: &HeaderName, value: &'v HeaderValue) -> Option<&'v [u8]> {
    let value = value.as_bytes().trim_ascii();
    let key = if *name == AUTHORIZATION {
        let (scheme, token) = value.split_at_checked(b"bearer ".len())?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return None;
        }
        token.trim_ascii()
    } else {
        value
    };
    (!key.is_empty()).then_some(key)
}

/// Whose key `key` is. Looks at every hash, also behind the one that matches.
fn holder<'k>(keys: &'k [Arc<ApiKey>], key: &[u8]) -> Option<&'k Arc<ApiKey>> {
    let digest: [u8; 32] = Sha256::digest(key).into();
    let mut found = u32::MAX;
    for (number, known) in (0u32..).zip(keys) {
        for hash in &known.hashes {
            found.conditional_assign(&number, digest.ct_eq(hash));
        }
    }
    keys.get(found as usize)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn keys(all: &[(&str, &[&str])]) -> Allow {
        let key = |(name, keys): &(&str, &[&str])| {
            let hashes = keys.iter().map(|key| Sha256::digest(key).into()).collect();
            Arc::new(ApiKey {
                name: (*name).into(),
                hashes,
            })
        };
        Allow::Keys(all.iter().map(key).collect())
    }

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn name(result: Result<Option<Principal>, Denied>) -> String {
        result.unwrap().unwrap().name.to_string()
    }

    #[test]
    fn everybody_is_nobody_in_particular() {
        let mut headers = map(&[("authorization", "Bearer x"), ("x-api-key", "y")]);
        assert_eq!(authenticate(&Allow::Everybody, &mut headers), Ok(None));
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn each_place_of_a_key() {
        let allow = keys(&[("ann", &["k1", "k2"]), ("bob", &["k3"])]);
        for (line, wanted) in [
            (("authorization", "Bearer k1"), "ann"),
            (("authorization", "bEARER   k2 "), "ann"),
            (("x-api-key", "k3"), "bob"),
            (("api-key", " k3 "), "bob"),
            (("x-goog-api-key", "k2"), "ann"),
        ] {
            let mut headers = map(&[line, ("accept", "*/*")]);
            assert_eq!(name(authenticate(&allow, &mut headers)), wanted);
            assert_eq!(headers.len(), 1, "{line:?} stays");
        }
    }

    #[test]
    fn who_is_not_let_in() {
        let allow = keys(&[("ann", &["k1"])]);
        let denied = |lines: &[(&'static str, &str)]| {
            let mut headers = map(lines);
            let denied = authenticate(&allow, &mut headers).unwrap_err();
            assert_eq!(headers, map(lines));
            denied
        };
        assert_eq!(denied(&[]), Denied::Missing);
        assert_eq!(denied(&[("authorization", "Bearer ")]), Denied::Missing);
        assert_eq!(denied(&[("authorization", "Basic azE=")]), Denied::Missing);
        assert_eq!(denied(&[("authorization", "k1")]), Denied::Missing);
        assert_eq!(denied(&[("x-api-key", "")]), Denied::Missing);
        assert_eq!(denied(&[("authorization", "Bearer k")]), Denied::Unknown);
        assert_eq!(denied(&[("x-api-key", "k11")]), Denied::Unknown);
        let none = Allow::Keys(Vec::new());
        assert_eq!(
            authenticate(&none, &mut map(&[("api-key", "k1")])),
            Err(Denied::Unknown)
        );
        assert!(
            Denied::Unknown
                .challenge()
                .to_str()
                .unwrap()
                .contains("invalid_token")
        );
        assert!(
            !Denied::Missing
                .challenge()
                .to_str()
                .unwrap()
                .contains("error")
        );
    }

    #[test]
    fn any_valid_one_counts_and_every_valid_one_goes() {
        let allow = keys(&[("ann", &["k1"]), ("bob", &["k2"])]);
        let mut headers = map(&[
            ("authorization", "Bearer for-the-backend"),
            ("x-api-key", "k2"),
        ]);
        assert_eq!(name(authenticate(&allow, &mut headers)), "bob");
        assert_eq!(headers, map(&[("authorization", "Bearer for-the-backend")]));
        let mut headers = map(&[
            ("x-api-key", "k2"),
            ("authorization", "Bearer no"),
            ("authorization", "Bearer k1"),
            ("api-key", "k1"),
        ]);
        assert_eq!(name(authenticate(&allow, &mut headers)), "ann");
        assert!(headers.is_empty());
    }

    #[test]
    fn a_head_full_of_keys_costs_eight_hashes() {
        let allow = keys(&[("ann", &["k1"])]);
        let mut lines = vec![("authorization", "Bearer no"); MOST_PRESENTED];
        lines.push(("authorization", "Bearer k1"));
        assert_eq!(authenticate(&allow, &mut map(&lines)), Err(Denied::Unknown));
        lines.remove(0);
        assert_eq!(name(authenticate(&allow, &mut map(&lines))), "ann");
    }
}
