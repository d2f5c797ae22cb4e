//! Model APIs: what each one's requests, answers, markers and errors look like.
//!
//! Everything particular to one API is said in this room and nowhere else: which requests are its
//! own ([`recognise`], [`read_request`], [`model_in_path`]), how a finished answer tells that it is
//! finished and what it took ([`Watcher`], [`Usage`]), what the end of a body therefore means ([`judge`]), and how an error
//! must be put so that the API's own clients raise it ([`error_event`], [`refusal`]), what a
//! backend's own errors mean ([`trouble()`]), and how one answer goes on with another ([`Sequel`]).
//!
//! The room knows bytes and `http` types only: no sockets, no clocks, no tasks. On the hot path it
//! watches chunks that are already on their way and holds nothing back: an event that lies whole in a
//! chunk is read where it stands, one that a chunk's end cuts is copied until it is read. Only
//! an answer that may be rescued costs more: its events are read, and its text is kept ([`Transcript`]).

mod alike;
mod content;
mod document;
mod ending;
mod failure;
mod gathered;
mod glance;
mod lines;
mod marker;
mod members;
mod payload;
mod places;
mod recognise;
mod request;
mod rescue;
mod told;
mod trouble;
mod unstreamed;
mod usage;
mod watcher;

pub use ending::{ClientEnd, Ending, TransportEnd, Verdict, judge};
pub use failure::{Failure, error_event, error_message, heartbeat, is_error_answer, refusal};
pub use marker::Marker;
pub use recognise::{BodyKind, body_kind, model_in_path, recognise};
pub use request::{BodyFault, Facts, Model, read_request, rename_model};
pub use rescue::{Passed, Sequel, Transcript, can_be_rescued, prefilled};
pub use trouble::{retry_after, retry_delay, trouble, wants_body};
pub use usage::{Usage, usage_in_document};
pub use watcher::Watcher;

#[cfg(test)]
mod recordings_tests;
#[cfg(test)]
mod told_recordings_tests;
