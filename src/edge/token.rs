//! Callers' tokens: JSON Web Tokens (RFC 7519) in the compact form of RFC 7515, signed.
//!
//! What a token says of itself decides nothing: its `alg` has to be the one algorithm of a key that is
//! configured (RFC 8725 §3.1), and nothing of its claims is read before the signature was found good.
//! Whatever two readers could take in two ways (a member that is there twice, bits behind the end of a
//! base64 text) is refused.

mod strict;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use ring::{error::Unspecified, hmac};
use serde_json::{Map, Value};

use crate::config::{Algorithm, Issuer, KeyMaterial, TopicPattern, TopicRights, VerifyingKey};

/// The longest token, in bytes.
const LONGEST: usize = 8 * 1024;
/// The latest time a claim can name, in seconds of the epoch: the end of the year 9999.
const LATEST: u64 = 253_402_300_799;

/// What a token says.
pub(super) type Claims = Map<String, Value>;

/// Why a token is refused, in the order in which it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refused {
    /// Longer than is read.
    #[error("it is longer than {LONGEST} bytes")]
    Long,
    /// Not three parts of base64url, or no header.
    #[error("it is not a signed token (three parts of base64url with dots between them)")]
    Malformed,
    /// `crit`: an extension that has to be understood (RFC 7515 §4.1.11).
    #[error("it asks for an extension (`crit`), and none is known here")]
    Critical,
    /// None of the issuer's keys is the one named by `kid`.
    #[error("it names a key (`kid`) that its issuer does not have here")]
    Key,
    /// Another algorithm than the key is for.
    #[error("its algorithm (`alg`) is not the one of its issuer's key")]
    Algorithm,
    /// No key fits.
    #[error("its signature is wrong")]
    Signature,
    /// Well signed, but no JSON object, or a claim of a wrong type.
    #[error("its claims are not such as RFC 7519 has them")]
    Claims,
    /// No `exp`.
    #[error("it never expires (it has no `exp`)")]
    Endless,
    /// `exp` has passed.
    #[error("it has expired (`exp`)")]
    Expired,
    /// `nbf` is to come.
    #[error("it is not valid yet (`nbf`)")]
    Early,
    /// Another `iss` than is asked for, or none.
    #[error("it is of another issuer (`iss`)")]
    Issuer,
    /// Another `aud` than is asked for, or none; or one where none is expected.
    #[error("it is meant for another audience (`aud`)")]
    Audience,
    /// The claim about topics cannot be read.
    #[error("its claim about topics is not `{{\"publish\": [...], \"subscribe\": [...]}}`")]
    Topics,
}

/// A token that is accepted.
pub(super) struct Accepted {
    /// What it says.
    pub(super) claims: Claims,
    /// When it is accepted no longer: `exp` and the leeway.
    pub(super) expires: SystemTime,
    /// What it lets its holder do.
    pub(super) rights: TopicRights,
}

/// Checks `token` at the time `now`.
pub(super) fn verify(issuer: &Issuer, token: &[u8], now: SystemTime) -> Result<Accepted, Refused> {
    let claims = signed(&issuer.keys, token)?;
    let expires = timely(&claims, issuer.leeway, now)?;
    addressed(&claims, issuer)?;
    let rights = rights(&claims, issuer)?;
    Ok(Accepted {
        claims,
        expires,
        rights,
    })
}

/// The claims of a token that one of `keys` has signed (RFC 7515 §5.2).
fn signed(keys: &[VerifyingKey], token: &[u8]) -> Result<Claims, Refused> {
    if token.len() > LONGEST {
        return Err(Refused::Long);
    }
    let mut dots = memchr::memchr_iter(b'.', token);
    let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
        return Err(Refused::Malformed);
    };
    let decode = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Malformed);
    let header = decode(&token[..first])?;
    let payload = decode(&token[first + 1..second])?;
    let signature = decode(&token[second + 1..])?;
    let header = strict::object(&header).ok_or(Refused::Malformed)?;
    if header.contains_key("crit") {
        return Err(Refused::Critical);
    }
    let id = match header.get("kid") {
        Some(Value::String(id)) => Some(id.as_str()),
        Some(_) => return Err(Refused::Malformed),
        None => None,
    };
    let named = |key: &&VerifyingKey| match (id, &key.id) {
        (Some(id), Some(known)) => id == &**known,
        _ => true,
    };
    let mut named = keys.iter().filter(named).peekable();
    named.peek().ok_or(Refused::Key)?;
    let algorithm = header.get("alg").and_then(Value::as_str);
    let meant = |key: &&VerifyingKey| algorithm == Some(name(key.algorithm));
    let mut meant = named.filter(meant).peekable();
    meant.peek().ok_or(Refused::Algorithm)?;
    if !meant.any(|key| is_signed(&key.material, &token[..second], &signature)) {
        return Err(Refused::Signature);
    }
    strict::object(&payload).ok_or(Refused::Claims)
}

