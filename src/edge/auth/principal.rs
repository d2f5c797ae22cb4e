//! Who is calling, once it is known.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::config::TopicRights;
use crate::edge::token::Accepted;

/// The most of a name that is logged, in bytes: a `sub` is as long as its issuer likes.
const LONGEST_SHOWN: usize = 128;

/// Who is calling.
#[derive(Clone, PartialEq, Eq)]
pub struct Principal {
    /// The name of its key, as in the configuration; or the issuer of its token, a colon, and the
    /// token's `sub` (the issuer alone where there is none). No name of a key holds a colon.
    pub name: Arc<str>,
    /// What it may publish to and subscribe to.
    pub rights: TopicRights,
    /// What its token says.
    pub claims: Option<Arc<Map<String, Value>>>,
    /// When its token is accepted no longer: `exp` and the leeway.
    pub expires: Option<SystemTime>,
}

impl fmt::Debug for Principal {
    /// Without the claims: they are about a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Principal {
    /// The holder of the key `name`.
    pub fn new(name: Arc<str>, rights: TopicRights) -> Self {
        Self {
            name,
            rights,
            claims: None,
            expires: None,
        }
    }

    /// The holder of a token of `issuer`.
    pub(super) fn of_token(issuer: &Arc<str>, token: Accepted) -> Self {
        let name = match subject(&token.claims) {
            Some(subject) => format!("{issuer}:{subject}").into(),
            None => issuer.clone(),
        };
        Self {
            name,
            rights: token.rights,
            claims: Some(Arc::new(token.claims)),
            expires: Some(token.expires),
        }
    }

    /// The claim `name` as text, for the names of topics: a string, or a whole number.
    pub fn claim(&self, name: &str) -> Option<String> {
        match self.claims.as_ref()?.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
            _ => None,
        }
    }

    /// [`Self::expires`] on the clock that timers use.
    pub fn expires_at(&self) -> Option<Instant> {
        let left = self.expires?.duration_since(SystemTime::now());
        Instant::now().checked_add(left.unwrap_or_default())
    }

    /// The name for logs: bounded, on one line. Two principals may look the same here.
    pub fn shown(&self) -> Arc<str> {
        let harmless = !self.name.chars().any(char::is_control);
        if harmless && self.name.len() <= LONGEST_SHOWN {
            return self.name.clone();
        }
        let end = self.name.floor_char_boundary(LONGEST_SHOWN);
        let shown: String = self.name[..end]
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .chain((end < self.name.len()).then_some('…'))
            .collect();
        shown.into()
    }
}

/// The `sub` of a token (RFC 7519 §4.1.2), if it says anything.
pub(super) fn subject(claims: &Map<String, Value>) -> Option<&str> {
    let subject = claims.get("sub")?.as_str()?;
    (!subject.is_empty()).then_some(subject)
}
