//! Who is calling: an API key or a token, against the keys and issuers of the route's `allow`.
//!
//! Every key presented is hashed and compared with every hash, in constant time, whatever matched
//! before: how long it takes tells nothing about which key exists. Whatever carried a valid key or
//! token is taken out of the request, since what opens this gateway must never reach a backend; what
//! carried anything else stays, since it may be meant for the backend.

mod identity;
mod places;
mod principal;

use std::sync::Arc;
use std::time::SystemTime;

use http::header::HeaderValue;
use http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

pub use super::token::Refused;
pub use identity::{identity, shows_any};
pub use principal::Principal;

use super::token;
use crate::config::{Allow, ApiKey, CredentialsIn, Issuer};
use places::Carriers;

/// Why a caller is not let in (401).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nothing was presented.
    #[error("this route asks for an API key or a token (`Authorization: Bearer`, or `x-api-key`)")]
    Missing,
    /// Nothing of what was presented is let in here.
    #[error("the API key is not known on this route")]
    Unknown,
    /// A token was presented, and refused.
    #[error("the token is not accepted: {0}")]
    Token(Refused),
}

impl Denied {
    /// The value of `WWW-Authenticate` (RFC 6750 §3: no error code where nothing was presented).
    pub fn challenge(self) -> HeaderValue {
        const BARE: &str = r#"Bearer realm="deltaway""#;
        if self == Self::Missing {
            return HeaderValue::from_static(BARE);
        }
        // A quoted string, and no more than RFC 6750 §3 lets stand in it.
        let words = self.to_string().replace(['"', '\\'], "'");
        let value = format!(r#"{BARE}, error="invalid_token", error_description="{words}""#);
        HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static(BARE))
    }
}

/// How many keys and tokens of one request are looked at. Clients send one, some two; without a bound,
/// a head full of them would buy a hash or a signature for each of its lines.
const MOST_PRESENTED: usize = 8;

/// Lets the caller in, or not, and takes what is valid out of `request`.
///
/// A key or token may stand in `Authorization: Bearer`, `x-api-key`, `api-key` or `x-goog-api-key`, and
/// where `places` says: in a cookie, in a query parameter. Where several are presented, any valid one
/// counts; the first in that order names the principal. With [`Allow::Everybody`] nothing is looked at
/// nor removed, and there is no principal.
///
/// # Errors
///
/// [`Denied`] when nothing was presented, or nothing that is let in; `request` is then untouched.
pub fn authenticate(
    allow: &Allow,
    places: &CredentialsIn,
    request: &mut Parts,
) -> Result<Option<Principal>, Denied> {
    authenticate_at(SystemTime::now(), allow, places, request)
}

/// [`authenticate`] at the time `now`.
///
/// # Errors
///
/// As [`authenticate`].
pub fn authenticate_at(
    now: SystemTime,
    allow: &Allow,
    places: &CredentialsIn,
    request: &mut Parts,
) -> Result<Option<Principal>, Denied> {
    let Some((principal, carriers)) = look(now, allow, places, request)? else {
        return Ok(None);
    };
    carriers.empty(places, request);
    Ok(Some(principal))
}

/// Whether the caller of `request` would be let in.
///
/// # Errors
///
/// As [`authenticate`].
pub fn admits(allow: &Allow, places: &CredentialsIn, request: &Parts) -> Result<(), Denied> {
    look(SystemTime::now(), allow, places, request).map(drop)
}

/// Who is calling, and what carried the proof; nobody in particular where everybody is let in.
fn look(
    now: SystemTime,
    allow: &Allow,
    places: &CredentialsIn,
    request: &Parts,
) -> Result<Option<(Principal, Carriers)>, Denied> {
    let Allow::Callers(keys, issuers) = allow else {
        return Ok(None);
    };
    let mut principal = None;
    let mut carriers = Carriers::default();
    let mut presented = 0;
    let mut refused = None;
    places::each(places, request, &mut |place, shown| {
        presented += 1;
        if presented > MOST_PRESENTED {
            return;
        }
        let holder = match holder(keys, shown) {
            Some(key) => Ok(Principal::new(key.name.clone(), key.topics.clone())),
            None => bearer(issuers, shown, now),
        };
        match holder {
            Ok(holder) => {
                principal.get_or_insert(holder);
                carriers.add(place);
            }
            // What was found out last says most.
            Err(why) => refused = refused.max(why),
        }
    });
    match (principal, refused) {
        (Some(principal), _) => Ok(Some((principal, carriers))),
        (None, _) if presented == 0 => Err(Denied::Missing),
        (None, Some(why)) => Err(Denied::Token(why)),
        (None, None) => Err(Denied::Unknown),
    }
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

/// Who shows the token `shown`; no reason where it is no token, or none is asked for.
fn bearer(
    issuers: &[Arc<Issuer>],
    shown: &[u8],
    now: SystemTime,
) -> Result<Principal, Option<Refused>> {
    if memchr::memchr(b'.', shown).is_none() {
        return Err(None);
    }
    let mut refused = None;
    for issuer in issuers {
        match token::verify(issuer, shown, now) {
            Ok(accepted) => return Ok(Principal::of_token(&issuer.name, accepted)),
            Err(why) => refused = refused.max(Some(why)),
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests;