/// RFC 7518 §3.1.
fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Hs256 => "HS256",
        Algorithm::Rs256 => "RS256",
        Algorithm::Es256 => "ES256",
    }
}

/// Whether `signature` is one of `message`. The material decides the algorithm, and nothing else.
fn is_signed(key: &KeyMaterial, message: &[u8], signature: &[u8]) -> bool {
    let verified: Result<(), Unspecified> = match key {
        // Compared in constant time.
        KeyMaterial::Shared(secret) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            hmac::verify(&key, message, signature)
        }
        KeyMaterial::Rsa(n, e) => {
            RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
        }
        KeyMaterial::Point(point) => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
        }
    };
    verified.is_ok()
}

/// Checks `exp` and `nbf` (RFC 7519 §4.1.4, §4.1.5); says until when the token is accepted.
fn timely(claims: &Claims, leeway: Duration, now: SystemTime) -> Result<SystemTime, Refused> {
    let exp = claims.get("exp").ok_or(Refused::Endless)?;
    let later = |time: Duration| {
        let time = UNIX_EPOCH.checked_add(time.saturating_add(leeway));
        time.ok_or(Refused::Claims)
    };
    let expires = later(date(exp)?)?;
    if now >= expires {
        return Err(Refused::Expired);
    }
    if let Some(nbf) = claims.get("nbf") {
        let begins = date(nbf)?.saturating_sub(leeway);
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if now < begins {
            return Err(Refused::Early);
        }
    }
    Ok(expires)
}

/// A NumericDate (RFC 7519 §2): seconds of the epoch, perhaps with a fraction.
fn date(value: &Value) -> Result<Duration, Refused> {
    if let Some(seconds) = value.as_u64() {
        return Ok(Duration::from_secs(seconds.min(LATEST)));
    }
    let seconds = value.as_f64().ok_or(Refused::Claims)?;
    let seconds = seconds.clamp(0.0, LATEST as f64);
    Duration::try_from_secs_f64(seconds).map_err(|_| Refused::Claims)
}

/// Checks `iss` and `aud` (RFC 7519 §4.1.1, §4.1.3).
fn addressed(claims: &Claims, issuer: &Issuer) -> Result<(), Refused> {
    if let Some(wanted) = &issuer.issuer
        && claims.get("iss").and_then(Value::as_str) != Some(wanted)
    {
        return Err(Refused::Issuer);
    }
    let meant = match (claims.get("aud"), &issuer.audience) {
        (None, wanted) => wanted.is_none(),
        // Whoever is not among those meant has to refuse it, whoever they are.
        (Some(_), None) => false,
        (Some(Value::Array(all)), Some(wanted)) => {
            all.iter().any(|audience| audience.as_str() == Some(wanted))
        }
        (Some(one), Some(wanted)) => one.as_str() == Some(wanted),
    };
    if meant {
        Ok(())
    } else {
        Err(Refused::Audience)
    }
}

/// What the token lets its holder do with topics.
fn rights(claims: &Claims, issuer: &Issuer) -> Result<TopicRights, Refused> {
    let Some(name) = &issuer.topics_claim else {
        return Ok(TopicRights::default());
    };
    let nothing = Map::new();
    let claim = match claims.get(&**name) {
        Some(Value::Object(claim)) => claim,
        Some(_) => return Err(Refused::Topics),
        None => &nothing,
    };
    Ok(TopicRights {
        publish: Some(patterns(claim.get("publish"))?),
        subscribe: Some(patterns(claim.get("subscribe"))?),
    })
}

fn patterns(list: Option<&Value>) -> Result<Vec<TopicPattern>, Refused> {
    let list = match list {
        Some(list) => list.as_array().ok_or(Refused::Topics)?,
        None => return Ok(Vec::new()),
    };
    let pattern = |value: &Value| TopicPattern::new(value.as_str()?).ok();
    let patterns: Option<_> = list.iter().map(pattern).collect();
    patterns.ok_or(Refused::Topics)
}

#[cfg(test)]
mod tests;
