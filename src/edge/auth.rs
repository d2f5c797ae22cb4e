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

impl Principal {
    /// x
    pub fn claim(&self, _: &str) -> Option<String> { None }
    /// x
    pub fn expires_at(&self) -> Option<tokio::time::Instant> { None }
}
/// x
pub fn identity(_: Option<&Principal>, _: &HeaderMap) -> Option<[u8; 32]> { None }

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
    let Allow::Callers(keys, _) = allow else {
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
    let digest = words(&Sha256::digest(key).into());
    let mut found = u32::MAX;
    for (number, known) in (0u32..).zip(keys) {
        for hash in &known.hashes {
            found.conditional_assign(&number, digest.ct_eq(&words(hash)));
        }
    }
    keys.get(found as usize)
}

/// A hash in words: to compare them takes an eighth of the time, just as constantly.
fn words(hash: &[u8; 32]) -> [u64; 4] {
    let (words, _) = hash.as_chunks();
    std::array::from_fn(|at| u64::from_ne_bytes(words[at]))
}

#[cfg(test)]
mod tests;
