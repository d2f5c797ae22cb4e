//! Server-Sent Events: bytes that go by, and events taken out of them.
//!
//! Two ways to read a stream. A [`Scanner`] watches and never holds back: a relay passes each chunk
//! on in the turn it came in, and shows it on the way; nothing is copied, collected or changed,
//! whatever the size of an event. A [`Splitter`] cuts the stream into single events, each a
//! [`Frame`] of its own, for whoever keeps events to give them out again; [`Lines`] does the same
//! for a stream whose events are lines.

mod event;
mod id;
mod scanner;
mod splitter;

pub use event::{BadEvent, Frame, LONGEST_ID, Parts, event_id_text};
pub use id::{BadId, Epoch, EventId};
pub use scanner::{LineSink, Scanner};
pub use splitter::{Block, Lines, Splitter, TooLarge};

#[cfg(test)]
mod recordings_tests;
#[cfg(test)]
mod reference;
