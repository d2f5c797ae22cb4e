//! Ids of events: which numbering, and which position in it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Crockford's base 32, in lower case: no `i`, `l`, `o` and `u`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters of an epoch.
const SHOWN: usize = 12;

/// Bits of one character.
const BITS: usize = 5;

/// One numbering of events. A process that starts anew, and keeps nothing, numbers from one again
/// under another epoch, so that no id means two events.
///
/// Shown as twelve characters of Crockford's base 32, in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch with the lower 60 of these bits. They are to be random.
    pub const fn new(random: u64) -> Self {
        Self(random & ((1 << (SHOWN * BITS)) - 1))
    }

    fn shown(self) -> [u8; SHOWN] {
        let mut shown = [0; SHOWN];
        for (at, character) in shown.iter_mut().rev().enumerate() {
            *character = ALPHABET[(self.0 >> (at * BITS)) as usize & 31];
        }
        shown
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.shown()).unwrap_or_default())
    }
}

impl FromStr for Epoch {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        if text.len() != SHOWN {
            return Err(BadId);
        }
        let mut bits = 0;
        for byte in text.bytes() {
            bits = bits << BITS | digit(byte).ok_or(BadId)?;
        }
        Ok(Self(bits))
    }
}

fn digit(byte: u8) -> Option<u64> {
    let found = ALPHABET.iter().position(|&character| character == byte)?;
    Some(found as u64)
}

/// The id of one event: `epoch.position`. There is one way to write it, and no other is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId {
    /// The numbering.
    pub epoch: Epoch,
    /// The place in it. Events count from one; zero is before the first.
    pub position: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.position)
    }
}

impl FromStr for EventId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let (epoch, position) = text.split_once('.').ok_or(BadId)?;
        let has_leading_zero = position.len() > 1 && position.starts_with('0');
        // A sign is no digit, and the standard library would take one.
        let is_number = position.bytes().all(|byte| byte.is_ascii_digit());
        if has_leading_zero || !is_number {
            return Err(BadId);
        }
        Ok(Self {
            epoch: epoch.parse()?,
            position: position.parse().map_err(|_| BadId)?,
        })
    }
}

/// Why a text is no id of an event that was numbered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "not an event id: that is {SHOWN} characters of 0-9 and a-z without i, l, o and u, a dot, and a \
     number without leading zeros"
)]
pub struct BadId;

#[cfg(test)]
#[path = "id_tests.rs"]
mod tests;
