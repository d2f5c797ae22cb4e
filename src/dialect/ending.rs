//! What the end of a body means, and what the client is to get.
//!
//! A pure function of how the transport ended and what the [`Watcher`] saw. The breaker, the log,
//! the metrics and the client all read this one value, so that a stream that was cut never looks
//! finished to one of them and whole to another.

use std::fmt;

use super::marker::Marker;
use super::watcher::{Watcher, has_markers};

/// How the upstream's body ended, as the transport saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportEnd {
    /// As framed: the last chunk, the announced length, END_STREAM.
    Framed,
    /// By a close, in a body that had no framing: the end and a cut look alike.
    Closed,
    /// Against its framing, or by a limit of ours: a reset, a chunk missing, too long a silence.
    Cut,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Whole.
    Complete,
    /// Without what says that it is whole.
    Truncated,
    /// By an error that the backend itself reported inside the stream.
    Failed,
    /// The client left first. Never a verdict of [`judge`]: no body's end shows it.
    Left,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Complete => "complete",
            Self::Truncated => "truncated",
            Self::Failed => "failed",
            Self::Left => "left",
        })
    }
}

/// How the response to the client is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientEnd {
    /// The clean end, nothing added.
    Clean,
    /// The dialect's error event, then the clean end.
    ErrorEvent,
    /// An end that no client can take for a clean one.
    Abort,
}

/// What the end of a body means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// How the stream ended.
    pub ending: Ending,
    /// What the client gets.
    pub client: ClientEnd,
}

/// Judges the end of a body.
///
/// | transport | marker | ending | the client gets |
/// |---|---|---|---|
/// | framed or closed | the dialect or body has none | complete | the clean end |
/// | framed or closed | finished or done | complete | the clean end |
/// | framed or closed | failed | failed | the clean end |
/// | framed or closed | none seen | truncated | an error event; inside an event an abort |
/// | cut | the dialect or body has none | truncated | an abort |
/// | cut between events | none, or finished only | truncated | an error event |
/// | cut between events | done | complete | the clean end |
/// | cut between events | failed | failed | the clean end |
/// | cut inside an event | failed | failed | an abort |
/// | cut inside an event | any other | truncated | an abort |
///
/// A body that ends as framed with its marker is complete even where the last event lacks its
/// blank line; real backends do so. A cut behind the last word itself (`[DONE]`, `message_stop`)
/// takes nothing away: the client has its marker and has stopped reading. A cut behind a mere
/// finish reason may have taken the usage or further choices with it.
pub fn judge(end: TransportEnd, watcher: &Watcher) -> Verdict {
    let marked = has_markers(watcher.dialect(), watcher.kind());
    let between = watcher.at_boundary();
    let (ending, client) = match (end, watcher.marker()) {
        (TransportEnd::Framed | TransportEnd::Closed, Marker::Failed) => {
            (Ending::Failed, ClientEnd::Clean)
        }
        (TransportEnd::Framed | TransportEnd::Closed, Marker::None) if marked => {
            (Ending::Truncated, told(between))
        }
        (TransportEnd::Framed | TransportEnd::Closed, _) => (Ending::Complete, ClientEnd::Clean),
        (TransportEnd::Cut, _) if !marked => (Ending::Truncated, ClientEnd::Abort),
        (TransportEnd::Cut, Marker::Failed) if between => (Ending::Failed, ClientEnd::Clean),
        (TransportEnd::Cut, Marker::Failed) => (Ending::Failed, ClientEnd::Abort),
        (TransportEnd::Cut, Marker::Done) if between => (Ending::Complete, ClientEnd::Clean),
        (TransportEnd::Cut, _) => (Ending::Truncated, told(between)),
    };
    Verdict { ending, client }
}

/// How a client is told of a truncated answer: nothing can be put in the middle of an event.
fn told(between: bool) -> ClientEnd {
    if between {
        ClientEnd::ErrorEvent
    } else {
        ClientEnd::Abort
    }
}

#[cfg(test)]
#[path = "ending_tests.rs"]
mod tests;
