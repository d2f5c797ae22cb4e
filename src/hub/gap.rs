//! What a reader is told that can no longer get what it asks for.

use std::sync::Arc;

use crate::sse::EventId;

pub use crate::delivery::Reason as GapReason;

/// Events a cursor can no longer get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// The last event the reader had; none where its id says nothing here.
    pub after: Option<EventId>,
    /// The last event that is missing; none where nothing is known to be.
    pub through: Option<EventId>,
    /// How many are missing, where that is known.
    pub missed: Option<u64>,
    /// The topic they belong to.
    pub topic: Option<Arc<str>>,
    /// The id to resume after, once this was read.
    pub id: EventId,
}
