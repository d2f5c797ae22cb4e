//! Answers that are cut in the middle, continued by another backend.
//!
//! Invariant: what the caller reads is one answer. It is whole or ends in an honest error, and no
//! part of it comes twice.

mod members;
mod prefill;
mod rescuable;

pub use prefill::prefilled;
pub use rescuable::can_be_rescued;
