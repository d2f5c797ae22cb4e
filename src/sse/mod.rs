//! Server-Sent Events, seen as bytes that go by.
//!
//! The room's one rule: it watches and never holds back. A relay passes each chunk on in the turn
//! it came in, and shows it to a [`Scanner`] on the way; nothing here copies, collects or changes
//! a byte, whatever the size of an event.

mod scanner;

pub use scanner::{LineSink, Scanner};
