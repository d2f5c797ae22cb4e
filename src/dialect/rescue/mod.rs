//! Answers that are cut in the middle, continued by another backend.
//!
//! Invariant: what the caller reads is one answer. It is whole or ends in an honest error, and no
//! part of it comes twice.
//!
//! A request is looked at once ([`can_be_rescued`]). While its answer is delivered, a [`Transcript`]
//! keeps the text. When the backend dies and the transcript is open, another one is asked: for the
//! rest ([`prefilled`]), or, where it takes no beginning, the same again. A [`Sequel`] then makes one
//! answer of the two.
//!
//! OpenAI's Responses are not rescued. Their id is a handle: callers send it back as
//! `previous_response_id` or fetch it, and no backend would have the whole under the one that the
//! caller knows. Their last events, too, carry the whole answer again, and would have to be made up.

mod blocks;
mod chunk;
mod chunks;
mod members;
mod prefill;
mod rescuable;
mod sequel;
mod skip;
mod transcript;

#[cfg(test)]
mod meetings_tests;
#[cfg(test)]
#[path = "naive_tests.rs"]
mod naive;
#[cfg(test)]
mod recordings_tests;

pub use prefill::prefilled;
pub use rescuable::can_be_rescued;
pub use sequel::{Passed, Sequel};
pub use transcript::Transcript;
