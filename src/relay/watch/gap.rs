//! A gap, told as an event that any client can see.

use bytes::BytesMut;

use crate::delivery::{self, Encoding};
use crate::hub::Gap;
use crate::sse::Frame;

/// The event that tells of `gap`.
pub(super) fn frame(gap: &Gap) -> Frame {
    shown(gap, |shown| shown.frame())
}

/// Appends the event that tells of `gap`.
pub(super) fn put(encoding: Encoding, gap: &Gap, out: &mut BytesMut) {
    let id = gap.id.to_string();
    shown(gap, |shown| delivery::gap(encoding, &id, shown, out));
}

fn shown<T>(gap: &Gap, say: impl FnOnce(&delivery::Gap<'_>) -> T) -> T {
    let after = gap.after.map(|id| id.to_string());
    let through = gap.through.map(|id| id.to_string());
    say(&delivery::Gap {
        reason: gap.reason,
        after: after.as_deref(),
        through: through.as_deref(),
        missed: gap.missed,
        topic: gap.topic.as_deref(),
    })
}
